/** What a form asks for, made of its fields, and what is said of them by whoever checks that. Pure. */
import type { JobAsked, Parameter, Problem } from '../api';

export type Kind = JobAsked['kind'];

/** A form's fields as they are typed; an empty one asks for nothing. */
export interface Fields {
  readonly kind: Kind;
  readonly name: string;
  /** By name, as Python has them. */
  readonly params: Readonly<Record<string, string>>;
  readonly metric: string;
  readonly direction: 'minimize' | 'maximize';
  readonly trials: string;
  readonly slots: string;
  readonly sampler: string;
  readonly pruner: string;
  readonly seed: string;
  readonly timeout: string;
}

/** What is said of each field, by its name or `params.NAME`, and of none of them. */
export interface Said {
  readonly fields: Readonly<Record<string, string>>;
  readonly others: readonly string[];
}

export const NOTHING: Said = { fields: {}, others: [] };
const NUMBERS = ['trials', 'slots', 'seed', 'timeout'] as const;
const OF_A_GROUP = ['trials', 'slots', 'sampler', 'pruner', 'metric'] as const;
const OF_ALL = ['params', 'param_space']; // what is said of all parameters names them
/** Where what is said of a key of a spec belongs. */
const FIELDS: Readonly<Record<string, string>> = {
  name: 'name',
  metric: 'metric',
  direction: 'metric',
  num_trials: 'trials',
  trials: 'trials',
  slots: 'slots',
  sampler: 'sampler',
  samples: 'sampler',
  pruner: 'pruner',
  seed: 'seed',
  timeout: 'timeout'
};

/** The fields of a form that is opened: the defaults of the parameters stand there, where they can be changed. */
export function fieldsOf(kind: Kind, parameters: readonly Parameter[]): Fields {
  const params = Object.fromEntries(parameters.map((one) => [one.name, isLiteral(one) ? one.default : '']));
  const rest = { name: '', metric: '', trials: '', slots: '', sampler: '', pruner: '', seed: '', timeout: '' };
  return { kind, params, direction: 'maximize', ...rest };
}

/** Whether a parameter's default can be typed: of others, only running the code would tell the value. */
export function isLiteral(parameter: Parameter): boolean {
  return parameter.type !== 'unknown';
}

/** What the fields ask for; parameters that are as the notebook has them are left to it. */
export function askedBy(fields: Fields, notebook: string, parameters: readonly Parameter[]): JobAsked {
  const changed = parameters.flatMap(({ name, default: usual }) => {
    const text = (fields.params[name] ?? '').trim();
    return text === '' || text === usual ? [] : [[name, text] as const];
  });
  const asked: JobAsked = { kind: fields.kind, notebook, params: Object.fromEntries(changed) };
  const isGroup = fields.kind === 'group';
  for (const name of ['name', ...(isGroup ? (['sampler', 'pruner', 'metric'] as const) : [])] as const) {
    if (fields[name].trim() !== '') {
      asked[name] = fields[name].trim();
    }
  }
  for (const name of NUMBERS) {
    const isForAll = !OF_A_GROUP.some((one) => one === name);
    if ((isGroup || isForAll) && fields[name].trim() !== '') {
      asked[name] = Number(fields[name]);
    }
  }
  return isGroup && asked.metric !== undefined ? { ...asked, direction: fields.direction } : asked;
}

/** What is wrong with the fields and can't be asked at all: numbers that are none. */
export function unreadable(fields: Fields, say: (text: string) => string): Said {
  const wrong = NUMBERS.filter((name) => {
    const text = fields[name].trim();
    return text !== '' && !(name === 'timeout' ? /^\d+(\.\d+)?$/ : /^\d+$/).test(text);
  });
  return { fields: Object.fromEntries(wrong.map((name) => [name, say(fields[name].trim())])), others: [] };
}

/** Put what is wrong where it belongs. */
export function placed(problems: readonly Problem[], parameters: readonly Parameter[]): Said {
  const fields: Record<string, string> = {};
  const others: string[] = [];
  for (const { key, message } of problems) {
    const field = key === null ? undefined : fieldOf(key, parameters);
    if (field === undefined) {
      others.push(key === null || OF_ALL.includes(key) ? message : `${key}: ${message}`);
    } else {
      fields[field] ??= message;
    }
  }
  return { fields, others };
}

function fieldOf(key: string, parameters: readonly Parameter[]): string | undefined {
  const [name] = key.replace(/^(params|param_space)\./, '').split(/[.[]/);
  if (name !== undefined && parameters.some((one) => one.name === name) && !(key in FIELDS)) {
    return `params.${name}`;
  }
  return FIELDS[/^[^.[]*/.exec(key)?.[0] ?? ''];
}
