/** What is done again and again: at most once in a while, and never twice at once. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Again } from '../src/panel/again';

let begun: number;
let end: () => void;
let again: Again;

/** Begin something that ends when `end` is called. */
const act = (): Promise<void> => {
  begun++;
  return new Promise((resolve) => {
    end = resolve;
  });
};

async function settled(): Promise<void> {
  for (let k = 0; k < 5; k++) {
    await Promise.resolve();
  }
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  Object.assign(globalThis, { document: Object.assign(new EventTarget(), { hidden: false }) });
  begun = 0;
  again = new Again(act, 1000);
});

afterEach(() => {
  mock.timers.reset();
});

test('of a storm, one is done, when the pause is over', () => {
  for (let k = 0; k < 100; k++) {
    again.want();
    mock.timers.tick(9);
  }
  assert.equal(begun, 0);
  mock.timers.tick(100);
  assert.equal(begun, 1);
  mock.timers.tick(5000);
  assert.equal(begun, 1);
});

test('while it is done it is not begun again, and what is wanted meanwhile comes after it', async () => {
  again.want();
  mock.timers.tick(1000);
  for (let k = 0; k < 20; k++) {
    again.want();
    mock.timers.tick(1000);
  }
  assert.equal(begun, 1);
  end();
  await settled();
  assert.equal(begun, 1);
  mock.timers.tick(1000);
  assert.equal(begun, 2);
});

test('what is wanted no more is not done', async () => {
  again.want();
  again.cancel();
  mock.timers.tick(5000);
  assert.equal(begun, 0);
  again.want();
  mock.timers.tick(1000);
  again.want();
  again.cancel();
  end();
  await settled();
  mock.timers.tick(5000);
  assert.equal(begun, 1);
});
