/** A job that is looked at: how it stands, what it prints, and what it has made. */
import { VDomModel } from '@jupyterlab/ui-components';

import type { Job, Log, Made, Project } from '../api';
import { messageOf } from '../problems';
import { Renewal } from '../renewal';

const RENEWED = 2000; // ms between two looks at the log of what runs, as long as it is seen

export class JobModel extends VDomModel {
  job: Job | null = null;
  log: Log | null = null;
  made: Made | null = null;
  /** Why how it stands isn't known. */
  problem: string | null = null;
  /** Why it was not stopped. */
  refusal: string | null = null;
  private readonly close: () => void;
  private timer: ReturnType<typeof setInterval> | undefined;
  private readonly renewal = new Renewal(
    () => this.asked(),
    () => {
      this.problem = null;
      this.stateChanged.emit();
    },
    (problem) => {
      this.problem = messageOf(problem);
      this.stateChanged.emit();
    }
  );

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
    this.renewal.end();
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

  /** Ask how it stands. */
  renew(): Promise<void> {
    return this.renewal.want();
  }

  /** Stop it, and wait until that is done. */
  async stop(): Promise<void> {
    this.refusal = null;
    try {
      await this.project.stopJob(this.id);
    } catch (problem) {
      this.refusal = messageOf(problem);
    }
    this.stateChanged.emit();
    await this.renew();
  }

  private async asked(): Promise<void> {
    const job = await this.project.job(this.id); // before its log: of what has ended, that is whole then
    this.log = await this.project.jobLog(this.id);
    if (job.kind === 'image' && job.ended !== null) {
      ({ made: this.made } = await this.project.image(this.id));
    }
    this.job = job;
  }
}
