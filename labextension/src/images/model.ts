/** The dialog of an image: its fields, what would go in, what the server says of what is typed, and the start. */
import { VDomModel } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ImagePlan, Job, Project } from '../api';
import { whyNotStarted } from '../problems';
import { askedBy, type Fields, fieldsOf, placed, planAsked, type Source } from './asked';

const PAUSE = 500; // ms after a key is pressed, before what is typed is checked

/** What an image is made of. */
export interface Subject {
  readonly project: Project;
  readonly source: Source;
  /** What people call it. */
  readonly name: string;
  /** What the user should know of it, such as that it was saved. */
  readonly notes: readonly string[];
}

export class ImageModel extends VDomModel {
  fields: Fields;
  plan: ImagePlan | null = null;
  /** Why there is no plan. */
  problem: string | null = null;
  isPlanning = false;
  isStarting = false;
  /** The base that it begins with unless another one is named. */
  usualBase = '';
  said: { fields: Readonly<Record<string, string>>; others: readonly string[] } = { fields: {}, others: [] };
  private timer: ReturnType<typeof setTimeout> | undefined;
  private checks = 0;
  private plans = 0;

  constructor(
    readonly subject: Subject,
    usual: Partial<Fields>,
    readonly trans: TranslationBundle
  ) {
    super();
    this.fields = { ...fieldsOf(subject.project.path, subject.name), ...usual };
  }

  /** Whether what is asked can be started: it was shown what goes in, and the engine can do it. */
  get canStart(): boolean {
    const { plan, isPlanning, isStarting } = this;
    return plan !== null && !isPlanning && !isStarting && (this.fields.contextOnly || plan.engine.problem === null);
  }

  override dispose(): void {
    clearTimeout(this.timer);
    this.checks++;
    this.plans++;
    super.dispose();
  }

  set(changed: Partial<Fields>): void {
    this.fields = { ...this.fields, ...changed };
    this.stateChanged.emit();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.check(), PAUSE);
    if (changed.onlyImports !== undefined || changed.lab !== undefined) {
      void this.load();
    }
  }

  /** Choose whether a file or folder that the code names goes in. */
  setOut(paths: readonly string[], isOut: boolean): void {
    const out = new Set(this.fields.out);
    paths.forEach((path) => out[isOut ? 'add' : 'delete'](path));
    this.set({ out });
  }

  /** Ask what would go in; an answer that something else was asked after is dropped. */
  async load(): Promise<void> {
    const asked = ++this.plans;
    this.isPlanning = true;
    this.problem = null;
    this.stateChanged.emit();
    try {
      const isUsual = this.said.fields.base !== undefined || this.fields.base.trim() === '';
      const fields = isUsual ? { ...this.fields, base: '' } : this.fields;
      const plan = await this.subject.project.planImage(planAsked(fields, this.subject.source));
      if (asked === this.plans) {
        this.take(plan, isUsual);
      }
    } catch (problem) {
      if (asked === this.plans) {
        [this.plan, this.problem] = [null, whyNotStarted(problem, this.trans)];
      }
    }
    if (asked === this.plans) {
      this.isPlanning = false;
      this.stateChanged.emit();
    }
  }

  /** Have what is typed checked; whether nothing is wrong. What was typed meanwhile is checked for itself. */
  async check(): Promise<boolean> {
    clearTimeout(this.timer);
    const asked = ++this.checks;
    let said: typeof this.said;
    try {
      const { errors } = await this.subject.project.check({ image: this.asked });
      said = placed(errors);
    } catch (problem) {
      said = { fields: {}, others: [whyNotStarted(problem, this.trans)] };
    }
    if (asked !== this.checks) {
      return false;
    }
    this.said = said;
    this.stateChanged.emit();
    return said.others.length === 0 && Object.keys(said.fields).length === 0;
  }

  /** Start what is asked, if nothing is wrong with it; else null, and the dialog says what is. */
  async start(): Promise<Job | null> {
    if (!this.canStart) {
      return null;
    }
    this.isStarting = true;
    this.stateChanged.emit();
    try {
      return (await this.check()) ? await this.subject.project.buildImage(this.asked) : null;
    } catch (problem) {
      this.said = { fields: this.said.fields, others: [whyNotStarted(problem, this.trans)] };
      return null;
    } finally {
      this.isStarting = false;
      this.stateChanged.emit();
    }
  }

  private get asked(): ReturnType<typeof askedBy> {
    return askedBy(this.fields, this.subject.source, this.plan?.data ?? []);
  }

  private take(plan: ImagePlan, isUsual: boolean): void {
    if (isUsual) {
      this.usualBase = plan.base;
    }
    if (this.plan === null && plan.engine.problem !== null) {
      this.fields = { ...this.fields, contextOnly: true };
    }
    this.plan = plan;
  }
}
