/** The plugins of this extension, each a file of its own. */
import { outputs } from './outputs';

export default [outputs];
