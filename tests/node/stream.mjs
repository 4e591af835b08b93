/**
 * What flows to viewers of a terminal: byte for byte, within bounds, and through breaks. The session must run a
 * POSIX shell; the script turns its echo and prompt off and leaves it running.
 */
import { createHash } from 'node:crypto';
import { args, assert, assertEqual, main, ok, Recorder } from './lib.mjs';
import { emulated, Shell } from './shell.mjs';

const [baseUrl, cookie, sessionId, floodMegabytes, interruptMs] = args('base-url', 'cookie', 'session-id', 'flood-megabytes', 'interrupt-ms');
const options = { extraHeaders: { Cookie: cookie } };

/** What one viewer is sent at once without falling behind, in bytes: a quarter of what makes it see a screen instead. */
const BURST_BYTES = 64 * 1024;

/** Bytes that random output must not have: those that begin or are device queries, which nobody is shown. */
const QUERIES = "'\\033\\005\\302'";

/** How long a viewer reads nothing, in milliseconds. */
const STALL_MS = 10_000;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A client that negotiates: it knows where everything it was sent stands. */
class Reader extends Recorder {
  /** The pieces since the last screen, which stand one behind the other from `from` to `position`. */
  pieces = [];
  from = null;
  position = null;
  screens = 0;

  constructor(asks, more = {}) {
    super(baseUrl, '/terminal', { ...options, ...more });
    this.asks = asks;
    this.socket.on('attached', ({ offset }) => {
      if (offset === null) return;
      this.position = offset;
      this.from ??= offset;
    });
    // Who waits looks again once a piece was taken in.
    this.socket.on('data', (piece, stretch) => {
      this.#piece(piece, stretch);
      this.record('shown');
    });
    this.socket.on('screen', (drawing, drawn) => {
      this.drawing = drawing;
      this.screens++;
      this.pieces = [];
      this.from = this.position = drawn.offset;
      this.#acknowledge();
      this.record('shown');
    });
  }

  #piece(piece, { offset, end }) {
    assert(Buffer.isBuffer(piece) === !!this.asks.binary, `data is ${typeof piece}`);
    assertEqual(offset, this.position, 'where a piece begins');
    if (this.asks.binary) assertEqual(end - offset, piece.length, 'the length of a piece');
    assert(piece.length <= 32 * 1024, `a piece of ${piece.length} bytes`);
    this.pieces.push(piece);
    this.position = end;
    if (this.asks.acknowledge && !this.silent) this.#acknowledge();
  }

  #acknowledge() {
    if (this.asks.acknowledge && !this.silent) this.socket.emit('acknowledge', { offset: this.position });
  }

  /** Attaches with what this client asks for; answers `attached`. */
  async attach(more = {}) {
    const from = this.events.length;
    const answer = this.socket.timeout(20_000).emitWithAck('attach', { sessionId, ...this.asks, ...more });
    const at = await this.event('attached', from);
    assertEqual(await answer, { ok: true }, 'the answer to attach');
    return this.events[at].payload;
  }

  /** All output since the last screen. */
  bytes() {
    return Buffer.concat(this.pieces);
  }

  /** What stands between two markers, once both have come. */
  async shows([begin, end]) {
    await this.until(`the bytes ${end}`, () => this.pieces.length > 0 && this.bytes().includes(end));
    const all = this.bytes();
    return all.subarray(all.indexOf(begin) + begin.length, all.indexOf(end));
  }
}

/** Shell commands that print the beginning of a file in bursts, each but the first after a line of input. */
function inBursts(file, bytes) {
  const bursts = Math.ceil(bytes / BURST_BYTES);
  return `n=0; while [ $n -lt ${bursts} ]; do dd if=${file} bs=${BURST_BYTES} count=1 skip=$n 2>/dev/null; read go; n=$((n + 1)); done`;
}

main(600_000, async () => {
  const shell = new Shell(baseUrl, sessionId, options);
  await shell.attach();
  shell.emit('input', `stty -echo -opost; PS1= PS2=\r`);
  await shell.run(':');
  await termsAreAgreed();
  await charactersAreNeverCut(shell);
  await randomBytesAreExact(shell);
  await aWindowIsKept(shell);
  await breaksLeaveNoGap(shell);
  await interruptsAreSeen(shell);
  await aStalledViewerIsShownTheScreen(shell);
  shell.close();
});

