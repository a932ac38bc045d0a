/** What went wrong, as people are told it. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { Refusal } from './api';

/** What went wrong, in words. */
export function messageOf(problem: unknown): string {
  return problem instanceof Error ? problem.message : String(problem);
}

/** The same, of what was to be started by a form that stays open. */
export function whyNotStarted(problem: unknown, trans: TranslationBundle): string {
  const message = messageOf(problem);
  return problem instanceof TypeError || message === 'Failed to fetch'
    ? trans.__('The server does not answer: nothing was started')
    : message;
}

/** The same, of what is asked of a server that may lack the extension. */
export function whyNotOpened(problem: unknown, trans: TranslationBundle): string {
  return problem instanceof Refusal && problem.isMissing
    ? trans.__('the server has no such folder, or lacks the extension: jupyter server extension enable ml_experiment_nb')
    : messageOf(problem);
}
