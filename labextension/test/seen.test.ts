/** What waits until the page is seen. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { whenSeen } from '../src/panel/seen';

class Page extends EventTarget {
  hidden = false;

  turn(hidden: boolean): void {
    this.hidden = hidden;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

let page: Page;
let calls: number;
const call = (): void => {
  calls++;
};

beforeEach(() => {
  calls = 0;
  page = new Page();
  Object.assign(globalThis, { document: page });
});

test('on a page that is seen it is done at once, and no more', () => {
  whenSeen(call);
  page.turn(true);
  page.turn(false);
  assert.equal(calls, 1);
});

test('on a hidden page it is done once, when that is seen again', () => {
  page.hidden = true;
  whenSeen(call);
  page.turn(true);
  assert.equal(calls, 0);
  page.turn(false);
  page.turn(true);
  page.turn(false);
  assert.equal(calls, 1);
});

test('what was taken back is not done', () => {
  page.hidden = true;
  whenSeen(call)();
  page.turn(false);
  assert.equal(calls, 0);
});
