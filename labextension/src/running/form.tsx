/** The form that runs a notebook, as it is seen. */
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import type { Parameter } from '../api';
import { Told } from '../told';
import { type Fields, isLiteral, type Kind } from './asked';
import type { FormModel } from './model';

export class Form extends ReactWidget {
  constructor(readonly model: FormModel) {
    super();
    this.addClass('mlx-Form');
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
  model: FormModel;
}

function Whole({ model }: Props): React.ReactElement {
  const { ground, said, plan, trans } = model;
  return (
    <>
      <Told notes={ground.notes} wrong={said.others} />
      <Kinds model={model} />
      <Text model={model} name="name" label={trans.__('Name')} hint={trans.__('the notebook’s name')} />
      <Params model={model} />
      {model.fields.kind === 'group' && <Search model={model} />}
      <details>
        <summary>{trans.__('More')}</summary>
        <Text model={model} name="seed" label={trans.__('Seed')} hint={trans.__('drawn, and recorded')} />
        <Text model={model} name="timeout" label={trans.__('Timeout in seconds')} hint={trans.__('none')} />
      </details>
      {plan !== null && (
        <details>
          <summary>{trans.__('What will be done')}</summary>
          <pre className="mlx-Form-plan">{plan}</pre>
        </details>
      )}
    </>
  );
}

function Kinds({ model }: Props): React.ReactElement {
  const { trans } = model;
  const kinds: [Kind, string][] = [
    ['experiment', trans.__('Experiment: one run')],
    ['group', trans.__('Group: many runs, a search')]
  ];
  return (
    <fieldset className="mlx-Form-kinds">
      <legend>{trans.__('Run as')}</legend>
      {kinds.map(([kind, label]) => (
        <label key={kind}>
          <input
            type="radio"
            name="mlx-kind"
            value={kind}
            checked={model.fields.kind === kind}
            onChange={() => {
              model.set({ kind });
            }}
          />
          {label}
        </label>
      ))}
    </fieldset>
  );
}

function Params({ model }: Props): React.ReactElement {
  const { ground, parameters, trans } = model;
  const list = 'mlx-distributions';
  const isGroup = model.fields.kind === 'group';
  return (
    <fieldset>
      <legend>{trans.__('Parameters')}</legend>
      {parameters.length === 0 && (
        <p className="mlx-Form-note">
          {ground.found.hint === null
            ? trans.__('The parameters cell assigns none.')
            : trans.__('No parameters can be set: %1. It can be run as it is.', ground.found.hint)}
        </p>
      )}
      {isGroup && parameters.length > 0 && (
        <p className="mlx-Form-note">{trans.__('Give those that are searched a distribution, such as %1.', examples(model))}</p>
      )}
      {parameters.map((one) => (
        <Param key={one.name} model={model} parameter={one} list={isGroup ? list : undefined} />
      ))}
      <datalist id={list}>
        {ground.about.distributions.map(({ name, example, help }) => (
          <option key={name} value={example}>
            {help}
          </option>
        ))}
      </datalist>
    </fieldset>
  );
}

function Param({ model, parameter, list }: Props & { parameter: Parameter; list: string | undefined }): React.ReactElement {
  const { name, type, default: usual, comment } = parameter;
  const kind = isLiteral(parameter) ? type : model.trans.__('the notebook works it out');
  return (
    <Field model={model} field={`params.${name}`} label={name} isCode note={[kind, comment].filter(Boolean).join(' · ')}>
      {(props) => (
        <input
          {...props}
          list={list}
          placeholder={usual}
          value={model.fields.params[name] ?? ''}
          onChange={(event) => {
            model.setParam(name, event.target.value);
          }}
        />
      )}
    </Field>
  );
}

function Search({ model }: Props): React.ReactElement {
  const { fields, ground, trans } = model;
  return (
    <fieldset>
      <legend>{trans.__('Search')}</legend>
      <Text model={model} name="metric" label={trans.__('Metric')} hint="val_accuracy" options={ground.metrics} />
      <Field model={model} field="direction" label={trans.__('Direction')}>
        {(props) => (
          <select
            {...props}
            value={fields.direction}
            onChange={(event) => {
              model.set({ direction: event.target.value === 'minimize' ? 'minimize' : 'maximize' });
            }}
          >
            <option value="maximize">{trans.__('Maximize')}</option>
            <option value="minimize">{trans.__('Minimize')}</option>
          </select>
        )}
      </Field>
      <Text model={model} name="trials" label={trans.__('Trials')} hint="10" />
      <Text model={model} name="slots" label={trans.__('Slots')} hint={trans.__('one for each CPU')} />
      <Text model={model} name="sampler" label={trans.__('Sampler')} hint="TPE" options={ground.about.samplers} />
      <Text model={model} name="pruner" label={trans.__('Pruner')} hint={trans.__('none')} options={ground.about.pruners} />
    </fieldset>
  );
}

interface TextProps extends Props {
  name: Exclude<keyof Fields, 'kind' | 'params' | 'direction'>;
  label: string;
  /** What stands for an empty field. */
  hint: string;
  options?: readonly string[];
}

function Text({ model, name, label, hint, options }: TextProps): React.ReactElement {
  const list = options === undefined ? undefined : `mlx-${name}`;
  return (
    <Field model={model} field={name} label={label}>
      {(props) => (
        <>
          <input
            {...props}
            list={list}
            placeholder={hint}
            value={model.fields[name]}
            onChange={(event) => {
              model.set({ [name]: event.target.value });
            }}
          />
          <datalist id={list}>{options?.map((one) => <option key={one} value={one} />)}</datalist>
        </>
      )}
    </Field>
  );
}

interface FieldProps extends Props {
  field: string;
  label: string;
  note?: string;
  isCode?: boolean;
  children: (props: React.AriaAttributes & { id: string; className: string; spellCheck: false }) => React.ReactElement;
}

/** A label, what is typed, and what is said of it. */
function Field({ model, field, label, note, isCode, children }: FieldProps): React.ReactElement {
  const wrong = model.said.fields[field];
  const id = `mlx-field-${field}`;
  const described = `${id}-said`;
  return (
    <div className="mlx-Form-field">
      <label htmlFor={id} className={isCode === true ? 'mlx-mod-code' : undefined}>
        {label}
      </label>
      {children({
        id,
        className: isCode === true ? 'mlx-mod-code' : '',
        spellCheck: false,
        'aria-invalid': wrong !== undefined,
        'aria-describedby': described
      })}
      <div id={described} className={wrong === undefined ? 'mlx-Form-note' : 'mlx-Form-wrong'}>
        {wrong ?? note}
      </div>
    </div>
  );
}

function examples(model: FormModel): string {
  return model.ground.about.distributions
    .slice(0, 2)
    .map(({ example }) => example)
    .join(', ');
}
