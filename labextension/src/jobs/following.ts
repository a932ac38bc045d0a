/**
 * What was started from here, followed to its end: a notification says how far it is, and at last what came of it.
 *
 * It runs without the browser. What was started is remembered with the workspace, so that a page that is opened later
 * tells of an end that nobody has seen.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { IStateDB } from '@jupyterlab/statedb';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyJSONValue } from '@lumino/coreutils';

import { type Job, Project } from '../api';
import { messageOf } from '../problems';
import { REVEAL } from '../panel/commands';
import { type IJobs, OPEN_LOG } from './tokens';
import { isWell, words } from './words';

const KEY = 'ml-experiment-nb-jobs:started'; // a name before the colon that no tracker of widgets has: it drops what it can't open
const VERDICT = 'mlexp.replay.sentence'; // the tag of a run that says whether it has given the same as its original
const NEWS = 10_000; // ms that good news is shown; it stays in the list of notifications

/** Jobs of one project, while some of them run. */
interface Followed {
  readonly project: Project;
  /** The notification of each job. */
  readonly told: Map<string, string | null>;
  readonly close: () => void;
}

export class Jobs implements IJobs {
  private readonly followed = new Map<string, Followed>();

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly trans: TranslationBundle,
    private readonly state: IStateDB | null
  ) {}

  /** Follow a job that was just started. */
  follow(job: Job, project: Project): void {
    this.of(project).told.set(job.id, this.tell(project.path, job));
    this.remember();
    this.hear(project.path, job);
  }

  /** Go on with what an earlier page has started. */
  async restore(): Promise<void> {
    const kept = readable(await this.state?.fetch(KEY));
    for (const [path, ids] of Object.entries(kept)) {
      const followed = this.of(new Project(path));
      ids.forEach((id) => followed.told.set(id, followed.told.get(id) ?? null));
    }
  }

  private of(project: Project): Followed {
    const known = this.followed.get(project.path);
    if (known !== undefined) {
      return known;
    }
    const close = project.watch((event) => {
      if (event.event === 'hello') {
        void this.renew(project);
      } else if (event.event === 'jobs') {
        event.changed.forEach((job) => {
          this.hear(project.path, job);
        });
      }
    });
    const made = { project, told: new Map<string, string | null>(), close };
    this.followed.set(project.path, made);
    return made;
  }

  /** Ask how all of them stand: something may have been missed. */
  private async renew(project: Project): Promise<void> {
    const told = this.followed.get(project.path)?.told;
    const asked = [...(told?.keys() ?? [])];
    const { jobs } = await project.jobs().catch(() => ({ jobs: null }));
    if (jobs === null) {
      return; // the connection's next beginning asks again
    }
    jobs.forEach((job) => {
      this.hear(project.path, job);
    });
    asked.filter((id) => !jobs.some((job) => job.id === id)).forEach((id) => {
      this.forget(project.path, id);
    });
  }

  private hear(path: string, job: Job): void {
    const told = this.followed.get(path)?.told;
    if (!told?.has(job.id)) {
      return;
    }
    const id = told.get(job.id);
    if (job.ended === null && id) {
      Notification.update({ id, message: words(job, this.trans) });
    } else if (job.ended !== null) {
      void this.tellEnd(path, job, id ?? null);
      this.forget(path, job.id);
    } else if (id === null) {
      told.set(job.id, this.tell(path, job));
    }
  }

  /** Tell what came of a job, by its notification if there is one; of a replay that came to a verdict, that. */
  private async tellEnd(path: string, job: Job, id: string | null): Promise<void> {
    const verdict = job.kind === 'replay' ? await verdictOf(new Project(path), job) : null;
    const isGood = isWell(job);
    const isBad = !isGood && job.state !== 'stopped' && verdict === null;
    const type = isGood ? 'success' : isBad ? 'error' : 'warning';
    const message = verdict === null ? words(job, this.trans) : this.trans.__('%1, run again: %2', job.name, verdict);
    const options = { autoClose: isGood ? NEWS : (false as const), actions: this.endActions(path, job) };
    if (id === null) {
      Notification.emit(message, type, options);
    } else {
      Notification.update({ id, message, type, ...options });
    }
  }

  /** Say that it goes on; what looks at it or stops it leaves the notification there. */
  private tell(path: string, job: Job): string {
    const stop = {
      label: this.trans.__('Stop'),
      callback: (event: MouseEvent) => {
        event.preventDefault();
        new Project(path).stopJob(job.id).catch(report);
      }
    };
    const actions = [this.logAction(path, job, true), stop];
    return Notification.emit(words(job, this.trans), 'in-progress', { autoClose: false, actions });
  }

  private logAction(path: string, job: Job, stays: boolean): Notification.IAction {
    const label = job.kind === 'image' && isWell(job) ? this.trans.__('Show Result') : this.trans.__('Show Log');
    const callback = (event: MouseEvent): void => {
      if (stays) {
        event.preventDefault();
      }
      void this.app.commands.execute(OPEN_LOG, { path, job: job.id, name: job.name });
    };
    return { label, callback };
  }

  private endActions(path: string, job: Job): Notification.IAction[] {
    const { commands } = this.app;
    const run = job.run_id;
    const log = this.logAction(path, job, false);
    if (run === null) {
      return [log];
    }
    const show = { label: this.trans.__('Show Run'), callback: () => void commands.execute(REVEAL, { run, path }) };
    const open = {
      label: this.trans.__('Open Notebook'),
      callback: () => {
        this.openNotebook(path, run).catch(report);
      }
    };
    return [show, ...(job.kind === 'experiment' ? [open] : []), ...(isWell(job) ? [] : [log])];
  }

  private async openNotebook(path: string, run: string): Promise<void> {
    const place = await new Project(path).notebook(run);
    await this.app.commands.execute('docmanager:open', { path: place.path });
  }

  private forget(path: string, id: string): void {
    const followed = this.followed.get(path);
    followed?.told.delete(id);
    if (followed?.told.size === 0) {
      followed.close();
      this.followed.delete(path);
    }
    this.remember();
  }

  private remember(): void {
    const kept = [...this.followed].map(([path, { told }]) => [path, [...told.keys()]]);
    void this.state?.save(KEY, Object.fromEntries(kept) as ReadonlyJSONValue);
  }
}

/** Whether a replay has given the same, in a sentence; null where it didn't come to that. */
async function verdictOf(project: Project, { run_id: id }: Job): Promise<string | null> {
  const run = id === null ? null : await project.run(id).catch(() => null);
  return run?.tags[VERDICT] ?? null;
}

function report(problem: unknown): void {
  Notification.error(messageOf(problem));
}

/** What was kept, as far as it can be read. */
function readable(kept: unknown): Record<string, string[]> {
  const found = Object.entries(typeof kept === 'object' && kept !== null ? kept : {});
  return Object.fromEntries(
    found.flatMap(([path, ids]) =>
      Array.isArray(ids) && ids.length > 0 ? [[path, ids.filter((id): id is string => typeof id === 'string')]] : []
    )
  );
}
