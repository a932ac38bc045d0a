/** What can be done with the selected runs. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Form, Project, Run } from '../api';
import { messageOf } from '../problems';
import type { IJobs } from '../jobs/tokens';
import type { RunsModel } from './model';
import { statusText } from './status';

const SHORT = 5000; // ms that a word stays
const LONG = 20_000; // ms that something can be undone, by its notification

/** Where the actions happen. */
export interface Desk {
  app: JupyterFrontEnd;
  model: RunsModel;
  jobs: IJobs;
  trans: TranslationBundle;
  /** What was deleted last, for the command that undoes it. */
  deleted: Deleted | null;
}

/** What was deleted, and can be brought back once. */
interface Deleted {
  names: string;
  isTaken: boolean;
  restore: () => Promise<void>;
}

export async function stop({ model, trans }: Desk, runs: readonly Run[]): Promise<void> {
  const { project } = model.feed;
  const answer = await showDialog({
    title: trans.__('Stop'),
    body: trans.__('Stop %1? What it has recorded so far is kept.', namesOf(runs)),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Stop') })]
  });
  if (answer.button.accept) {
    await Promise.all(runs.map((run) => project.stop(run.run_id)));
    Notification.info(trans.__('%1 has been stopped', namesOf(runs)), { autoClose: SHORT });
  }
}

export async function resume({ jobs, model: { feed: { project } } }: Desk, run: Run): Promise<void> {
  jobs.follow(await project.resume(run.run_id), project);
}

export async function replay({ jobs, model: { feed: { project } } }: Desk, run: Run): Promise<void> {
  jobs.follow(await project.replay(run.run_id), project);
}

/** Delete runs, and offer for a while to bring them back; they leave the list at once. */
export async function remove(desk: Desk, runs: readonly Run[]): Promise<void> {
  const { model, trans } = desk;
  const { project } = model.feed;
  const ids = runs.map((run) => run.run_id);
  const tops = runs.filter((run) => run.parent_id === null || !ids.includes(run.parent_id)); // a group takes its trials along
  const names = namesOf(tops);
  const done: string[] = [];
  const deleting = deleteAll(project, tops, done);
  const mine: Deleted = {
    names,
    isTaken: false,
    restore: async () => {
      if (mine.isTaken) {
        return; // by the command, or by the notification
      }
      mine.isTaken = true;
      desk.deleted = desk.deleted === mine ? null : desk.deleted;
      await deleting.catch(() => undefined); // told below
      await Promise.all(done.map((id) => project.restore(id)));
      await model.feed.load();
      Notification.info(trans.__('%1 is back', names), { autoClose: SHORT });
    }
  };
  desk.deleted = mine;
  model.feed.forget(ids);
  try {
    await deleting;
  } catch (problem) {
    void model.feed.load(); // what is not deleted after all comes back
    throw problem;
  } finally {
    if (done.length === 0) {
      desk.deleted = desk.deleted === mine ? null : desk.deleted;
    } else if (!mine.isTaken) {
      offer(trans, trans.__('%1 has been deleted', names), mine.restore);
    }
  }
}

/** Delete one after the other, and note those that are. */
async function deleteAll(project: Project, runs: readonly Run[], done: string[]): Promise<void> {
  for (const { run_id: id } of runs) {
    await project.delete(id);
    done.push(id);
  }
}

function offer(trans: TranslationBundle, text: string, restore: () => Promise<void>): void {
  const callback = (): void => {
    restore().catch(report);
  };
  Notification.info(text, { autoClose: LONG, actions: [{ label: trans.__('Undo'), callback, displayType: 'accent' }] });
}

export async function openNotebook({ app, model }: Desk, run: Run): Promise<void> {
  const { path } = await model.feed.project.notebook(run.run_id);
  await app.commands.execute('docmanager:open', { path });
}

/** Open MLflow's page of a run; where the browser holds the new tab back, a notification has it. */
export async function openInMlflow({ model, trans }: Desk, run: Run): Promise<void> {
  const { project } = model.feed;
  let { address } = await project.mlflow(run.run_id);
  if (address === null) {
    const id = Notification.emit(trans.__('MLflow’s page is being started'), 'in-progress');
    try {
      ({ address } = await project.startMlflow(run.run_id));
    } finally {
      Notification.dismiss(id);
    }
  }
  if (address === null) {
    throw new Error(trans.__('MLflow’s page could not be started'));
  }
  const to = address;
  if (window.open(to, '_blank') === null) {
    const callback = (): void => {
      window.open(to, '_blank', 'noopener');
    };
    Notification.info(trans.__('MLflow’s page of %1', run.name), { actions: [{ label: trans.__('Open'), callback }] });
  }
}

/** Put what a run was asked by on the clipboard, as a spec, a cell or a command. */
export async function copy({ model, trans }: Desk, run: Run, as: Form): Promise<void> {
  const { text, losses } = await model.feed.project.form(run.run_id, as);
  await toClipboard(text);
  if (losses.length > 0) {
    Notification.warning(trans.__('Copied, but: %1', losses.join('; ')), { autoClose: LONG });
  } else {
    Notification.success(trans.__('Copied'), { autoClose: SHORT });
  }
}

export async function copyIds({ trans }: Desk, runs: readonly Run[]): Promise<void> {
  await toClipboard(runs.map((run) => run.run_id).join(' '));
  Notification.success(trans.__('Copied'), { autoClose: SHORT });
}

async function toClipboard(text: string): Promise<void> {
  if (window.isSecureContext) {
    await navigator.clipboard.writeText(text);
  } else {
    Clipboard.copyToSystem(text);
  }
}

/** Say that a run has ended; whatever is shown when it is asked for, it is one of this project. */
export function tellEnd({ app, model, trans }: Desk, run: Run, command: string): void {
  const { path } = model.feed.project;
  const callback = (): void => {
    void app.commands.execute(command, { run: run.run_id, path });
  };
  const options = { autoClose: LONG, actions: [{ label: trans.__('Show'), callback }] };
  if (run.status === 'finished') {
    Notification.success(trans.__('%1 has finished', run.name), options);
  } else {
    Notification.warning(trans.__('%1 has ended: %2', run.name, run.failure?.message ?? statusText(run.status, trans)), options);
  }
}

/** Say what went wrong. */
export function report(problem: unknown): void {
  Notification.error(messageOf(problem), { autoClose: LONG });
}

function namesOf(runs: readonly Run[]): string {
  const names = runs.slice(0, 3).map((run) => `“${run.name}”`);
  return runs.length > 3 ? `${names.join(', ')} +${runs.length - 3}` : names.join(', ');
}
