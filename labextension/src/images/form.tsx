/** The form of an image, as it is seen: its name and base, what would go in, what is chosen. */
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import type { DataFile, ImagePlan, Package } from '../api';
import { size } from '../panel/figures';
import { Told } from '../told';
import { type Fields, type Group, groupsOf, type Lab, sizeOf, sum } from './asked';
import type { ImageModel } from './model';

export class ImageForm extends ReactWidget {
  constructor(readonly model: ImageModel) {
    super();
    this.addClass('mlx-Form');
    this.addClass('mlx-Image');
  }

  protected override render(): React.ReactElement {
    return <UseSignal signal={this.model.stateChanged}>{() => <Whole model={this.model} />}</UseSignal>;
  }

  /** Go to the first field with something wrong. */
  focusWrong(): void {
    this.node.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
  }
}

interface Props {
  model: ImageModel;
}

interface PlanProps extends Props {
  plan: ImagePlan;
}

function Whole({ model }: Props): React.ReactElement {
  const { plan, said, subject, trans } = model;
  return (
    <>
      <Told notes={subject.notes} wrong={said.others} />
      <Text model={model} name="tag" label={trans.__('Name and tag')} hint={plan?.name ?? 'team/name:1'} />
      <Text model={model} name="base" label={trans.__('Base image')} hint={model.usualBase} note={baseNote(model)} />
      <fieldset aria-busy={model.isPlanning}>
        <legend>{trans.__('What goes in')}</legend>
        <Check model={model} name="onlyImports" label={trans.__('Only packages that the code imports, and what these need')} />
        <LabChoice model={model} />
        <Contents model={model} />
      </fieldset>
      {plan !== null && <How model={model} plan={plan} />}
    </>
  );
}

function LabChoice({ model }: Props): React.ReactElement {
  const { trans } = model;
  const choices: [Lab, string][] = [
    ['', trans.__('as in the kernel’s environment')],
    ['in', trans.__('in it')],
    ['out', trans.__('not in it')]
  ];
  return <Choice model={model} name="lab" label={trans.__('JupyterLab')} choices={choices} />;
}

function NetworkChoice({ model }: Props): React.ReactElement {
  const { trans } = model;
  const choices: [Fields['network'], string][] = [
    ['', trans.__('the engine’s own')],
    ['host', trans.__('the host’s')],
    ['none', trans.__('none')]
  ];
  const note = trans.__('For apt.txt and postBuild; nothing else of the build uses one.');
  return <Choice model={model} name="network" label={trans.__('Network')} choices={choices} note={note} />;
}

function baseNote({ fields, plan, trans }: ImageModel): string | undefined {
  const isShown = plan !== null && (fields.base.trim() === '' || fields.base.trim() === plan.base);
  return isShown && plan.engine.has_base === false ? trans.__('The engine has not got it: it is pulled first.') : undefined;
}

/** The plan, or why there is none; it takes seconds. */
function Contents({ model }: Props): React.ReactElement {
  const { isPlanning, plan, problem, trans } = model;
  return (
    <>
      <div role="status" className="mlx-Image-state">
        {isPlanning && (
          <>
            <span className="mlx-Image-spinner" aria-hidden="true" />
            {trans.__('Looking at what the code and its kernel need…')}
          </>
        )}
      </div>
      {problem !== null && (
        <div className="mlx-Form-wrong" role="alert">
          <div>{problem}</div>
          <button className="jp-mod-styled mlx-Image-again" onClick={() => void model.load()}>
            {trans.__('Look Again')}
          </button>
        </div>
      )}
      {plan !== null && <Plan model={model} plan={plan} />}
    </>
  );
}

