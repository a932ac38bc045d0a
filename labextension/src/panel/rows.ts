/** What the list of runs shows, from top to bottom: experiments, in them groups and runs, in groups their trials. */
import type { Run } from '../api';
import { valueText } from './figures';

interface Place {
  /** What the row is known by: a run's id, or an experiment's name behind a prefix that no id begins with. */
  key: string;
  /** How deep it lies, from 1. */
  level: number;
  /** Which one it is among those beside it, from 1, and how many these are. */
  position: number;
  size: number;
  /** Whether what is in it is shown; null where nothing can be. */
  isOpen: boolean | null;
}

export interface ExperimentRow extends Place {
  kind: 'experiment';
  name: string;
  running: number;
  count: number;
}

export interface RunRow extends Place {
  kind: 'run';
  run: Run;
  /** The metric that stands beside its name: a group's trials have that of the group. */
  metric: string | undefined;
  /** Whether it stands below its group, whose name it needn't repeat. */
  isTrial: boolean;
}

export type Row = ExperimentRow | RunRow;

export interface Wanted {
  /** Keys of what is the other way round than it begins: experiments begin open, and groups closed. */
  toggled: ReadonlySet<string>;
  byExperiment: boolean;
  /** Words, each of which a run has to have somewhere. */
  words: readonly string[];
}

const SYSTEM = 'system/'; // how metrics of the machine begin

/** Return the rows, the newest first; an experiment stands where its newest run does. */
export function rowsOf(runs: Iterable<Run>, wanted: Wanted): Row[] {
  const all = [...runs].sort((a, b) => (a.started < b.started ? 1 : a.started > b.started ? -1 : 0));
  const groups = new Map(all.filter((run) => run.kind === 'group').map((run) => [run.run_id, run]));
  const trials = new Map<string, Run[]>();
  const tops: Run[] = [];
  const kept = new Set<Run>();
  for (const run of all) {
    const group = run.parent_id === null ? undefined : groups.get(run.parent_id);
    const fits = matches(run, wanted.words);
    if (group === undefined) {
      tops.push(run);
    } else if (fits || matches(group, wanted.words)) {
      push(trials, group.run_id, run);
      kept.add(group);
    }
    if (fits) {
      kept.add(run);
    }
  }
  const shown = tops.filter((run) => kept.has(run));
  return wanted.byExperiment ? experimentRows(shown, trials, wanted) : runRows(shown, trials, wanted, 1);
}

function experimentRows(tops: readonly Run[], trials: ReadonlyMap<string, Run[]>, wanted: Wanted): Row[] {
  const experiments = new Map<string, Run[]>();
  for (const run of tops) {
    push(experiments, run.experiment, run);
  }
  return [...experiments].flatMap(([name, runs], index) => {
    const key = experimentKey(name);
    const isOpen = !wanted.toggled.has(key);
    const running = runs.filter((run) => run.status === 'running').length;
    const place = { key, level: 1, position: index + 1, size: experiments.size, isOpen };
    const row: ExperimentRow = { ...place, kind: 'experiment', name, running, count: runs.length };
    return [row, ...(isOpen ? runRows(runs, trials, wanted, 2) : [])];
  });
}

function runRows(
  runs: readonly Run[],
  trials: ReadonlyMap<string, Run[]>,
  wanted: Wanted,
  level: number,
  group?: Run
): Row[] {
  const common = group === undefined ? undefined : metricOf(group);
  return runs.flatMap((run, index) => {
    const isOpen = run.kind === 'group' ? wanted.toggled.has(run.run_id) : null;
    const inside = isOpen === true ? runRows(trials.get(run.run_id) ?? [], trials, wanted, level + 1, run) : [];
    const place = { key: run.run_id, level, position: index + 1, size: runs.length, isOpen };
    const metric = common ?? metricOf(run);
    return [{ ...place, kind: 'run', run, metric, isTrial: group !== undefined } satisfies RunRow, ...inside];
  });
}

function push(to: Map<string, Run[]>, key: string, run: Run): void {
  const there = to.get(key);
  if (there === undefined) {
    to.set(key, [run]);
  } else {
    there.push(run);
  }
}

export function experimentKey(name: string): string {
  return `experiment ${name}`;
}

/** The metric that stands for a run: a group has only what it optimises; else its first one. */
export function metricOf(run: Run): string | undefined {
  return Object.keys(run.metrics).find((name) => !name.startsWith(SYSTEM));
}

/** Whether each word is in a run's name, experiment, status, kind or parameters, or begins its id. */
export function matches(run: Run, words: readonly string[]): boolean {
  if (words.length === 0) {
    return true;
  }
  const params = Object.entries(run.params).map(([name, value]) => `${name}=${valueText(value)}`);
  const text = [run.name, run.experiment, run.status, run.kind, ...params].join('\n').toLowerCase();
  return words.every((word) => text.includes(word) || run.run_id.startsWith(word));
}

/** Read what stands in the filter's box: a condition for the store, or words. */
export function readFilter(text: string): { where: string | undefined; words: string[] } {
  const isCondition = /[<>=]|\bi?like\s+['"]|\bin\s*\(/i.test(text);
  return isCondition
    ? { where: text.trim(), words: [] }
    : { where: undefined, words: text.toLowerCase().split(/\s+/).filter((word) => word !== '') };
}
