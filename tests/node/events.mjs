/** The workspace's events, as the real client hears them: each once, in order, and none for a stranger. */
import { args, assert, assertEqual, call, main, ok, Recorder } from './lib.mjs';

const [baseUrl, cookie] = args('base-url', 'cookie');

main(60_000, async () => {
  const events = new Recorder(baseUrl, '/', { extraHeaders: { Cookie: cookie } });
  await events.event('connect');

  const agent = await spawn();
  const about = (id) => events.events.filter(({ payload }) => payload?.agent?.id === id);
  const runEvents = (id) => about(id).map(({ name }) => name).filter((name) => /^agent:(started|ready|stopped|error)$/.test(name));
  const heard = (id, name) => events.event(name, 0, (payload) => payload?.agent?.id === id);
  await heard(agent, 'agent:started');
  await heard(agent, 'agent:ready');
  await call(baseUrl, cookie, 'POST', `/api/parallax-agents/${agent}/stop`);
  await heard(agent, 'agent:stopped');

  // Events of a workspace are delivered in their order: once a later one is here, nothing earlier is missing.
  const later = await spawn();
  await heard(later, 'agent:started');
  assertEqual(runEvents(agent), ['agent:started', 'agent:ready', 'agent:stopped'], `events of ${agent}`);
  ok('agent:started, agent:ready and agent:stopped come once each, in order, with the agent');

  const ids = about(agent).map(({ payload }) => payload.eventId);
  assert(ids.every(Boolean) && new Set(ids).size === ids.length, `event ids are missing or repeated: ${ids}`);
  ok('every event has an id of its own');

  await call(baseUrl, cookie, 'POST', `/api/parallax-agents/${later}/stop`);
  await events.until('the end of an agent stopped at once', () => /stopped|error/.test(runEvents(later).at(-1)));
  // It may have become ready meanwhile.
  assertEqual(runEvents(later).filter((name) => name !== 'agent:ready'), ['agent:started', 'agent:stopped'], `events of ${later}`);
  ok('an agent that is stopped while it starts is reported as stopped, not as failed');
  events.close();

  const stranger = new Recorder(baseUrl, '/', {});
  await stranger.event('disconnect');
  assertEqual(
    stranger.events.map(({ name }) => name),
    ['connect', 'Unauthorized', 'disconnect'],
    'events of a client without a cookie',
  );
  assert(!stranger.socket.active, 'a client without a cookie tries to come back');
  ok('without a cookie: Unauthorized, then disconnected for good');
});

/** Starts a shell on the runtime; answers the agent's id. */
async function spawn() {
  const { spawnedAgents } = await call(baseUrl, cookie, 'POST', '/api/parallax-agents/spawn', {
    agentType: 'custom',
    name: 'Events test',
    config: { command: 'sh' },
  });
  return spawnedAgents[0].id;
}
