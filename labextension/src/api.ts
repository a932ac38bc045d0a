/**
 * The routes of Jupyter's server that this extension asks: the only module that knows addresses.
 *
 * The types are those of `tests/wire.json`, which has an example of every answer and event; the tests of both sides read
 * it. What is refused is a `Refusal`, whose message is a sentence for people.
 */
import { ServerConnection } from '@jupyterlab/services';
import type { JSONValue } from '@lumino/coreutils';

const BASE = 'ml-experiment-nb';
const SILENCE = 90_000; // ms without a word, after which a connection is taken for dead; the server speaks every 30 s
const PAUSES = [500, 1000, 3000, 10_000, 30_000]; // ms before a lost connection is tried again

/** Runs in one answer, at most. */
export const MOST = 1000;

export type Status = 'running' | 'finished' | 'failed' | 'pruned' | 'killed';
export type Kind = 'experiment' | 'group' | 'trial';
export type Form = 'yaml' | 'json' | 'cell' | 'command' | 'notebook' | 'script';

/** A number; JSON has no form for some of them. */
export type Value = number | 'NaN' | 'Infinity' | '-Infinity';

export interface Failure {
  type: string;
  message: string;
  traceback: string;
}

/** A run, as `ml-experiment show --json` prints it; in a list, `tags` are only some of them. */
export interface Run {
  run_id: string;
  name: string;
  experiment: string;
  kind: Kind;
  status: Status;
  params: Record<string, JSONValue>;
  metrics: Record<string, Value>;
  /** When it began: ISO 8601, UTC. */
  started: string;
  /** How long it took, or has taken until the answer. */
  seconds: number;
  failure: Failure | null;
  /** A trial's number in its group. */
  number: number | null;
  /** The group's run. */
  parent_id: string | null;
  artifact_uri: string | null;
  tags: Record<string, string>;
  notes: string[];
  autologged: Record<string, JSONValue>;
}

export interface Runs {
  runs: Run[];
  /** Whether there are more of them behind these. */
  more: boolean;
}

/** Which runs are wanted; see `ml-experiment ls`. */
export interface RunsAsked {
  limit?: number;
  offset?: number;
  experiment?: string;
  group?: string;
  status?: Status;
  kind?: Kind;
  /** A condition, such as `metrics.loss < 0.1 and name ilike '%svm%'`. */
  where?: string;
  /** What they are ordered by, such as `metrics.loss DESC`; the newest first without it. */
  order_by?: string;
}

export interface Log {
  text: string;
  /** Whether that is all, and not only its end. */
  whole: boolean;
}

/** A metric's history. Of many points some are left out; the first, the last, the lowest and the highest are there. */
export interface Curve {
  steps: number[];
  /** ms since 1970. */
  times: number[];
  values: Value[];
  /** How many points there are in all. */
  count: number;
}

export interface Curves {
  metrics: Record<string, Curve>;
}

export interface Artifact {
  path: string;
  /** In bytes. */
  size: number;
}

export interface Artifacts {
  /** Every file, in order; folders are the parts of their paths. */
  artifacts: Artifact[];
  whole: boolean;
}

/** What a run was asked by, as a text, and what that loses of it. */
export interface Text {
  text: string;
  losses: string[];
}

/** A file, as JupyterLab names it. */
export interface Place {
  path: string;
}

/** Where MLflow's page of a run is; null where none is served. */
export interface Page {
  address: string | null;
}

export interface Said {
  text: string;
}

/** The runs that were deleted or restored: a group with its trials. */
export interface Ids {
  runs: string[];
}

/** What stands for itself as HTML. */
export interface Html {
  html: string;
}

export type State = 'starting' | 'running' | 'stopping' | 'finished' | 'failed' | 'stopped' | 'died';

export interface Progress {
  done: number;
  /** Null where that can't be known. */
  total: number | null;
  /** In words, such as the cell that a notebook is at. */
  text: string;
}

/** Something that was started and goes on without the browser and the server. */
export interface Job {
  id: string;
  kind: 'experiment' | 'group' | 'resume' | 'replay' | 'image';
  name: string;
  /** The notebook that it runs, as JupyterLab names it. */
  notebook: string | null;
  state: State;
  started: string;
  ended: string | null;
  /** Of the command; null while it runs, and where it died without a word. */
  exit_code: number | null;
  /** Its run, once that has begun; a group's own. */
  run_id: string | null;
  progress: Progress | null;
  /** Why it failed. */
  message: string | null;
}

