/** Our own icons. */
import { LabIcon } from '@jupyterlab/ui-components';

const FLASK =
  '<path class="jp-icon3" fill="#616161" d="M9 2h6v2h-1v5.2l5.6 9.3A2.3 2.3 0 0 1 17.6 22H6.4a2.3 2.3 0 0 1-2-3.5L10 ' +
  '9.2V4H9zm3 0"/><g class="jp-icon-inverse1" fill="#fff"><circle cx="9.5" cy="17.8" r="1.3"/><circle cx="12" cy="14.6"' +
  ' r="1.3"/><circle cx="15" cy="17.2" r="1.3"/></g>';
const COLUMNS =
  '<path class="jp-icon3" fill="#616161" d="M4 4h7v16H4zm2 2v12h3V6zm7-2h7v16h-7zm2 2v12h3V6z"/>';
const CHANGE =
  '<path class="jp-icon3" fill="#616161" d="M7 4h2v4h4v2H9v4H7v-4H3V8h4zm4 13h10v2H11z"/>';

export const runsIcon = icon('runs', FLASK);
export const compareIcon = icon('compare', COLUMNS);
export const diffIcon = icon('diff', CHANGE);

function icon(name: string, inner: string): LabIcon {
  const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16">${inner}</svg>`;
  return new LabIcon({ name: `ml-experiment-nb:${name}`, svgstr });
}
