/** The dialog with the form: it stays as long as something in it is wrong. */
import { Dialog } from '@jupyterlab/apputils';

import type { Job } from '../api';
import { Form } from './form';
import type { FormModel } from './model';

const RUN = 1;

/** Show the form; what was started, or null where the user has left it. */
export async function started(model: FormModel): Promise<Job | null> {
  const dialog = new FormDialog(model);
  void model.check();
  await dialog.launch();
  model.dispose();
  return dialog.job;
}

class FormDialog extends Dialog<void> {
  job: Job | null = null;
  private readonly form: Form;

  constructor(private readonly model: FormModel) {
    const { ground, trans } = model;
    const form = new Form(model);
    super({
      title: trans.__('Run %1', ground.notebook.split('/').pop() ?? ''),
      body: form,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Run') })],
      focusNodeSelector: '.mlx-Form input[id]'
    });
    this.form = form;
    this.addClass('mlx-FormDialog');
  }

  override resolve(index = RUN): void {
    if (index !== RUN) {
      super.resolve(index);
    } else {
      void this.run();
    }
  }

  private async run(): Promise<void> {
    this.job = await this.model.start();
    if (this.job === null) {
      this.form.focusWrong();
    } else {
      super.resolve(RUN);
    }
  }
}
