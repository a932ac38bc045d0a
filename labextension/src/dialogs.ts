/** A dialog with a form that starts something: it stays as long as something in it is wrong. */
import { Dialog } from '@jupyterlab/apputils';
import type { ReactWidget } from '@jupyterlab/ui-components';

import type { Job } from './api';

const START = 1; // the place of the button that does
const PRESSED = '.mlx-Form :is(summary, button)'; // what Enter opens or presses
const FIELDS = '.mlx-Form :is(input:not([type=radio]:not(:checked)), select, button, summary):not(:disabled)';

export interface Options {
  title: string;
  cancel: string;
  start: string;
  /** The field that is typed in first. */
  field: string;
}

export class FormDialog extends Dialog<void> {
  private beginning: Promise<Job | null> = Promise.resolve(null);

  constructor(
    private readonly form: ReactWidget & { model: { dispose: () => void }; focusWrong: () => void },
    private readonly start: () => Promise<Job | null>,
    { title, cancel, start: label, field }: Options
  ) {
    const buttons = [Dialog.cancelButton({ label: cancel }), Dialog.okButton({ label })];
    super({ title, body: form, buttons, focusNodeSelector: field });
    this.addClass('mlx-FormDialog');
  }

  /** Show it; what was started, or null where the user has left it. What was on its way to the server then is started, too. */
  async started(): Promise<Job | null> {
    await this.launch();
    this.form.model.dispose();
    return this.beginning;
  }

  override resolve(index = START): void {
    if (index !== START) {
      super.resolve(index);
    } else {
      void this.begin();
    }
  }

  /** Enter on what can be opened or pressed within the form does that, and Tab goes from the last button to its fields. */
  protected override _evtKeydown(event: KeyboardEvent): void {
    const active = document.activeElement;
    if (event.key === 'Enter' && active?.matches(PRESSED) === true) {
      return;
    }
    const field = this.node.querySelector<HTMLElement>(FIELDS);
    if (event.key === 'Tab' && !event.shiftKey && active === this.button && field !== null) {
      event.stopPropagation();
      event.preventDefault();
      field.focus();
    } else {
      super._evtKeydown(event);
    }
  }

  /** The button that starts it, which is the last. */
  protected get button(): HTMLButtonElement | null {
    return this.node.querySelector('.jp-Dialog-footer .jp-mod-accept');
  }

  private async begin(): Promise<void> {
    const before = this.beginning;
    this.beginning = this.start().then(async (job) => job ?? (await before)); // a second press starts nothing
    if ((await this.beginning) === null) {
      this.form.focusWrong();
    } else {
      super.resolve(START);
    }
  }
}
