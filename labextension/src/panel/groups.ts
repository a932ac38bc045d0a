/** Of which groups the trials are known, and of which they are asked for. Pure. */

export class Groups {
  private readonly known = new Set<string>();
  private readonly asked = new Set<string>();

  /** Return those of the open groups whose trials are to be asked for, and take note that they are. */
  missing(open: readonly string[]): string[] {
    const found = open.filter((id) => !this.known.has(id) && !this.asked.has(id));
    found.forEach((id) => this.asked.add(id));
    return found;
  }

  /** Note that an answer has come, with the group's trials or without. */
  answered(id: string, isKnown: boolean): void {
    this.asked.delete(id);
    if (isKnown) {
      this.known.add(id);
    }
  }

  /** Note of which groups a new list has the trials. */
  list(ids: readonly string[]): void {
    this.known.clear();
    ids.forEach((id) => this.known.add(id));
  }

  /** Forget the groups that are gone: one that comes back is asked for anew. */
  keep(isThere: (id: string) => boolean): void {
    [...this.known].filter((id) => !isThere(id)).forEach((id) => this.known.delete(id));
  }

  /** Whether the trials of a group are known. */
  has(id: string): boolean {
    return this.known.has(id);
  }

  /** Whether what is heard of a trial of a group is kept: also while its trials are asked for. */
  hears(id: string): boolean {
    return this.known.has(id) || this.asked.has(id);
  }
}
