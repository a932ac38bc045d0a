/** Which rows of a list are selected, and at which one the keys are: as in any list of several. */

/** Select a row alone, beside others (or no more), all from the last one on, or only go to it. */
export type How = 'alone' | 'beside' | 'range' | 'not';

export class Selection {
  /** The row that the keys are at. */
  current: string | null = null;
  private readonly chosen = new Set<string>();
  private anchor: string | null = null;

  has(key: string): boolean {
    return this.chosen.has(key);
  }

  /** Go to a row of a list, whose keys are given from the top. */
  select(keys: readonly string[], key: string, how: How = 'alone'): void {
    if (how === 'alone' || how === 'range') {
      this.chosen.clear();
    }
    if (how === 'range') {
      const [first, last] = [keys.indexOf(this.anchor ?? key), keys.indexOf(key)].sort((a, b) => a - b);
      this.selectAll(keys.slice(Math.max(first ?? 0, 0), (last ?? 0) + 1));
    } else if (how === 'beside' && this.chosen.has(key)) {
      this.chosen.delete(key);
    } else if (how !== 'not') {
      this.chosen.add(key);
    }
    this.anchor = how === 'range' ? (this.anchor ?? key) : key;
    this.current = key;
  }

  selectAll(keys: readonly string[]): void {
    keys.forEach((key) => this.chosen.add(key));
  }

  /** Forget the rows that are gone. */
  keep(isThere: (key: string) => boolean): void {
    [...this.chosen].filter((key) => !isThere(key)).forEach((key) => this.chosen.delete(key));
    this.current = this.current !== null && isThere(this.current) ? this.current : null;
  }
}
