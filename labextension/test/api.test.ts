/** `api.ts` against `tests/wire.json`: what it asks for, what it makes of each answer, and that its types fit them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo, Socket } from 'node:net';
import { resolve } from 'node:path';
import { after, before, test } from 'node:test';

import { ServerConnection } from '@jupyterlab/services';
import * as ts from 'typescript';

import { type Event, type ImageAsked, type JobAsked, Project, Refusal } from '../src/api';

interface Answer {
  name: string;
  method: string;
  route: string;
  body?: object;
  status: number;
  type: string;
  answer: unknown;
}
interface Wire {
  answers: Answer[];
  refusals: { name: string; method: string; route: string; body?: object; status: number; message: string }[];
  events: (Event & { id?: string })[];
}

const HERE = process.cwd(); // npm runs scripts in the package's folder
const wire = JSON.parse(readFileSync(resolve(HERE, '../tests/wire.json'), 'utf8')) as Wire;
const R = '3f2a9c0d5b7e4a1f8c6d2e9b0a4f7c15';
const G = '9b1d4e7f2a5c4d8eb3f60c7a1e2d5b84';
const J = '5e8a1c3b7d90';
const asked = wire.answers.find((one) => one.name === 'start')?.body as JobAsked;
const image = wire.answers.find((one) => one.name === 'build image')?.body as ImageAsked;

const CALLS: Record<string, (project: Project) => Promise<unknown>> = {
  about: (project) => project.about(),
  runs: (project) => project.runs({ limit: 2, status: 'finished' }),
  run: (project) => project.run(R),
  log: (project) => project.log(R),
  curves: (project) => project.curves(R),
  artifacts: (project) => project.artifacts(R),
  form: (project) => project.form(R, 'yaml'),
  notebook: (project) => project.notebook(R),
  mlflow: (project) => project.mlflow(R),
  'start mlflow': (project) => project.startMlflow(R),
  stop: (project) => project.stop(R),
  resume: (project) => project.resume(G, { trials: 4, failed: true }),
  replay: (project) => project.replay(R),
  delete: (project) => project.delete(R),
  restore: (project) => project.restore(R),
  compare: (project) => project.compare([R, G]),
  diff: (project) => project.diff(R, G),
  jobs: (project) => project.jobs(),
  start: (project) => project.start(asked),
  job: (project) => project.job(J),
  'job log': (project) => project.jobLog(J),
  'stop job': (project) => project.stopJob(J),
  parameters: (project) => project.parameters('project/svm.ipynb'),
  'parameters of none': (project) => project.parameters('project/plain.ipynb'),
  'check text': (project) =>
    project.check({ text: 'name: svm\nrun: svm.ipynb\nparms: {C: 1}\n', file: 'project/svm.yaml' }),
  'check job': (project) => project.check({ job: asked }),
  'check image': (project) => project.check({ image: { notebook: 'project/svm.ipynb', tag: 'Team/SVM' } }),
  'plan image': (project) => project.planImage({ notebook: 'project/svm.ipynb', only_imports: true }),
  'build image': (project) => project.buildImage(image),
  image: (project) => project.image('7b20d5e8f1a4')
};

let server: Server;
let heard: { method: string; url: URL; token: string | undefined; body: unknown };
let next: { status: number; body: string };

before(async () => {
  server = createServer((request, response) => {
    void read(request).then((body) => {
      const url = new URL(request.url ?? '', 'http://here');
      heard = { method: request.method ?? '', url, token: request.headers.authorization, body };
      response.writeHead(next.status, { 'content-type': 'application/json' }).end(next.body);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
});

after(() => {
  server.closeAllConnections();
  server.close();
});

async function read(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const some of request) {
    text += String(some);
  }
  return text === '' ? undefined : JSON.parse(text);
}

function project(): Project {
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}/hub/`;
  const settings = { baseUrl: `http://${address}`, wsUrl: `ws://${address}`, token: 't', appendToken: true };
  return new Project('some/where & else', ServerConnection.makeSettings(settings));
}

/** Check what was asked against a route of the fixture, whose query has no `path`. */
function checkAsked(one: { method: string; route: string; body?: object }): void {
  const wanted = new URL(one.route, 'http://here/hub/ml-experiment-nb/');
  wanted.searchParams.set('path', 'some/where & else');
  assert.equal(heard.method, one.method);
  assert.equal(heard.token, 'token t');
  assert.equal(heard.url.pathname, wanted.pathname);
  const found = heard.url.searchParams;
  found.sort();
  wanted.searchParams.sort();
  assert.deepEqual([...found], [...wanted.searchParams]);
  assert.deepEqual(heard.body, one.body);
}

