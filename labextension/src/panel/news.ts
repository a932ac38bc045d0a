/** What is heard while an answer is waited for: that answer may be from before it. Pure. */

/** Hands what is heard to all who wait for an answer. */
export class Hearing<T> {
  private readonly waiting = new Set<News<T>>();

  constructor(private readonly idOf: (one: T) => string) {}

  /** Note what is heard from now on, until `end`. */
  begin(): News<T> {
    const news = new News(this.idOf);
    this.waiting.add(news);
    return news;
  }

  end(news: News<T>): void {
    this.waiting.delete(news);
  }

  /** Take what is heard: how some are now, and which are gone. */
  hear(changed: readonly T[], removed: readonly string[] = []): void {
    this.waiting.forEach((news) => {
      news.take(changed, removed);
    });
  }
}

/** What was heard since an answer was asked for. */
export class News<T> {
  private readonly heard = new Map<string, T | null>(); // null: it is gone

  constructor(private readonly idOf: (one: T) => string) {}

  take(changed: readonly T[], removed: readonly string[]): void {
    changed.forEach((one) => this.heard.set(this.idOf(one), one));
    removed.forEach((id) => this.heard.set(id, null));
  }

  /** Whether nothing was heard. */
  get isEmpty(): boolean {
    return this.heard.size === 0;
  }

  /** All that was heard of, as they are now, without those that are gone. */
  get changed(): T[] {
    return [...this.heard.values()].flatMap((one) => one ?? []);
  }

  /** The answer, with what was heard since in place of what it says. */
  over(answer: readonly T[]): T[] {
    return answer.flatMap((one) => {
      const later = this.heard.get(this.idOf(one));
      return later === undefined ? [one] : (later ?? []);
    });
  }
}