export interface Jobs {
  jobs: Job[];
}

/** What is to be run. A text among `params` is read as behind `-p NAME=`: a number, a list, a distribution … */
export interface JobAsked {
  kind: 'experiment' | 'group';
  notebook: string;
  name?: string;
  params?: Record<string, JSONValue>;
  /** Of a group: how the next point is chosen, such as `TPE` or `tpe(seed=1)`. */
  sampler?: string;
  pruner?: string;
  trials?: number;
  metric?: string;
  direction?: 'minimize' | 'maximize';
  slots?: number;
  /** In seconds. */
  timeout?: number;
  seed?: number;
}

export interface ResumeAsked {
  /** How many trials more. */
  trials?: number;
  /** Run the points of failed trials again. */
  failed?: boolean;
}

export interface Parameter {
  name: string;
  /** `int`, `float`, `str`, `bool`, `list`, `dict`, `None`, or `unknown` where only running the code would tell. */
  type: string;
  /** The default as the cell has it. */
  default: string;
  /** The default, where it is a literal that JSON has a form for. */
  value: JSONValue;
  comment: string;
}

export interface Parameters {
  /** The parameters cell's index; null where none is tagged. */
  cell: number | null;
  parameters: Parameter[];
  kernel: string | null;
  /** Where no cell is tagged: how to tag one. */
  hint: string | null;
}

/** What is wrong; its line in the text, counted from 1, and its key, such as `params.C`. */
export interface Problem {
  message: string;
  line: number | null;
  key: string | null;
}

export interface Checked {
  errors: Problem[];
  /** What would be done, as `--plan` shows it; null where that can't be said. */
  plan: string | null;
}

/** A spec's text, or what a form asks for. `file` says where the text stands, for the paths in it. */
export type CheckAsked = { text: string; file: string } | { job: JobAsked } | { image: ImageAsked };

export interface Distribution {
  name: string;
  example: string;
  help: string;
}

/** What the server's side is, and can do. */
export interface About {
  version: string;
  samplers: string[];
  pruners: string[];
  distributions: Distribution[];
  /** The commands that can be had, such as `replay` and `image`. */
  commands: string[];
}

/** An image of a notebook or a run, with its kernel's environment. */
export interface ImageAsked {
  notebook?: string;
  /** A run's id, in the notebook's place. */
  run?: string;
  tag?: string;
  base?: string;
  /** Leave out the packages that nothing imports. */
  only_imports?: boolean;
  /** Whether the files that the code names go in. */
  data?: boolean;
  /** Those of them that stay out, as the plan names them. */
  exclude?: string[];
  /** Of a run: repeat it in the image, and compare its metrics. */
  verify?: boolean;
  push?: boolean;
  /** Write what it is built from to this folder, and build nothing. */
  context?: string;
}

/** A package that goes in. */
export interface Package {
  name: string;
  version: string;
  /** Where it comes from. */
  kind: 'index' | 'local' | 'vcs' | 'url' | 'debian';
  /** Its folder, commit or address, where that is no index. */
  source: string;
  /** In bytes, as it is installed on the server's machine; null where nothing tells. */
  size: number | null;
  /** The environment that has it: the kernel's, or that of what runs it, where the kernel's hasn't that. */
  of: 'env' | 'runner' | '';
}

/** A file or a folder that the code names. */
export interface DataFile {
  path: string;
  size: number;
  /** Why it stays out whatever is chosen; null where it goes in. */
  why_out: string | null;
}

/** The Docker engine in use. */
export interface Engine {
  address: string | null;
  /** Whether it has the base already; null where it wasn't asked. */
  has_base: boolean | null;
  /** Why no image can be built with it. */
  problem: string | null;
}

/** What an image would hold, as `ml-experiment image --plan --json` prints it. */
export interface ImagePlan {
  name: string;
  base: string;
  /** What it runs. */
  file: string;
  run: string | null;
  python: string;
  kernel: string;
  cuda: string | null;
  /** Whether JupyterLab goes in. */
  lab: boolean;
  packages: Package[];
  /** Packages that nothing imports, and that are left out for it. */
  dropped: string[];
  /** Modules of the project. */
  modules: Artifact[];
  data: DataFile[];
  /** The environment variables that a container is to be given. */
  secrets: string[];
  /** What can't be frozen, and what else is to be known. */
  notes: string[];
  dockerfile: string;
  engine: Engine;
}

