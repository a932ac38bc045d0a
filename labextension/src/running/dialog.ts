/** The dialog with the form of a run. */
import type { Job } from '../api';
import { FormDialog } from '../dialogs';
import { Form } from './form';
import type { FormModel } from './model';

/** Show the form; what was started, or null where the user has left it. */
export async function started(model: FormModel): Promise<Job | null> {
  const { ground, trans } = model;
  const dialog = new FormDialog(new Form(model), () => model.start(), {
    title: trans.__('Run %1', ground.notebook.split('/').pop() ?? ''),
    cancel: trans.__('Cancel'),
    start: trans.__('Run'),
    field: '.mlx-Form input[id]'
  });
  void model.check();
  return dialog.started();
}
