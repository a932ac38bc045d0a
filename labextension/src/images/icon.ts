/** The icon of an image: a box, seen from above. */
import { LabIcon } from '@jupyterlab/ui-components';

const SHAPES =
  '<path class="jp-icon3" fill="#616161" d="M12 2 3 6.5v11L12 22l9-4.5v-11zm0 2.2 5.6 2.8L12 9.8 6.4 7zM5 8.6l6 3v7.6l-6' +
  '-3zm8 10.6v-7.6l6-3v7.6z"/>';

export const imageIcon = new LabIcon({
  name: 'ml-experiment-nb:image',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">${SHAPES}</svg>`
});
