/**
 * Many viewers of many terminals with the real client: each must get every byte of its own terminal and none of another.
 * The plan is JSON: `sessions` with `id`, the `portions` that they print upon an input each (lengths in characters, summed
 * up), and the `sha256` of all of it; `viewers` for each session, of whom `stalled` read nothing while it is printed.
 * What a terminal prints begins with `BEGIN;` and ends with `;END`.
 */
import { createHash } from 'node:crypto';
import { args, assert, assertEqual, main, ok, Recorder, until } from './lib.mjs';

const [baseUrl, cookie, planText] = args('base-url', 'cookie', 'plan');
const plan = JSON.parse(planText);

/** How long a portion may take to reach everybody, in milliseconds. */
const PORTION_MS = 60_000;

/** One viewer: what it shows since it was last told to start over. */
class Viewer extends Recorder {
  text = '';
  clears = 0;

  constructor(session, number) {
    super(baseUrl, '/terminal', { extraHeaders: { Cookie: cookie } });
    this.session = session;
    this.name = `viewer ${number} of session ${session.id}`;
    this.isStalled = number >= plan.viewers - plan.stalled;
    this.socket.emit('attach', { sessionId: session.id });
  }

  record(name, payload) {
    if (name === 'data') this.text += payload;
    if (name === 'clear') {
      this.text = '';
      this.clears++;
    }
    if (name === 'error') this.problem = payload;
    super.record(name, name === 'data' ? payload.length : payload);
  }

  /** Characters from the beginning marker on. */
  get length() {
    const begin = this.text.indexOf('BEGIN;');
    return begin < 0 ? 0 : this.text.length - begin;
  }

  /** What came from the beginning marker to the end one, both included. */
  get whole() {
    return this.text.slice(this.text.indexOf('BEGIN;'), this.text.indexOf(';END') + 4);
  }
}

main(170_000, async () => {
  const viewers = plan.sessions.flatMap((session) => Array.from({ length: plan.viewers }, (_, number) => new Viewer(session, number)));
  for (const viewer of viewers) await viewer.event('attached');
  ok(`${viewers.length} viewers are attached`);

  const stalled = viewers.filter((viewer) => viewer.isStalled);
  const reading = viewers.filter((viewer) => !viewer.isStalled);
  const transports = stalled.map((viewer) => viewer.socket.io.engine.transport.ws);
  for (const ws of transports) ws.pause();
  for (let portion = 0; portion < plan.sessions[0].portions.length; portion++) {
    for (const session of plan.sessions) viewers.find((viewer) => viewer.session === session).socket.emit('input', 'more');
    for (const viewer of reading) {
      const enough = () => viewer.problem || viewer.length >= viewer.session.portions[portion];
      await until(`portion ${portion} at ${viewer.name}, which has ${viewer.length}`, enough, PORTION_MS);
      assert(!viewer.problem, `${viewer.name} was told ${JSON.stringify(viewer.problem)}`);
    }
  }
  for (const viewer of reading) {
    const sum = createHash('sha256').update(viewer.whole).digest('hex');
    assertEqual([sum, viewer.clears], [viewer.session.sha256, 1], `checksum and starts of ${viewer.name}`);
  }
  ok(`${reading.length} viewers got every byte of their terminal, once`);

  for (const ws of transports) ws.resume();
  for (const viewer of stalled) await until(`the end at ${viewer.name}`, () => viewer.text.includes(';END'), PORTION_MS);
  const whole = reading[0].whole;
  for (const viewer of stalled) {
    const end = viewer.text.slice(0, viewer.text.indexOf(';END') + 4);
    const lines = end.split('\n').map((line) => line.trimEnd()).filter((line) => /^[^\x1b]{70}$/u.test(line));
    for (const line of lines) assert(whole.includes(line), `${viewer.name} shows what was never printed: ${JSON.stringify(line)}`);
  }
  if (stalled.length > 0) ok(`${stalled.length} viewers who read nothing meanwhile see the end, and delayed nobody`);
});
