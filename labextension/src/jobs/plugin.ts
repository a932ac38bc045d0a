/** What was started on the server: followed by notifications, and looked at in tabs with its log. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog, MainAreaWidget, Notification, WidgetTracker } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { stopIcon, ToolbarButton } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { Project } from '../api';
import { messageOf } from '../problems';
import { followFolder } from '../panel/folders';
import { runsIcon } from '../panel/icons';
import { showTab } from '../tabs';
import { Jobs } from './following';
import { JobModel } from './model';
import { Notifications } from './telling';
import { IJobs, OPEN_LOG } from './tokens';
import { JobView } from './view';
import { stateText } from './words';

const CHOOSE = 'ml-experiment-nb:choose-job-log';

type Tab = MainAreaWidget<JobView>;

/** What a tab shows: enough to open it again when the page is loaded anew. */
interface Shown extends ReadonlyPartialJSONObject {
  path: string;
  job: string;
  name: string;
}

export const jobs: JupyterFrontEndPlugin<IJobs> = {
  id: 'ml-experiment-nb:jobs',
  description: 'Follows what was started on the server, and shows its log and what came of it.',
  autoStart: true,
  provides: IJobs,
  requires: [IDocumentManager],
  optional: [ICommandPalette, IDefaultFileBrowser, ILayoutRestorer, IStateDB, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    palette: ICommandPalette | null,
    browser: IDefaultFileBrowser | null,
    restorer: ILayoutRestorer | null,
    state: IStateDB | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    addLogs(app, restorer, trans);
    addChoice(app, documents, browser, trans);
    palette?.addItem({ command: CHOOSE, category: trans.__('Experiments') });
    const followed = new Jobs(new Notifications(app, trans), state);
    void app.restored.then(() => followed.restore());
    return followed;
  }
};

/** Keep tabs across loads of the page, and have a command that opens them. */
function addLogs(app: JupyterFrontEnd, restorer: ILayoutRestorer | null, trans: TranslationBundle): void {
  const tracker = new WidgetTracker<Tab>({ namespace: 'ml-experiment-nb-job-logs' });
  const shown = new Map<Tab, Shown>();
  app.commands.addCommand(OPEN_LOG, {
    label: trans.__('Show Log'),
    describedBy: {
      args: {
        type: 'object',
        required: ['path', 'job', 'name'],
        properties: {
          path: { type: 'string', description: trans.__('The project’s folder') },
          job: { type: 'string', description: trans.__('The job’s id') },
          name: { type: 'string', description: trans.__('What the tab is called') }
        }
      }
    },
    execute: async (args) => {
      const asked = args as Shown;
      const there = tracker.find((one) => one.content.model.id === asked.job);
      if (there !== undefined) {
        app.shell.activateById(there.id);
        return;
      }
      const tab = makeTab(asked, trans);
      shown.set(tab, asked);
      tab.disposed.connect(() => shown.delete(tab));
      showTab(app, tab);
      await tracker.add(tab);
    }
  });
  void restorer?.restore(tracker, {
    command: OPEN_LOG,
    args: (tab) => shown.get(tab) ?? {},
    name: (tab) => tab.content.model.id
  });
}

/** Have a command that lists what was started in the project that is looked at, for its log. */
function addChoice(
  app: JupyterFrontEnd,
  documents: IDocumentManager,
  browser: IDefaultFileBrowser | null,
  trans: TranslationBundle
): void {
  let path = '';
  followFolder(app, documents, browser, (folder) => {
    path = folder;
  });
  const choose = async (): Promise<void> => {
    const { jobs } = await new Project(path).jobs();
    if (jobs.length === 0) {
      Notification.info(trans.__('Nothing was started in this project.'), { autoClose: 5000 });
      return;
    }
    const items = jobs.map((job) => {
      const when = new Date(job.started).toLocaleString();
      return `${job.name} · ${job.kind} · ${stateText(job, trans)} · ${when} · ${job.id}`; // which no two have the same
    });
    const { value } = await InputDialog.getItem({ title: trans.__('Show the Log of'), items });
    const job = jobs[items.indexOf(value ?? '')];
    if (job !== undefined) {
      await app.commands.execute(OPEN_LOG, { path, job: job.id, name: job.name });
    }
  };
  app.commands.addCommand(CHOOSE, {
    label: trans.__('Show Log of a Job…'),
    caption: trans.__('What was started on the server, and goes on or has ended'),
    execute: () =>
      choose().catch((problem: unknown) => {
        Notification.error(messageOf(problem));
      })
  });
}

function makeTab({ path, job, name }: Shown, trans: TranslationBundle): Tab {
  const model = new JobModel(new Project(path), job);
  const tab = new MainAreaWidget({ content: new JobView(model, trans) });
  tab.title.label = name;
  tab.title.caption = trans.__('Log of %1', name);
  tab.title.icon = runsIcon;
  tab.title.closable = true;
  const stop = new ToolbarButton({
    icon: stopIcon,
    label: trans.__('Stop'),
    tooltip: trans.__('Stop it: what it has recorded so far is kept'),
    onClick: () => void model.stop()
  });
  tab.toolbar.addItem('stop', stop);
  const renew = (): void => {
    stop.enabled = !model.isOver && model.job?.state !== 'stopping';
  };
  model.stateChanged.connect(renew);
  return tab;
}
