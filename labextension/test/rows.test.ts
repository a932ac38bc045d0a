/** What the panel lists, in which order, and what its filter finds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Run } from '../src/api';
import { readFilter, type Row, rowsOf, type Wanted } from '../src/panel/rows';

const ALL: Wanted = { toggled: new Set(), byExperiment: true, words: [] };

function run(id: string, minute: number, more: Partial<Run> = {}): Run {
  const started = `2026-03-02T09:${String(minute).padStart(2, '0')}:00+00:00`;
  return {
    run_id: id, name: id, experiment: 'svm', kind: 'experiment', status: 'finished', params: {}, metrics: {}, started,
    seconds: 1, failure: null, number: null, parent_id: null, artifact_uri: null, tags: {}, notes: [], autologged: {},
    ...more
  };
}

const GROUP = run('group', 5, { kind: 'group', metrics: { accuracy: 0.9 } });
const RUNS = [
  run('old', 1),
  GROUP,
  run('one', 6, { kind: 'trial', parent_id: 'group', number: 0, params: { C: '0.5' }, metrics: { loss: 1, accuracy: 2 } }),
  run('two', 7, { kind: 'trial', parent_id: 'group', number: 1, status: 'failed' }),
  run('forest', 9, { experiment: 'trees', status: 'running', metrics: { 'system/cpu': 1, auc: 0.7 } })
];

function keys(wanted: Partial<Wanted> = {}): string[] {
  return rowsOf(RUNS, { ...ALL, ...wanted }).map((row) => row.key);
}

test('experiments stand where their newest run does, and groups are closed at first', () => {
  assert.deepEqual(keys(), ['experiment trees', 'forest', 'experiment svm', 'group', 'old']);
  assert.deepEqual(keys({ byExperiment: false }), ['forest', 'group', 'old']);
});

test('what is toggled is open or closed, and trials stand in their group', () => {
  const toggled = new Set(['experiment trees', 'group']);
  assert.deepEqual(keys({ toggled }), ['experiment trees', 'experiment svm', 'group', 'two', 'one', 'old']);
});

test('a row says where it stands, as screen readers tell it', () => {
  const rows = rowsOf(RUNS, { ...ALL, toggled: new Set(['group']) });
  const places = rows.map(({ key, level, position, size, isOpen }) => [key, level, position, size, isOpen]);
  assert.deepEqual(places.slice(2, 5), [
    ['experiment svm', 1, 2, 2, true],
    ['group', 2, 1, 2, true],
    ['two', 3, 1, 2, null]
  ]);
});

test('a trial has the metric of its group beside it, and no run one of the machine', () => {
  const rows = rowsOf(RUNS, { ...ALL, toggled: new Set(['group']) });
  const metrics = Object.fromEntries(rows.flatMap((row: Row) => (row.kind === 'run' ? [[row.key, row.metric]] : [])));
  assert.deepEqual(metrics, { forest: 'auc', group: 'accuracy', two: 'accuracy', one: 'accuracy', old: undefined });
});

test('each word has to be in a run; a trial brings its group along, and a group its trials', () => {
  assert.deepEqual(keys({ words: ['running', 'tre'] }), ['experiment trees', 'forest']);
  const toggled = new Set(['group']);
  assert.deepEqual(keys({ words: ['c=0.5'], toggled }), ['experiment svm', 'group', 'one']);
  assert.deepEqual(keys({ words: ['grou'], toggled }), ['experiment svm', 'group', 'two', 'one']);
  assert.deepEqual(keys({ words: ['nowhere'] }), []);
});

test('a trial whose group is not there is listed by itself', () => {
  const rows = rowsOf(RUNS.filter((one) => one !== GROUP), { ...ALL, words: ['failed'] });
  assert.deepEqual(rows.map((row) => row.key), ['experiment svm', 'two']);
});

test('ten thousand runs are laid out at once', () => {
  const many = Array.from({ length: 10_000 }, (_, index) => run(`run ${index}`, index % 60));
  const before = performance.now();
  assert.equal(rowsOf(many, ALL).length, 10_001);
  assert.ok(performance.now() - before < 2000);
});

test('a filter with a sign of comparison is the store’s to read; anything else is words', () => {
  assert.deepEqual(readFilter(' loss < 0.1 '), { where: 'loss < 0.1', words: [] });
  assert.equal(readFilter("name like '%svm%'").where, "name like '%svm%'");
  assert.equal(readFilter("status in ('failed')").where, "status in ('failed')");
  assert.deepEqual(readFilter('Nothing like  it'), { where: undefined, words: ['nothing', 'like', 'it'] });
  assert.deepEqual(readFilter(''), { where: undefined, words: [] });
});
