/**
 * Badges of cells of `%%experiment` and `%%group`: what the last run of each came to, kept in the cell's metadata.
 *
 * A kernel can't write there. It says of a run with the output that shows it, from where it is taken when it comes; so it
 * stays when outputs are cleared, and the next run renews it.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { CodeCell, ICodeCellModel } from '@jupyterlab/cells';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { JSONExt } from '@lumino/coreutils';
import type { PanelLayout } from '@lumino/widgets';

import { Project } from '../api';
import { MIME } from '../output';
import { REVEAL } from '../panel/commands';
import { STATUSES, statusText } from '../panel/status';
import { Badge } from './badge';
import { type Last, lastOf, lastOfBoth, settled } from './last';

const KEY = 'ml_experiment_nb';
const OURS =
  /^\s*(?:%%(?!(?:experiment|group)(?![\w.]))[^\n]*\n\s*)*%%(experiment|group)(?![\w.])/;

export const badges: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:badges',
  description: 'Shows below each cell of %%experiment and %%group what its last run came to.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    const attach = (panel: NotebookPanel): void => {
      void panel.context.ready.then(() => {
        attachTo(panel, app, trans);
      });
    };
    tracker.forEach(attach);
    tracker.widgetAdded.connect((_, panel) => {
      attach(panel);
    });
  }
};

/** Give a badge to each of a notebook's cells, now and when they come. */
function attachTo(panel: NotebookPanel, app: JupyterFrontEnd, trans: TranslationBundle): void {
  const folder = (): string => {
    return app.serviceManager.contents.localPath(panel.context.path).split('/').slice(0, -1).join('/');
  };
  const place: Place = {
    open: (run) => void app.commands.execute(REVEAL, { run, path: folder() }),
    statusOf: async (run) => (await new Project(folder()).run(run)).status,
    isReadOnly: () => panel.context.model.readOnly
  };
  const known = new WeakSet();
  const look = (): void => {
    for (const cell of panel.content.widgets) {
      if (cell.model.type === 'code' && !known.has(cell)) {
        known.add(cell);
        void badge(cell as CodeCell, place, trans);
      }
    }
  };
  panel.content.model?.cells.changed.connect(look);
  look();
}

/** What a badge needs of the notebook that it stands in. */
interface Place {
  open: (run: string) => void;
  statusOf: (run: string) => Promise<string>;
  isReadOnly: () => boolean;
}

/** Have a cell show a badge while it is a cell of ours that has run. */
async function badge(cell: CodeCell, place: Place, trans: TranslationBundle): Promise<void> {
  const { model } = cell;
  const shown = new Badge(place.open);
  const draw = (): void => {
    const last = OURS.test(model.sharedModel.source.slice(0, 200)) ? lastOfCell(model) : null;
    shown.setHidden(last === null);
    if (last !== null) {
      shown.say(last, { status: statusIn(trans, last.status), title: trans.__('Open run %1', last.run.slice(0, 8)) });
    }
  };
  model.outputs.changed.connect(() => {
    const last = lastOfOutputs(model);
    if (last !== null && !place.isReadOnly()) {
      keep(model, last);
    }
    draw();
  });
  model.metadataChanged.connect(draw);
  model.contentChanged.connect(draw);
  draw();
  void settle(model, place);
  await cell.ready; // before, it has no parts to stand between
  if (!cell.isDisposed) {
    const layout = cell.layout as PanelLayout;
    layout.insertWidget(layout.widgets.findIndex((one) => one.hasClass('jp-Cell-inputWrapper')) + 1, shown);
  }
}

/** Keep what is known of the cell's last run. */
function keep(model: ICodeCellModel, last: Last): void {
  if (!JSONExt.deepEqual(last, lastOf(model.getMetadata(KEY)))) {
    model.setMetadata(KEY, last);
  }
}

/** Find out how a run stands that ran when its notebook was saved: its page, and its kernel, may have gone before its end. */
async function settle(model: ICodeCellModel, place: Place): Promise<void> {
  const last = lastOfCell(model);
  if (last?.status !== 'running' || place.isReadOnly()) {
    return;
  }
  const status = await place.statusOf(last.run).catch(() => 'running'); // then no more is known than before
  const known = model.isDisposed ? null : settled(lastOfCell(model), last, status);
  if (known !== null) {
    keep(model, known);
  }
}

function lastOfCell(model: ICodeCellModel): Last | null {
  return lastOfBoth(lastOf(model.getMetadata(KEY)), lastOfOutputs(model));
}

function lastOfOutputs(model: ICodeCellModel): Last | null {
  for (let i = model.outputs.length - 1; i >= 0; i--) {
    const last = lastOf(model.outputs.get(i).data[MIME]);
    if (last !== null) {
      return last;
    }
  }
  return null;
}

function statusIn(trans: TranslationBundle, status: string): string {
  const known = STATUSES.find((one) => one === status);
  return known === undefined ? status : statusText(known, trans);
}
