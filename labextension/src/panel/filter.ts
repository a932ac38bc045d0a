/** Which runs are wanted, and how many of them: what the store is asked for, and what the list shows of that. Pure. */
import { MOST, type RunsAsked, type Status } from '../api';
import { readFilter } from './rows';

const LARGEST = 20 * MOST; // runs that are listed

export class Filter {
  /** Words or a condition, as they are typed. */
  text = '';
  status: Status | '' = '';
  private first = 200;
  private count = 200;

  /** How many runs are asked for. */
  get limit(): number {
    return this.count;
  }

  /** Set how many are asked for at first; whether that is another number than before. */
  setLimit(limit: number): boolean {
    const isOther = limit !== this.first;
    if (isOther) {
      this.first = this.count = limit;
    }
    return isOther;
  }

  /** Ask for as many as at first. */
  restart(): void {
    this.count = this.first;
  }

  /** Ask for more than before. */
  widen(): void {
    this.count = Math.min(2 * this.count, LARGEST);
  }

  /** Want all runs. */
  clear(): void {
    this.text = this.status = '';
  }

  /** Whether some are not wanted. */
  get isSet(): boolean {
    return this.text.trim() !== '' || this.status !== '';
  }

  /** Whether the store is asked to filter. */
  get isAsked(): boolean {
    return this.condition !== undefined || this.status !== '';
  }

  /** What the store is asked for, if anything is typed for it. */
  get condition(): string | undefined {
    return readFilter(this.text).where;
  }

  /** Words, each of which a run has to have somewhere. */
  get words(): string[] {
    return readFilter(this.text).words;
  }

  /** What the store is asked for. */
  get asked(): RunsAsked {
    const { condition } = this;
    const where = this.isAsked ? condition : "kind != 'trial'"; // those are asked for when their group is opened
    return { where, status: this.status || undefined };
  }
}
