/** What came of an image: its name, its layers with their sizes, the verdict of its proof, what runs it. */
import { Clipboard } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon } from '@jupyterlab/ui-components';
import React from 'react';

import type { Layer, Made } from '../api';
import { size } from '../panel/figures';
import { stepText } from './asked';

interface Props {
  made: Made;
  trans: TranslationBundle;
}

export function Result({ made, trans }: Props): React.ReactElement {
  const { digest, folder, id, layers, name, notes, verdict } = made;
  return (
    <section className="mlx-Made" aria-label={trans.__('Result')}>
      <h3>
        {folder ?? name} <span className="mlx-Image-size">{size(made.size)}</span>
      </h3>
      {id !== null && (
        <p className="mlx-Form-note">
          {id.replace('sha256:', '').slice(0, 12)}
          {digest !== null && ` · ${trans.__('pushed as %1', digest)}`}
        </p>
      )}
      {folder === null && (
        <p className="mlx-Made-verdict" data-answer={verdict?.answer ?? 'none'}>
          {verdict === null
            ? trans.__('Not verified: no run was repeated in it.')
            : trans.__('The run repeated in it: %1', verdict.sentence)}
        </p>
      )}
      <Command text={made.command} trans={trans} />
      {layers.length > 0 && <Layers layers={layers} trans={trans} />}
      {notes.length > 0 && (
        <ul className="mlx-Image-notes">
          {notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Command({ text, trans }: { text: string; trans: TranslationBundle }): React.ReactElement {
  const [isCopied, setCopied] = React.useState(false);
  return (
    <div className="mlx-Made-command">
      <code>{text}</code>
      <button
        className="jp-mod-styled jp-mod-minimal"
        title={trans.__('Copy')}
        aria-label={trans.__('Copy the command')}
        onClick={() => {
          Clipboard.copyToSystem(text);
          setCopied(true);
        }}
      >
        <copyIcon.react tag="span" />
      </button>
      <span role="status" className="mlx-Form-note">
        {isCopied ? trans.__('Copied') : ''}
      </span>
    </div>
  );
}

function Layers({ layers, trans }: { layers: readonly Layer[]; trans: TranslationBundle }): React.ReactElement {
  const largest = Math.max(...layers.map((one) => one.size), 1);
  return (
    <table aria-label={trans.__('Layers')}>
      <tbody>
        {layers.map((one, index) => (
          <tr key={index}>
            <td className="mlx-Image-size">{size(one.size)}</td>
            <td className="mlx-Made-bar">
              <span style={{ width: `${(100 * one.size) / largest}%` }} />
            </td>
            <td title={one.made_by}>
              <code>{stepText(one.made_by)}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
