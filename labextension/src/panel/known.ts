/** The runs that are known of a project, each as it was last heard of. Pure. */
import { JSONExt, type ReadonlyJSONObject } from '@lumino/coreutils';

import type { Run } from '../api';

export class KnownRuns {
  private runs = new Map<string, Run>();
  private readonly heard = new WeakMap<Run, number>(); // when each was: what runs has gone on since
  private readonly pinned = new Set<string>(); // what was asked for by its id, and may be too old to be listed

  get size(): number {
    return this.runs.size;
  }

  get(id: string): Run | undefined {
    return this.runs.get(id);
  }

  has(id: string): boolean {
    return this.runs.has(id);
  }

  values(): Iterable<Run> {
    return this.runs.values();
  }

  /** Keep what is heard of a run. Where that is nothing new, the run stays the same object: who shows it asks no more. */
  keep(run: Run, now = Date.now()): void {
    const before = this.runs.get(run.run_id);
    if (before === undefined || !isSame(before, run)) {
      this.heard.set(run, now);
      this.runs.set(run.run_id, run);
    }
  }

  /** Keep a run whatever is listed. */
  pin(run: Run): void {
    this.pinned.add(run.run_id);
    if (!this.runs.has(run.run_id)) {
      this.keep(run);
    }
  }

  unpinAll(): void {
    this.pinned.clear();
  }

  /** Forget all but these and what is pinned. */
  replace(runs: readonly Run[], now = Date.now()): void {
    const wanted = new Set([...this.pinned, ...runs.map((run) => run.run_id)]);
    runs.forEach((run) => {
      this.keep(run, now);
    });
    this.runs = new Map([...this.runs].filter(([id]) => wanted.has(id)));
  }

  forget(ids: readonly string[]): void {
    ids.forEach((id) => {
      this.runs.delete(id);
      this.pinned.delete(id);
    });
  }

  clear(): void {
    this.runs.clear();
  }

  /** For how long a run has gone on, or went. */
  seconds(run: Run, now: number): number {
    return run.status === 'running' ? run.seconds + (now - (this.heard.get(run) ?? now)) / 1000 : run.seconds;
  }
}

/** Whether two words of a run say the same; for how long it has gone on, each of them says anew. */
function isSame(a: Run, b: Run): boolean {
  const seconds = a.status === 'running' ? { seconds: 0 } : {};
  return JSONExt.deepEqual({ ...a, ...seconds } as unknown as ReadonlyJSONObject, { ...b, ...seconds } as unknown as ReadonlyJSONObject);
}
