/** How a job stands, in words. Pure. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Job } from '../api';

export function words(job: Job, trans: TranslationBundle): string {
  const { name, message, progress } = job;
  switch (job.state) {
    case 'finished':
      return job.kind === 'image' ? trans.__('%1 is made', name) : trans.__('%1 has finished', name);
    case 'stopped':
      return trans.__('%1 was stopped', name);
    case 'failed':
    case 'died':
      return trans.__('%1 has failed: %2', name, message ?? trans.__('its log says why'));
    default:
      return progress === null ? begun(job, trans) : `${name}: ${progress.text}`;
  }
}

function begun({ kind, name }: Job, trans: TranslationBundle): string {
  switch (kind) {
    case 'resume':
      return trans.__('%1 goes on', name);
    case 'replay':
      return trans.__('%1 is run again from its record', name);
    default:
      return trans.__('%1 is being started', name);
  }
}

/** How it stands, without its name. */
export function stateText({ state }: Job, trans: TranslationBundle): string {
  switch (state) {
    case 'starting':
      return trans.__('starting');
    case 'running':
      return trans.__('running');
    case 'stopping':
      return trans.__('stopping');
    case 'finished':
      return trans.__('finished');
    case 'stopped':
      return trans.__('stopped');
    case 'failed':
      return trans.__('failed');
    case 'died':
      return trans.__('died');
  }
}

export function isWell(job: Job): boolean {
  return job.state === 'finished';
}
