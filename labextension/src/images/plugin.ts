/** "Export Environment as Image…": of the notebook that is open, or of a run. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { Project } from '../api';
import { IJobs, OPEN_LOG } from '../jobs/tokens';
import { whyNotOpened } from '../problems';
import { saved } from '../saved';
import type { Fields } from './asked';
import { started } from './dialog';
import { imageIcon } from './icon';
import { ImageModel, type Subject } from './model';
import { EXPORT } from './tokens';

const ID = 'ml-experiment-nb:images';

export const images: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Exports the environment of a notebook or a run as a Docker image, and shows before what goes in.',
  autoStart: true,
  requires: [INotebookTracker, IJobs],
  optional: [ICommandPalette, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    jobs: IJobs,
    palette: ICommandPalette | null,
    registry: ISettingRegistry | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    const isOpen = (): boolean => tracker.currentWidget !== null && tracker.currentWidget === app.shell.currentWidget;
    let isOpening = false; // a second dialog would be no help
    app.commands.addCommand(EXPORT, {
      label: trans.__('Export Environment as Image…'),
      caption: trans.__('Make a Docker image of the code, its kernel’s packages and its data'),
      icon: imageIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            run: { type: 'string', description: trans.__('A run’s id; the notebook that is open without it') },
            path: { type: 'string', description: trans.__('The folder of the run’s project') },
            name: { type: 'string', description: trans.__('The run’s name') }
          }
        }
      },
      isEnabled: (args) => typeof args.run === 'string' || isOpen(),
      execute: async (args) => {
        if (isOpening) {
          return;
        }
        isOpening = true;
        try {
          const find = async (): Promise<ImageModel | null> => {
            const subject = await subjectOf(app, tracker.currentWidget, args, trans);
            return subject === null ? null : new ImageModel(subject, await usualOf(registry), trans);
          };
          await exportImage(app, find, jobs, trans);
        } finally {
          isOpening = false;
        }
      }
    });
    palette?.addItem({ command: EXPORT, category: trans.__('Experiments') });
    const renew = (): void => {
      app.commands.notifyCommandChanged(EXPORT);
    };
    tracker.currentChanged.connect(renew);
    app.shell.currentChanged?.connect(renew);
  }
};

/** Show the dialog, follow what is started with it, and open its log. */
async function exportImage(
  app: JupyterFrontEnd,
  find: () => Promise<ImageModel | null>,
  jobs: IJobs,
  trans: TranslationBundle
): Promise<void> {
  try {
    const model = await find();
    const job = model === null ? null : await started(model);
    if (model !== null && job !== null) {
      const { project } = model.subject;
      jobs.follow(job, project);
      await app.commands.execute(OPEN_LOG, { path: project.path, job: job.id, name: job.name });
    }
  } catch (problem) {
    Notification.error(trans.__('No image could be made: %1', whyNotOpened(problem, trans)), { autoClose: false });
  }
}

/** What the user's settings have the dialog begin with. */
async function usualOf(registry: ISettingRegistry | null): Promise<Partial<Fields>> {
  const settings = await registry?.load(ID).catch(() => undefined);
  const { onlyImports, base } = (settings?.composite ?? {}) as { onlyImports?: boolean; base?: string };
  return { onlyImports: onlyImports ?? false, base: base ?? '' };
}

/** What the image is made of: the run that is named, else the notebook that is open. */
async function subjectOf(
  app: JupyterFrontEnd,
  panel: NotebookPanel | null,
  args: ReadonlyPartialJSONObject,
  trans: TranslationBundle
): Promise<Subject | null> {
  if (typeof args.run === 'string') {
    const { run, path, name } = args;
    const project = new Project(typeof path === 'string' ? path : '');
    return { project, source: { run }, name: typeof name === 'string' ? name : run, notes: [] };
  }
  if (panel === null) {
    return null;
  }
  const notes = await saved(panel, trans);
  const notebook = app.serviceManager.contents.localPath(panel.context.path);
  const parts = notebook.split('/');
  const name = (parts.pop() ?? notebook).replace(/\.ipynb$/, '');
  return { project: new Project(parts.join('/')), source: { notebook }, name, notes };
}
