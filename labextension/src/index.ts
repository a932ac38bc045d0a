/** The plugins of this extension, each a file of its own. */
import { badges } from './badges/badges';
import { highlighting } from './editing/highlighting';
import { outputs } from './outputs';

export default [
  badges,
  highlighting,
  outputs
];
