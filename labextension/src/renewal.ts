/** A question that is asked again whenever that is wanted: never twice at once, so that no answer overtakes another. */
export class Renewal<T> {
  private isAsking = false;
  private wanted = 0; // how often
  private isOver = false;

  constructor(
    private readonly ask: () => Promise<T>,
    private readonly take: (answer: T) => void,
    private readonly fail: (problem: unknown) => void
  ) {}

  /** Ask, and resolve when that is answered; where it is being asked, it is asked once more after that. */
  async want(): Promise<void> {
    this.wanted++;
    if (this.isAsking) {
      return;
    }
    this.isAsking = true;
    for (let done = 0; done !== this.wanted && !this.isOver;) {
      done = this.wanted;
      await this.once();
    }
    this.isAsking = false;
  }

  /** Ask no more, and drop what is still answered. */
  end(): void {
    this.isOver = true;
  }

  private async once(): Promise<void> {
    try {
      const answer = await this.ask();
      if (!this.isOver) {
        this.take(answer);
      }
    } catch (problem) {
      if (!this.isOver) {
        this.fail(problem);
      }
    }
  }
}
