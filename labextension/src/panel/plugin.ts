/** The side bar's panel of runs, its tabs, commands and settings. */
import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { IJobs } from '../jobs/tokens';
import { type Desk, report, tellEnd } from './actions';
import { addCommands, BUTTONS, type Doors, MENU, REVEAL } from './commands';
import { followFolder } from './folders';
import { RunsModel } from './model';
import { addPages } from './pages';
import { applySettings } from './settings';
import { RunsPanel } from './sidebar';

const ID = 'ml-experiment-nb:panel';
const RANK = 210; // below the file browser and the running kernels

export const panel: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Lists the runs of a project in the side bar: live, filtered, compared, stopped and run again.',
  autoStart: true,
  requires: [IDocumentManager, IRenderMimeRegistry, IJobs],
  optional: [ICommandPalette, ILayoutRestorer, ISettingRegistry, ITranslator, IDefaultFileBrowser],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    rendermime: IRenderMimeRegistry,
    jobs: IJobs,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null,
    known: ITranslator | null,
    browser: IDefaultFileBrowser | null
  ) => {
    const translator = known ?? nullTranslator;
    const trans = translator.load('ml_experiment_nb');
    // JupyterLab 4.2 doesn't tell it yet.
    const told = translator.languageCode as string | undefined;
    const language = (told ?? 'en').replace('_', '-');
    const model = new RunsModel();
    const desk: Desk = { app, model, jobs, trans, deleted: null };
    const { commands } = app;
    const options = { model, commands, translator, trans, language, report, buttons: BUTTONS, menu: MENU };
    const side = new RunsPanel(options);
    const settings = applySettings(registry, ID, model);
    addCommands(desk, doorsOf(app, side, model), palette);
    addPages(app, rendermime, trans, restorer, report);
    model.feed.ended.connect((_, run) => {
      if (settings.tells(run, model)) {
        tellEnd(desk, run, REVEAL);
      }
    });
    followFolder(app, documents, browser, (folder) => {
      if (settings.follows || model.feed.isIdle) {
        model.feed.open(folder);
      }
    });
    keepKeys(app, side);
    app.shell.add(side, 'left', { rank: RANK, type: 'Experiments' });
    restorer?.add(side, side.id);
  }
};

/** When the list's context menu closes, the keys are the list's again. */
function keepKeys(app: JupyterFrontEnd, side: RunsPanel): void {
  let isOfList = false;
  side.node.addEventListener('contextmenu', ({ target }) => {
    isOfList = target instanceof Element && target.closest('[role=tree]') !== null;
  });
  app.contextMenu.menu.aboutToClose.connect(() => {
    if (isOfList) {
      isOfList = false;
      side.focusList();
    }
  });
}

function doorsOf(app: JupyterFrontEnd, side: RunsPanel, model: RunsModel): Doors {
  return {
    show: () => {
      app.shell.activateById(side.id);
      side.focusList();
    },
    filter: () => {
      app.shell.activateById(side.id);
      side.focusFilter();
    },
    open: (folder) => {
      model.feed.open(folder);
    }
  };
}
