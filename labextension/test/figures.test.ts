/** Numbers, times and lines as the panel shows them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';

import type { Curve } from '../src/api';
import { age, duration, figure, line, paramsText, parts, size, valueText } from '../src/panel/figures';

type Words = Record<'number' | 'duration' | 'size', [number, string][]>;
const read = (path: string): string => readFileSync(join(process.cwd(), '..', path), 'utf8'); // npm runs in the package's folder
const words = JSON.parse(read('tests/quantities.json')) as Words;

function check(kind: keyof Words, told: (amount: number) => string): void {
  assert.deepEqual(words[kind].map(([amount]) => [amount, told(amount)]), words[kind]);
}

test('amounts are told in the words of Python', () => {
  check('number', figure);
  check('duration', duration);
  check('size', size);
  assert.equal(figure('NaN'), 'NaN'); // which JSON has no form for
});

test('the widgets tell them in the same', () => {
  const source = read('ml_experiment_nb/widgets/static/format.js').replace(/^export /gm, '');
  const told = runInNewContext(`${source}; [formatNumber, formatDuration]`) as [typeof duration, typeof duration];
  check('number', told[0]);
  check('duration', told[1]);
});

test('parameters are shown as they are, in a line with their numbers cut', () => {
  assert.deepEqual(['rbf', 0.5, null, [1, 2]].map(valueText), ['rbf', '0.5', 'null', '[1,2]']);
  assert.equal(paramsText({ C: '0.015364465758391298', kernel: 'rbf', name: '' }), 'C=0.01536 kernel=rbf name=');
});

test('a name is broken between its words', () => {
  const names = ['val_accuracy', 'mlflow.parentRunId', 'a__b/c-d', 'C'];
  assert.deepEqual(names.map(parts), [['val_', 'accuracy'], ['mlflow.', 'parent', 'Run', 'Id'], ['a__', 'b/', 'c-', 'd'], ['C']]);
});

test('ages are told in the unit that fits', () => {
  const now = Date.parse('2026-03-02T12:00:00Z');
  assert.equal(age('2026-03-02T11:55:01Z', now, 'en'), '4m ago');
  assert.equal(age('2026-03-02T12:00:09Z', now, 'en'), 'now'); // a server's clock may be ahead
  assert.equal(age('2023-03-02T12:00:00Z', now, 'en'), '3y ago');
});

test('a curve is a line in its box, over what is a number', () => {
  const curve: Curve = { steps: [0, 1, 2, 4], times: [0, 0, 0, 0], values: [1, 'NaN', 3, 2], count: 4 };
  assert.equal(line(curve, 40, 10), '0.0,10.0 20.0,0.0 40.0,5.0');
  assert.equal(line({ ...curve, values: [2, 2, 2, 2] }, 40, 10), '0.0,5.0 10.0,5.0 20.0,5.0 40.0,5.0');
  assert.equal(line({ ...curve, values: ['NaN', 1, 'NaN', 'Infinity'] }, 40, 10), '');
});
