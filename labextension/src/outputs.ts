/** Outputs of our own MIME type in notebooks: see `output.ts` for what is drawn of one. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';

import { Models } from './models';
import { MIME, Output } from './output';

const TOGGLE = 'ml-experiment-nb:toggle-saved';
const COPY = 'ml-experiment-nb:copy-saved';
const BEFORE_WIDGETS = -20; // ipywidgets' own rank is -10

const drawn = new WeakMap<Node, Output>();

export const outputs: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:outputs',
  description: 'Shows groups, runs and comparisons in notebooks: as they are saved, and live while there is a kernel.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker) => {
    tracker.forEach(attach);
    tracker.widgetAdded.connect((_, panel) => {
      attach(panel);
    });
    addCommands(app);
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

/** Add to an output's context menu what brings its saved view back: to look at, or to paste elsewhere. */
function addCommands(app: JupyterFrontEnd): void {
  const { commands, contextMenu } = app;
  const pointed = (): Output | undefined => {
    const node = app.contextMenuHitTest((one) => drawn.has(one));
    return node && drawn.get(node);
  };
  commands.addCommand(TOGGLE, {
    label: () => (pointed()?.mode === 'live' ? 'Show as It Is Saved' : 'Show Live'),
    isEnabled: () => pointed()?.hasLive ?? false,
    execute: () => pointed()?.toggle()
  });
  commands.addCommand(COPY, {
    label: 'Copy as Table',
    isEnabled: () => pointed() !== undefined,
    execute: () => pointed()?.copy()
  });
  const selector = '.mlx-Output';
  contextMenu.addItem({ command: TOGGLE, selector, rank: 10 });
  contextMenu.addItem({ command: COPY, selector, rank: 11 });
}
