/** Two people at one terminal: who is there, who controls it, and what the other one is told. */
import { args, assert, assertEqual, main, ok, Recorder } from './lib.mjs';

const [baseUrl, ownerCookie, adminCookie, sessionId] = args('base-url', 'owner-cookie', 'admin-cookie', 'session-id');

/** How often viewers are told at most, in milliseconds. */
const VIEWERS_EVERY_MS = 250;

/** Clients that come and go at once. */
const CROWD = 20;

/** An acknowledgement that does not come in this time is missing, in milliseconds. */
const ACK_MS = 5000;

class Person extends Recorder {
  text = '';

  constructor(cookie) {
    super(baseUrl, '/terminal', { extraHeaders: { Cookie: cookie } });
  }

  record(name, payload) {
    if (name === 'data') this.text += payload;
    super.record(name, payload);
  }

  async attach(wish = { presence: true }) {
    const from = this.events.length;
    this.socket.emit('attach', { sessionId, ...wish });
    const at = await this.event('attached', from);
    return this.events[at].payload;
  }

  ask(...event) {
    return this.socket.timeout(ACK_MS).emitWithAck(...event);
  }

  /** The payload of the latest event of a name. */
  latest(name) {
    return this.events.findLast((event) => event.name === name)?.payload;
  }
}

main(60_000, async () => {
  const owner = new Person(ownerCookie);
  const admin = new Person(adminCookie);
  const { viewerId } = await owner.attach();
  const { viewerId: adminId } = await admin.attach();
  assert(/^[0-9a-f]{16}$/.test(viewerId) && viewerId !== adminId, `viewer ids ${viewerId} and ${adminId}`);
  await owner.until('both viewers', () => owner.latest('viewers')?.length === 2);
  const [first, second] = owner.latest('viewers');
  assertEqual([first.viewerId, second.viewerId], [viewerId, adminId], 'the viewers in their order');
  assertEqual(second.name, 'Ada [31m<b>L', 'a name without what acts on a terminal');
  assertEqual([first.canWrite, first.controls], [true, false], 'what the first may do');
  ok('each viewer is told who is there');

  const unasked = new Person(ownerCookie);
  await unasked.attach({});
  assertEqual(await owner.ask('control:take', {}), { ok: true }, 'the answer to the one who takes control');
  await admin.until('the news', () => admin.latest('controller')?.viewerId === viewerId);
  await admin.until('the mark', () => admin.latest('viewers').find((viewer) => viewer.viewerId === viewerId)?.controls);
  ok('taking control is acknowledged and told to the others');

  const refused = await admin.ask('control:take', {});
  assertEqual([refused.ok, refused.error.code], [false, 'NOT_CONTROLLER'], 'the answer to the one who comes second');
  admin.socket.emit('input', 'echo never\r');
  await admin.until('the refusal', () => admin.events.filter(({ name }) => name === 'error').length === 2);
  assertEqual(admin.latest('error').code, 'NOT_CONTROLLER', 'the code of the refusal');
  assertEqual((await owner.ask('control:hand_over', { viewerId: 'nobody' })).error.code, 'INVALID_PAYLOAD', 'handing over to nobody');
  assertEqual(await owner.ask('control:hand_over', { viewerId: adminId }), { ok: true }, 'the answer to handing over');
  await owner.until('the new holder', () => owner.latest('controller')?.viewerId === adminId);
  assertEqual(await admin.ask('control:release'), { ok: true }, 'the answer to releasing');
  await owner.until('that nobody controls it', () => owner.latest('controller') === null);
  assert(!owner.text.includes('never'), 'what was refused was typed');
  ok('control is handed over and released, and input without it is refused');

  const from = owner.events.length;
  const began = Date.now();
  const crowd = Array.from({ length: CROWD }, () => new Person(adminCookie));
  await Promise.all(crowd.map((viewer) => viewer.attach()));
  await owner.until('the crowd', () => owner.latest('viewers').length === CROWD + 3);
  for (const viewer of crowd) viewer.close();
  await owner.until('the crowd to be gone', () => owner.latest('viewers').length === 3);
  const news = owner.events.slice(from).filter(({ name }) => name === 'viewers').length;
  const most = 2 + Math.ceil((Date.now() - began) / VIEWERS_EVERY_MS);
  assert(news <= most, `${news} lists of viewers where ${most} are the most`);
  ok('a crowd that comes and goes is few pieces of news');

  const names = new Set(unasked.events.map(({ name }) => name));
  assert(!names.has('viewers') && !names.has('controller'), 'a client that did not ask is told of viewers');
  ok('a client that does not ask hears nothing of it');
});