export interface Layer {
  size: number;
  made_by: string;
}

/** An image that was made, or the folder that it can be built from. */
export interface Made {
  name: string;
  id: string | null;
  folder: string | null;
  size: number;
  layers: Layer[];
  notes: string[];
  /** Its digest in the registry, if it was pushed. */
  digest: string | null;
  /** Whether the run was the same in it; null where none was repeated. */
  verdict: { answer: 'identical' | 'within tolerance' | 'differs' | 'could not run'; sentence: string } | null;
  /** What runs it, or builds it. */
  command: string;
}

/** An image's job, and what that has made. */
export interface Image {
  job: Job;
  made: Made | null;
}

/**
 * What the server says by itself. `hello` comes first, and whenever something may have been missed: what is listed is
 * then asked for again. `trouble` says that the store can't be looked at; the next `hello`, that it can be.
 */
export type Event =
  | { event: 'hello' }
  | { event: 'runs'; changed: Run[]; removed: string[] }
  | { event: 'jobs'; changed: Job[]; removed: string[] }
  | { event: 'trouble'; message: string }
  | { event: 'alive' };

/** The server has said no. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string
  ) {
    super(message);
    this.name = 'Refusal';
  }

  /** Whether there is no such run, job or folder; of `about`, that the server has no such routes. */
  get isMissing(): boolean {
    return this.status === 404;
  }
}

type Asked = Record<string, string | number | boolean | undefined>;

/** A project: a folder below the server's own, whose runs and jobs are asked for. */
export class Project {
  constructor(
    readonly path: string,
    private readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()
  ) {}

  about(): Promise<About> {
    return this.get('about');
  }

  runs(asked: RunsAsked = {}): Promise<Runs> {
    return this.get('runs', { ...asked });
  }

  /** All trials of a group, in as many answers as they take. */
  async trials(group: string): Promise<Run[]> {
    const found: Run[] = [];
    for (;;) {
      const { runs, more } = await this.runs({ group, limit: MOST, offset: found.length || undefined });
      found.push(...runs);
      if (!more || runs.length === 0) {
        return found;
      }
    }
  }

  run(id: string): Promise<Run> {
    return this.get(`runs/${id}`);
  }

  log(id: string): Promise<Log> {
    return this.get(`runs/${id}/log`);
  }

  curves(id: string): Promise<Curves> {
    return this.get(`runs/${id}/metrics`);
  }

  artifacts(id: string): Promise<Artifacts> {
    return this.get(`runs/${id}/artifacts`);
  }

  /** The content of one of a run's files; a large one is refused. */
  async artifact(id: string, path: string): Promise<Blob> {
    return (await this.ask('GET', artifactRoute(id, path), {})).blob();
  }

  /** The address of one of a run's files, for a link or a picture. */
  artifactAddress(id: string, path: string): string {
    return this.address(artifactRoute(id, path), {});
  }

  form(id: string, as: Form): Promise<Text> {
    return this.get(`runs/${id}/form`, { as });
  }

  /** The run's executed notebook, copied into the project's folder where JupyterLab can't open it as it lies. */
  notebook(id: string): Promise<Place> {
    return this.post(`runs/${id}/notebook`);
  }

  mlflow(id: string): Promise<Page> {
    return this.get(`runs/${id}/mlflow`);
  }

  /** The same, started if it isn't there. */
  startMlflow(id: string): Promise<Page> {
    return this.post(`runs/${id}/mlflow`);
  }

  /** Stop a run, and wait until that is done. */
  stop(id: string): Promise<Said> {
    return this.post(`runs/${id}/stop`);
  }

  resume(id: string, asked: ResumeAsked = {}): Promise<Job> {
    return this.post(`runs/${id}/resume`, asked);
  }

  replay(id: string): Promise<Job> {
    return this.post(`runs/${id}/replay`);
  }

  /** Delete a run, a group with its trials; `restore` brings them back. */
  delete(id: string): Promise<Ids> {
    return this.json('DELETE', `runs/${id}`, {});
  }

  restore(id: string): Promise<Ids> {
    return this.post(`runs/${id}/restore`);
  }

  /** Runs side by side. */
  compare(ids: readonly string[]): Promise<Html> {
    return this.get('compare', { runs: ids.join(',') });
  }

  /** Why two runs differ. */
  diff(a: string, b: string): Promise<Html> {
    return this.get('diff', { a, b });
  }

  jobs(): Promise<Jobs> {
    return this.get('jobs');
  }

