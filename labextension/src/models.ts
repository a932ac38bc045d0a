/**
 * The widgets' models that a notebook's kernel has now, or that are saved in the notebook.
 *
 * A view of any other model would only log that it is not there. A kernel says which it has when one connects to it,
 * and of each one when it opens or closes it.
 */
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

const TARGET = 'jupyter.widget'; // the name of ipywidgets' comms; a model's id is that of its comm
const STATE = 'application/vnd.jupyter.widget-state+json';

export class Models {
  private ids = new Set<string>();
  private readonly _added = new Signal<this, void>(this);

  constructor(private readonly panel: NotebookPanel) {
    const { sessionContext } = panel;
    sessionContext.connectionStatusChanged.connect((_, status) => {
      this.onConnection(status);
    });
    sessionContext.kernelChanged.connect(() => {
      this.ids.clear(); // another kernel has others
    });
    sessionContext.statusChanged.connect((_, status) => {
      this.onStatus(status);
    });
    sessionContext.iopubMessage.connect((_, message) => {
      this.onMessage(message);
    });
    this.onConnection(sessionContext.session?.kernel?.connectionStatus ?? 'disconnected');
    panel.disposed.connect(() => {
      Signal.clearData(this);
    });
  }

  /** Is emitted when there are more. */
  get added(): ISignal<this, void> {
    return this._added;
  }

  /** The notebook's kernel, if it is connected to one. */
  get kernel(): Kernel.IKernelConnection | null {
    const kernel = this.panel.sessionContext.session?.kernel;
    return kernel?.connectionStatus === 'connected' ? kernel : null;
  }

  has(id: string): boolean {
    return this.ids.has(id) || this.saved(id);
  }

  private saved(id: string): boolean {
    const widgets = this.panel.model?.getMetadata('widgets') as ReadonlyPartialJSONObject | undefined;
    const state = widgets?.[STATE] as { state?: ReadonlyPartialJSONObject } | undefined;
    return state?.state?.[id] !== undefined;
  }

  private onConnection(status: Kernel.ConnectionStatus): void {
    const kernel = this.panel.sessionContext.session?.kernel;
    if (status === 'connected' && kernel) {
      void this.ask(kernel);
    }
  }

  private async ask(kernel: Kernel.IKernelConnection): Promise<void> {
    const reply = await kernel.requestCommInfo({ target_name: TARGET }).catch(() => null); // it may be left, or end
    const content = reply?.content;
    if (content?.status === 'ok' && this.panel.sessionContext.session?.kernel === kernel) {
      this.ids = new Set([...Object.keys(content.comms), ...this.ids]);
      this._added.emit();
    }
  }

  private onStatus(status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this.ids.clear();
    }
  }

  private onMessage(message: KernelMessage.IMessage): void {
    const { comm_id: id, target_name: target } = message.content as { comm_id?: string; target_name?: string };
    if (id === undefined) {
      return;
    }
    if (message.header.msg_type === 'comm_open' && target === TARGET) {
      this.ids.add(id);
      this._added.emit();
    } else if (message.header.msg_type === 'comm_close') {
      this.ids.delete(id);
    }
  }
}
