/** What a form says besides its fields: what the user should know, and what is wrong with none of them alone. */
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

export interface ToldProps {
  notes: readonly string[];
  wrong: readonly string[];
}

export function Told({ notes, wrong }: ToldProps): React.ReactElement {
  return (
    <>
      {notes.map((note) => (
        <p key={note} className="mlx-Form-note">
          {note}
        </p>
      ))}
      {wrong.length > 0 && (
        <div className="mlx-Form-wrong" role="alert">
          {wrong.map((one) => (
            <div key={one}>{one}</div>
          ))}
        </div>
      )}
    </>
  );
}

/** What went wrong when something was to be started, in words. */
export function inWords(problem: unknown, trans: TranslationBundle): string {
  const message = problem instanceof Error ? problem.message : String(problem);
  return problem instanceof TypeError || message === 'Failed to fetch'
    ? trans.__('The server does not answer: nothing was started')
    : message;
}
