/** The plugins of this extension, each a file of its own. */
import { badges } from './badges/badges';
import { highlighting } from './editing/highlighting';
import { specs } from './editing/specs';
import { outputs } from './outputs';
import { panel } from './panel/plugin';
import { running } from './running/plugin';

export default [
  badges,
  highlighting,
  outputs,
  panel,
  running,
  specs
];
