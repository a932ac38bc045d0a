/** The runs that the panel knows of a project, which of them are selected, and how they are filtered. */
import { VDomModel } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';

import { type About, type Event, type Job, MOST, Project, Refusal, type Run, type RunsAsked, type Status } from '../api';
import { messageOf } from '../problems';
import { Again } from './again';
import { KnownRuns } from './known';
import { experimentKey, readFilter, type Row, rowsOf } from './rows';
import { whenSeen } from './seen';
import { type How, Selection } from './selection';

const PATIENCE = 1000; // ms that the server's first word is waited for
const TYPED = 300; // ms after which what is typed is asked for
const AGAIN = 1000; // ms after which the store is asked again which runs are as wanted, when runs have changed

export type State = 'loading' | 'ready' | 'failed';

export class RunsModel extends VDomModel {
  /** A run has ended that was seen to run. */
  readonly ended = new Signal<this, Run>(this);
  /** The details of a run are asked for. */
  readonly revealed = new Signal<this, Run>(this);

  state: State = 'loading';
  problem: unknown = null;
  /** What can't be read in the filter; the list is the one from before then. */
  filterProblem: string | null = null;
  /** Whether there are more runs than were asked for. */
  more = false;
  isLoadingMore = false;
  /** Why what is shown may be old. */
  trouble: string | null = null;
  project = new Project('');
  byExperiment = true;
  /** What the server can have done, such as `replay`; null until it has said so. */
  about: About | null = null;
  /** Which parts of a run's details are open. */
  readonly sections = new Set(['params', 'metrics']);
  /** What runs, or ran, without the browser, by the ids of its run. */
  readonly jobs = new Map<string, Job>();

  private readonly known = new KnownRuns();
  private readonly toggled = new Set<string>();
  private readonly loaded = new Set<string>(); // groups whose trials are known
  private readonly loading = new Set<string>(); // and those whose trials are asked for
  private readonly selection = new Selection();
  private kept: Row[] | null = null;
  private text = '';
  private wantedStatus: Status | '' = '';
  private count = 200;
  private limit = 200;
  private turn = 0; // answers to what was asked before are dropped
  private unwatch: (() => void) | null = null;
  private hasFolder = false;
  private isStarted = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly fitting = new Again(() => this.fit(), AGAIN);

  /** Look at the project of another folder, once `start` was called. */
  open(path: string): void {
    if (path !== this.project.path || !this.hasFolder) {
      this.hasFolder = true;
      this.project = new Project(path);
      if (this.isStarted) {
        this.connect();
      }
    }
  }

  /** Ask for runs, from now on. */
  start(): void {
    if (!this.isStarted) {
      this.isStarted = true;
      if (this.hasFolder) {
        this.connect();
      }
    }
  }

  private connect(): void {
    this.disconnect();
    this.known.unpinAll();
    this.state = 'loading'; // the other folder may be one of the same project: what is shown stays until that is known
    this.count = this.limit;
    this.unwatch = this.project.watch((event) => {
      this.hear(event);
    });
    this.changed();
    this.later(PATIENCE); // with its first word the server has everything asked for; it may have none to say
  }

  private disconnect(): void {
    this.unwatch?.();
    this.unwatch = null;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.fitting.cancel();
    this.turn++;
  }

  override dispose(): void {
    this.disconnect();
    super.dispose();
  }

  /** Whether it isn't known yet where to look. */
  get isIdle(): boolean {
    return !this.hasFolder;
  }

  /** Ask for everything anew. */
  async load(): Promise<void> {
    const turn = ++this.turn;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.fitting.cancel();
    try {
      this.about ??= await this.project.about();
      const [{ runs, more }, { jobs }] = await Promise.all([this.asked(), this.project.jobs()]);
      const open = this.openGroups(runs);
      const trials = await Promise.all(open.map((group) => this.project.trials(group)));
      if (turn !== this.turn) {
        return;
      }
      this.loaded.clear();
      open.forEach((id) => this.loaded.add(id));
      this.keepJobs(jobs);
      this.list([...runs, ...trials.flat()], more);
    } catch (problem) {
      if (turn !== this.turn) {
        return;
      }
      this.fail(problem);
    }
    this.changed();
  }

