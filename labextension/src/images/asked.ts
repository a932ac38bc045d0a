/** What the dialog of an image asks for, made of its fields, and how what would go in is shown. Pure. */
import type { DataFile, ImageAsked, ImagePlan, Network, Package, Problem } from '../api';

/** What the image is made of. */
export type Source = { readonly notebook: string } | { readonly run: string };

/** Whether JupyterLab goes in: where the kernel's environment has it, in any case, or not. */
export type Lab = '' | 'in' | 'out';

/** The dialog's fields as they are typed; an empty one asks for nothing. */
export interface Fields {
  readonly tag: string;
  readonly base: string;
  readonly onlyImports: boolean;
  readonly lab: Lab;
  readonly verify: boolean;
  /** How far metrics may be from what they were, with commas between them. */
  readonly tolerances: string;
  readonly network: Network | '';
  readonly push: boolean;
  /** Write what it is built from to a folder, and build nothing. */
  readonly contextOnly: boolean;
  readonly context: string;
  /** The data that is chosen to stay out, by its paths. */
  readonly out: ReadonlySet<string>;
}

/** Packages that come from one place; the largest first. */
export interface Group {
  readonly name: Package['kind'] | 'runner';
  readonly packages: readonly Package[];
  readonly size: number;
}

const ORDER = ['index', 'local', 'vcs', 'url', 'debian', 'runner'] as const;
const LONGEST = 120; // characters of a step that is shown
const FIELDS = ['tag', 'base', 'context', 'tolerances'];

/** The fields of a dialog that is opened. */
export function fieldsOf(folder: string, name: string): Fields {
  const context = [folder, `${slug(name)}-image`].filter(Boolean).join('/');
  const choices = { onlyImports: false, lab: '', verify: true, network: '', push: false, contextOnly: false } as const;
  return { tag: '', base: '', tolerances: '', ...choices, context, out: new Set<string>() };
}

/** What is asked of a plan: what changes what goes in. */
export function planAsked(fields: Fields, source: Source): ImageAsked {
  return {
    ...source,
    ...(fields.onlyImports && { only_imports: true }),
    ...(fields.lab !== '' && { lab: fields.lab === 'in' }),
    ...named('base', fields.base)
  };
}

/** What the fields ask for. */
export function askedBy(fields: Fields, source: Source, data: readonly DataFile[]): ImageAsked {
  const choices = data.filter((one) => one.why_out === null);
  const out = choices.filter((one) => fields.out.has(one.path)).map((one) => one.path);
  const isNone = out.length > 0 && out.length === choices.length;
  return {
    ...planAsked(fields, source),
    ...named('tag', fields.tag),
    ...(isNone && { data: false }),
    ...(out.length > 0 && !isNone && { exclude: out }),
    ...(fields.contextOnly
      ? named('context', fields.context)
      : { ...(fields.push && { push: true }), ...(fields.network !== '' && { network: fields.network }) }),
    ...('run' in source && !fields.contextOnly && proof(fields))
  };
}

function proof({ verify, tolerances }: Fields): Pick<ImageAsked, 'verify' | 'tolerances'> {
  const typed = tolerances.split(',').map((one) => one.trim()).filter(Boolean);
  return verify ? (typed.length > 0 ? { tolerances: typed } : {}) : { verify: false };
}

/** The packages by where they come from; those of what runs it, where they are none of the kernel's, by themselves. */
export function groupsOf(packages: readonly Package[]): Group[] {
  return ORDER.flatMap((name) => {
    const found = packages.filter((one) => (one.of === 'runner' ? 'runner' : one.kind) === name);
    const sorted = [...found].sort((a, b) => (b.size ?? 0) - (a.size ?? 0) || a.name.localeCompare(b.name));
    return found.length === 0 ? [] : [{ name, packages: sorted, size: sum(found) }];
  });
}

/** The bytes that go in above the base, as far as they are known. */
export function sizeOf(plan: ImagePlan, out: ReadonlySet<string>): number {
  const data = plan.data.filter((one) => one.why_out === null && !out.has(one.path));
  return sum(plan.packages) + sum(plan.modules) + sum(data);
}

export function sum(all: readonly { readonly size: number | null }[]): number {
  return all.reduce((total, one) => total + (one.size ?? 0), 0);
}

/** A step of a Dockerfile in a line, without the shell and the variables that its command begins with. */
export function stepText(step: string): string {
  const text = step.split(/\s+/).join(' ');
  const plain = text.replace(/^RUN \/bin\/sh -c /, 'RUN ').replace(/^(RUN )(?:export (?:\w+=\S+ )+&& )+/, '$1');
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST - 1)}…` : plain;
}

/** Put what is wrong at its field, and else above all of them. */
export function placed(problems: readonly Problem[]): { fields: Record<string, string>; others: string[] } {
  const fields: Record<string, string> = {};
  const others: string[] = [];
  for (const { key, message } of problems) {
    if (key !== null && FIELDS.includes(key)) {
      fields[key] ??= message;
    } else {
      others.push(key === null ? message : `${key}: ${message}`);
    }
  }
  return { fields, others };
}

function named(name: 'tag' | 'base' | 'context', text: string): ImageAsked {
  return text.trim() === '' ? {} : { [name]: text.trim() };
}

function slug(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'notebook';
}
