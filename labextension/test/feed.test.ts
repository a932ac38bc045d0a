/** A project's runs: whatever the order in which answers and events come, nothing that was heard is lost. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { type About, type Event, type Job, type Project, Refusal, type Run, type RunsAsked } from '../src/api';
import { Feed } from '../src/panel/feed';

function run(id: string, more: Partial<Run> = {}): Run {
  return {
    run_id: id, name: id, experiment: 'svm', kind: 'experiment', status: 'finished', params: {}, metrics: {}, seconds: 1,
    started: '2026-03-02T09:00:00+00:00', failure: null, number: null, parent_id: null, artifact_uri: null, tags: {},
    notes: [], autologged: {}, ...more
  };
}

const GROUP = run('group', { kind: 'group', status: 'running' });
const TRIAL = run('trial', { kind: 'trial', status: 'running', parent_id: 'group' });
const ABOUT: About = { version: '1', samplers: [], pruners: [], distributions: [] };

interface Question {
  what: string;
  answer: (value: unknown) => void;
  refuse: (problem: Error) => void;
}

/** A project whose every answer is given by the test. */
class Asked {
  readonly questions: Question[] = [];
  tell: (event: Event) => void = () => undefined;

  constructor(readonly path: string) {}

  about(): Promise<About> {
    return Promise.resolve(ABOUT);
  }

  firstRuns(asked: RunsAsked): Promise<unknown> {
    return this.ask(asked.where ?? 'runs');
  }

  jobs(): Promise<unknown> {
    return this.ask('jobs');
  }

  trials(group: string): Promise<unknown> {
    return this.ask(`trials of ${group}`);
  }

  watch(hear: (event: Event) => void): () => void {
    this.tell = hear;
    return () => {
      this.tell = () => undefined;
    };
  }

  private ask(what: string): Promise<unknown> {
    return new Promise((answer, refuse) => {
      this.questions.push({ what, answer, refuse });
    });
  }
}

const LIST = "kind != 'trial'";
let projects: Asked[];
let open: Set<string>;
let feed: Feed;

async function settled(): Promise<void> {
  for (let k = 0; k < 50; k++) {
    await Promise.resolve();
  }
}

/** The oldest question of a kind that waits. */
async function question(what: string, of = projects[projects.length - 1]): Promise<Question> {
  await settled();
  const found = of?.questions.findIndex((one) => one.what === what) ?? -1;
  const [one] = found < 0 ? [] : (of?.questions.splice(found, 1) ?? []);
  assert.ok(one, `nobody asks for ${what}, but for ${of?.questions.map((each) => each.what).join()}`);
  return one;
}

async function answer(what: string, value: unknown, of?: Asked): Promise<void> {
  (await question(what, of)).answer(value);
  await settled();
}

/** Answer what a list is made from. */
async function listed(runs: readonly Run[], { what = LIST, jobs = [] as Job[], of = undefined as Asked | undefined } = {}): Promise<void> {
  await answer('jobs', { jobs }, of);
  await answer(what, { runs, more: false }, of);
}

function tell(changed: Run[], removed: string[] = []): void {
  projects[projects.length - 1]?.tell({ event: 'runs', changed, removed });
}

function hello(): void {
  projects[projects.length - 1]?.tell({ event: 'hello' });
}

function shown(): string[] {
  return [...feed.known.values()].map((one) => `${one.run_id} ${one.status}`).sort();
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  Object.assign(globalThis, { document: Object.assign(new EventTarget(), { hidden: false }) });
  projects = [];
  open = new Set();
  feed = new Feed(
    (group) => open.has(group),
    (path) => {
      projects.push(new Asked(path));
      return projects[projects.length - 1] as unknown as Project;
    }
  );
  feed.open('a');
  feed.start();
});

afterEach(() => {
  feed.dispose();
  mock.timers.reset();
});

test('what is heard while a list is asked for is newer than the list', async () => {
  hello();
  const ended: string[] = [];
  feed.ended.connect((_, one) => ended.push(one.run_id));
  await listed([run('old', { status: 'running' }), run('gone')]);
  void feed.load();
  await settled();
  tell([run('old'), run('new', { status: 'running' })], ['gone']);
  await listed([run('old', { status: 'running' }), run('gone')]);
  assert.deepEqual(shown(), ['new running', 'old finished']);
  assert.deepEqual(ended, ['old']);
});

test('of an end that nobody told of, while there was no connection, the next list tells', async () => {
  hello();
  await listed([run('long', { status: 'running' })]);
  const ended: string[] = [];
  feed.ended.connect((_, one) => ended.push(one.run_id));
  hello();
  await listed([run('long')]);
  assert.deepEqual(ended, ['long']);
});

