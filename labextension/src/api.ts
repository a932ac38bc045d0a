/**
 * The routes of Jupyter's server that this extension asks: the only module that knows addresses.
 *
 * What is refused is a `Refusal`, whose message is a sentence for people.
 */
import { ServerConnection } from '@jupyterlab/services';

import { Stream } from './stream';
import type {
  About,
  Artifacts,
  CheckAsked,
  Checked,
  Curves,
  Event,
  Form,
  Html,
  Ids,
  Image,
  ImageAsked,
  ImagePlan,
  Job,
  JobAsked,
  Jobs,
  Log,
  Page,
  Parameters,
  Place,
  ResumeAsked,
  Run,
  Runs,
  RunsAsked,
  Said,
  Text
} from './wire';

export * from './wire';

const BASE = 'ml-experiment-nb';

/** Runs in one answer, at most. */
export const MOST = 1000;

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

  /** The first `count` runs, in as many answers as they take. */
  async firstRuns(asked: RunsAsked, count: number): Promise<Runs> {
    const found: Run[] = [];
    for (;;) {
      const limit = Math.min(count - found.length, MOST);
      const { runs, more } = await this.runs({ ...asked, limit, offset: found.length || undefined });
      found.push(...runs);
      if (!more || found.length >= count || runs.length === 0) {
        return { runs: found, more };
      }
    }
  }

  /** All trials of a group. */
  async trials(group: string): Promise<Run[]> {
    return (await this.firstRuns({ group }, Infinity)).runs;
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
