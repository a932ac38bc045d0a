/** A project's runs: asked for as a list, and kept up to date by what the server tells, in whichever order both come. */
import { Signal } from '@lumino/signaling';

import { type About, type Event, type Job, Project, Refusal, type Run, type Runs, type Status } from '../api';
import { messageOf } from '../problems';
import { Again } from './again';
import { Filter } from './filter';
import { Groups } from './groups';
import { KnownRuns } from './known';
import { Hearing, type News } from './news';
import { whenSeen } from './seen';

const PATIENCE = 1000; // ms that the server's first word is waited for
const TYPED = 300; // ms after which what is typed is asked for
const AGAIN = 1000; // ms after which the store is asked again which runs are as wanted, when runs have changed

export type State = 'loading' | 'ready' | 'failed';

export class Feed {
  readonly changed = new Signal<this, void>(this);
  /** A run has ended that was seen to run. */
  readonly ended = new Signal<this, Run>(this);

  state: State = 'loading';
  problem: unknown = null;
  /** What can't be read in the filter; the list is the one from before then. */
  filterProblem: string | null = null;
  /** Whether there are more runs than were asked for. */
  more = false;
  isLoadingMore = false;
  project: Project;
  /** What the server knows, such as samplers; null until it has said so. */
  about: About | null = null;
  /** What runs, or ran, without the browser, by the ids of its run. */
  readonly jobs = new Map<string, Job>();
  readonly known = new KnownRuns();
  readonly filter = new Filter();

  private readonly hearing = new Hearing<Run>((run) => run.run_id);
  private readonly hearingOfJobs = new Hearing<Job>((job) => job.id);
  private groups = new Groups();
  private turn = 0; // answers to what was asked before are dropped
  private isListing = false;
  private told: string | null = null; // why the server says that what is shown may be old
  private missed: string | null = null; // why something that was asked for isn't known
  private unwatch: (() => void) | null = null;
  private hasFolder = false;
  private isStarted = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private takeBack = (): void => undefined;
  private readonly fitting = new Again(() => this.fit(), AGAIN);

  /** `isOpen` says whether the trials of a group are looked at. */
  constructor(
    private readonly isOpen: (group: string) => boolean,
    private readonly projectOf = (path: string): Project => new Project(path)
  ) {
    this.project = projectOf('');
  }

