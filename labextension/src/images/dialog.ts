/** The dialog with the form: it stays as long as something in it is wrong. */
import { Dialog } from '@jupyterlab/apputils';

import type { Job } from '../api';
import { ImageForm } from './form';
import type { ImageModel } from './model';

const BUILD = 1;

/** Show the form; what was started, or null where the user has left it. */
export async function started(model: ImageModel): Promise<Job | null> {
  const dialog = new ImageDialog(model);
  void model.load();
  await dialog.launch();
  model.dispose();
  return dialog.job;
}

class ImageDialog extends Dialog<void> {
  job: Job | null = null;
  private readonly form: ImageForm;

  constructor(private readonly model: ImageModel) {
    const { subject, trans } = model;
    const form = new ImageForm(model);
    super({
      title: trans.__('Export the environment of %1 as an image', subject.name),
      body: form,
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.okButton({ label: trans.__('Build') })],
      focusNodeSelector: '#mlx-image-tag'
    });
    this.form = form;
    this.addClass('mlx-FormDialog');
    this.addClass('mlx-ImageDialog');
    model.stateChanged.connect(() => {
      this.renew();
    });
    this.renew();
  }

  override resolve(index = BUILD): void {
    if (index !== BUILD) {
      super.resolve(index);
    } else {
      void this.build();
    }
  }

  /** Enter on what can be opened or pressed within the form does that, and builds nothing. */
  protected override _evtKeydown(event: KeyboardEvent): void {
    if (event.key !== 'Enter' || document.activeElement?.matches('.mlx-Image :is(summary, button)') !== true) {
      super._evtKeydown(event);
    }
  }

  private async build(): Promise<void> {
    this.job = await this.model.start();
    if (this.job === null) {
      this.form.focusWrong();
    } else {
      super.resolve(BUILD);
    }
  }

  /** The button says what it does, and whether it can. */
  private renew(): void {
    const { fields, canStart, trans } = this.model;
    const button = this.node.querySelector<HTMLButtonElement>('.jp-Dialog-footer .jp-mod-accept');
    const label = button?.querySelector('.jp-Dialog-buttonLabel');
    if (button && label) {
      label.textContent = fields.contextOnly ? trans.__('Write') : trans.__('Build');
      button.setAttribute('aria-label', label.textContent);
      button.setAttribute('aria-disabled', String(!canStart));
    }
  }
}
