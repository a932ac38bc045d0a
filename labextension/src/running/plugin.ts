/** Runs the notebook that is open as an experiment or a group, without its page and its kernel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';

import { Project } from '../api';
import { IJobs } from '../jobs/tokens';
import { whyNotOpened } from '../problems';
import { saved } from '../saved';
import type { Kind } from './asked';
import { started } from './dialog';
import { runAsIcon } from './icon';
import { FormModel, type Ground } from './model';

const LOOKED_AT = 20; // runs whose metrics are offered

export const running: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:running',
  description: 'Runs the open notebook headless, as an experiment or a group, by a form made of its parameters.',
  autoStart: true,
  requires: [INotebookTracker, IJobs],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    jobs: IJobs,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    let isOpening = false; // the server may take a while to answer, and a second form would be no help
    const open = async (kind: Kind): Promise<void> => {
      if (tracker.currentWidget !== null && !isOpening) {
        isOpening = true;
        await run(app, tracker.currentWidget, kind, jobs, trans);
        isOpening = false;
      }
    };
    const labels: [Kind, string][] = [
      ['experiment', trans.__('Run as Experiment…')],
      ['group', trans.__('Run as Group…')]
    ];
    for (const [kind, label] of labels) {
      const command = `ml-experiment-nb:run-as-${kind}`;
      app.commands.addCommand(command, {
        label,
        caption: trans.__('Run this notebook on the server, also when this page is closed'),
        icon: kind === 'experiment' ? runAsIcon : undefined,
        isEnabled: () => tracker.currentWidget !== null && tracker.currentWidget === app.shell.currentWidget,
        execute: () => open(kind)
      });
      palette?.addItem({ command, category: trans.__('Experiments') });
    }
    const renew = (): void => {
      app.commands.notifyCommandChanged('ml-experiment-nb:run-as-experiment');
      app.commands.notifyCommandChanged('ml-experiment-nb:run-as-group');
    };
    tracker.currentChanged.connect(renew);
    app.shell.currentChanged?.connect(renew);
  }
};

/** Show the form of a notebook, and follow what is started with it. */
async function run(
  app: JupyterFrontEnd,
  panel: NotebookPanel,
  kind: Kind,
  jobs: IJobs,
  trans: TranslationBundle
): Promise<void> {
  try {
    const notes = await saved(panel, trans);
    const ground = await groundOf(app, panel, notes, trans);
    const job = await started(new FormModel(ground, kind, trans));
    if (job !== null) {
      jobs.follow(job, ground.project);
    }
  } catch (problem) {
    Notification.error(trans.__('This notebook could not be run: %1', whyNotOpened(problem, trans)), { autoClose: false });
  }
}

/** Ask the server what a form of this notebook is made from. */
async function groundOf(
  app: JupyterFrontEnd,
  panel: NotebookPanel,
  notes: string[],
  trans: TranslationBundle
): Promise<Ground> {
  const notebook = app.serviceManager.contents.localPath(panel.context.path);
  const project = new Project(notebook.split('/').slice(0, -1).join('/'));
  const [found, about, runs] = await Promise.all([
    project.parameters(notebook),
    project.about(),
    project.runs({ limit: LOOKED_AT }).catch(() => ({ runs: [] })) // they are only to be offered
  ]);
  const open = panel.sessionContext.session?.kernel?.name;
  if (found.kernel !== null && open !== undefined && open !== found.kernel) {
    notes.push(trans.__('Its kernel here is %1; it runs with %2, which the notebook names.', open, found.kernel));
  }
  const metrics = [...new Set(runs.runs.flatMap((one) => Object.keys(one.metrics)))].sort();
  return { project, notebook, found, about, metrics, notes };
}