for (const one of wire.answers) {
  test(`${one.name} is asked for, and answered`, async () => {
    next = { status: one.status, body: JSON.stringify(one.answer) };
    const call = CALLS[one.name];
    assert.ok(call, `no call of the fixture's ${one.name}`);
    assert.deepEqual(await call(project()), one.answer);
    checkAsked(one);
  });
}

for (const one of wire.refusals) {
  test(`a refusal has the server's words: ${one.name}`, async () => {
    next = { status: one.status, body: JSON.stringify({ message: one.message }) };
    await assert.rejects(project().jobs(), (error: Refusal) => {
      assert.ok(error instanceof Refusal);
      assert.deepEqual([error.status, error.message, error.isMissing], [one.status, one.message, one.status === 404]);
      return true;
    });
  });
}

test('all trials of a group are asked for, however many answers they take', async () => {
  const offsets: (string | null)[] = [];
  next = {
    status: 200,
    get body() {
      offsets.push(heard.url.searchParams.get('offset'));
      const count = offsets.length < 3 ? 1000 : 17;
      return JSON.stringify({ runs: Array<object>(count).fill({ run_id: G }), more: offsets.length < 3 });
    }
  };
  assert.equal((await project().trials(G)).length, 2017);
  assert.deepEqual(offsets, [null, '1000', '2000']);
  assert.equal(heard.url.searchParams.get('group'), G);
});

test('a refusal that is no JSON has words all the same', async () => {
  next = { status: 502, body: '<html>' };
  await assert.rejects(project().jobs(), { status: 502, message: 'Bad Gateway' });
});

test('the types fit the answers and the events, to the last key', () => {
  const answers = wire.answers.map(({ type, answer }, k) => `export const a${k}: api.${type} = ${JSON.stringify(answer)};`);
  const events = wire.events.map((one, k) => `export const e${k}: api.Event = ${JSON.stringify(withoutId(one))};`);
  const asks = [
    `export const j: api.JobAsked = ${JSON.stringify(asked)};`,
    `export const i: api.ImageAsked = ${JSON.stringify(image)};`
  ];
  assert.deepEqual(problems([...answers, ...events, ...asks]), []);
  assert.equal(problems(['export const x: api.Place = {"path": "a", "more": 1};']).length, 1);
  assert.equal(problems(['export const x: api.Log = {"text": "a"};']).length, 1);
});

function withoutId(event: object): Event {
  return Object.fromEntries(Object.entries(event).filter(([name]) => name !== 'id')) as Event;
}

/** What TypeScript has to say of some lines that use the types of `api.ts`. */
function problems(lines: string[]): string[] {
  const file = resolve(HERE, 'src/made.ts');
  const options: ts.CompilerOptions = {
    strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, types: [],
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler
  };
  const host = ts.createCompilerHost(options);
  const found = host.getSourceFile.bind(host);
  const text = `import type * as api from './api';\n${lines.join('\n')}\n`;
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : found(name, ...rest);
  const program = ts.createProgram([file], options, host);
  return program
    .getSemanticDiagnostics(program.getSourceFile(file))
    .map((one) => ts.flattenDiagnosticMessageText(one.messageText, '\n'));
}

// --- events ---

interface Socketed {
  send(text: string): void;
  close(): void;
}
interface Sockets {
  handleUpgrade(request: IncomingMessage, socket: Socket, head: Buffer, done: (one: Socketed) => void): void;
}

test('events are heard, and after a loss what came since is asked for', async () => {
  const { WebSocketServer } = createRequire(__filename)('ws') as { WebSocketServer: new (o: object) => Sockets };
  const sockets = new WebSocketServer({ noServer: true });
  const urls: URL[] = [];
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    urls.push(new URL(request.url ?? '', 'http://here'));
    sockets.handleUpgrade(request, socket, head, (one) => {
      const part = urls.length === 1 ? wire.events.slice(0, 2) : wire.events.slice(2);
      part.forEach((event) => {
        one.send(JSON.stringify(event));
      });
      if (urls.length === 1) {
        one.close();
      }
    });
  });
  const events: Event[] = [];
  const wanted = wire.events.filter(({ event }) => event !== 'alive').map(withoutId);
  await new Promise<void>((done) => {
    const stop = project().watch((event) => {
      events.push(event);
      if (events.length === wanted.length) {
        stop();
        done();
      }
    });
  });
  assert.deepEqual(events, wanted);
  assert.deepEqual(
    urls.map((url) => url.pathname),
    Array(2).fill('/hub/ml-experiment-nb/events')
  );
  assert.deepEqual(
    urls.map((url) => Object.fromEntries(url.searchParams)),
    [
      { path: 'some/where & else', token: 't' },
      { path: 'some/where & else', token: 't', since: 'a41c-1' }
    ]
  );
});