function Plan({ model, plan }: PlanProps): React.ReactElement {
  const { fields, isPlanning, trans } = model;
  const total = size(sizeOf(plan, fields.out));
  return (
    <div className={isPlanning ? 'mlx-Image-plan mlx-mod-old' : 'mlx-Image-plan'}>
      <p>
        {trans.__('Python %1 of the kernel %2', plan.python, plan.kernel)}
        {plan.cuda !== null && `, CUDA ${plan.cuda}`}
        {'; '}
        {plan.lab ? trans.__('JupyterLab is in it') : trans.__('JupyterLab is not in it')}.{' '}
        <strong>{trans.__('%1 as installed, above the base.', total)}</strong>
      </p>
      {groupsOf(plan.packages).map((group) => (
        <Packages key={group.name} model={model} group={group} />
      ))}
      {plan.modules.length > 0 && (
        <Part title={trans.__('Modules of the project')} count={plan.modules.length} bytes={sum(plan.modules)}>
          <Table rows={plan.modules.map((one) => [one.path, '', size(one.size)])} />
        </Part>
      )}
      {plan.data.length > 0 && <Data model={model} plan={plan} />}
      {plan.dropped.length > 0 && (
        <Part title={trans.__('Left out: nothing imports them')} count={plan.dropped.length}>
          <p className="mlx-Form-note">{plan.dropped.join(', ')}</p>
        </Part>
      )}
      {plan.notes.length > 0 && (
        <Part title={trans.__('To be known, and what can’t be frozen')} count={plan.notes.length} isOpen>
          <ul className="mlx-Image-notes">
            {plan.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </Part>
      )}
      <Part title={trans.__('Dockerfile')}>
        <pre className="mlx-Form-plan" tabIndex={0}>
          {plan.dockerfile}
        </pre>
      </Part>
    </div>
  );
}

function Packages({ model, group }: Props & { group: Group }): React.ReactElement {
  const { trans } = model;
  const titles: Record<Group['name'], string> = {
    index: trans.__('Packages of an index'),
    local: trans.__('Local and editable packages'),
    vcs: trans.__('Packages of a VCS'),
    url: trans.__('Packages of an address'),
    debian: trans.__('Debian packages'),
    runner: trans.__('What runs it, in an environment of its own')
  };
  const row = ({ name, version, source, size: bytes }: Package): [string, string, string] => [
    name,
    [version, source].filter(Boolean).join(' · '),
    bytes === null ? '' : size(bytes)
  ];
  return (
    <Part title={titles[group.name]} count={group.packages.length} bytes={group.size}>
      <Table rows={group.packages.map(row)} />
    </Part>
  );
}

/** What the code names: each is in or out, as is chosen; some can only stay out. */
function Data({ model, plan }: PlanProps): React.ReactElement {
  const { fields, trans } = model;
  const choices = plan.data.filter((one) => one.why_out === null);
  const taken = choices.filter((one) => !fields.out.has(one.path));
  return (
    <Part title={trans.__('Data')} count={taken.length} bytes={sum(taken)} isOpen>
      {choices.length > 1 && (
        <label className="mlx-Image-file">
          <input
            type="checkbox"
            checked={taken.length === choices.length}
            ref={(node) => {
              if (node !== null) {
                node.indeterminate = taken.length > 0 && taken.length < choices.length;
              }
            }}
            onChange={(event) => {
              model.setOut(choices.map((one) => one.path), !event.target.checked);
            }}
          />
          <span>{trans.__('All of it')}</span>
        </label>
      )}
      {plan.data.map((one) => (
        <DataRow key={one.path} model={model} one={one} />
      ))}
    </Part>
  );
}

function DataRow({ model, one }: Props & { one: DataFile }): React.ReactElement {
  return (
    <label className="mlx-Image-file">
      <input
        type="checkbox"
        disabled={one.why_out !== null}
        checked={one.why_out === null && !model.fields.out.has(one.path)}
        onChange={(event) => {
          model.setOut([one.path], !event.target.checked);
        }}
      />
      <span className="mlx-mod-code">{one.path}</span>
      {(one.size > 0 || one.why_out === null) && <span className="mlx-Image-size">{size(one.size)}</span>}
      {one.why_out !== null && <span className="mlx-Form-note">{one.why_out}</span>}
    </label>
  );
}

/** What is done with it: built, proven and pushed, or only written. */
function How({ model, plan }: PlanProps): React.ReactElement {
  const { fields, subject, trans } = model;
  const isRun = 'run' in subject.source;
  return (
    <fieldset>
      <legend>{trans.__('What is done')}</legend>
      {plan.engine.problem !== null && (
        <p className="mlx-Image-engine" role="note">
          {trans.__('No image can be built here: %1.', plan.engine.problem)}{' '}
          {trans.__('What it is built from can be written to a folder, for `docker build` elsewhere.')}
        </p>
      )}
      <div className="mlx-Form-kinds">
        <Way model={model} contextOnly={false} label={trans.__('Build it')} isDisabled={plan.engine.problem !== null} />
        <Way model={model} contextOnly={true} label={trans.__('Write what it is built from')} isDisabled={false} />
      </div>
      {fields.contextOnly ? (
        <Text model={model} name="context" label={trans.__('New folder')} hint="image" />
      ) : (
        <>
          <Check
            model={model}
            name="verify"
            label={trans.__('Prove it: repeat the run in it, and compare its metrics')}
            isDisabled={!isRun}
            note={isRun ? undefined : trans.__('For that, export a run: of a notebook nothing is recorded to compare with.')}
          />
          {isRun && fields.verify && (
            <Text
              model={model}
              name="tolerances"
              label={trans.__('Tolerances')}
              hint="loss=0.01, accuracy=1%"
              note={trans.__('How far a metric may be from what it was; without one, not at all.')}
            />
          )}
          {plan.uses_network && <NetworkChoice model={model} />}
          <Check
            model={model}
            name="push"
            label={trans.__('Push it to the registry that its name begins with')}
            note={fields.push ? trans.__('With the Docker credentials of the server’s user.') : undefined}
          />
        </>
      )}
      {plan.secrets.length > 0 && (
        <p className="mlx-Form-note">{trans.__('A container is to be given %1.', plan.secrets.join(', '))}</p>
      )}
    </fieldset>
  );
}

interface WayProps extends Props {
  contextOnly: boolean;
  label: string;
  isDisabled: boolean;
}

function Way({ model, contextOnly, label, isDisabled }: WayProps): React.ReactElement {
  return (
    <label>
      <input
        type="radio"
        name="mlx-image-way"
        disabled={isDisabled}
        checked={model.fields.contextOnly === contextOnly}
        onChange={() => {
          model.set({ contextOnly });
        }}
      />
      {label}
    </label>
  );
}

interface PartProps {
  title: string;
  count?: number;
  bytes?: number;
  isOpen?: boolean;
  children: React.ReactNode;
}

function Part({ title, count, bytes, isOpen, children }: PartProps): React.ReactElement {
  return (
    <details className="mlx-Image-part" open={isOpen}>
      <summary>
        {title}
        {count !== undefined && <span className="mlx-Image-count">{count}</span>}
        {bytes !== undefined && bytes > 0 && <span className="mlx-Image-size">{size(bytes)}</span>}
      </summary>
      {children}
    </details>
  );
}

function Table({ rows }: { rows: [string, string, string][] }): React.ReactElement {
  return (
    <table>
      <tbody>
        {rows.map(([name, text, bytes]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{text}</td>
            <td className="mlx-Image-size">{bytes}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface CheckProps extends Props {
  name: 'onlyImports' | 'verify' | 'push';
  label: string;
  note?: string;
  isDisabled?: boolean;
}

function Check({ model, name, label, note, isDisabled = false }: CheckProps): React.ReactElement {
  return (
    <label className="mlx-Image-check">
      <input
        type="checkbox"
        disabled={isDisabled}
        checked={!isDisabled && model.fields[name]}
        onChange={(event) => {
          model.set({ [name]: event.target.checked });
        }}
      />
      <span>{label}</span>
      {note !== undefined && <span className="mlx-Form-note">{note}</span>}
    </label>
  );
}

interface ChoiceProps<Name extends 'lab' | 'network'> extends Props {
  name: Name;
  label: string;
  choices: readonly [Fields[Name], string][];
  note?: string;
}

function Choice<Name extends 'lab' | 'network'>({ model, name, label, choices, note }: ChoiceProps<Name>): React.ReactElement {
  const id = `mlx-image-${name}`;
  return (
    <div className="mlx-Form-field">
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        aria-describedby={note && `${id}-said`}
        value={model.fields[name]}
        onChange={(event) => {
          model.set({ [name]: event.target.value });
        }}
      >
        {choices.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
      {note !== undefined && (
        <div id={`${id}-said`} className="mlx-Form-note">
          {note}
        </div>
      )}
    </div>
  );
}

interface TextProps extends Props {
  name: keyof Fields & ('tag' | 'base' | 'context' | 'tolerances');
  label: string;
  /** What stands for an empty field. */
  hint: string;
  note?: string;
}

function Text({ model, name, label, hint, note }: TextProps): React.ReactElement {
  const wrong = model.said.fields[name];
  const id = `mlx-image-${name}`;
  return (
    <div className="mlx-Form-field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="mlx-mod-code"
        spellCheck={false}
        aria-invalid={wrong !== undefined}
        aria-describedby={`${id}-said`}
        placeholder={hint}
        value={model.fields[name]}
        onChange={(event) => {
          model.set({ [name]: event.target.value });
        }}
      />
      <div id={`${id}-said`} className={wrong === undefined ? 'mlx-Form-note' : 'mlx-Form-wrong'}>
        {wrong ?? note}
      </div>
    </div>
  );
}
