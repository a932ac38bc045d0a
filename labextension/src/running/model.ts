/** A form that runs a notebook: its fields, what the server says of them while they are typed, and the start. */
import { VDomModel } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { About, Checked, Job, Parameter, Parameters, Project } from '../api';
import { whyNotStarted } from '../problems';
import { askedBy, type Fields, fieldsOf, type Kind, NOTHING, placed, type Said, unreadable } from './asked';

const PAUSE = 500; // ms after a key is pressed, before what is typed is checked

/** What a form is made from. */
export interface Ground {
  readonly project: Project;
  /** The notebook, as the server names it. */
  readonly notebook: string;
  readonly found: Parameters;
  readonly about: About;
  /** The names of metrics that runs of the project have. */
  readonly metrics: readonly string[];
  /** What the user should know of the notebook, such as that it was saved. */
  readonly notes: readonly string[];
}

export class FormModel extends VDomModel {
  fields: Fields;
  said: Said = NOTHING;
  /** What would be done, in words. */
  plan: string | null = null;
  isStarting = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private checks = 0;

  constructor(
    readonly ground: Ground,
    kind: Kind,
    readonly trans: TranslationBundle
  ) {
    super();
    this.fields = fieldsOf(kind, ground.found.parameters);
  }

  get parameters(): readonly Parameter[] {
    return this.ground.found.parameters;
  }

  override dispose(): void {
    clearTimeout(this.timer);
    this.checks++;
    super.dispose();
  }

  set(changed: Partial<Fields>): void {
    this.fields = { ...this.fields, ...changed };
    this.stateChanged.emit();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.check(), PAUSE);
  }

  setParam(name: string, text: string): void {
    this.set({ params: { ...this.fields.params, [name]: text } });
  }

  /** Have it checked; whether it can be started. What was typed meanwhile is checked for itself. */
  async check(): Promise<boolean> {
    clearTimeout(this.timer);
    const asked = ++this.checks;
    const checked = await this.checked();
    if (asked !== this.checks) {
      return false;
    }
    [this.said, this.plan] = checked;
    this.stateChanged.emit();
    return this.said.others.length === 0 && Object.keys(this.said.fields).length === 0;
  }

  /** Start what is asked, if nothing is wrong with it; else null, and the form says what is. */
  async start(): Promise<Job | null> {
    if (this.isStarting) {
      return null;
    }
    this.isStarting = true;
    this.stateChanged.emit();
    try {
      return (await this.check()) ? await this.ground.project.start(this.asked) : null;
    } catch (problem) {
      this.said = { fields: this.said.fields, others: [whyNotStarted(problem, this.trans)] };
      return null;
    } finally {
      this.isStarting = false;
      this.stateChanged.emit();
    }
  }

  private get asked(): ReturnType<typeof askedBy> {
    return askedBy(this.fields, this.ground.notebook, this.parameters);
  }

  private async checked(): Promise<[Said, string | null]> {
    const wrong = unreadable(this.fields, (text) => this.trans.__('%1 is no such number', text));
    if (Object.keys(wrong.fields).length > 0) {
      return [wrong, null];
    }
    const isAimless = this.fields.kind === 'group' && this.fields.metric.trim() === '';
    if (isAimless && this.isStarting) {
      const message = this.trans.__('A group needs a metric: name one that the notebook records, which is to be optimised');
      return [{ fields: { metric: message }, others: [] }, null];
    }
    try {
      const found: Checked = await this.ground.project.check({ job: this.asked });
      const isUntouched = this.fields.kind === 'group' && !this.isStarting && Object.keys(this.asked.params ?? {}).length === 0;
      const errors = found.errors.filter(({ key }) => !(isUntouched && key === 'params'));
      const { metric, ...fields } = placed(errors, this.parameters).fields;
      const { others } = placed(errors, this.parameters);
      const isSaid = metric !== undefined && !isAimless; // nobody is told of what they haven't come to yet
      return [{ fields: isSaid ? { ...fields, metric } : fields, others }, found.plan];
    } catch (problem) {
      return [{ fields: {}, others: [whyNotStarted(problem, this.trans)] }, null];
    }
  }
}
