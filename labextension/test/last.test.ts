/** What is known of a cell's last run, whichever of the page, its kernel and the server says it last. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Last, lastOf, lastOfBoth, settled } from '../src/badges/last';

const A = 'a'.repeat(32);
const B = 'b'.repeat(32);

function last(run: string, status: string, metric: string | null = null): Last {
  return { run, status, metric };
}

test('only what says of a run is taken', () => {
  assert.deepEqual(lastOf({ run: A, status: 'finished', metric: 3, more: 1 }), last(A, 'finished'));
  for (const one of [null, 3, 'x', {}, { run: '../x', status: 'finished' }, { run: A }]) {
    assert.equal(lastOf(one), null);
  }
});

test('what an output shows of a run that ran is older than what was kept of its end', () => {
  assert.deepEqual(lastOfBoth(last(A, 'failed'), last(A, 'running')), last(A, 'failed'));
  assert.deepEqual(lastOfBoth(last(A, 'failed'), last(B, 'running')), last(B, 'running'));
  assert.deepEqual(lastOfBoth(last(A, 'running'), last(A, 'finished', 'x 1')), last(A, 'finished', 'x 1'));
  assert.deepEqual(lastOfBoth(last(A, 'failed'), null), last(A, 'failed'));
});

test('what the server says of a run is kept, unless the cell has come further while it was asked', () => {
  const asked = last(A, 'running', 'x 1');
  assert.deepEqual(settled(last(A, 'running', 'x 2'), asked, 'finished'), last(A, 'finished', 'x 2'));
  assert.equal(settled(last(A, 'finished', 'x 3'), asked, 'killed'), null);
  assert.equal(settled(last(B, 'running'), asked, 'finished'), null);
  assert.equal(settled(asked, asked, 'running'), null);
  assert.equal(settled(null, asked, 'finished'), null);
});
