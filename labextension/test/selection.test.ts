/** What clicks and keys select in a list. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type How, Selection } from '../src/panel/selection';

const KEYS = ['a', 'b', 'c', 'd'];

function after(...steps: [string, How?][]): { chosen: string; current: string | null } {
  const selection = new Selection();
  steps.forEach(([key, how]) => {
    selection.select(KEYS, key, how);
  });
  return { chosen: KEYS.filter((key) => selection.has(key)).join(''), current: selection.current };
}

test('a row is selected alone, beside others, and no more', () => {
  assert.deepEqual(after(['a'], ['c']), { chosen: 'c', current: 'c' });
  assert.deepEqual(after(['a'], ['c', 'beside']), { chosen: 'ac', current: 'c' });
  assert.deepEqual(after(['a'], ['c', 'beside'], ['a', 'beside']), { chosen: 'c', current: 'a' });
});

test('a range begins at the row that was selected last, and may turn round', () => {
  assert.deepEqual(after(['b'], ['d', 'range']), { chosen: 'bcd', current: 'd' });
  assert.deepEqual(after(['b'], ['d', 'range'], ['a', 'range']), { chosen: 'ab', current: 'a' });
  assert.deepEqual(after(['c', 'range']), { chosen: 'c', current: 'c' });
});

test('the keys can pass a row that is then added', () => {
  assert.deepEqual(after(['a'], ['b', 'not'], ['c', 'not'], ['c', 'beside']), { chosen: 'ac', current: 'c' });
});

test('what is gone is neither selected nor gone to, and a range from it begins at the top', () => {
  const selection = new Selection();
  selection.select(KEYS, 'c');
  selection.select(KEYS, 'd', 'beside');
  selection.keep((key) => key !== 'd');
  assert.deepEqual([selection.has('c'), selection.has('d'), selection.current], [true, false, null]);
  selection.select(['a', 'b', 'c'], 'b', 'range');
  assert.deepEqual(KEYS.filter((key) => selection.has(key)), ['a', 'b']);
});
