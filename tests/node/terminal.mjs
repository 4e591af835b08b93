/**
 * A terminal as the original web UI's client uses it. The session must run a POSIX shell; the script
 * turns its echo and prompt off and leaves it running.
 */
import { createHash } from 'node:crypto';
import { args, assert, assertEqual, main, ok } from './lib.mjs';
import { emulated, Shell } from './shell.mjs';

const [baseUrl, cookie, sessionId] = args('base-url', 'cookie', 'session-id');

/** The service's bound for one piece of input, in bytes. */
const INPUT_BYTES_MAX = 64 * 1024;

/** The size of the terminal while much flows. */
const SIZE = { cols: 101, rows: 31 };

/** Characters at the end of a long text that decide what stands on the screen. */
const END_CHARACTERS = 100_000;

/** The line length of base64, with its line end. */
const LINE_BYTES = 77;

/** How often 4 MB are printed to overflow every buffer. */
const TIMES = 8;

/** What a viewer is sent at once without falling behind: half of what makes it see a screen instead, in whole lines. */
const BURST_BYTES = 1700 * LINE_BYTES;

class Viewer extends Shell {
  constructor(options = { extraHeaders: { Cookie: cookie } }) {
    super(baseUrl, sessionId, options);
  }
}

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

main(180_000, async () => {
  const viewer = new Viewer();
  await attachesInOrder(viewer);
  viewer.emit('input', `stty -echo; PS1= PS2=\r`);
  await viewer.run(':');
  const second = new Viewer();
  await second.attach();

  await everybodySeesEverything(viewer, second);
  await inputKeepsItsOrder(viewer);
  await inputArrivesWhole(viewer);
  await inputIsBounded(viewer);
  await sizesAreChecked(viewer);
  await charactersStayWhole(viewer, second);
  await aFloodArrives(viewer, second);
  await detachingIsAnsweredOnce(second);
  await strangeSessionsAreUnknown(second);
  viewer.close();
  second.close();
  await strangersAreRefused();
  await tokensAreAccepted();
});

async function attachesInOrder(viewer) {
  // Sent before the connection is there, as the web UI's buffer may do.
  const attached = await viewer.attach();
  assertEqual(attached.sessionId, sessionId, 'the attached session');
  await viewer.event('clear');
  viewer.emit('input', '\r');
  await viewer.event('data');
  const names = viewer.events.map(({ name }) => name);
  assertEqual(names.slice(0, 4), ['connect', 'attached', 'clear', 'data'], 'the first events');
  ok('attaching answers attached, clear and then data');
}

async function everybodySeesEverything(first, second) {
  const fromFirst = first.start(`echo said by the first`);
  const fromSecond = second.start(`echo said by the second`);
  for (const viewer of [first, second]) {
    assertEqual(await viewer.shows(fromFirst), 'said by the first\n', 'output of the first command');
    assertEqual(await viewer.shows(fromSecond), 'said by the second\n', 'output of the second command');
  }
  ok('two viewers may both type and both see everything');
}

async function inputKeepsItsOrder(viewer) {
  const lines = Array.from({ length: 2000 }, (_, number) => `${number}\n`);
  const markers = await viewer.begin(`head -n ${lines.length}`);
  const from = viewer.events.length;
  for (const line of lines) viewer.emit('input', line.replace('\n', '\r'));
  await viewer.until('the end of the input', () => viewer.text.includes(markers[1]) || codesSince(viewer, from).length > 0);
  assertEqual(codesSince(viewer, from), [], 'answers to the inputs');
  assertEqual(await viewer.shows(markers), lines.join(''), 'what the terminal read');
  ok(`${lines.length} inputs sent at once arrive in order`);
}

async function inputArrivesWhole(viewer) {
  // Without canonical mode, whose lines end at 4,095 bytes.
  for (const [length, name] of [[60_000, 'a paste of 60 kB'], [INPUT_BYTES_MAX, 'input of exactly 64 KiB']]) {
    const paste = printable(length);
    const markers = await viewer.begin(`head -c ${length} | sha256sum; stty icanon`, 'stty -icanon');
    viewer.emit('input', paste);
    assertEqual((await viewer.shows(markers)).split(' ')[0], sha256(paste), `checksum of ${name}`);
    ok(`${name} arrives whole`);
  }
}

