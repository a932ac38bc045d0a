/** Tabs with HTML that the server gives: runs side by side, or why two of them differ. */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { type IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon, ToolbarButton } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Panel } from '@lumino/widgets';

import { Project } from '../api';
import { messageOf } from '../problems';
import { Renewal } from '../renewal';
import { showTab } from '../tabs';
import { runsIcon } from './icons';
import { openInNotebook } from './live';

export const OPEN = 'ml-experiment-nb:open-page';

/** What a tab shows: enough to open it again when the page is loaded anew. */
export interface Shown extends ReadonlyPartialJSONObject {
  kind: 'compare' | 'diff';
  path: string;
  runs: string[];
  title: string;
}

/** Keep tabs across loads of the page, and have a command that opens them. */
export function addPages(
  app: JupyterFrontEnd,
  rendermime: IRenderMimeRegistry,
  trans: TranslationBundle,
  restorer: ILayoutRestorer | null,
  report: (problem: unknown) => void
): void {
  const tracker = new WidgetTracker<MainAreaWidget<Page>>({ namespace: 'ml-experiment-nb' });
  app.commands.addCommand(OPEN, {
    label: trans.__('Compare Runs'),
    describedBy: {
      args: {
        type: 'object',
        required: ['kind', 'path', 'runs', 'title'],
        properties: {
          kind: { type: 'string', enum: ['compare', 'diff'] },
          path: { type: 'string', description: trans.__('The project’s folder') },
          runs: { type: 'array', items: { type: 'string' } },
          title: { type: 'string' }
        }
      }
    },
    execute: async (args) => {
      const shown = args as Shown;
      const there = tracker.find((one) => nameOf(one.content.shown) === nameOf(shown));
      if (there !== undefined) {
        app.shell.activateById(there.id);
        await there.content.renew();
        return;
      }
      const tab = makeTab(app, new Page(shown, rendermime, trans), trans, report);
      showTab(app, tab);
      await tracker.add(tab);
      await tab.content.renew();
    }
  });
  void restorer?.restore(tracker, {
    command: OPEN,
    args: (tab) => tab.content.shown,
    name: (tab) => nameOf(tab.content.shown)
  });
}

function nameOf({ kind, path, runs }: Shown): string {
  return `${kind}:${path}:${runs.join(',')}`;
}

function makeTab(
  app: JupyterFrontEnd,
  page: Page,
  trans: TranslationBundle,
  report: (problem: unknown) => void
): MainAreaWidget<Page> {
  const tab = new MainAreaWidget({ content: page });
  page.node.tabIndex = 0; // it is scrolled by keys, and may have nothing else that these could go to
  const { kind, path, runs, title } = page.shown;
  tab.title.label = title;
  tab.title.caption = title;
  tab.title.icon = runsIcon;
  tab.title.closable = true;
  const again = new ToolbarButton({ icon: refreshIcon, tooltip: trans.__('Look Again'), onClick: () => void page.renew() });
  tab.toolbar.addItem('again', again);
  if (kind === 'compare') {
    const live = new ToolbarButton({
      label: trans.__('In a Notebook'),
      tooltip: trans.__('Compare live in a new notebook: sorted, filtered, drawn'),
      onClick: () => {
        openInNotebook(app, path, runs).catch(report);
      }
    });
    tab.toolbar.addItem('live', live);
  }
  return tab;
}

/** The HTML, cleaned as JupyterLab cleans all that isn't trusted. */
class Page extends Panel {
  private readonly renewal = new Renewal(
    () => this.asked(),
    () => undefined,
    (problem) => void this.put('text/plain', messageOf(problem))
  );

  constructor(
    readonly shown: Shown,
    private readonly rendermime: IRenderMimeRegistry,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('mlx-Page');
    this.addClass('jp-RenderedHTMLCommon');
    if (shown.kind === 'compare') {
      this.addClass('mlx-mod-compare');
    }
  }

  /** Ask for it anew, and show what came of that. */
  renew(): Promise<void> {
    return this.renewal.want();
  }

  override dispose(): void {
    this.renewal.end();
    super.dispose();
  }

  private async asked(): Promise<void> {
    if (this.widgets.length === 0) {
      await this.put('text/plain', this.trans.__('Loading…'));
    }
    const { kind, path, runs } = this.shown;
    const project = new Project(path);
    const { html } = await (kind === 'compare' ? project.compare(runs) : project.diff(runs[0] ?? '', runs[1] ?? ''));
    await this.put('text/html', html);
  }

  private async put(type: 'text/html' | 'text/plain', text: string): Promise<void> {
    const renderer = this.rendermime.createRenderer(type);
    await renderer.renderModel(new MimeModel({ data: { [type]: text }, trusted: false }));
    if (this.isDisposed) {
      renderer.dispose();
      return;
    }
    this.widgets.slice().forEach((one) => {
      one.dispose();
    });
    this.addWidget(renderer);
  }
}
