/** What a form asks for, and where what is said of that belongs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';

import type { Parameters } from '../src/api';
import { askedBy, type Fields, fieldsOf, placed, unreadable } from '../src/running/asked';

interface Wire {
  answers: { name: string; answer: unknown; body?: { job?: unknown } }[];
}
const wire = JSON.parse(readFileSync(resolve(process.cwd(), '../tests/wire.json'), 'utf8')) as Wire;
const { parameters } = wire.answers.find((one) => one.name === 'parameters')?.answer as Parameters;
const notebook = 'project/svm.ipynb';
const form = (changed: Partial<Fields> = {}): Fields => ({ ...fieldsOf('experiment', parameters), ...changed });

test('the defaults stand in the fields, but for those that only the code can tell', () => {
  assert.deepEqual(form().params, { C: '0.5', kernel: "'rbf'", rows: '' });
});

test('what is as the notebook has it is left to it', () => {
  assert.deepEqual(askedBy(form(), notebook, parameters), { kind: 'experiment', notebook, params: {} });
  const params = { C: ' 2 ', kernel: '', rows: '7' };
  assert.deepEqual(askedBy(form({ params }), notebook, parameters).params, { C: '2', rows: '7' });
});

test('an experiment asks for nothing of a search that was typed before', () => {
  const typed = { metric: 'acc', trials: '12', slots: '2', sampler: 'TPE', pruner: 'Nop', seed: '3', timeout: '1.5' };
  const common = { notebook, params: {}, seed: 3, timeout: 1.5 };
  assert.deepEqual(askedBy(form(typed), notebook, parameters), { kind: 'experiment', ...common });
  const search = { sampler: 'TPE', pruner: 'Nop', metric: 'acc', trials: 12, slots: 2, direction: 'maximize' };
  assert.deepEqual(askedBy(form({ ...typed, kind: 'group' }), notebook, parameters), { kind: 'group', ...common, ...search });
});

test('a group is asked for as the wire has it', () => {
  const params = { C: 'loguniform(0.01, 1000)', kernel: 'rbf', rows: '' };
  const search = { name: 'SVM', sampler: 'TPE', trials: '12', metric: 'val_accuracy', slots: '4' };
  const job = wire.answers.find((one) => one.name === 'check job')?.body?.job;
  assert.deepEqual(askedBy(form({ kind: 'group', params, ...search }), notebook, parameters), job);
});

test('numbers that are none are said before anything is asked', () => {
  const said = unreadable(form({ trials: 'x', slots: '1.5', timeout: '1.5', seed: '-1' }), (text) => `no ${text}`);
  assert.deepEqual(said.fields, { trials: 'no x', slots: 'no 1.5', seed: 'no -1' });
});

test('what is wrong stands at its field, and else above all of them', () => {
  const wrong = (key: string | null): [Readonly<Record<string, string>>, readonly string[]] => {
    const { fields, others } = placed([{ message: 'wrong', line: null, key }], parameters);
    return [fields, others];
  };
  for (const key of ['C', 'params.C', 'param_space.C', 'param_space.C[0]']) {
    assert.deepEqual(wrong(key), [{ 'params.C': 'wrong' }, []]);
  }
  assert.deepEqual(wrong('num_trials'), [{ trials: 'wrong' }, []]);
  assert.deepEqual(wrong('metric.name'), [{ metric: 'wrong' }, []]);
  assert.deepEqual(wrong('kernel'), [{ 'params.kernel': 'wrong' }, []]);
  assert.deepEqual(wrong('param_space'), [{}, ['wrong']]);
  assert.deepEqual(wrong('notebook'), [{}, ['notebook: wrong']]);
  assert.deepEqual(wrong(null), [{}, ['wrong']]);
});