async function termsAreAgreed() {
  const reader = new Reader({ binary: true, acknowledge: true, window: 1 });
  const attached = await reader.attach();
  const { binary, acknowledge, window, offset, canWrite, canTerminate } = attached;
  assertEqual({ binary, acknowledge, window, offset, canWrite, canTerminate },
    { binary: true, acknowledge: true, window: 16 * 1024, offset: null, canWrite: true, canTerminate: true }, 'what was agreed');
  await reader.event('screen');
  assertEqual(reader.drawing.subarray(0, 2).toString('latin1'), '\x1bc', 'how a drawing begins');
  const refused = await reader.socket.timeout(20_000).emitWithAck('attach', { sessionId: 'no-such-id' });
  assertEqual([refused.ok, refused.error.code], [false, 'SESSION_NOT_FOUND'], 'the answer to a bad attach');
  assertEqual(await reader.socket.timeout(20_000).emitWithAck('input', '\r'), { ok: true }, 'the answer to input, where it was before');
  const far = await reader.attach({ offset: 2 ** 50 });
  assertEqual(far.offset, null, 'a position that there is not');
  const { position } = reader;
  assertEqual((await reader.attach({ offset: position })).offset, position, 'a position that is held');
  const sized = reader.events.length;
  reader.socket.emit('resize', { cols: 90, rows: 25 });
  const at = await reader.event('resized', sized);
  assertEqual(reader.events[at].payload, { cols: 90, rows: 25 }, 'the new size');
  reader.close();
  ok('what a client asks for with attach is agreed or left out, and every event is answered that asks for it');
}

