/** Something that is done again and again as things change: at most once in a while, and never twice at once. */
import { whenSeen } from './seen';

export class Again {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private takeBack = (): void => undefined;
  private isActing = false;
  private isDue = false;

  /** `pause` is what lies between one end and the next beginning, in ms. */
  constructor(
    private readonly act: () => Promise<void>,
    private readonly pause: number
  ) {}

  /** Have it done after the pause: once, however often that is wanted until then. */
  want(): void {
    if (this.isActing) {
      this.isDue = true;
    } else {
      this.timer ??= setTimeout(() => {
        this.takeBack = whenSeen(() => void this.run());
      }, this.pause);
    }
  }

  /** Want it no more. */
  cancel(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.takeBack();
    this.isDue = false;
  }

  private async run(): Promise<void> {
    this.timer = undefined;
    this.isActing = true;
    try {
      await this.act();
    } finally {
      this.isActing = false;
      if (this.isDue) {
        this.isDue = false;
        this.want();
      }
    }
  }
}
