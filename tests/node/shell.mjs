/** A viewer of a terminal in which a POSIX shell runs, as the original web UI's client is one. */
import headless from '@xterm/headless';
import { assert, Recorder } from './lib.mjs';

/** One viewer: its socket, and the text it shows since it was last told to start over. */
export class Shell extends Recorder {
  text = '';
  /** How often the service made this viewer start over. */
  clears = 0;
  /** How much text is kept at least, of a viewer who sees more than is worth keeping. */
  keep = Infinity;

  constructor(baseUrl, sessionId, options) {
    super(baseUrl, '/terminal', options);
    this.sessionId = sessionId;
  }

  record(name, payload) {
    if (name === 'data') {
      assert(typeof payload === 'string', `data is no string but ${JSON.stringify(payload)}`);
      this.text += payload;
      if (this.text.length > 2 * this.keep) this.text = this.text.slice(-this.keep);
      if (this.keep < Infinity) payload = undefined;
    }
    if (name === 'clear') {
      this.text = '';
      this.clears++;
    }
    super.record(name, payload);
  }

  emit(...event) {
    this.socket.emit(...event);
  }

  /** Attaches, and waits for the answer. */
  async attach(to = { sessionId: this.sessionId }) {
    const from = this.events.length;
    this.emit('attach', to);
    const at = await this.event('attached', from);
    return this.events[at].payload;
  }

  /** What stands between two markers, with the line ends that the program printed. */
  async shows([begin, end]) {
    const start = () => this.text.indexOf(begin);
    const stop = () => this.text.indexOf(end, start());
    await this.until(`text from ${begin} to ${end}`, () => start() >= 0 && stop() >= 0);
    return this.text.slice(start() + begin.length, stop()).replaceAll('\r\n', '\n');
  }

  /** Runs shell commands and answers what they print. */
  run(commands) {
    return this.shows(this.start(commands));
  }

  /** Types shell commands; answers the markers that their output will stand between. */
  start(commands, before = ':') {
    const number = ++Shell.#commands;
    this.emit('input', `${before}; printf '<%s:' ${number}; ${commands}; printf ':%s>' ${number}\r`);
    return [`<${number}:`, `:${number}>`];
  }

  /** Like start, and waits until the commands run: what is sent then is theirs to read. */
  async begin(commands, before) {
    const markers = this.start(commands, before);
    await this.until(`the text ${markers[0]}`, () => this.text.includes(markers[0]));
    return markers;
  }

  static #commands = 0;
}

/** Lines of a terminal's screen and its cursor, after what it was sent. */
export async function emulated(texts, { cols, rows }) {
  const terminal = new headless.Terminal({ cols, rows, allowProposedApi: true, scrollback: 200 });
  for (const text of texts) await new Promise((resolve) => terminal.write(text, resolve));
  const { active } = terminal.buffer;
  const lines = Array.from({ length: rows }, (_, row) => active.getLine(active.baseY + row)?.translateToString().trimEnd() ?? '');
  return { lines, cursor: [active.cursorX, active.cursorY] };
}