  /** Ask anew which runs are as wanted, as some have changed: of the rest, it was heard. */
  private async fit(): Promise<void> {
    const { turn } = this;
    try {
      const { runs, more } = await this.asked();
      if (turn === this.turn) {
        const ids = new Set(runs.map((run) => run.run_id));
        const isOfListed = (group: string | null): boolean => group !== null && ids.has(group) && this.loaded.has(group);
        const trials = [...this.known.values()].filter((run) => isOfListed(run.parent_id) && !ids.has(run.run_id));
        this.list([...trials, ...runs], more);
      }
    } catch (problem) {
      if (turn === this.turn) {
        this.fail(problem);
      }
    }
    this.changed();
  }

  private list(runs: readonly Run[], more: boolean): void {
    this.known.replace(runs);
    this.more = more;
    this.state = 'ready';
    this.problem = this.filterProblem = null;
    this.selection.keep((key) => this.has(key));
    [...this.loaded].filter((group) => !this.known.has(group)).forEach((group) => this.loaded.delete(group));
    void this.loadTrials(); // of what was opened, or came back, while this list was asked for
  }

  /** Ask for more runs than before. */
  async loadMore(): Promise<void> {
    this.count = Math.min(2 * this.count, 20 * MOST);
    this.isLoadingMore = true;
    this.changed();
    await this.load();
    this.isLoadingMore = false;
    this.changed();
  }

  get rows(): readonly Row[] {
    this.kept ??= rowsOf(this.known.values(), {
      toggled: this.toggled,
      byExperiment: this.byExperiment,
      words: readFilter(this.text).words
    });
    return this.kept;
  }

  get total(): number {
    return this.known.size;
  }

  get(id: string): Run | undefined {
    return this.known.get(id);
  }

  /** For how long a run has gone on, or went. */
  seconds(run: Run, now: number): number {
    return this.known.seconds(run, now);
  }

  get filter(): string {
    return this.text;
  }

  set filter(text: string) {
    const before = readFilter(this.text).where;
    this.text = text;
    this.filterProblem = null;
    this.refilter(before !== readFilter(text).where);
  }

  get status(): Status | '' {
    return this.wantedStatus;
  }

  set status(status: Status | '') {
    this.wantedStatus = status;
    this.refilter(true);
  }

  get isFiltered(): boolean {
    return this.text.trim() !== '' || this.wantedStatus !== '';
  }

  /** Set how many runs are asked for at first. */
  setLimit(limit: number): void {
    if (limit !== this.limit) {
      this.limit = this.count = limit;
      if (this.isStarted) {
        void this.load();
      }
    }
  }

  setByExperiment(byExperiment: boolean): void {
    this.byExperiment = byExperiment;
    this.changed();
  }

