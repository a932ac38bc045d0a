/** What a form says besides its fields: what the user should know, and what is wrong with none of them alone. */
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
