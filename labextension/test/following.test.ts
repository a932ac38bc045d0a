/** Jobs that are followed to their end: whatever is missed, each end is told once. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import type { Event, Job, Project } from '../src/api';
import { Jobs } from '../src/jobs/following';

function job(id: string, more: Partial<Job> = {}): Job {
  return {
    id, kind: 'experiment', name: id, notebook: null, state: 'running', started: '2026', ended: null, exit_code: null, run_id: null,
    progress: null, message: null, ...more
  };
}

function over(id: string): Job {
  return job(id, { state: 'finished', ended: '2026' });
}

/** The server's jobs, the events of its only connection, and what is asked. */
class Server {
  readonly path = 'p';
  known: Job[] = [];
  asked = 0;
  connections = 0;
  tell: (event: Event) => void = () => undefined;
  answer: () => Promise<void> = () => Promise.resolve();

  watch(hear: (event: Event) => void): () => void {
    this.connections++;
    this.tell = hear;
    return () => {
      this.connections--;
    };
  }

  async jobs(): Promise<{ jobs: Job[] }> {
    this.asked++;
    const jobs = [...this.known];
    await this.answer();
    return { jobs };
  }
}

let server: Server;
let project: Project;
let told: string[];
let kept: unknown;
let jobs: Jobs;

async function settled(): Promise<void> {
  for (let k = 0; k < 30; k++) {
    await Promise.resolve();
  }
}

beforeEach(() => {
  server = new Server();
  project = server as unknown as Project;
  told = [];
  kept = undefined;
  jobs = new Jobs(
    {
      begun: (_, { id }) => {
        told.push(`${id} goes on`);
        return `n${id}`;
      },
      further: (id, { progress }) => {
        told.push(...(progress === null ? [] : [`${id}: ${progress.text}`]));
      },
      ended: (_, { id }, notification) => {
        told.push(`${id} has ended, ${notification}`);
        return Promise.resolve();
      },
      gone: (id) => {
        told.push(`${id} is gone`);
      }
    },
    {
      fetch: () => Promise.resolve(kept),
      save: (_, value) => {
        kept = value;
        return Promise.resolve();
      }
    },
    () => project
  );
});

test('a job is followed to its end, and nobody listens any more', async () => {
  await jobs.restore();
  jobs.follow(job('a'), project);
  assert.deepEqual(kept, { p: ['a'] });
  server.tell({ event: 'jobs', changed: [job('a', { progress: { done: 1, total: 2, text: '1 of 2' } }), job('z')], removed: [] });
  server.tell({ event: 'jobs', changed: [over('a')], removed: [] });
  assert.deepEqual(told, ['a goes on', 'na: 1 of 2', 'a has ended, na']);
  assert.deepEqual([kept, server.connections], [{}, 0]);
});

test('one that has ended before it is known of, while others are followed, is told of', async () => {
  jobs.follow(job('a'), project);
  server.tell({ event: 'hello' });
  server.tell({ event: 'jobs', changed: [over('b')], removed: [] });
  server.known = [job('a'), over('b')];
  jobs.follow(job('b'), project);
  await settled();
  assert.deepEqual(told.filter((one) => one.startsWith('b')), ['b goes on', 'b has ended, nb']);
});

test('an answer from before an end does not bring the job back', async () => {
  jobs.follow(job('a'), project);
  jobs.follow(job('b'), project);
  let answer = (): void => undefined;
  server.known = [job('a'), job('b')];
  server.answer = () => new Promise((resolve) => (answer = resolve));
  server.tell({ event: 'hello' });
  server.tell({ event: 'jobs', changed: [over('a')], removed: [] });
  answer();
  await settled();
  assert.deepEqual(told.filter((one) => one.startsWith('a')), ['a goes on', 'a has ended, na']);
});

test('what an earlier page has started is told of, also when something is started before that is known', async () => {
  kept = { p: ['a', 'b', 'c'] };
  jobs.follow(job('new'), project);
  server.known = [over('a'), job('b'), job('new')];
  server.tell({ event: 'hello' });
  await jobs.restore();
  await settled();
  assert.deepEqual(told.slice(0, 1), ['new goes on']);
  assert.ok(told.includes('a has ended, null') && told.includes('b goes on'));
  assert.deepEqual(kept, { p: ['new', 'b'] });
});

test('of one that the server does not know any more nothing is left', async () => {
  jobs.follow(job('a'), project);
  server.tell({ event: 'hello' });
  await settled();
  assert.deepEqual([told, server.connections], [['a goes on', 'na is gone'], 0]);
});