async function charactersAreNeverCut(shell) {
  const reader = new Reader({ offset: 0 });
  await reader.attach();
  for (const character of ['é', '€', '🦀', '👩‍💻']) {
    const bytes = [...Buffer.from(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`);
    for (let cut = 1; cut < bytes.length; cut++) {
      const halves = [bytes.slice(0, cut), bytes.slice(cut)].map((half) => `printf '${half.join('')}'`);
      const markers = shell.start(halves.join('; sleep 0.03; '));
      assertEqual(await shell.shows(markers), character, `${character} cut behind byte ${cut}`);
    }
  }
  await reader.until('all of it', () => reader.pieces.join('').includes(shell.text.slice(-20)));
  assert(![shell.text, reader.pieces.join('')].some((text) => text.includes('\u{fffd}')), 'a replacement character was sent');
  reader.close();
  ok('a character that is cut anywhere arrives whole');
}

async function randomBytesAreExact(shell) {
  const exact = new Reader({ binary: true });
  const text = new Reader({ offset: 0 });
  for (const reader of [exact, text]) await reader.attach();
  await exact.event('screen');
  const file = (await shell.run('mktemp')).trim();
  await shell.run(`head -c 1100000 /dev/urandom | tr -d ${QUERIES} | head -c 1000000 > ${file}`);
  const sum = (await shell.run(`sha256sum < ${file}`)).split(' ')[0];
  const bursts = await shell.begin(inBursts(file, 1_000_000));
  await exact.until('the beginning', () => exact.bytes().includes(bursts[0]));
  const begin = exact.from + exact.bytes().indexOf(bursts[0]) + bursts[0].length;
  for (let printed = 0; printed < 1_000_000; shell.emit('input', '\r')) {
    printed = Math.min(printed + BURST_BYTES, 1_000_000);
    await exact.until(`${printed} bytes`, () => exact.position >= begin + printed);
    // As text, bytes that may yet become a character wait for what follows.
    await text.until(`${printed} bytes as text`, () => text.position >= begin + printed - 3);
  }
  const bytes = await exact.shows(bursts);
  assertEqual([bytes.length, exact.screens], [1_000_000, 1], 'how many bytes came, and screens');
  assertEqual(sha256(bytes), sum, 'the checksum of random bytes');
  await text.until('the end', () => text.position >= exact.position);
  const whole = new TextDecoder('utf-8', { ignoreBOM: true }).decode(exact.bytes());
  const pieced = text.pieces.join('');
  const common = Math.min(whole.length, pieced.length);
  assertEqual(sha256(pieced.slice(-common)), sha256(whole.slice(-common)), 'the text of random bytes');
  assert(common > 400_000, 'too little text was compared');
  await shell.run(`rm ${file}`);
  for (const reader of [exact, text]) reader.close();
  ok('a megabyte of random bytes is exact in binary, and as text what a decoder makes of all of it');
}

async function aWindowIsKept(shell) {
  const reader = new Reader({ binary: true, acknowledge: true, window: 16 * 1024 });
  await reader.attach();
  await reader.event('screen');
  await shell.run(':');
  await reader.until('quiet', () => reader.pieces.length > 0);
  reader.silent = true;
  const start = reader.position;
  const markers = shell.start('head -c 100000 /dev/zero | tr "\\\\0" y');
  await shell.shows(markers);
  await reader.until('a full window', () => reader.position - start >= 12 * 1024);
  await shell.run('echo and more');
  assert(reader.position - start <= 16 * 1024 + 64, `${reader.position - start} bytes were on their way`);
  reader.silent = false;
  reader.socket.emit('acknowledge', { offset: reader.position });
  await reader.until('the rest', () => reader.bytes().includes('and more'));
  assertEqual(reader.screens, 1, 'screens');
  reader.close();
  ok('a client that acknowledges is sent no more than its window ahead');
}

async function breaksLeaveNoGap(shell) {
  const reader = new Reader({ binary: true, acknowledge: true }, { reconnectionDelay: 1, reconnectionDelayMax: 50 });
  await reader.attach();
  await reader.event('screen');
  const file = (await shell.run('mktemp')).trim();
  const sum = (await shell.run(`head -c 2000000 /dev/urandom | base64 -w 0 > ${file}; sha256sum < ${file}`)).split(' ')[0];
  const length = Number(await shell.run(`wc -c < ${file}`));
  const markers = await shell.begin(inBursts(file, length));
  await reader.until('the beginning', () => reader.bytes().includes(markers[0]));
  const begin = reader.from + reader.bytes().indexOf(markers[0]) + markers[0].length;
  let breaks = 0;
  for (let printed = 0; printed < length; shell.emit('input', '\r')) {
    // The connection breaks somewhere in a burst.
    const burst = Math.min(BURST_BYTES, length - printed);
    const at = printed + Math.floor(burst * Math.random());
    printed += burst;
    await reader.until(`${at} bytes`, () => reader.position >= begin + at);
    const from = reader.events.length;
    reader.socket.io.engine.close();
    await reader.event('connect', from);
    const { position } = reader;
    const attached = await reader.attach({ offset: position });
    assertEqual(attached.offset, position, 'where it goes on');
    breaks++;
    await reader.until(`${printed} bytes`, () => reader.position >= begin + printed);
  }
  assertEqual(sha256(await reader.shows(markers)), sum, 'the checksum over all breaks');
  assert(breaks >= 10 && reader.screens === 1, `${breaks} breaks, ${reader.screens} screens`);
  await shell.run(`rm ${file}`);
  reader.close();
  ok(`what is put together over ${breaks} breaks is exact`);
}

async function interruptsAreSeen(shell) {
  const times = [];
  for (let round = 0; round < 5; round++) {
    const prompt = `prompt-${round}>`;
    await shell.run(`PS1='prompt-''${round}>'`);
    const seen = shell.events.length;
    shell.emit('input', 'yes\r');
    await shell.until('a flood', () => shell.events.length - seen > 200);
    const start = performance.now();
    shell.emit('input', '\x03');
    // The prompt is drawn behind the flood, or stands on the screen that is shown in its place.
    await shell.until('the prompt', () => shell.text.slice(-4000).includes(prompt));
    times.push(performance.now() - start);
    shell.events.length = 0;
    shell.text = '';
    await shell.run('PS1=');
  }
  const shown = times.map((time) => time.toFixed(0)).join(', ');
  assert(Math.min(...times) <= Number(interruptMs), `Ctrl-C was seen after ${shown} ms`);
  ok(`the end of a flood is seen ${shown} ms after Ctrl-C`);
}

async function aStalledViewerIsShownTheScreen(shell) {
  await shell.run('stty opost');
  shell.keep = 1_000_000;
  const stalled = new Shell(baseUrl, sessionId, options);
  await stalled.attach();
  await stalled.event('data');
  const { ws } = stalled.socket.io.engine.transport;
  ws.pause();
  const stalledAt = Date.now();
  const lines = Math.ceil((Number(floodMegabytes) * 1e6) / 50);
  const markers = shell.start(`seq -f '%048.0f' ${lines}; sleep 0.2`);
  await shell.until('the end', () => shell.text.slice(-1000).includes(markers[1]), 300_000);
  ok(`${floodMegabytes} MB pass a viewer who reads, beside one who does not, within ${Date.now() - stalledAt} ms`);
  await wait(Math.max(0, STALL_MS - (Date.now() - stalledAt)));
  const clears = stalled.clears;
  ws.resume();
  await stalled.until('the end', () => stalled.text.includes(markers[1]));
  assert(stalled.clears > clears, 'who read nothing was not shown the screen anew');
  assertEqual(stalled.events.filter(({ name }) => name === 'disconnect'), [], 'disconnections');
  const fresh = new Reader({ binary: true });
  await fresh.attach();
  await fresh.event('screen');
  const size = { cols: 90, rows: 25 };
  const live = await emulated([shell.text], size);
  assertEqual(await emulated([stalled.text], size), live, 'the screen of who read nothing for a while');
  assertEqual(await emulated([fresh.drawing, ...fresh.pieces], size), live, 'the screen of who comes now');
  for (const viewer of [stalled, fresh]) viewer.close();
  ok(`who reads nothing for ${STALL_MS / 1000} s stays connected and then sees the same screen`);
}
