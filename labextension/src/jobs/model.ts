/** A job that is looked at: how it stands, what it prints, and what it has made. */
import { VDomModel } from '@jupyterlab/ui-components';

import type { Job, Log, Made, Project } from '../api';
import { messageOf } from '../problems';

const RENEWED = 2000; // ms between two looks at the log of what runs, as long as it is seen

export class JobModel extends VDomModel {
  job: Job | null = null;
  log: Log | null = null;
  made: Made | null = null;
  problem: string | null = null;
  private readonly close: () => void;
  private timer: ReturnType<typeof setInterval> | undefined;
  private isAsking = false;
  private wanted = 0; // how often it was asked for

  constructor(
    readonly project: Project,
    readonly id: string
  ) {
    super();
    this.close = project.watch((event) => {
      if (event.event === 'hello' || (event.event === 'jobs' && event.changed.some((job) => job.id === id))) {
        void this.renew();
      }
    });
  }

  get isOver(): boolean {
    return this.job !== null && this.job.ended !== null;
  }

  override dispose(): void {
    this.see(false);
    this.close();
    super.dispose();
  }

  /** Say whether it is seen: only then its log is looked at by itself. */
  see(isSeen: boolean): void {
    clearInterval(this.timer);
    if (isSeen) {
      this.timer = setInterval(() => {
        if (!this.isOver) {
          void this.renew();
        }
      }, RENEWED);
    }
  }

  /** Ask how it stands; what is asked for meanwhile is asked once more. */
  async renew(): Promise<void> {
    this.wanted++;
    if (this.isAsking) {
      return;
    }
    this.isAsking = true;
    for (let done = 0; done !== this.wanted && !this.isDisposed;) {
      done = this.wanted;
      await this.once();
      this.stateChanged.emit();
    }
    this.isAsking = false;
  }

  /** Stop it, and wait until that is done. */
  async stop(): Promise<void> {
    try {
      await this.project.stopJob(this.id);
    } catch (problem) {
      this.problem = messageOf(problem);
    }
    await this.renew();
  }

  private async once(): Promise<void> {
    try {
      const job = await this.project.job(this.id); // before its log: of what has ended, that is whole then
      this.log = await this.project.jobLog(this.id);
      if (job.kind === 'image' && job.ended !== null) {
        ({ made: this.made } = await this.project.image(this.id));
      }
      [this.job, this.problem] = [job, null];
    } catch (problem) {
      this.problem = messageOf(problem);
    }
  }
}
