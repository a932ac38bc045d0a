/** What the panel shows of a project's runs: which rows, which of them are selected, and whose details. */
import { VDomModel } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';

import type { Run } from '../api';
import { Feed } from './feed';
import { experimentKey, type Row, rowsOf } from './rows';
import { type How, Selection } from './selection';

export class RunsModel extends VDomModel {
  /** The details of a run are asked for. */
  readonly revealed = new Signal<this, Run>(this);
  readonly feed = new Feed((group) => this.toggled.has(group));
  byExperiment = true;
  /** Which parts of a run's details are open. */
  readonly sections = new Set(['params', 'metrics']);

  private readonly toggled = new Set<string>();
  private readonly selection = new Selection();
  private kept: Row[] | null = null;
  private reveals = 0;

  constructor() {
    super();
    this.feed.changed.connect(() => {
      if (this.feed.state === 'ready') {
        this.selection.keep((key) => this.feed.known.has(key) || key.startsWith(experimentKey('')));
      }
      this.changed();
    });
  }

  override dispose(): void {
    this.feed.dispose();
    super.dispose();
  }

  get rows(): readonly Row[] {
    const { toggled, byExperiment, feed } = this;
    this.kept ??= rowsOf(feed.known.values(), { toggled, byExperiment, words: feed.filter.words });
    return this.kept;
  }

  setByExperiment(byExperiment: boolean): void {
    this.byExperiment = byExperiment;
    this.changed();
  }

  /** The selected runs, in the order of the list. */
  get selected(): Run[] {
    if (this.feed.state !== 'ready') {
      return [];
    }
    return this.rows.flatMap((row) => (row.kind === 'run' && this.selection.has(row.key) ? [row.run] : []));
  }

  isSelected(key: string): boolean {
    return this.selection.has(key);
  }

  /** The row that the keys are at, and the run whose details are shown. */
  get current(): string | null {
    return this.selection.current;
  }

  /** Go to a row, and select it as a click or a key does. */
  select(key: string, how?: How): void {
    this.selection.select(this.rows.map((row) => row.key), key, how);
    this.stateChanged.emit();
  }

  selectAll(): void {
    this.selection.selectAll(this.rows.map((row) => row.key));
    this.stateChanged.emit();
  }

  /** Show what is in an experiment or a group, or hide it. */
  async toggle(key: string): Promise<void> {
    if (!this.toggled.delete(key)) {
      this.toggled.add(key);
    }
    this.changed();
    await this.feed.loadTrials();
  }

  /**
   * Select a run and have its details shown, wherever it is; refused where there is no such run. Of several that are
   * asked for, the last is shown, as long as the same project is.
   */
  async reveal(id: string): Promise<void> {
    const { feed } = this;
    const { project } = feed;
    const asked = ++this.reveals;
    const isWanted = (): boolean => asked === this.reveals && project === feed.project;
    const found = async (one: string): Promise<Run> => feed.known.get(one) ?? (await project.run(one));
    feed.start();
    try {
      if (feed.state !== 'ready' || feed.filter.isSet) {
        feed.filter.clear();
        await feed.load();
      }
      const run = await found(id);
      const group = run.parent_id === null ? null : await found(run.parent_id);
      if (isWanted()) {
        await this.uncover(run, group);
      }
      if (isWanted()) {
        this.select(id);
        this.revealed.emit(run);
      }
    } catch (problem) {
      if (isWanted()) {
        throw problem;
      }
    }
  }

  /** Have a run listed, and open what it lies in. */
  private async uncover(run: Run, group: Run | null): Promise<void> {
    const { known } = this.feed;
    known.pin(run);
    this.toggled.delete(experimentKey(run.experiment));
    if (group !== null) {
      known.pin(group);
    }
    this.changed();
    if (group?.kind === 'group' && !this.toggled.has(group.run_id)) {
      await this.toggle(group.run_id);
    }
  }

  private changed(): void {
    this.kept = null;
    this.stateChanged.emit();
  }
}