/** Visible ASCII that repeats itself only after 8,366 characters. */
function printable(length) {
  return Array.from({ length }, (_, at) => String.fromCharCode(33 + ((at * 7 + Math.floor(at / 89)) % 94))).join('');
}

async function inputIsBounded(viewer) {
  const from = viewer.events.length;
  viewer.emit('input', 'x'.repeat(INPUT_BYTES_MAX + 1));
  viewer.emit('input', 'é'.repeat(INPUT_BYTES_MAX / 2 + 1));
  viewer.emit('input', { not: 'a string' });
  const alive = await viewer.run('echo alive');
  assertEqual(codesSince(viewer, from), ['INPUT_TOO_LARGE', 'INPUT_TOO_LARGE', 'INVALID_PAYLOAD'], 'answers to bad input');
  assertEqual(alive, 'alive\n', 'a command after bad input');
  ok('input over 64 KiB answers INPUT_TOO_LARGE, no string INVALID_PAYLOAD; nothing of it is typed and the socket stays');
}

async function sizesAreChecked(viewer) {
  const from = viewer.events.length;
  viewer.emit('resize', SIZE);
  assertEqual(await viewer.run('stty size'), '31 101\n', 'the size of the terminal');
  const bad = [{ cols: 0, rows: 24 }, { cols: 1001, rows: 24 }, { cols: 80, rows: 501 }, { cols: -1, rows: 24 },
    { cols: 80.5, rows: 24 }, { cols: '80', rows: 24 }, { cols: 80 }, 'large', null];
  for (const size of bad) viewer.emit('resize', size);
  assertEqual(await viewer.run('stty size'), '31 101\n', 'the size after bad ones');
  assertEqual(codesSince(viewer, from), bad.map(() => 'INVALID_PAYLOAD'), 'answers to bad sizes');
  ok('a resize reaches the terminal; a bad one answers INVALID_PAYLOAD and changes nothing');
}

async function charactersStayWhole(...viewers) {
  const [typing] = viewers;
  const slowly = ['360', '237', '246', '200'].map((byte) => `printf '\\${byte}'`).join('; sleep 0.05; ');
  const markers = typing.start(`${slowly}; printf '\\342\\224\\214\\342\\224\\200\\342\\224\\220'`);
  for (const viewer of viewers) {
    assertEqual(await viewer.shows(markers), '🦀┌─┐', 'characters');
    assert(!viewer.text.includes('\u{fffd}'), 'a viewer was sent a replacement character');
  }
  ok('a character whose bytes come one at a time arrives as one character');
}

async function aFloodArrives(live, other) {
  const file = (await live.run('mktemp')).trim();
  const sum = (await live.run(`head -c 3000000 /dev/urandom | base64 > ${file}; sha256sum < ${file}`)).split(' ')[0];
  const bytes = Number(await live.run(`wc -c < ${file}`));
  const clears = live.clears + other.clears;

  // A burst leaves nobody behind and waits until both have seen the one before, so neither may miss any.
  const burst = `dd if=${file} bs=${BURST_BYTES} count=1 skip=$n 2>/dev/null; read go`;
  const markers = await live.begin(`n=0; while [ $n -lt ${Math.ceil(bytes / BURST_BYTES)} ]; do ${burst}; n=$((n + 1)); done`);
  let late;
  for (let printed = 0; printed < bytes; live.emit('input', '\r')) {
    printed = Math.min(printed + BURST_BYTES, bytes);
    const length = markers[0].length + printed + Math.ceil(printed / LINE_BYTES);
    for (const viewer of [live, other]) {
      await viewer.until(`${printed} bytes`, () => viewer.text.length - viewer.text.indexOf(markers[0]) >= length);
    }
    if (!late && printed > bytes / 2) {
      late = new Viewer();
      await late.attach();
    }
  }
  for (const viewer of [live, other]) {
    assertEqual(sha256(await viewer.shows(markers)), sum, `checksum of ${bytes} bytes`);
  }
  assertEqual(live.clears + other.clears, clears, 'how often the viewers had to start over');
  ok(`${bytes} bytes of random lines arrive whole at every viewer`);

  const whole = live.text.slice(live.text.indexOf(markers[0]), live.text.indexOf(markers[1])) + markers[1];
  await showsTheEnd(late, whole, markers);
  ok('a viewer who comes in the middle gets the screen and what follows, without a gap and nothing twice');

  // More than the buffers between the terminal and a viewer who reads nothing can hold.
  const [begin, end] = live.start(`n=0; while [ $n -lt ${TIMES} ]; do cat ${file}; n=$((n + 1)); done`);
  const flood = begin + whole.slice(markers[0].length, -markers[1].length).repeat(TIMES) + end;
  const { ws } = late.socket.io.engine.transport;
  const lateClears = late.clears;
  ws.pause();
  for (const viewer of [live, other]) await showsTheEnd(viewer, flood, [begin, end]);
  ok('a viewer who does not read delays nobody');
  ws.resume();
  await showsTheEnd(late, flood, [begin, end]);
  assert(late.clears > lateClears, 'the viewer who did not read was not told to start over');
  late.close();
  await live.run(`rm ${file}`);
  ok('who falls behind starts over, and then sees the end without a gap and nothing twice');
}

