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
import { REVEAL } from '../panel/commands';

const KEY = 'ml-experiment-nb-jobs:started'; // a name before the colon that no tracker of widgets has: it drops what it can't open
const SHORT = 10_000; // ms that good news is shown; it stays in the list of notifications

/** Jobs of one project, while some of them run. */
interface Followed {
  readonly project: Project;
  /** The notification of each job. */
  readonly told: Map<string, string | null>;
  readonly close: () => void;
}

export class Jobs {
  private readonly followed = new Map<string, Followed>();

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly trans: TranslationBundle,
    private readonly state: IStateDB | null
  ) {}

  /** Follow a job that was just started. */
  follow(job: Job, project: Project): void {
    this.of(project).told.set(job.id, Notification.emit(this.words(job), 'in-progress', { autoClose: false }));
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
      Notification.update({ id, message: this.words(job) });
    } else if (job.ended !== null) {
      this.tellEnd(path, job);
      this.forget(path, job.id);
    } else if (id === null) {
      told.set(job.id, Notification.emit(this.words(job), 'in-progress', { autoClose: false }));
    }
  }

  private tellEnd(path: string, job: Job): void {
    const id = this.followed.get(path)?.told.get(job.id);
    const isGood = job.state === 'finished';
    const type = isGood ? 'success' : job.state === 'stopped' ? 'warning' : 'error';
    const options = { autoClose: isGood ? SHORT : (false as const), actions: this.actions(path, job) };
    if (id) {
      Notification.update({ id, message: this.words(job), type, ...options });
    } else {
      Notification.emit(this.words(job), type, options);
    }
  }

  private actions(path: string, job: Job): Notification.IAction[] {
    const { commands } = this.app;
    const run = job.run_id;
    if (run === null) {
      return [];
    }
    const show = { label: this.trans.__('Show Run'), callback: () => void commands.execute(REVEAL, { run, path }) };
    const open = {
      label: this.trans.__('Open Notebook'),
      callback: () => {
        this.openNotebook(path, run).catch((problem: unknown) => {
          Notification.error(problem instanceof Error ? problem.message : String(problem));
        });
      }
    };
    return job.kind === 'experiment' ? [show, open] : [show];
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

  private words(job: Job): string {
    const { name, message, progress } = job;
    switch (job.state) {
      case 'finished':
        return this.trans.__('%1 has finished', name);
      case 'stopped':
        return this.trans.__('%1 was stopped', name);
      case 'failed':
      case 'died':
        return this.trans.__('%1 has failed: %2', name, message ?? this.trans.__('its log says why'));
      default:
        return progress === null ? this.trans.__('%1 is being started', name) : `${name}: ${progress.text}`;
    }
  }
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
