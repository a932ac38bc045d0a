/** The dialog with the form of an image. */
import type { Job } from '../api';
import { FormDialog } from '../dialogs';
import { ImageForm } from './form';
import type { ImageModel } from './model';

/** Show the form; what was started, or null where the user has left it. */
export async function started(model: ImageModel): Promise<Job | null> {
  const dialog = new ImageDialog(model);
  void model.load();
  return dialog.started();
}

class ImageDialog extends FormDialog {
  constructor(private readonly model: ImageModel) {
    const { subject, trans } = model;
    super(new ImageForm(model), () => model.start(), {
      title: trans.__('Export the environment of %1 as an image', subject.name),
      cancel: trans.__('Cancel'),
      start: trans.__('Build'),
      field: '#mlx-image-tag'
    });
    this.addClass('mlx-ImageDialog');
    model.stateChanged.connect(() => {
      this.renew();
    });
    this.renew();
  }

  /** The button says what it does, and whether it can. */
  private renew(): void {
    const { fields, canStart, trans } = this.model;
    const label = this.button?.querySelector('.jp-Dialog-buttonLabel');
    if (this.button && label) {
      label.textContent = fields.contextOnly ? trans.__('Write') : trans.__('Build');
      this.button.setAttribute('aria-label', label.textContent);
      this.button.setAttribute('aria-disabled', String(!canStart));
    }
  }
}
