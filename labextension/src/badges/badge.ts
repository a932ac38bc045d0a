/** A line below a magic's cell: how the last run of it ended, and what came of it. A click on it opens the run. */
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';

/** What is kept in a cell's metadata of its last run: see `widgets/badge.py`. */
export interface Last extends ReadonlyPartialJSONObject {
  run: string;
  status: string;
  metric: string | null;
}

export class Badge extends Widget {
  private readonly button = document.createElement('button');
  private readonly status = document.createElement('span');
  private readonly metric = document.createElement('span');

  constructor(open: (run: string) => void) {
    super();
    this.addClass('mlx-Badge');
    this.button.type = 'button';
    this.status.className = 'mlx-Badge-status';
    this.button.append(this.status, this.metric);
    this.button.addEventListener('click', () => {
      open(this.button.dataset.run ?? '');
    });
    this.node.append(this.button);
  }

  /** Show a run. */
  say(last: Last, words: { status: string; title: string }): void {
    this.button.dataset.run = last.run;
    this.button.dataset.status = last.status;
    this.button.title = words.title;
    this.status.textContent = words.status;
    this.metric.textContent = last.metric;
  }
}

/** What a value of metadata, or of an output of our type, says of a run; null where it says nothing. */
export function lastOf(value: unknown): Last | null {
  const { run, status, metric } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Last>;
  if (typeof run !== 'string' || !/^[0-9a-f]{32}$/.test(run) || typeof status !== 'string') {
    return null;
  }
  return { run, status, metric: typeof metric === 'string' ? metric : null };
}
