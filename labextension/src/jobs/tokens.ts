/** What other plugins know of jobs. */
import { Token } from '@lumino/coreutils';

import type { Job, Project } from '../api';

/** The command that opens a job's log, and what came of it. */
export const OPEN_LOG = 'ml-experiment-nb:open-job-log';

export interface IJobs {
  /** Follow a job that was just started: a notification says how far it is, and what came of it. */
  follow: (job: Job, project: Project) => void;
}

export const IJobs = new Token<IJobs>(
  'ml-experiment-nb:IJobs',
  'Follows what was started on the server and goes on without the page.'
);
