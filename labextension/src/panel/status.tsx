/** A run's status as a sign: those that the command and the notebook's views have. */
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Status } from '../api';

const SIGNS: Record<Status, string> = { running: '●', finished: '✓', failed: '✗', pruned: '⊘', killed: '■' };

export const STATUSES = Object.keys(SIGNS) as Status[];

export function statusText(status: Status, trans: TranslationBundle): string {
  switch (status) {
    case 'running':
      return trans.__('running');
    case 'finished':
      return trans.__('finished');
    case 'failed':
      return trans.__('failed');
    case 'pruned':
      return trans.__('pruned');
    case 'killed':
      return trans.__('killed');
  }
}

export function StatusSign({ status, trans }: { status: Status; trans: TranslationBundle }): React.JSX.Element {
  const text = statusText(status, trans);
  return (
    <span className={`mlx-Status mlx-Status-${status}`} role="img" aria-label={text} title={text}>
      {SIGNS[status]}
    </span>
  );
}
