/**
 * What the server's routes answer and are asked, and what it says by itself: each as JSON has it.
 *
 * The types are those of `tests/wire.json`, which has an example of every answer and event; the tests of both sides read
 * it.
 */
import type { JSONValue } from '@lumino/coreutils';

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
}

export type Network = 'host' | 'default' | 'none';

/** An image of a notebook or a run, with its kernel's environment. */
export interface ImageAsked {
  notebook?: string;
  /** A run's id, in the notebook's place. */
  run?: string;
  tag?: string;
  base?: string;
  /** Leave out the packages that nothing imports. */
  only_imports?: boolean;
  /** Whether JupyterLab goes in; without it, where the kernel's environment has it. */
  lab?: boolean;
  /** Whether the files that the code names go in. */
  data?: boolean;
  /** Those of them that stay out, as the plan names them. */
  exclude?: string[];
  /** Of a run: repeat it in the image, and compare its metrics. */
  verify?: boolean;
  /** How far these may be from what they were, such as `loss=1%`. */
  tolerances?: string[];
  /** The network of the steps that may use one. */
  network?: Network;
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
  /** Whether its build has steps that may use a network, those of `apt.txt` and `postBuild`. */
  uses_network: boolean;
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
