/** The runs that are known: kept, replaced, and the same objects where nothing is new. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import type { Run } from '../src/api';
import { KnownRuns } from '../src/panel/known';

const RUN: Run = {
  run_id: 'a',
  name: 'svm',
  experiment: 'SVM',
  kind: 'experiment',
  status: 'running',
  params: { C: 1 },
  metrics: { loss: 0.5 },
  started: '2026-11-26T18:00:00+00:00',
  seconds: 2,
  failure: null,
  number: null,
  parent_id: null,
  artifact_uri: null,
  tags: {},
  notes: [],
  autologged: {}
};

let known: KnownRuns;

beforeEach(() => {
  known = new KnownRuns();
});

test('a run of which nothing new is heard stays the same object, and goes on', () => {
  known.keep(RUN, 1000);
  known.replace([structuredClone({ ...RUN, seconds: 5 })], 4000);
  assert.equal(known.get('a'), RUN);
  assert.equal(known.seconds(RUN, 5000), 6);
});

test('a run of which something new is heard is another one', () => {
  known.keep(RUN, 1000);
  const ended: Run = { ...RUN, status: 'finished', seconds: 9 };
  known.replace([ended], 4000);
  assert.equal(known.get('a'), ended);
  assert.equal(known.seconds(ended, 99_000), 9);
  known.keep({ ...ended, seconds: 10 });
  assert.equal(known.get('a')?.seconds, 10);
});

test('what is no more listed is forgotten, unless it was asked for by its id', () => {
  known.pin({ ...RUN, run_id: 'old' });
  known.keep(RUN);
  known.replace([{ ...RUN, run_id: 'new' }]);
  assert.deepEqual([...known.values()].map((run) => run.run_id), ['old', 'new']);
  known.forget(['old']);
  known.replace([]);
  assert.equal(known.size, 0);
});
