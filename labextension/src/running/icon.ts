/** The icon of running a notebook on the server: a flask, and what starts it. */
import { LabIcon } from '@jupyterlab/ui-components';

const SHAPES =
  '<path class="jp-icon3" fill="#616161" d="M6 2h6v2h-1v5.2l2 3.3-2 2.4V22H3.4a2.3 2.3 0 0 1-2-3.5L7 9.2V4H6z"/>' +
  '<path class="jp-icon3" fill="#616161" d="M13.5 11.5 22.5 17l-9 5.5z"/>';

export const runAsIcon = new LabIcon({
  name: 'ml-experiment-nb:run-as',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">${SHAPES}</svg>`
});
