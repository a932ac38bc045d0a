/** A notebook's file brought up to date before something is done with it. */
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

/** Save a notebook, for it is its file that is taken, and say what there is to say of that. */
export async function saved(panel: NotebookPanel, trans: TranslationBundle): Promise<string[]> {
  const { context } = panel;
  await context.ready;
  if (!context.model.dirty) {
    return [];
  }
  if (context.contentsModel?.writable === false) {
    return [trans.__('This notebook can’t be written: it is taken as it was opened, without your changes.')];
  }
  await context.save();
  return [trans.__('The notebook was saved: it is its file that is taken.')];
}
