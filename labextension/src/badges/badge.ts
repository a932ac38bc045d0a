/** A line below a magic's cell: how the last run of it ended, and what came of it. A click on it opens the run. */
import { Widget } from '@lumino/widgets';

import type { Last } from './last';

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
