/** Where a tab is put that isn't a document. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Widget } from '@lumino/widgets';

const AREAS = ['main', 'down', 'right'];

/** Show a tab beside the documents; in Notebook, where there is room for its document alone, below or beside that. */
export function showTab({ shell }: JupyterFrontEnd, tab: Widget): void {
  AREAS.find((area) => add(shell, tab, area));
  shell.activateById(tab.id);
}

/** Add a tab to an area, and return whether it is there now. */
function add(shell: JupyterFrontEnd.IShell, tab: Widget, area: string): boolean {
  tab.toggleClass('mlx-mod-below', area === 'down'); // before: the area is made as high as it asks for
  try {
    shell.add(tab, area);
  } catch {
    return false; // Notebook 7.2 has no such area
  }
  return tab.parent !== null;
}
