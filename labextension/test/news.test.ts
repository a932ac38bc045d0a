/** What is heard while an answer is waited for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Hearing } from '../src/panel/news';

interface One {
  id: string;
  state: number;
}

test('an answer has what was heard since it was asked for, and nothing that has gone', () => {
  const hearing = new Hearing<One>((one) => one.id);
  hearing.hear([{ id: 'a', state: 0 }]); // before: the answer knows
  const news = hearing.begin();
  assert.ok(news.isEmpty);
  hearing.hear([{ id: 'a', state: 2 }, { id: 'b', state: 1 }]);
  hearing.hear([{ id: 'c', state: 1 }], ['b']);
  hearing.end(news);
  hearing.hear([{ id: 'd', state: 9 }], ['a']);
  const answer = ['a', 'b', 'd'].map((id) => ({ id, state: 1 }));
  assert.deepEqual(news.over(answer), [{ id: 'a', state: 2 }, { id: 'd', state: 1 }]);
  assert.deepEqual(news.changed, [{ id: 'a', state: 2 }, { id: 'c', state: 1 }]);
  assert.ok(!news.isEmpty);
});
