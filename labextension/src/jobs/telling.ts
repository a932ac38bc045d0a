/** What is told of jobs: by a notification how far one is, and at last what came of it. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import { type Job, Project } from '../api';
import { REVEAL } from '../panel/commands';
import { messageOf } from '../problems';
import type { Teller } from './following';
import { OPEN_LOG } from './tokens';
import { isWell, words } from './words';

const VERDICT = 'mlexp.replay.sentence'; // the tag of a run that says whether it has given the same as its original
const NEWS = 10_000; // ms that good news is shown; it stays in the list of notifications

export class Notifications implements Teller {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly trans: TranslationBundle
  ) {}

  /** Say that it goes on; what looks at it or stops it leaves the notification there. */
  begun(path: string, job: Job): string {
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

  further(id: string, job: Job): void {
    Notification.update({ id, message: words(job, this.trans) });
  }

  gone(id: string): void {
    Notification.dismiss(id);
  }

  /** Tell what came of a job, by its notification if there is one; of a replay that came to a verdict, that. */
  async ended(path: string, job: Job, id: string | null): Promise<void> {
    const verdict = job.kind === 'replay' ? await verdictOf(new Project(path), job) : null;
    const isGood = isWell(job);
    const isBad = !isGood && job.state !== 'stopped' && verdict === null;
    const type = isGood ? 'success' : isBad ? 'error' : 'warning';
    const message = verdict === null ? words(job, this.trans) : this.trans.__('%1, run again: %2', job.name, verdict);
    const options = { autoClose: isGood ? NEWS : (false as const), actions: this.endActions(path, job) };
    if (id === null || !Notification.update({ id, message, type, ...options })) {
      Notification.emit(message, type, options); // the one that said that it goes on may have been dismissed
    }
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
}

/** Whether a replay has given the same, in a sentence; null where it didn't come to that. */
async function verdictOf(project: Project, { run_id: id }: Job): Promise<string | null> {
  const run = id === null ? null : await project.run(id).catch(() => null);
  return run?.tags[VERDICT] ?? null;
}

function report(problem: unknown): void {
  Notification.error(messageOf(problem));
}
