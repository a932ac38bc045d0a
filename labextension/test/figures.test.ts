/** Numbers, times and lines as the panel shows them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Curve } from '../src/api';
import { age, duration, figure, line, paramsText, size, valueText } from '../src/panel/figures';

test('numbers have four digits, and those that JSON has no form for stay', () => {
  assert.deepEqual([0.123456, 12345678, 1e-9, 'NaN' as const].map(figure), ['0.1235', '12350000', '1e-9', 'NaN']);
});

test('parameters are shown as they are, in a line with their numbers cut', () => {
  assert.deepEqual(['rbf', 0.5, null, [1, 2]].map(valueText), ['rbf', '0.5', 'null', '[1,2]']);
  assert.equal(paramsText({ C: '0.015364465758391298', kernel: 'rbf', name: '' }), 'C=0.01536 kernel=rbf name=');
});

test('times are told in the unit that fits', () => {
  assert.deepEqual([0.0612, 4.24, 59.2, 200, 3903].map(duration), ['0.061 s', '4.2 s', '59 s', '3:20', '1:05:03']);
  const now = Date.parse('2026-03-02T12:00:00Z');
  assert.equal(age('2026-03-02T11:55:01Z', now, 'en'), '4m ago');
  assert.equal(age('2026-03-02T12:00:09Z', now, 'en'), 'now'); // a server's clock may be ahead
  assert.equal(age('2023-03-02T12:00:00Z', now, 'en'), '3y ago');
});

test('sizes have their unit', () => {
  assert.deepEqual([0, 1600, 18_230_000].map((one) => size(one, 'en')), ['0 byte', '1.6 kB', '18.2 MB']);
});

test('a curve is a line in its box, over what is a number', () => {
  const curve: Curve = { steps: [0, 1, 2, 4], times: [0, 0, 0, 0], values: [1, 'NaN', 3, 2], count: 4 };
  assert.equal(line(curve, 40, 10), '0.0,10.0 20.0,0.0 40.0,5.0');
  assert.equal(line({ ...curve, values: [2, 2, 2, 2] }, 40, 10), '0.0,5.0 10.0,5.0 20.0,5.0 40.0,5.0');
  assert.equal(line({ ...curve, values: ['NaN', 1, 'NaN', 'Infinity'] }, 40, 10), '');
});
