/** What is asked again and again, and what is done once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Once } from '../src/once';
import { Renewal } from '../src/renewal';

async function settled(): Promise<void> {
  for (let k = 0; k < 10; k++) {
    await Promise.resolve();
  }
}

/** Questions that the test answers. */
function asked(): { waiting: ((answer: Promise<number>) => void)[]; ask: () => Promise<number> } {
  const waiting: ((answer: Promise<number>) => void)[] = [];
  return { waiting, ask: () => new Promise((resolve) => waiting.push(resolve)) };
}

test('every answer is shown though it is wanted anew all the time, one is asked for at a time, and the last after all', async () => {
  const { waiting, ask } = asked();
  const shown: unknown[] = [];
  const renewal = new Renewal(ask, (one) => shown.push(one), (problem) => shown.push(problem));
  void renewal.want();
  void renewal.want();
  void renewal.want();
  assert.equal(waiting.length, 1);
  waiting.shift()?.(Promise.resolve(1));
  await settled();
  assert.deepEqual([shown, waiting.length], [[1], 1]);
  waiting.shift()?.(Promise.reject(new Error('no')));
  await settled();
  assert.deepEqual([shown.slice(1).map(String), waiting.length], [['Error: no'], 0]);
  void renewal.want();
  void renewal.want();
  renewal.end();
  waiting.shift()?.(Promise.resolve(3));
  await settled();
  assert.deepEqual([shown.length, waiting.length], [2, 0]);
});

test('what is pressed twice is done once, and can be done again when it has failed', async () => {
  const once = new Once();
  let begun = 0;
  let fail: (problem: Error) => void = () => undefined;
  const act = (): Promise<void> => {
    begun++;
    return new Promise((_, reject) => {
      fail = reject;
    });
  };
  const first = once.do('a', act);
  await once.do('a', act);
  assert.equal(begun, 1);
  void once.do('b', act).catch(() => undefined);
  assert.equal(begun, 2);
  const rejected = assert.rejects(once.do('c', act));
  fail(new Error('no'));
  await rejected;
  void once.do('c', act);
  assert.equal(begun, 4);
  void first;
});
