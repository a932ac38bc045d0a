/** The panel's commands; in which menus they stand, and their keys, `schema/panel.json` says. */
import type { ICommandPalette } from '@jupyterlab/apputils';
import {
  copyIcon,
  deleteIcon,
  filterIcon,
  type LabIcon,
  linkIcon,
  notebookIcon,
  redoIcon,
  refreshIcon,
  runIcon,
  stopIcon,
  undoIcon
} from '@jupyterlab/ui-components';

import type { Run } from '../api';
import { imageIcon } from '../images/icon';
import { EXPORT } from '../images/tokens';
import { Once } from '../once';
import { copy, copyIds, type Desk, openInMlflow, openNotebook, remove, replay, report, resume, stop } from './actions';
import { compareIcon, diffIcon } from './icons';
import { openInNotebook } from './live';
import { OPEN, type Shown } from './pages';

export const OWN = 'ml-experiment-nb:';
export const REVEAL = `${OWN}open-run`;
/** Those with a button above the list. */
export const BUTTONS = ['compare-runs', 'diff-runs', 'stop-runs', 'delete-runs', 'refresh-runs'].map((id) => OWN + id);

/** Those of the menu beside the buttons; null for a line between them. */
export const MENU = [
  ...['open-run', 'compare-runs', 'compare-runs-in-notebook', 'diff-runs', 'open-executed-notebook', 'open-in-mlflow'],
  null,
  ...['copy-as-yaml', 'copy-as-cell', 'copy-as-command', 'copy-run-ids'],
  null,
  ...['replay-run', 'resume-run', 'export-run-as-image', 'stop-runs', 'delete-runs', 'restore-runs'],
  null,
  'toggle-by-experiment'
].map((id) => (id === null ? null : OWN + id));

/** What the panel does that isn't about runs. */
export interface Doors {
  /** Show the panel, and go to its list. */
  show: () => void;
  /** Show the panel, and go to its filter. */
  filter: () => void;
  /** Look at the project of a folder. */
  open: (folder: string) => void;
}

/** Something that is done with the selected runs, where they are such that it can be. */
interface Action {
  id: string;
  label: string;
  icon?: LabIcon;
  fits: (runs: readonly Run[]) => boolean;
  act: (runs: readonly Run[]) => Promise<unknown>;
}

export function addCommands(desk: Desk, doors: Doors, palette: ICommandPalette | null): void {
  const actions = [...looks(desk), ...deeds(desk), ...copies(desk)];
  actions.forEach((one) => {
    addAction(desk, one);
  });
  const others = [...addDoors(desk, doors), addReveal(desk, doors), addUndo(desk)];
  const ids = [...others, ...actions.map(({ id }) => OWN + id)];
  desk.model.stateChanged.connect(() => {
    ids.forEach((id) => {
      desk.app.commands.notifyCommandChanged(id);
    });
  });
  ids.forEach((command) => {
    palette?.addItem({ command, category: desk.trans.__('Experiments') });
  });
}

function addDoors({ app, model, trans }: Desk, { show, filter }: Doors): string[] {
  const added = {
    'show-runs': {
      label: trans.__('Show Experiment Runs'),
      caption: trans.__('Show the panel of runs, and go to its list'),
      execute: show
    },
    'filter-runs': {
      label: trans.__('Filter Runs'),
      caption: trans.__('Show the panel of runs, and go to its filter'),
      icon: filterIcon,
      execute: filter
    },
    'refresh-runs': {
      label: trans.__('Refresh Runs'),
      caption: trans.__('Refresh Runs'),
      icon: refreshIcon,
      execute: () => model.feed.load()
    },
    'toggle-by-experiment': {
      label: trans.__('Show Runs by Experiment'),
      caption: trans.__('Show runs below their experiment, or all in one list'),
      isToggled: () => model.byExperiment,
      execute: () => {
        model.setByExperiment(!model.byExperiment);
      }
    }
  };
  return Object.entries(added).map(([id, options]) => {
    app.commands.addCommand(OWN + id, options);
    return OWN + id;
  });
}

/** A run's details: of the one that is named, for others to call, else of the selected one. */
function addReveal({ app, model, trans }: Desk, { show, open }: Doors): string {
  app.commands.addCommand(REVEAL, {
    label: trans.__('Show Details'),
    caption: trans.__('Show a run’s parameters, metrics, files and log'),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          run: { type: 'string', description: trans.__('The run’s id; the selected run without it') },
          path: { type: 'string', description: trans.__('The project’s folder; the one that is shown without it') }
        }
      }
    },
    isEnabled: (args) => typeof args.run === 'string' || model.current !== null,
    execute: async (args) => {
      if (typeof args.path === 'string') {
        open(args.path);
      }
      show();
      const id = typeof args.run === 'string' ? args.run : model.current;
      if (id !== null) {
        await model.reveal(id).catch(report);
      }
    }
  });
  return REVEAL;
}

