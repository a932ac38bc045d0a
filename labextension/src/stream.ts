/** One connection to the server's events, and the next one when it is lost. */
import type { ServerConnection } from '@jupyterlab/services';

import type { Event } from './wire';

const SILENCE = 90_000; // ms without a word, after which a connection is taken for dead; the server speaks every 30 s
const PAUSES = [500, 1000, 3000, 10_000, 30_000]; // ms before a lost connection is tried again

export class Stream {
  private socket: WebSocket | null = null;
  private last = ''; // what was heard last: the server then says what came since
  private tries = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isClosed = false;

  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly addressOf: (since: string) => string,
    private readonly hear: (event: Event) => void
  ) {
    this.open();
  }

  readonly close = (): void => {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.drop();
  };

  private open(): void {
    const socket = new this.settings.WebSocket(this.addressOf(this.last));
    this.socket = socket;
    socket.onmessage = (message) => {
      this.onMessage(String(message.data));
    };
    socket.onclose = () => {
      this.again();
    };
    this.listen();
  }

  private onMessage(text: string): void {
    const { id, ...event } = JSON.parse(text) as Event & { id?: string };
    this.last = id ?? this.last;
    this.tries = event.event === 'trouble' ? this.tries : 0; // after which it may be closed at once
    this.listen();
    if (event.event !== 'alive') {
      this.hear(event);
    }
  }

  /** Take the connection for dead when nothing is heard for long. */
  private listen(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.again();
    }, SILENCE);
  }

  private again(): void {
    this.drop();
    clearTimeout(this.timer);
    if (!this.isClosed) {
      const pause = PAUSES[Math.min(this.tries++, PAUSES.length - 1)];
      this.timer = setTimeout(() => {
        this.open();
      }, pause);
    }
  }

  private drop(): void {
    if (this.socket !== null) {
      this.socket.onclose = this.socket.onmessage = null;
      this.socket.close();
      this.socket = null;
    }
  }
}
