/**
 * One output of our own MIME type, which stands beside HTML, text and often a widget: see `widgets/bundle.py`.
 *
 * The HTML is shown at once. The widget is drawn out of sight, and takes the HTML's place when it has drawn something;
 * where its model is not there, or it fails, the HTML stays. A page that was loaded anew while a group's cell runs gets
 * no widget before its end, for the kernel is busy: until then the HTML is asked for again and again.
 */
import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { Panel } from '@lumino/widgets';

import { ask, LATE } from './asking';
import type { Models } from './models';

export const MIME = 'application/vnd.ml-experiment-nb.v1+json';
const VIEW = 'application/vnd.jupyter.widget-view+json';
const FAILED = 'Error displaying widget'; // how ipywidgets' renderer begins to say so
const RENEWED = 3000; // ms between two states of the HTML of what runs
const MOST_SILENCES = 20; // after which a kernel is taken for one that knows no such question
const PAUSES = [100, 300, 1000, 3000]; // ms between tries, while ipywidgets loads the models that a kernel has

export class Output extends Panel implements IRenderMime.IRenderer {
  private model: IRenderMime.IMimeModel | null = null;
  private modelId: string | null = null;
  private saved: IRenderMime.IRenderer | null = null;
  private savedType = '';
  private live: IRenderMime.IRenderer | null = null;
  private tries = 0;
  private silences = 0; // of the kernel, one after the other
  private renewal: ReturnType<typeof setTimeout> | null = null;
  private preferSaved = false;
  private readonly observer = new MutationObserver(() => {
    this.look();
  });

  constructor(
    private readonly rendermime: IRenderMimeRegistry,
    private readonly models: Models
  ) {
    super();
    this.addClass('mlx-Output');
    this.setMode('saved');
    models.added.connect(() => {
      this.draw();
    }, this);
  }

  get mode(): 'saved' | 'live' {
    return this.node.dataset.mode === 'live' ? 'live' : 'saved';
  }

  /** Whether there is a widget that can be looked at. */
  get hasLive(): boolean {
    return this.live !== null && hasDrawn(this.live.node);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    const modelId = model.trusted ? viewOf(model) : null;
    if (modelId !== this.modelId) {
      this.dropLive();
      this.modelId = modelId;
      this.tries = 0;
    }
    this.draw();
    await this.renderSaved(model);
    if (model.trusted && aboutOf(model).running === true) {
      this.renewal ??= setTimeout(() => void this.renew(), RENEWED);
    }
  }

  /** Show the other of the two. */
  toggle(): void {
    this.preferSaved = this.mode === 'live';
    this.look();
  }

  /** Put the saved view on the clipboard, as a table for documents and as text for editors. */
  async copy(): Promise<void> {
    const parts: Record<string, Blob> = {};
    for (const type of ['text/html', 'text/plain']) {
      const content = this.model?.data[type];
      if (typeof content === 'string') {
        parts[type] = new Blob([content], { type });
      }
    }
    await navigator.clipboard.write([new ClipboardItem(parts)]);
  }

  /** Show how what runs stands now, until the widget does, or the kernel says that it runs no more. */
  private async renew(): Promise<void> {
    this.renewal = null;
    const { model } = this;
    const { view } = model === null ? {} : aboutOf(model);
    if (model === null || view === undefined || this.isOver(model)) {
      return;
    }
    const { kernel } = this.models;
    const html = kernel === null ? LATE : await ask(kernel, { view, verb: 'html' });
    this.silences = html === LATE && kernel !== null ? this.silences + 1 : 0;
    if (this.isOver(model) || html === null || this.silences === MOST_SILENCES) {
      return;
    }
    if (html !== LATE) {
      await this.renderSaved(new MimeModel({ data: { ...model.data, 'text/html': html }, trusted: model.trusted }));
    }
    this.renewal ??= setTimeout(() => void this.renew(), RENEWED);
  }

  private isOver(model: IRenderMime.IMimeModel): boolean {
    return this.isDisposed || this.mode === 'live' || this.model !== model;
  }

  override dispose(): void {
    clearTimeout(this.renewal ?? undefined);
    this.observer.disconnect();
    Signal.clearData(this);
    super.dispose();
  }

  private async renderSaved(model: IRenderMime.IMimeModel): Promise<void> {
    const type = 'text/html' in model.data ? 'text/html' : 'text/plain';
    if (this.saved === null || type !== this.savedType) {
      this.saved?.dispose();
      this.saved = this.rendermime.createRenderer(type);
      this.saved.addClass('mlx-Output-saved');
      this.savedType = type;
      this.insertWidget(0, this.saved);
    }
    await this.saved.renderModel(model);
  }

  /** Begin to draw the widget, where its model is there and that hasn't begun: it may take until its kernel answers. */
  private draw(): void {
    if (this.isDisposed || this.live !== null || this.model === null || this.modelId === null) {
      return;
    }
    if (!this.rendermime.mimeTypes.includes(VIEW) || !this.models.has(this.modelId)) {
      return;
    }
    const live = this.rendermime.createRenderer(VIEW);
    live.addClass('mlx-Output-live');
    this.live = live;
    this.addWidget(live);
    this.observer.observe(live.node, { childList: true, subtree: true });
    void live.renderModel(this.model);
  }

  private dropLive(): void {
    this.observer.disconnect();
    this.live?.dispose();
    this.live = null;
    this.setMode('saved');
  }

  /** Show the widget when it has drawn something, and the HTML again when that has gone. */
  private look(): void {
    if (this.live && !this.live.node.firstElementChild && this.live.node.textContent.startsWith(FAILED)) {
      this.dropLive();
      const pause = PAUSES[this.tries++];
      if (pause !== undefined) {
        setTimeout(() => {
          this.draw();
        }, pause);
      }
      return;
    }
    if (this.live && this.hasLive) { // from now on, only whether it goes
      this.observer.disconnect();
      this.observer.observe(this.live.node, { attributes: true, attributeFilter: ['class'], childList: true });
    }
    this.setMode(this.hasLive && !this.preferSaved ? 'live' : 'saved');
  }

  private setMode(mode: 'saved' | 'live'): void {
    this.node.dataset.mode = mode;
  }
}

/** What our own type says of a view: its name, and whether what it shows runs. */
function aboutOf(model: IRenderMime.IMimeModel): { view?: string; running?: boolean } {
  return (model.data[MIME] ?? {}) as { view?: string; running?: boolean };
}

function viewOf(model: IRenderMime.IMimeModel): string | null {
  const view = model.data[VIEW] as ReadonlyPartialJSONObject | undefined;
  const id = view?.model_id;
  return typeof id === 'string' && id !== '' ? id : null;
}

/** Whether ipywidgets' renderer holds a view that has drawn something, other than that it can't be. */
function hasDrawn(node: HTMLElement): boolean {
  const view = node.firstElementChild;
  return (
    view !== null &&
    view.hasChildNodes() &&
    !view.firstElementChild?.classList.contains('jupyter-widgets-error-widget') &&
    !node.classList.contains('lm-mod-hidden')
  );
}