function addUndo(desk: Desk): string {
  const { app, trans } = desk;
  const id = `${OWN}restore-runs`;
  app.commands.addCommand(id, {
    label: () => (desk.deleted === null ? trans.__('Undo Delete') : trans.__('Undo Delete of %1', desk.deleted.names)),
    caption: trans.__('Bring back what was deleted last'),
    icon: undoIcon,
    isEnabled: () => desk.deleted !== null,
    execute: () => desk.deleted?.restore().catch(report)
  });
  return id;
}

function addAction({ app, model }: Desk, { id, label, icon, fits, act }: Action): void {
  const once = new Once(); // a second press before the first has come to something asks for no more
  app.commands.addCommand(OWN + id, {
    label,
    caption: label,
    icon,
    isEnabled: () => fits(model.selected),
    execute: async () => {
      const runs = model.selected;
      if (fits(runs)) {
        await once.do(runs.map((run) => run.run_id).join(), () => act(runs).catch(report));
      }
    }
  });
}

function looks(desk: Desk): Action[] {
  const { app, model, trans } = desk;
  const page = (kind: Shown['kind'], runs: readonly Run[], title: string): Promise<unknown> => {
    const shown: Shown = { kind, title, path: model.feed.project.path, runs: runs.map((run) => run.run_id) };
    return app.commands.execute(OPEN, shown);
  };
  const isMany = (runs: readonly Run[]): boolean => runs.length > 1 || runs[0]?.kind === 'group';
  return [
    {
      id: 'compare-runs',
      label: trans.__('Compare'),
      icon: compareIcon,
      fits: isMany,
      act: (runs) => page('compare', runs, titleOf(runs, trans.__('%1 runs', runs.length)))
    },
    {
      id: 'compare-runs-in-notebook',
      label: trans.__('Compare in a Notebook'),
      icon: notebookIcon,
      fits: isMany,
      act: (runs) => openInNotebook(app, model.feed.project.path, runs.map((run) => run.run_id))
    },
    {
      id: 'diff-runs',
      label: trans.__('Show Differences'),
      icon: diffIcon,
      fits: (runs) => runs.length === 2,
      act: (runs) => {
        const [b, a] = runs; // the older one first
        return page('diff', [a, b].flatMap((run) => run ?? []), `${a?.name} → ${b?.name}`);
      }
    },
    {
      id: 'open-executed-notebook',
      label: trans.__('Open Executed Notebook'),
      icon: notebookIcon,
      fits: isOne,
      act: first((run) => openNotebook(desk, run))
    },
    {
      id: 'open-in-mlflow',
      label: trans.__('Open in MLflow'),
      icon: linkIcon,
      fits: isOne,
      act: first((run) => openInMlflow(desk, run))
    }
  ];
}

function deeds(desk: Desk): Action[] {
  const { app, model, trans } = desk;
  const isRunning = (run: Run): boolean => run.status === 'running';
  return [
    {
      id: 'replay-run',
      label: trans.__('Replay'),
      icon: redoIcon,
      fits: (runs) => isOne(runs) && !runs.some(isRunning),
      act: first((run) => replay(desk, run))
    },
    {
      id: 'resume-run',
      label: trans.__('Resume'),
      icon: runIcon,
      fits: (runs) => isOne(runs) && runs[0]?.kind === 'group' && !runs.some(isRunning),
      act: first((run) => resume(desk, run))
    },
    {
      id: 'export-run-as-image',
      label: trans.__('Export as Image…'),
      icon: imageIcon,
      fits: (runs) => isOne(runs) && runs[0]?.kind !== 'group' && !runs.some(isRunning),
      act: first(async ({ run_id: run, name }) => {
        await app.commands.execute(EXPORT, { run, name, path: model.feed.project.path });
      })
    },
    {
      id: 'stop-runs',
      label: trans.__('Stop'),
      icon: stopIcon,
      fits: (runs) => runs.length > 0 && runs.every(isRunning),
      act: (runs) => stop(desk, runs)
    },
    {
      id: 'delete-runs',
      label: trans.__('Delete'),
      icon: deleteIcon,
      fits: (runs) => runs.length > 0 && !runs.some(isRunning),
      act: (runs) => remove(desk, runs)
    }
  ];
}

function copies(desk: Desk): Action[] {
  const { trans } = desk;
  const forms = [
    ['yaml', trans.__('Copy as YAML')],
    ['cell', trans.__('Copy as Cell')],
    ['command', trans.__('Copy as Command')]
  ] as const;
  return [
    ...forms.map(([as, label]): Action => {
      return { id: `copy-as-${as}`, label, icon: copyIcon, fits: isOne, act: first((run) => copy(desk, run, as)) };
    }),
    { id: 'copy-run-ids', label: trans.__('Copy Run ID'), fits: (runs) => runs.length > 0, act: (runs) => copyIds(desk, runs) }
  ];
}

function isOne(runs: readonly Run[]): boolean {
  return runs.length === 1;
}

/** Do something with the only run that is selected. */
function first(act: (run: Run) => Promise<void>): Action['act'] {
  return async ([run]) => {
    if (run !== undefined) {
      await act(run);
    }
  };
}

function titleOf(runs: readonly Run[], many: string): string {
  const [first] = runs;
  return runs.length === 1 && first !== undefined ? first.name : many;
}
