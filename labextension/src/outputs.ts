/** Outputs of our own MIME type in notebooks: see `output.ts` for what is drawn of one. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';

import { Models } from './models';
import { MIME, Output } from './output';

const TOGGLE = 'ml-experiment-nb:toggle-saved';
const COPY = 'ml-experiment-nb:copy-saved';
const SELECTOR = '.mlx-Output';
const BEFORE_WIDGETS = -20; // ipywidgets' own rank is -10

const drawn = new WeakMap<Node, Output>();

export const outputs: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:outputs',
  description: 'Shows groups, runs and comparisons in notebooks: as they are saved, and live while there is a kernel.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    tracker.forEach(attach);
    tracker.widgetAdded.connect((_, panel) => {
      attach(panel);
    });
    addCommands(app, tracker, trans);
    [TOGGLE, COPY].forEach((command) => {
      palette?.addItem({ command, category: trans.__('Experiments') });
      tracker.activeCellChanged.connect(() => {
        app.commands.notifyCommandChanged(command);
      });
    });
  }
};

/** Have a notebook's outputs of our type drawn by us. */
function attach(panel: NotebookPanel): void {
  const models = new Models(panel);
  const { rendermime } = panel.content;
  rendermime.addFactory(
    {
      safe: true, // an untrusted notebook's HTML is sanitised, and no widget of it is drawn
      mimeTypes: [MIME],
      createRenderer: () => {
        const output = new Output(rendermime, models);
        drawn.set(output.node, output);
        return output;
      }
    },
    BEFORE_WIDGETS
  );
}

/** Add what brings an output's saved view back, to look at or to paste elsewhere; in which menus, `schema/outputs.json` says. */
function addCommands(app: JupyterFrontEnd, tracker: INotebookTracker, trans: TranslationBundle): void {
  const { commands } = app;
  const meant = (): Output | undefined => pointed(app) ?? ofCell(tracker);
  commands.addCommand(TOGGLE, {
    label: () => (meant()?.mode === 'live' ? trans.__('Show as It Is Saved') : trans.__('Show Live')),
    caption: trans.__('Show the other of an output’s two views: as it is saved with the notebook, or live'),
    isEnabled: () => meant()?.hasLive ?? false,
    execute: () => meant()?.toggle()
  });
  commands.addCommand(COPY, {
    label: trans.__('Copy as Table'),
    caption: trans.__('Copy an output as it is saved: as a table for a document, as text for an editor'),
    isEnabled: () => meant() !== undefined,
    execute: () => meant()?.copy()
  });
}

/** The output that a context menu was opened on. */
function pointed(app: JupyterFrontEnd): Output | undefined {
  const node = app.contextMenuHitTest((one) => drawn.has(one));
  return node && drawn.get(node);
}

/** The first output of ours of the active cell. */
function ofCell({ activeCell }: INotebookTracker): Output | undefined {
  const node = activeCell?.node.querySelector(SELECTOR);
  return node ? drawn.get(node) : undefined;
}