  job(id: string): Promise<Job> {
    return this.get(`jobs/${id}`);
  }

  jobLog(id: string): Promise<Log> {
    return this.get(`jobs/${id}/log`);
  }

  /** Start something that goes on without the browser. It belongs to the project of its notebook's folder. */
  start(asked: JobAsked): Promise<Job> {
    return this.post('jobs', asked);
  }

  stopJob(id: string): Promise<Job> {
    return this.post(`jobs/${id}/stop`);
  }

  parameters(notebook: string): Promise<Parameters> {
    return this.get('notebook-parameters', { notebook });
  }

  check(asked: CheckAsked): Promise<Checked> {
    return this.post('check', asked);
  }

  /** What an image would hold; it takes seconds. */
  planImage(asked: ImageAsked): Promise<ImagePlan> {
    return this.post('images/plan', asked);
  }

  /** Start what builds an image, or writes what it is built from; it goes on without the browser. */
  buildImage(asked: ImageAsked): Promise<Job> {
    return this.post('images', asked);
  }

  image(id: string): Promise<Image> {
    return this.get(`images/${id}`);
  }

  /** Listen to the project, over one connection that is made again when it is lost; the result ends it. */
  watch(hear: (event: Event) => void): () => void {
    return new Stream(this.settings, (since) => this.socketAddress(since), hear).close;
  }

  private get<T>(route: string, asked: Asked = {}): Promise<T> {
    return this.json('GET', route, asked);
  }

  private post<T>(route: string, body: object = {}): Promise<T> {
    return this.json('POST', route, {}, body);
  }

  private async json<T>(method: string, route: string, asked: Asked, body?: object): Promise<T> {
    return (await (await this.ask(method, route, asked, body)).json()) as T;
  }

  private async ask(method: string, route: string, asked: Asked, body?: object): Promise<Response> {
    const init: RequestInit = { method, cache: 'no-cache', ...(body && { body: JSON.stringify(body) }) };
    const response = await ServerConnection.makeRequest(this.address(route, asked), init, this.settings);
    if (!response.ok) {
      throw new Refusal(response.status, await messageOf(response));
    }
    return response;
  }

  private address(route: string, asked: Asked): string {
    return `${this.settings.baseUrl}${BASE}/${route}${query({ path: this.path, ...asked })}`;
  }

  private socketAddress(since: string): string {
    const { appendToken, token, wsUrl } = this.settings;
    const asked = { path: this.path, since: since || undefined, token: (appendToken && token) || undefined };
    return `${wsUrl}${BASE}/events${query(asked)}`;
  }
}

/** One connection to the server's events, and the next one when it is lost. */
class Stream {
  private socket: WebSocket | null = null;
  private last = ''; // what was heard last: the server then says what came since
  private tries = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isClosed = false;

  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly addressOf: (since: string) => string,
    private readonly hear: (event: Event) => void
  ) {
    this.open();
  }

  readonly close = (): void => {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.drop();
  };

  private open(): void {
    const socket = new this.settings.WebSocket(this.addressOf(this.last));
    this.socket = socket;
    socket.onmessage = (message) => {
      this.tries = 0;
      this.onMessage(String(message.data));
    };
    socket.onclose = () => {
      this.again();
    };
    this.listen();
  }

  private onMessage(text: string): void {
    const { id, ...event } = JSON.parse(text) as Event & { id?: string };
    this.last = id ?? this.last;
    this.listen();
    if (event.event !== 'alive') {
      this.hear(event);
    }
  }

  /** Take the connection for dead when nothing is heard for long. */
  private listen(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.again();
    }, SILENCE);
  }

  private again(): void {
    this.drop();
    clearTimeout(this.timer);
    if (!this.isClosed) {
      const pause = PAUSES[Math.min(this.tries++, PAUSES.length - 1)];
      this.timer = setTimeout(() => {
        this.open();
      }, pause);
    }
  }

  private drop(): void {
    if (this.socket !== null) {
      this.socket.onclose = this.socket.onmessage = null;
      this.socket.close();
      this.socket = null;
    }
  }
}

function artifactRoute(id: string, path: string): string {
  return `runs/${id}/artifacts/${path.split('/').map(encodeURIComponent).join('/')}`;
}

function query(asked: Asked): string {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  return `?${given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const { message } = JSON.parse(text) as { message?: string };
    return message ?? response.statusText;
  } catch {
    return response.statusText || `the server has answered with ${response.status}`;
  }
}