  /** Look at the project of another folder, once `start` was called. */
  open(path: string): void {
    if (path !== this.project.path || !this.hasFolder) {
      this.hasFolder = true;
      this.project = this.projectOf(path);
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

  dispose(): void {
    this.disconnect();
    Signal.clearData(this);
  }

  /** Whether it isn't known yet where to look. */
  get isIdle(): boolean {
    return !this.hasFolder;
  }

  /** Why what is shown may be old. */
  get trouble(): string | null {
    return this.told ?? this.missed;
  }

  private connect(): void {
    this.disconnect();
    this.known.unpinAll();
    this.groups = new Groups();
    this.state = 'loading'; // the other folder may be one of the same project: what is shown stays until that is known
    this.told = this.missed = null;
    this.filter.restart();
    this.unwatch = this.project.watch((event) => {
      this.hear(event);
    });
    this.changed.emit();
    this.later(PATIENCE); // with its first word the server has everything asked for; it may have none to say
  }

  private disconnect(): void {
    this.unwatch?.();
    this.unwatch = null;
    this.unplan();
    this.turn++;
  }

  /** Ask for everything anew. */
  async load(): Promise<void> {
    const { project } = this;
    const turn = ++this.turn;
    this.unplan();
    this.isListing = true;
    const [news, newsOfJobs] = [this.hearing.begin(), this.hearingOfJobs.begin()];
    try {
      this.about ??= await project.about();
      const [{ runs, more }, { jobs }] = await Promise.all([this.asked(), project.jobs()]);
      const open = this.openGroups(runs);
      const trials = await Promise.all(open.map((group) => project.trials(group)));
      if (turn === this.turn) {
        this.isListing = false;
        this.groups.list(open);
        this.keepJobs(newsOfJobs.over(jobs));
        this.list([...runs, ...trials.flat()], more, news);
      }
    } catch (problem) {
      if (turn === this.turn) {
        this.isListing = false;
        this.fail(problem);
      }
    }
    this.hearing.end(news);
    this.hearingOfJobs.end(newsOfJobs);
    this.changed.emit();
  }

  /** Ask anew which runs are as wanted, as some have changed: of the rest, it was heard. */
  private async fit(): Promise<void> {
    const { turn } = this;
    const news = this.hearing.begin();
    try {
      const { runs, more } = await this.asked();
      if (turn === this.turn) {
        const ids = new Set(runs.map((run) => run.run_id));
        const isOfListed = (group: string | null): boolean => group !== null && ids.has(group) && this.groups.has(group);
        const trials = [...this.known.values()].filter((run) => isOfListed(run.parent_id) && !ids.has(run.run_id));
        this.list([...trials, ...runs], more, news);
      }
    } catch (problem) {
      if (turn === this.turn && !this.isFilters(problem)) {
        this.missed = messageOf(problem); // the list is still the one from before
      }
    }
    this.hearing.end(news);
    this.changed.emit();
  }

  /** Show a list, with what was heard since it was asked for. */
  private list(answer: readonly Run[], more: boolean, news: News<Run>): void {
    const runs = news.over(answer);
    runs.forEach((run) => {
      this.keep(run);
    });
    this.known.replace(runs);
    this.groups.keep((group) => this.known.has(group));
    news.changed.filter((run) => this.isHeard(run)).forEach((run) => {
      this.keep(run);
    });
    this.more = more;
    this.state = 'ready';
    this.problem = this.filterProblem = this.missed = null;
    void this.loadTrials(); // of what was opened, or came back, while this list was asked for
    if (this.filter.isAsked && !news.isEmpty) {
      this.fitting.want();
    }
  }

  /** Ask for more runs than before. */
  async loadMore(): Promise<void> {
    if (!this.isLoadingMore) {
      this.filter.widen();
      this.isLoadingMore = true;
      this.changed.emit();
      await this.load();
      this.isLoadingMore = false;
      this.changed.emit();
    }
  }

  /** Want other runs. */
  want({ text = this.filter.text, status = this.filter.status }: { text?: string; status?: Status | '' }): void {
    const { filter } = this;
    const isOther = status !== filter.status;
    const before = filter.condition;
    [filter.text, filter.status] = [text, status];
    filter.restart();
    this.filterProblem = null;
    this.changed.emit();
    if (this.isStarted && (isOther || before !== filter.condition)) {
      this.unplan();
      this.later(TYPED);
    }
  }

  /** Set how many runs are asked for at first. */
  setLimit(limit: number): void {
    if (this.filter.setLimit(limit) && this.isStarted) {
      void this.load();
    }
  }

  /** Ask for the trials of the groups that are open, where they aren't known yet. */
  async loadTrials(): Promise<void> {
    if (this.state === 'ready') {
      const missing = this.groups.missing(this.openGroups([...this.known.values()]));
      await Promise.all(missing.map((group) => this.loadTrialsOf(group)));
    }
  }

  private async loadTrialsOf(group: string): Promise<void> {
    const { project, groups } = this;
    const news = this.hearing.begin();
    try {
      const trials = await project.trials(group);
      groups.answered(group, this.known.has(group));
      if (groups === this.groups && this.known.has(group)) {
        news.over(trials).forEach((run) => {
          this.keep(run);
        });
      }
    } catch (problem) {
      groups.answered(group, false);
      if (groups === this.groups) {
        this.missed = messageOf(problem);
      }
    }
    this.hearing.end(news);
    this.changed.emit();
  }

  /** Take runs out of the list at once: the server says so itself a little later. */
  forget(ids: readonly string[]): void {
    this.hearing.hear([], ids);
    this.known.forget(ids);
    this.groups.keep((group) => this.known.has(group));
    this.changed.emit();
  }

  private asked(): Promise<Runs> {
    return this.project.firstRuns(this.filter.asked, this.filter.limit);
  }

  private openGroups(runs: readonly Run[]): string[] {
    return runs.filter((run) => run.kind === 'group' && this.isOpen(run.run_id)).map((run) => run.run_id);
  }

  private hear(event: Event): void {
    if (event.event === 'hello') {
      this.told = null;
      void this.load();
    } else if (event.event === 'trouble') {
      this.told = event.message;
      this.changed.emit();
    } else if (event.event === 'runs') {
      this.merge(event.changed, event.removed);
    } else if (event.event === 'jobs') {
      this.hearingOfJobs.hear(event.changed);
      this.keepJobs(event.changed);
      this.changed.emit();
    }
  }

  private merge(changed: readonly Run[], removed: readonly string[]): void {
    this.hearing.hear(changed);
    changed.filter((run) => this.known.has(run.run_id) || this.isHeard(run)).forEach((run) => {
      this.keep(run);
    });
    this.forget(removed);
    if (this.filter.isAsked && !this.isListing) {
      this.fitting.want(); // the store knows which of them fit
    }
    void this.loadTrials(); // of a group that has come back
  }

  /** Keep what is new of a run, and tell its end. */
  private keep(run: Run): void {
    const before = this.known.get(run.run_id);
    this.known.keep(run);
    if (before?.status === 'running' && run.status !== 'running') {
      this.ended.emit(run);
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

  /** Whether a run that wasn't known is kept when it is heard of: which others fit a filter, only the store knows. */
  private isHeard(run: Run): boolean {
    return run.kind === 'trial' ? run.parent_id !== null && this.groups.hears(run.parent_id) : !this.filter.isAsked;
  }

  private fail(problem: unknown): void {
    if (!this.isFilters(problem)) {
      this.state = 'failed';
      this.problem = problem;
      this.known.clear();
    }
  }

  /** Whether the filter can't be read, of which note is taken. */
  private isFilters(problem: unknown): boolean {
    if (problem instanceof Refusal && problem.status === 400 && this.filter.isAsked && this.about !== null) {
      this.filterProblem = problem.message;
      return true;
    }
    return false;
  }

  /** Ask for everything after a while, together with what else is to be asked for until then. */
  private later(pause: number): void {
    this.timer ??= setTimeout(() => {
      this.takeBack = whenSeen(() => void this.load());
    }, pause);
  }

  /** Ask no more for what was to be asked for later. */
  private unplan(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.takeBack();
    this.fitting.cancel();
  }
}
