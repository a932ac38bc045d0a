/** The connection to the server's events: made again when it is lost, and more seldom the longer nothing comes of it. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import type { ServerConnection } from '@jupyterlab/services';

import { Stream } from '../src/stream';

let sockets: Socket[];
let heard: string[];
let stream: Stream;

class Socket {
  onmessage: ((message: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(readonly address: string) {
    sockets.push(this);
  }

  say(...events: object[]): void {
    events.forEach((event) => this.onmessage?.({ data: JSON.stringify(event) }));
  }

  close(): void {
    this.onclose?.();
  }
}

function newest(): Socket {
  const one = sockets[sockets.length - 1];
  assert.ok(one);
  return one;
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  [sockets, heard] = [[], []];
  const settings = { WebSocket: Socket } as unknown as ServerConnection.ISettings;
  stream = new Stream(settings, (since) => since, ({ event }) => heard.push(event));
});

afterEach(() => {
  stream.close();
  mock.timers.reset();
});

test('one that is lost is made again, and says what was heard last', () => {
  newest().say({ event: 'hello', id: 'x-1' }, { event: 'alive' }, { event: 'jobs', id: 'x-2' });
  newest().close();
  mock.timers.tick(500);
  assert.deepEqual([heard, sockets.map(({ address }) => address)], [['hello', 'jobs'], ['', 'x-2']]);
  mock.timers.tick(90_000); // without a word: it is taken for dead
  mock.timers.tick(1000);
  assert.equal(sockets.length, 3);
});

test('a server that can only say why it is in trouble is asked more and more seldom', () => {
  for (let k = 0; k < 200; k++) {
    if (newest().onclose !== null) {
      newest().say({ event: 'trouble', message: 'the backend does not answer' });
      newest().close();
    }
    mock.timers.tick(500);
  }
  assert.ok(sockets.length < 10, `${sockets.length} connections in 100 s`);
  mock.timers.tick(30_000);
  newest().say({ event: 'hello', id: 'x-1' });
  const before = sockets.length;
  newest().close();
  mock.timers.tick(500);
  assert.equal(sockets.length, before + 1);
});

test('after its end nothing is heard or tried', () => {
  const socket = newest();
  stream.close();
  socket.say({ event: 'hello', id: 'x-1' });
  socket.close();
  mock.timers.tick(100_000);
  assert.deepEqual([heard, sockets.length], [[], 1]);
});
