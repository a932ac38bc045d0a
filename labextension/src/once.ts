/** What is done at a press, and not a second time by the next one: each thing has a key. */
export class Once {
  private readonly doing = new Set<string>();

  /** Do it, unless it is being done. */
  async do(key: string, act: () => Promise<unknown>): Promise<void> {
    if (!this.doing.has(key)) {
      this.doing.add(key);
      try {
        await act();
      } finally {
        this.doing.delete(key);
      }
    }
  }
}