  /** The selected runs, in the order of the list. */
  get selected(): Run[] {
    if (this.state !== 'ready') {
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
    await this.loadTrials();
  }

  /** Select a run and have its details shown, wherever it is; refused where there is no such run. */
  async reveal(id: string): Promise<void> {
    this.start();
    if (this.state !== 'ready' || this.isFiltered) {
      this.text = this.wantedStatus = '';
      await this.load();
    }
    const run = await this.pin(id);
    this.toggled.delete(experimentKey(run.experiment));
    if (run.parent_id !== null) {
      const group = await this.pin(run.parent_id);
      if (group.kind === 'group' && !this.toggled.has(group.run_id)) {
        await this.toggle(group.run_id);
      }
    }
    this.kept = null;
    this.select(id);
    this.revealed.emit(run);
  }

  private async pin(id: string): Promise<Run> {
    const run = this.known.get(id) ?? (await this.project.run(id));
    this.known.pin(run);
    return run;
  }

  /** Take runs out of the list at once: the server says so itself a little later. */
  forget(ids: readonly string[]): void {
    this.known.forget(ids);
    this.selection.keep((key) => this.has(key));
    this.changed();
  }

  private async asked(): Promise<{ runs: Run[]; more: boolean }> {
    const { where } = readFilter(this.text);
    const asked: RunsAsked = { where, status: this.wantedStatus || undefined };
    if (!this.isAsked) {
      asked.where = "kind != 'trial'"; // those are asked for when their group is opened
    }
    const found: Run[] = [];
    for (;;) {
      const limit = Math.min(this.count - found.length, MOST);
      const { runs, more } = await this.project.runs({ ...asked, limit, offset: found.length || undefined });
      found.push(...runs);
      if (!more || found.length >= this.count || runs.length === 0) {
        return { runs: found, more };
      }
    }
  }

  private openGroups(runs: readonly Run[]): string[] {
    return runs.filter((run) => run.kind === 'group' && this.toggled.has(run.run_id)).map((run) => run.run_id);
  }

  /** Ask for the trials of the groups that are open, where they aren't known yet. */
  private async loadTrials(): Promise<void> {
    const missing = this.openGroups([...this.known.values()]).filter((id) => !this.loaded.has(id) && !this.loading.has(id));
    await Promise.all(missing.map((group) => this.loadTrialsOf(group)));
  }

  private async loadTrialsOf(group: string): Promise<void> {
    const { project } = this;
    this.loading.add(group);
    try {
      const trials = await project.trials(group);
      if (project === this.project && this.known.has(group)) {
        trials.forEach((run) => {
          this.known.keep(run);
        });
        this.loaded.add(group);
      }
    } catch (problem) {
      this.trouble = messageOf(problem);
    }
    this.loading.delete(group);
    this.changed();
  }

  private hear(event: Event): void {
    if (event.event === 'hello') {
      this.trouble = null;
      void this.load();
    } else if (event.event === 'trouble') {
      this.trouble = event.message;
      this.changed();
    } else if (event.event === 'runs') {
      this.merge(event.changed, event.removed);
    } else if (event.event === 'jobs') {
      this.keepJobs(event.changed);
      this.changed();
    }
  }

  private merge(changed: readonly Run[], removed: readonly string[]): void {
    const { isAsked } = this;
    for (const run of changed) {
      const before = this.known.get(run.run_id);
      if (before?.status === 'running' && run.status !== 'running') {
        this.ended.emit(run);
      }
      if (before !== undefined || (this.isWanted(run) && (!isAsked || run.kind === 'trial'))) {
        this.known.keep(run);
      }
    }
    this.forget(removed);
    if (isAsked) {
      this.fitting.want(); // the store knows which of them fit
    }
  }

  private keepJobs(jobs: readonly Job[]): void {
    for (const job of jobs) {
      const known = job.run_id === null ? undefined : this.jobs.get(job.run_id);
      if (job.run_id !== null && (known === undefined || known.id === job.id || known.started <= job.started)) {
        this.jobs.set(job.run_id, job); // a group that was gone on with has had others
      }
    }
  }

  private isWanted(run: Run): boolean {
    return run.kind !== 'trial' || (run.parent_id !== null && this.loaded.has(run.parent_id));
  }

  private refilter(byStore: boolean): void {
    this.count = this.limit;
    this.changed();
    if (byStore && this.isStarted) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.later(TYPED);
    }
  }

  private fail(problem: unknown): void {
    if (problem instanceof Refusal && problem.status === 400 && this.isAsked && this.about !== null) {
      this.filterProblem = problem.message;
      return;
    }
    this.state = 'failed';
    this.problem = problem;
    this.known.clear();
  }

  /** Whether the store is asked to filter. */
  private get isAsked(): boolean {
    return readFilter(this.text).where !== undefined || this.wantedStatus !== '';
  }

  /** Ask for everything after a while, together with what else is to be asked for until then. */
  private later(pause: number): void {
    this.timer ??= setTimeout(() => {
      whenSeen(() => {
        if (!this.isDisposed) {
          void this.load();
        }
      });
    }, pause);
  }

  private has(key: string): boolean {
    return this.known.has(key) || key.startsWith(experimentKey(''));
  }

  private changed(): void {
    this.kept = null;
    this.stateChanged.emit();
  }
}
