/** The side bar's panel: a filter, the list of runs, and the details of one of them. */
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import { CommandToolbarButton, ellipsesIcon, ReactWidget, SidePanel, Toolbar, ToolbarButton, UseSignal, VDomRenderer } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { Message } from '@lumino/messaging';
import { AccordionPanel, Menu } from '@lumino/widgets';
import React from 'react';

import { Refusal, type Status } from '../api';
import { messageOf } from '../problems';
import { Details } from './details';
import { runsIcon } from './icons';
import { RunList } from './list';
import type { RunsModel } from './model';
import { STATUSES, statusText } from './status';

export interface Options {
  model: RunsModel;
  commands: CommandRegistry;
  translator: ITranslator;
  trans: TranslationBundle;
  language: string | undefined;
  /** The commands whose buttons stand at the top. */
  buttons: readonly string[];
  /** Those in the menu beside these; null for a line between them. */
  menu: readonly (string | null)[];
  report: (problem: unknown) => void;
}

export class RunsPanel extends SidePanel {
  private readonly list: ListSection;
  private readonly details: DetailsSection;
  private readonly filter: FilterBox;

  constructor(private readonly options: Options) {
    super({ translator: options.translator });
    const { model, trans, commands } = options;
    this.id = 'ml-experiment-nb-runs';
    this.addClass('mlx-Runs');
    this.title.icon = runsIcon;
    this.title.caption = trans.__('Experiment Runs');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this.title.caption);
    this.filter = new FilterBox(options);
    this.header.addWidget(this.filter);
    options.buttons.forEach((id) => {
      this.toolbar.addItem(id, new CommandToolbarButton({ commands, id, label: '' }));
    });
    this.toolbar.addItem('spacer', Toolbar.createSpacerItem());
    this.toolbar.addItem('more', moreButton(options));
    this.list = new ListSection(options, () => {
      this.showDetails();
    });
    this.details = new DetailsSection(options);
    this.addWidget(this.list);
    this.addWidget(this.details);
    model.revealed.connect(() => {
      this.showDetails();
    });
    this.details.node.addEventListener('keydown', (event) => {
      this.back(event, 'Escape');
    });
    this.filter.node.addEventListener('keydown', (event) => {
      this.back(event, 'ArrowDown');
    });
  }

  focusList(): void {
    this.list.focus();
  }

  focusFilter(): void {
    this.filter.node.querySelector('input')?.focus();
  }

  /** Whoever never looks at the panel costs the server nothing. */
  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.options.model.feed.start();
  }

  /** Go to the list by a key. */
  private back(event: KeyboardEvent, key: string): void {
    if (event.key === key && !(event.target instanceof HTMLSelectElement)) {
      event.preventDefault();
      this.list.focus();
    }
  }

  private showDetails(): void {
    const { content } = this;
    if (content instanceof AccordionPanel) {
      content.expand(content.widgets.indexOf(this.details));
    }
    this.details.focus();
  }
}

/** A button with a menu of all that can be done with the selected runs. */
function moreButton({ commands, menu, trans }: Options): ToolbarButton {
  const items = new Menu({ commands });
  menu.forEach((command) => {
    items.addItem(command === null ? { type: 'separator' } : { command });
  });
  const button = new ToolbarButton({
    icon: ellipsesIcon,
    tooltip: trans.__('More'),
    onClick: () => {
      const { left, bottom } = button.node.getBoundingClientRect();
      items.open(left, bottom);
    }
  });
  items.aboutToClose.connect(() => {
    button.node.querySelector<HTMLElement>('button, jp-button')?.focus();
  });
  return button;
}

/** Words or a condition, and a status, that runs must have to be listed. What is typed is drawn at once, with its cursor. */
class FilterBox extends ReactWidget {
  constructor(private readonly options: Options) {
    super();
    this.addClass('mlx-Runs-filter');
  }

  protected render(): React.JSX.Element {
    return <UseSignal signal={this.options.model.feed.changed}>{() => <Fields {...this.options} />}</UseSignal>;
  }
}

function Fields({ model: { feed }, trans }: Options): React.JSX.Element {
  return (
    <>
      <input
        type="search"
        value={feed.filter.text}
        placeholder={trans.__('Words, loss < 0.1')}
        title={trans.__("Words of names, parameters and statuses, or a condition: metrics.loss < 0.1 and params.C = 1")}
        aria-label={trans.__('Filter runs')}
        onChange={(event) => {
          feed.want({ text: event.target.value });
        }}
      />
      <select
        value={feed.filter.status}
        aria-label={trans.__('Status')}
        onChange={(event) => {
          feed.want({ status: event.target.value as Status | '' });
        }}
      >
        <option value="">{trans.__('any status')}</option>
        {STATUSES.map((one) => (
          <option key={one} value={one}>
            {statusText(one, trans)}
          </option>
        ))}
      </select>
    </>
  );
}

class ListSection extends VDomRenderer<RunsModel> {
  private isWanted = false;

  constructor(
    private readonly options: Options,
    private readonly enter: () => void
  ) {
    super(options.model);
    this.addClass('mlx-Runs-section');
    this.title.label = options.trans.__('Runs');
    this.node.tabIndex = -1;
  }

  /** Go to the list; where it isn't there yet, as soon as it is. */
  focus(): void {
    const list = this.node.querySelector<HTMLElement>('[role=tree]');
    (list ?? this.node).focus();
    this.isWanted = list === null;
  }