/** Waits for the end marker; then the viewer's screen must be that of somebody who saw `whole`. */
async function showsTheEnd(viewer, whole, [, end]) {
  await viewer.until(`the text ${end}`, () => viewer.text.includes(end));
  const last = (text) => (text.length > 4 * END_CHARACTERS ? text.slice(-END_CHARACTERS) : text);
  assertEqual(await emulated([last(viewer.text)], SIZE), await emulated([last(whole)], SIZE), 'the screen at the end of the output');
}

async function detachingIsAnsweredOnce(viewer) {
  const from = viewer.events.length;
  viewer.emit('detach');
  viewer.emit('detach');
  // Events of one socket are answered in their order: this answer is behind those to the others.
  viewer.emit('input', 'nobody reads this\r');
  await viewer.event('error', from);
  const answers = viewer.events.slice(from).filter(({ name }) => name === 'detached' || name === 'error');
  assertEqual(answers.map(({ name, payload }) => payload?.code ?? name), ['detached', 'NOT_ATTACHED'], 'answers to detach');
  ok('detach answers detached once; when not attached it answers nothing, and input answers NOT_ATTACHED');
}

async function strangeSessionsAreUnknown(viewer) {
  const from = viewer.events.length;
  for (const id of ['019a0000-0000-7000-8000-000000000001', 'no-such-id', '', `${sessionId}x`]) viewer.emit('attach', { sessionId: id });
  viewer.emit('attach', { sessionId });
  await viewer.event('attached', from);
  assertEqual(codesSince(viewer, from), Array(4).fill('SESSION_NOT_FOUND'), 'answers to unknown sessions');
  ok('attaching to an unknown or malformed session answers SESSION_NOT_FOUND');
}

async function strangersAreRefused() {
  const strangers = {
    'no cookie': {},
    'a garbage cookie': { extraHeaders: { Cookie: 'authToken=garbage' } },
    'a foreign origin': { extraHeaders: { Cookie: cookie, Origin: 'https://example.org' } },
    'a garbage token': { auth: { token: 'garbage' } },
  };
  for (const [name, options] of Object.entries(strangers)) {
    const stranger = new Viewer(options);
    stranger.emit('attach', { sessionId });
    await stranger.event('disconnect');
    assertEqual(stranger.events.map((event) => event.name), ['connect', 'error', 'disconnect'], `events with ${name}`);
    assertEqual(stranger.events[1].payload.message, 'Unauthorized', `the error with ${name}`);
    assert(!stranger.socket.active, `a client with ${name} tries to come back`);
    ok(`${name}: error Unauthorized, then disconnected for good`);
  }
}

async function tokensAreAccepted() {
  const token = cookie.replace(/^authToken=/, '').replace(/;.*/, '');
  const ways = {
    'a bearer token': { extraHeaders: { Authorization: `Bearer ${token}` } },
    'auth.token': { auth: { token } },
    'a cookie from our own page': { extraHeaders: { Cookie: cookie, Origin: new URL(baseUrl).origin } },
  };
  for (const [name, options] of Object.entries(ways)) {
    const viewer = new Viewer(options);
    await viewer.attach();
    assertEqual(await viewer.run('echo hello'), 'hello\n', `a command with ${name}`);
    viewer.close();
    ok(`${name} may attach and type`);
  }
}

function codesSince(viewer, from) {
  return viewer.events.slice(from).filter(({ name }) => name === 'error').map(({ payload }) => payload.code);
}
