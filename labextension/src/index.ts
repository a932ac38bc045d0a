/** The plugins of this extension, each a file of its own. */
import { outputs } from './outputs';
import { panel } from './panel/plugin';

export default [outputs, panel];
