/**
 * Progress on standard error: a bar on a terminal, now and then a plain line elsewhere (pipes, files, CI).
 */

const BETWEEN_FRAMES = 80;
const BETWEEN_LINES = 2000;

export class Progress {
  private readonly terminal: boolean;
  private readonly color: boolean;
  private shown = Number.NEGATIVE_INFINITY;
  private last = '';
  private drawn = false;

  constructor(
    private readonly stream: NodeJS.WriteStream,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.terminal = Boolean(stream.isTTY) && !env.CI && env.TERM !== 'dumb';
    this.color = this.terminal && !env.NO_COLOR;
  }

  update(share: number, doing: string): void {
    const now = performance.now();
    const percent = `${Math.floor(100 * Math.min(1, Math.max(0, share)))}%`;
    if (now - this.shown < (this.terminal ? BETWEEN_FRAMES : BETWEEN_LINES)) return;
    if (!this.terminal && this.last === percent + doing) return;
    this.shown = now;
    this.last = percent + doing;
    if (!this.terminal) {
      this.stream.write(`${percent.padStart(4)}  ${doing}\n`);
      return;
    }
    const bar = this.bar(share);
    const room = Math.max(0, this.width() - bar.length - 8);
    const paint = this.color ? `\x1b[36m${bar}\x1b[0m` : bar;
    this.stream.write(`\r${paint} ${percent.padStart(4)}  ${doing.slice(0, room)}\x1b[K`);
    this.drawn = true;
  }

  /** On a terminal alone. */
  live(share: number, doing: string): void {
    if (this.terminal) this.update(share, doing);
  }

  /** A line of its own; a bar is drawn again at the next update. */
  log(line: string): void {
    this.clear();
    this.stream.write(`${line}\n`);
  }

  clear(): void {
    if (!this.drawn) return;
    this.stream.write('\r\x1b[K');
    this.drawn = false;
    this.shown = Number.NEGATIVE_INFINITY;
  }

  private bar(share: number): string {
    const cells = Math.min(30, Math.floor(this.width() / 3));
    const full = Math.round(cells * Math.min(1, Math.max(0, share)));
    return '█'.repeat(full) + '░'.repeat(cells - full);
  }

  private width(): number {
    return Number(this.env.COLUMNS) || this.stream.columns || 80;
  }
}