test('a group that is opened while the list is asked for has its trials', async () => {
  hello();
  await listed([GROUP]);
  void feed.load();
  open.add('group');
  void feed.loadTrials();
  await listed([GROUP]);
  await answer('trials of group', [TRIAL]);
  assert.deepEqual(shown(), ['group running', 'trial running']);
});

test('what is heard of trials that are asked for is newer than the answer', async () => {
  hello();
  await listed([GROUP]);
  open.add('group');
  void feed.loadTrials();
  await settled();
  tell([{ ...TRIAL, status: 'finished' }, { ...TRIAL, run_id: 'next' }]);
  await answer('trials of group', [TRIAL]);
  assert.deepEqual(shown(), ['group running', 'next running', 'trial finished']);
});

test('and so it is when they are asked for with the list', async () => {
  open.add('group');
  hello();
  await listed([GROUP]);
  await settled();
  tell([{ ...TRIAL, status: 'finished' }, { ...TRIAL, run_id: 'next' }]);
  await answer('trials of group', [TRIAL]);
  assert.deepEqual(shown(), ['group running', 'next running', 'trial finished']);
});

test('a group that comes back has all of its trials asked for', async () => {
  open.add('group');
  hello();
  await listed([GROUP]);
  await answer('trials of group', [TRIAL]);
  tell([], ['group', 'trial']);
  assert.deepEqual(shown(), []);
  tell([GROUP]);
  await answer('trials of group', [TRIAL]);
  assert.deepEqual(shown(), ['group running', 'trial running']);
});

test('an open group of a project that is looked at from another folder has its trials', async () => {
  hello();
  await listed([GROUP]);
  open.add('group');
  void feed.loadTrials();
  const late = await question('trials of group');
  feed.open('a/b');
  hello();
  await listed([GROUP]);
  await answer('trials of group', [TRIAL]);
  late.answer([{ ...TRIAL, run_id: 'late' }]);
  await settled();
  assert.deepEqual(shown(), ['group running', 'trial running']);
});

test('answers for a project that is no longer looked at are dropped', async () => {
  hello();
  const first = projects[1];
  await settled();
  feed.open('b');
  hello();
  await listed([run('of b')]);
  await listed([run('of a')], { of: first });
  assert.deepEqual(shown(), ['of b finished']);
  assert.equal(feed.state, 'ready');
});

test('of two lists that were asked for, the second is shown, whichever comes first', async () => {
  hello();
  await settled();
  const [jobs, first] = [await question('jobs'), await question(LIST)];
  void feed.load();
  await listed([run('second')]);
  jobs.answer({ jobs: [] });
  first.answer({ runs: [run('first')], more: false });
  await settled();
  assert.deepEqual(shown(), ['second finished']);
});

test('a change that is heard while a filtered list is asked for has it asked for again', async () => {
  hello();
  await listed([]);
  feed.want({ text: 'loss < 1' });
  mock.timers.tick(300);
  await settled();
  tell([run('new', { metrics: { loss: 0.5 } })]);
  mock.timers.tick(1000);
  await settled();
  assert.equal(projects[1]?.questions.filter((one) => one.what === 'loss < 1').length, 1); // the older answer could come last
  await listed([], { what: 'loss < 1' });
  mock.timers.tick(1000);
  await answer('loss < 1', { runs: [run('new')], more: false });
  assert.deepEqual(shown(), ['new finished']);
});

test('a question that fails beside leaves the list, says so, and is no more spoken of when the next succeeds', async () => {
  hello();
  await listed([]);
  feed.want({ text: 'loss < 1' });
  mock.timers.tick(300);
  await listed([run('one')], { what: 'loss < 1' });
  tell([run('one', { name: 'other' })]);
  mock.timers.tick(1000);
  (await question('loss < 1')).refuse(new Refusal(503, 'the store did not answer'));
  await settled();
  assert.deepEqual([shown(), feed.state, feed.trouble], [['one finished'], 'ready', 'the store did not answer']);
  tell([run('one', { name: 'another' })]);
  mock.timers.tick(1000);
  await answer('loss < 1', { runs: [run('one')], more: false });
  assert.equal(feed.trouble, null);
});

test('a job that was heard to have ended stays so', async () => {
  const job: Job = {
    id: 'j', kind: 'experiment', name: 'svm', notebook: null, state: 'running', started: '2026', ended: null, exit_code: null,
    run_id: 'r', progress: null, message: null
  };
  hello();
  await settled();
  projects[1]?.tell({ event: 'jobs', changed: [{ ...job, state: 'finished', ended: '2026' }], removed: [] });
  await listed([], { jobs: [job] });
  assert.equal(feed.jobs.get('r')?.state, 'finished');
});

test('what was deleted here does not come back by a list from before', async () => {
  hello();
  await listed([run('one'), run('two')]);
  void feed.load();
  await settled();
  feed.forget(['one']);
  await listed([run('one'), run('two')]);
  assert.deepEqual(shown(), ['two finished']);
});
