/** Of which groups the trials are to be asked for. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Groups } from '../src/panel/groups';

let groups: Groups;

beforeEach(() => {
  groups = new Groups();
});

test('trials are asked for once, and again when that has failed', () => {
  assert.deepEqual(groups.missing(['a', 'b']), ['a', 'b']);
  assert.deepEqual(groups.missing(['a', 'b', 'c']), ['c']);
  assert.ok(groups.hears('a') && !groups.has('a'));
  groups.answered('a', true);
  groups.answered('b', false);
  assert.ok(groups.has('a') && !groups.hears('b'));
  assert.deepEqual(groups.missing(['a', 'b']), ['b']);
});

test('a new list has the trials of some, and those of others are asked for, also when it has just gone', () => {
  groups.list(['a', 'b']);
  assert.deepEqual(groups.missing(['a', 'c']), ['c']);
  groups.list(['b']);
  groups.keep((id) => id !== 'b');
  assert.deepEqual(groups.missing(['a', 'b', 'c']), ['a', 'b']);
});
