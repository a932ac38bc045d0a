/**
 * What was started from here, followed to its end.
 *
 * It runs without the browser. What was started is remembered with the workspace, so that a page that is opened later
 * tells of an end that nobody has seen.
 */
import type { ReadonlyJSONValue } from '@lumino/coreutils';

import { type Job, Project } from '../api';
import type { IJobs } from './tokens';

const KEY = 'ml-experiment-nb-jobs:started'; // a name before the colon that no tracker of widgets has: it drops what it can't open

/** Tells people of jobs. */
export interface Teller {
  /** Say that one goes on; return what that is known by. */
  begun: (path: string, job: Job) => string;
  /** Say how far it is. */
  further: (id: string, job: Job) => void;
  /** Say what came of it; `id` is what has said that it goes on. */
  ended: (path: string, job: Job, id: string | null) => Promise<void>;
  /** Say no more of one that there is no word of any more. */
  gone: (id: string) => void;
}

/** Where it is remembered: JupyterLab's `IStateDB`. */
export interface Memory {
  fetch: (key: string) => Promise<unknown>;
  save: (key: string, value: ReadonlyJSONValue) => Promise<unknown>;
}

/** Jobs of one project, while some of them run. */
interface Followed {
  readonly project: Project;
  /** What is told of each. */
  readonly told: Map<string, string | null>;
  readonly close: () => void;
}

export class Jobs implements IJobs {
  private readonly followed = new Map<string, Followed>();
  private isRestored = false;

  constructor(
    private readonly teller: Teller,
    private readonly memory: Memory | null,
    private readonly projectOf = (path: string): Project => new Project(path)
  ) {}

  /** Follow a job that was just started. */
  follow(job: Job, project: Project): void {
    const isNew = !this.followed.has(project.path);
    this.of(project).told.set(job.id, this.teller.begun(project.path, job));
    this.remember();
    this.hear(project.path, job);
    if (!isNew) {
      void this.renew(project); // it may have ended before this was known of; a new connection asks by itself
    }
  }

  /** Go on with what an earlier page has started. */
  async restore(): Promise<void> {
    const kept = readable(await this.memory?.fetch(KEY).catch(() => undefined));
    for (const [path, ids] of Object.entries(kept)) {
      const isNew = !this.followed.has(path);
      const followed = this.of(this.projectOf(path));
      ids.forEach((id) => followed.told.set(id, followed.told.get(id) ?? null));
      if (!isNew) {
        void this.renew(followed.project);
      }
    }
    this.isRestored = true;
    this.remember();
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
      const notification = told?.get(id);
      if (notification) {
        this.teller.gone(notification);
      }
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
      this.teller.further(id, job);
    } else if (job.ended !== null) {
      void this.teller.ended(path, job, id ?? null);
      this.forget(path, job.id);
    } else if (id === null) {
      told.set(job.id, this.teller.begun(path, job));
    }
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

  /** Not before it is known what was remembered: that would be lost. */
  private remember(): void {
    if (this.isRestored) {
      const kept = [...this.followed].map(([path, { told }]) => [path, [...told.keys()]]);
      void this.memory?.save(KEY, Object.fromEntries(kept) as ReadonlyJSONValue);
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
