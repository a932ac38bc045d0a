/** The plugins of this extension, each a file of its own. */
import { badges } from './badges/badges';
import { highlighting } from './editing/highlighting';
import { specs } from './editing/specs';
import { images } from './images/plugin';
import { jobs } from './jobs/plugin';
import { outputs } from './outputs';
import { panel } from './panel/plugin';
import { running } from './running/plugin';

export default [
  badges,
  highlighting,
  images,
  jobs,
  outputs,
  panel,
  running,
  specs
];
