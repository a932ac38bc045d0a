/** Where a tab is put that isn't a document. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Widget } from '@lumino/widgets';

const AREAS = ['main', 'down', 'right'];

/** Show a tab beside the documents; in Notebook, where there is room for its document alone, below or beside that. */
export function showTab({ shell }: JupyterFrontEnd, tab: Widget): void {
  const area = AREAS.find((one) => add(shell, tab, one));
  tab.toggleClass('mlx-mod-below', area === 'down');
  shell.activateById(tab.id);
}

/** Add a tab to an area, and return whether it is there now. */
function add(shell: JupyterFrontEnd.IShell, tab: Widget, area: string): boolean {
  try {
    shell.add(tab, area);
  } catch {
    return false; // Notebook 7.2 has no such area
  }
  return tab.parent !== null;
}
