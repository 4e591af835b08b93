/**
 * Viewers of terminals that print numbers, one on each line, while viewers, service or runtime come and go. On no screen,
 * which is what came since the last `clear`, may a number be missing or out of its order. The plan is JSON: `sessions`
 * (ids), `viewers` for each, how often each `leaves` by itself at random moments, and the event that makes a `round` once
 * everybody had it and saw a number after it: `attached`, or `status` where it says `active`. Says `attached` once all are
 * for the first time, `round N` after each round, and ends when every viewer sees `END` with the last number behind it, or
 * with zeros.
 */
import { args, assert, main, ok, Recorder, until } from './lib.mjs';

const [baseUrl, cookie, planText] = args('base-url', 'cookie', 'plan');
const plan = JSON.parse(planText);

/** How long everybody may take to come back, in milliseconds. */
const ROUND_MS = 60_000;

/** A viewer who leaves by itself stays for so long at the most, in milliseconds. */
const STAY_MS_MAX = 150;

class Viewer extends Recorder {
  /** The number that must come next on this screen, if any has come. */
  next;
  /** A number at the end of what came, which may go on. */
  #carry = '';
  /** Times that the viewer was attached or the session became active, with a number after it. */
  rounds = 0;
  #isNew = false;
  end;

  constructor(session, number) {
    const back = { reconnectionDelay: 50, reconnectionDelayMax: 200 };
    super(baseUrl, '/terminal', { extraHeaders: { Cookie: cookie }, ...back });
    this.name = `viewer ${number} of session ${session}`;
    // As the original web UI does: from its cleanup, which comes first on the next connection, and upon each connect.
    this.socket.on('disconnect', () => this.socket.emit('detach'));
    this.socket.on('connect', () => this.socket.emit('attach', { sessionId: session }));
  }

  record(name, payload) {
    if (name === 'clear') {
      this.next = undefined;
      this.#carry = '';
    }
    if (name === plan.round && (name === 'attached' || payload.status === 'active')) this.#isNew = true;
    if (name === 'data') this.#take(payload);
    if (name !== 'data') super.record(name, payload);
  }

  #take(payload) {
    const all = this.#carry + payload;
    this.#carry = all.match(/(END )?(\d|\x1b\[\d+b)*(\x1b(\[\d*)?)?$/)[0];
    // A screen is drawn with a character that is repeated (REP).
    const repeated = (_, char, times) => char.repeat(Number(times) + 1);
    const text = all.slice(0, all.length - this.#carry.length).replace(/(.)\x1b\[(\d+)b/g, repeated);
    for (const [, end, digits] of text.matchAll(/(END )?(?<!\d)(\d{8})(?!\d)/g)) {
      const number = Number(digits);
      if (end) {
        this.end = number;
        continue;
      }
      if (this.next !== undefined && number !== this.next) this.problem ??= `${number} came instead of ${this.next}`;
      this.next = number + 1;
      if (this.#isNew) this.rounds++;
      this.#isNew = false;
    }
  }

  async leaveAtRandomMoments(times) {
    for (let time = 0; time < times; time++) {
      await until(`${this.name} to be attached for the ${time + 1}. time`, () => this.rounds > time || this.problem, ROUND_MS);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * STAY_MS_MAX));
      // By a break of the connection, after which the client comes back by itself, or by leaving and coming back.
      if (Math.random() < 0.5) this.socket.io.engine?.close();
      else this.socket.disconnect().connect();
    }
  }
}

async function script() {
  const viewers = plan.sessions.flatMap((session) => Array.from({ length: plan.viewers }, (_, number) => new Viewer(session, number)));
  const sound = () => viewers.forEach((viewer) => assert(!viewer.problem, `${viewer.name}: ${viewer.problem}; ${viewer.last()}`));
  const leaving = Promise.all(viewers.map((viewer) => viewer.leaveAtRandomMoments(plan.leaves)));
  leaving.catch(() => {});
  for (const viewer of viewers) await until(`a number at ${viewer.name}`, () => viewer.next !== undefined, ROUND_MS);
  console.log('attached');
  for (let round = 1; !viewers.every((viewer) => viewer.end !== undefined); round++) {
    const slow = () => viewers.find((viewer) => viewer.rounds < round && viewer.end === undefined);
    await until(`round ${round} of ${slow()?.name}`, () => !slow() || viewers.some((viewer) => viewer.problem), ROUND_MS);
    sound();
    console.log(`round ${round}`);
  }
  await leaving;
  sound();
  for (const viewer of viewers) {
    assert(viewer.end === 0 || viewer.end + 1 === viewer.next, `${viewer.name} ends with ${viewer.next - 1}, not with ${viewer.end}`);
  }
  ok(`${viewers.length} viewers saw no number twice and missed none, however often anybody came back`);
}

main(170_000, () => script().catch((error) => {
  console.error(error.stack);
  throw error;
}));
