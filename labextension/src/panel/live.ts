/** Runs side by side in a new notebook: sorted, filtered and drawn by the widget, which needs a kernel. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { NotebookPanel } from '@jupyterlab/notebook';

export async function openInNotebook(app: JupyterFrontEnd, folder: string, runs: readonly string[]): Promise<void> {
  const { contents, kernelspecs } = app.serviceManager;
  await kernelspecs.ready;
  const { path } = await contents.newUntitled({ path: folder, type: 'notebook' });
  await contents.save(path, { type: 'notebook', format: 'json', content: notebook(runs) });
  const kernel = { name: kernelspecs.specs?.default ?? 'python3' };
  const panel = (await app.commands.execute('docmanager:open', { path, kernel })) as NotebookPanel | undefined;
  if (panel === undefined) {
    return; // Notebook opens each document in a page of its own
  }
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session?.kernel?.info; // what is run before it is connected is dropped
  await app.commands.execute('notebook:run-all-cells');
}

function notebook(runs: readonly string[]): object {
  const source = ['%load_ext ml_experiment_nb\n', `%compare ${runs.join(' ')}`];
  const cell = { cell_type: 'code', execution_count: null, id: 'compare', metadata: {}, outputs: [], source };
  return { cells: [cell], metadata: {}, nbformat: 4, nbformat_minor: 5 };
}
