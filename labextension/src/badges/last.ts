/** What is known of a cell's last run, from its metadata, its outputs, and the server. Pure. */
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

/** What is kept in a cell's metadata of its last run: see `widgets/badge.py`. */
export interface Last extends ReadonlyPartialJSONObject {
  run: string;
  status: string;
  metric: string | null;
}

/** What a value of metadata, or of an output of our type, says of a run; null where it says nothing. */
export function lastOf(value: unknown): Last | null {
  const { run, status, metric } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Last>;
  if (typeof run !== 'string' || !/^[0-9a-f]{32}$/.test(run) || typeof status !== 'string') {
    return null;
  }
  return { run, status, metric: typeof metric === 'string' ? metric : null };
}

/** The last run: what was kept of it, unless another one is shown, or has meanwhile come further. */
export function lastOfBoth(kept: Last | null, shown: Last | null): Last | null {
  return shown === null || (kept?.run === shown.run && shown.status === 'running') ? kept : shown;
}

/** What is to be kept of a run that ran when it was asked how it stands; null where it is known better by now. */
export function settled(now: Last | null, asked: Last, status: string): Last | null {
  return now?.run === asked.run && now.status === 'running' && status !== 'running' ? { ...now, status } : null;
}