  protected render(): React.JSX.Element {
    const { model, trans, language } = this.options;
    const { feed } = model;
    if (feed.state === 'failed') {
      return <Failed {...this.options} />;
    }
    if (feed.state === 'loading' && feed.known.size === 0) {
      return <p className="mlx-Runs-say">{trans.__('Loading…')}</p>;
    }
    const isEmpty = model.rows.length === 0;
    const mounted = (): void => {
      const isHere = document.activeElement === document.body || this.node.contains(document.activeElement);
      if (this.isWanted && isHere) {
        this.focus(); // else the user has gone elsewhere
      }
      this.isWanted = false;
    };
    const left = (): void => {
      this.node.focus();
      this.isWanted = true;
    };
    return (
      <>
        {feed.trouble !== null && (
          <p className="mlx-Runs-warning mlx-Run-problem" role="alert">
            {trans.__('What is shown may be old: %1', feed.trouble)}
          </p>
        )}
        {feed.filterProblem !== null && (
          <p className="mlx-Runs-warning mlx-Run-problem" role="alert">
            {feed.filterProblem}
          </p>
        )}
        {isEmpty && (feed.filter.isSet ? <Nothing {...this.options} /> : <Empty trans={trans} />)}
        {!isEmpty && <RunList {...{ model, trans, language, mounted, left }} enter={this.enter} />}
        <Counts model={model} trans={trans} />
      </>
    );
  }
}

/** Why there is no list, and what can be done. */
function Failed({ model, trans }: Options): React.JSX.Element {
  const { problem, about } = model.feed;
  const isMissing = problem instanceof Refusal && problem.isMissing && about === null;
  return (
    <div className="mlx-Runs-say" role="alert">
      <p>{isMissing ? trans.__('This Jupyter server does not have the extension that reads runs.') : messageOf(problem)}</p>
      {isMissing && (
        <p>
          {trans.__('Where the server is installed:')}
          <code>jupyter server extension enable ml_experiment_nb</code>
        </p>
      )}
      <button
        className="jp-mod-styled jp-mod-accept"
        onClick={() => {
          void model.feed.load();
        }}
      >
        {trans.__('Try Again')}
      </button>
    </div>
  );
}

/** How the first run is made. */
function Empty({ trans }: { trans: TranslationBundle }): React.JSX.Element {
  return (
    <div className="mlx-Runs-say">
      <p>{trans.__('No runs yet. In a notebook of this folder, the first one is made by a cell like this:')}</p>
      <pre>{'%load_ext ml_experiment_nb'}</pre>
      <pre>{'%%experiment "first"\nC = 0.5\n{"score": C ** 2}'}</pre>
      <p>{trans.__('In a terminal:')}</p>
      <pre>{'ml-experiment run notebook.ipynb'}</pre>
    </div>
  );
}

function Nothing({ model, trans }: Options): React.JSX.Element {
  return (
    <div className="mlx-Runs-say">
      <p>{trans.__('No run is like that.')}</p>
      <button
        className="jp-mod-styled"
        onClick={() => {
          model.feed.want({ text: '', status: '' });
        }}
      >
        {trans.__('Clear the Filter')}
      </button>
    </div>
  );
}

/** How many runs there are, and how they stand; a button where there are more. */
function Counts({ model, trans }: { model: RunsModel; trans: TranslationBundle }): React.JSX.Element {
  const { feed } = model;
  const runs = model.rows.flatMap((row) => (row.kind === 'run' ? [row.run] : []));
  const parts = STATUSES.flatMap((status) => {
    const count = runs.filter((run) => run.status === status).length;
    return count > 0 ? [`${count} ${statusText(status, trans)}`] : [];
  });
  return (
    <div className="mlx-Runs-counts" role="status">
      <span>{parts.join(' · ')}</span>
      {feed.more && (
        <button
          className="mlx-Run-link"
          disabled={feed.isLoadingMore}
          onClick={() => {
            void feed.loadMore();
          }}
        >
          {feed.isLoadingMore ? trans.__('Loading…') : trans.__('Load older runs')}
        </button>
      )}
    </div>
  );
}

class DetailsSection extends VDomRenderer<RunsModel> {
  private isWanted = false;

  constructor(private readonly options: Options) {
    super(options.model);
    this.addClass('mlx-Runs-section');
    this.title.label = options.trans.__('Details');
  }

  /** Go to the details of the run that the keys are at; where those of another one are still there, as soon as they are not. */
  focus(): void {
    const there = this.node.querySelector<HTMLElement>('.mlx-Run');
    this.isWanted = there?.dataset.run !== this.options.model.current;
    if (!this.isWanted) {
      there?.focus();
    }
  }

  protected render(): React.JSX.Element {
    const { model, trans, language, report } = this.options;
    const run = model.current === null ? undefined : model.feed.known.get(model.current);
    if (run === undefined) {
      return <p className="mlx-Runs-say">{trans.__('Select a run to see its parameters, metrics, files and log.')}</p>;
    }
    const { feed, sections } = model;
    const { project } = feed;
    const open = (id: string): void => {
      model.reveal(id).catch(report);
    };
    const seconds = feed.known.seconds(run, Date.now());
    const job = feed.jobs.get(run.run_id);
    const mounted = (): void => {
      if (this.isWanted) {
        this.focus();
      }
    };
    return <Details key={run.run_id} {...{ mounted, project, run, job, trans, language, seconds, sections, open }} />;
  }
}
