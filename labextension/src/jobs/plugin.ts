/** What was started on the server: followed by notifications, and looked at in tabs with its log. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { stopIcon, ToolbarButton } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { Project } from '../api';
import { runsIcon } from '../panel/icons';
import { Jobs } from './following';
import { JobModel } from './model';
import { IJobs, OPEN_LOG } from './tokens';
import { JobView } from './view';

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
  optional: [ILayoutRestorer, IStateDB, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    restorer: ILayoutRestorer | null,
    state: IStateDB | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    addLogs(app, restorer, trans);
    const followed = new Jobs(app, trans, state);
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
      app.shell.add(tab, 'main');
      await tracker.add(tab);
    }
  });
  void restorer?.restore(tracker, {
    command: OPEN_LOG,
    args: (tab) => shown.get(tab) ?? {},
    name: (tab) => tab.content.model.id
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
