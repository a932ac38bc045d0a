/** Which runs are wanted, and how many. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Filter } from '../src/panel/filter';

let filter: Filter;

beforeEach(() => {
  filter = new Filter();
});

test('words are for the list, and a condition or a status for the store', () => {
  assert.deepEqual(filter.asked, { where: "kind != 'trial'", status: undefined });
  filter.text = 'SVM rbf';
  assert.deepEqual([filter.words, filter.isSet, filter.isAsked], [['svm', 'rbf'], true, false]);
  filter.text = ' loss < 1';
  assert.deepEqual([filter.words, filter.asked], [[], { where: 'loss < 1', status: undefined }]);
  filter.text = 'svm';
  filter.status = 'failed';
  assert.deepEqual([filter.isAsked, filter.asked], [true, { where: undefined, status: 'failed' }]);
  filter.clear();
  assert.deepEqual([filter.isSet, filter.isAsked], [false, false]);
});

test('more are asked for each time, up to a limit, and as many as at first when something else is wanted', () => {
  assert.equal(filter.setLimit(200), false);
  assert.equal(filter.setLimit(5000), true);
  filter.widen();
  assert.equal(filter.limit, 10_000);
  filter.widen();
  filter.widen();
  assert.equal(filter.limit, 20_000);
  filter.restart();
  assert.equal(filter.limit, 5000);
});
