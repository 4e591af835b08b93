/** The agents' gateway and the workspace's broadcasts with the real client, on one connection as the web UI has it. */
import { io } from 'socket.io-client';
import { args, assert, assertEqual, call, main, ok, Recorder, until } from './lib.mjs';

const [baseUrl, cookie, workspace, key, foreignCookie] = args('base-url', 'cookie', 'workspace', 'key', 'foreign-cookie');

main(90_000, async () => {
  const { user } = await call(baseUrl, cookie, 'POST', '/api/users/me');
  const { items } = await call(baseUrl, cookie, 'POST', '/api/spaces', { page: 1, limit: 1 });

  // One manager, two namespaces; what is sent on `connect` waits for no greeting.
  const options = { transports: ['websocket'], extraHeaders: { Cookie: cookie } };
  const workspaceSocket = io(`${baseUrl}/`, { ...options, forceNew: true });
  const gateway = workspaceSocket.io.socket('/mcp');
  const heard = { broadcasts: [], gateway: [] };
  workspaceSocket.onAny((name, payload) => heard.broadcasts.push({ name, payload }));
  gateway.onAny((name, payload) => heard.gateway.push({ name, payload }));
  const wanted = [
    ['workspace', workspace],
    ...['page', 'space', 'user', 'group', 'attachment', 'comment', 'task', 'ui'].map((type) => [type, 'all']),
    ['space', items[0].id],
    ['user', user.id],
  ].map(([resourceType, resourceId]) => ({ resourceType, resourceId }));
  gateway.on('connect', () => wanted.forEach((resource) => gateway.emit('mcp:subscribe', resource)));
  gateway.connect();
  const named = (name) => heard.gateway.filter((event) => event.name === name).map(({ payload }) => payload);
  await until('an answer to every subscription', () => named('mcp:subscribed').length + named('mcp:error').length === wanted.length);
  assertEqual(named('mcp:error'), [], 'refusals');
  const pairs = (resources) => resources.map(({ resourceType, resourceId }) => [resourceType, resourceId]);
  assertEqual(pairs(named('mcp:subscribed')), pairs(wanted), 'subscriptions in their order');
  const [greeting] = heard.gateway;
  assertEqual([greeting.name, greeting.payload.userId, greeting.payload.workspaceId], ['mcp:connected', user.id, workspace], 'the greeting');
  assert(workspaceSocket.io === gateway.io && workspaceSocket.id, 'the namespaces do not share a connection');
  ok('mcp:connected, then one mcp:subscribed for each of the eleven subscriptions sent at once');

  // Connected before anything happens: what they may not hear would reach them now.
  const foreign = new Recorder(baseUrl, '/mcp', { extraHeaders: { Cookie: foreignCookie } });
  const keyed = new Recorder(baseUrl, '/mcp', { auth: { apiKey: key } });
  for (const recorder of [foreign, keyed]) await recorder.event('mcp:connected');

  const { spawnedAgents } = await call(baseUrl, cookie, 'POST', '/api/parallax-agents/spawn', {
    agentType: 'custom',
    name: 'Gateway test',
    config: { command: 'sh' },
  });
  const agent = spawnedAgents[0].id;
  const { subscribed, room } = await gateway.emitWithAck('agent:subscribe', { agentId: agent });
  assertEqual([subscribed, room], [true, `agent:${agent}`], 'ack');
  gateway.emit('mcp:subscribe', { resourceType: 'agent', resourceId: agent });
  const broadcast = (name) => heard.broadcasts.filter((event) => event.name === name && event.payload.agent?.id === agent);
  await until('agent:ready', () => broadcast('agent:ready').length > 0);
  await call(baseUrl, cookie, 'POST', `/api/parallax-agents/${agent}/stop`);
  await until('agent:stopped', () => broadcast('agent:stopped').length > 0);
  const status = () => named('agent:event').filter(({ type, agentId }) => type === 'agent.status_changed' && agentId === agent);
  await until('the last status', () => status().at(-1)?.data.status === 'stopped');
  assertEqual(status().map(({ data }) => data.status), ['starting', 'ready', 'stopped'], 'statuses');
  const ids = [broadcast('agent:started')[0], broadcast('agent:ready')[0], broadcast('agent:stopped')[0]].map(({ payload }) => payload.eventId);
  assertEqual(status().map(({ eventId }) => eventId), ids, 'ids on both namespaces');
  const resources = named('mcp:event').filter(({ type, resourceId }) => type === 'agent_status_changed' && resourceId === agent);
  assertEqual(resources.map(({ eventId }) => eventId), ids, 'ids of the resource events');
  for (const name of ['agent:started', 'agent:ready', 'agent:stopped']) assertEqual(broadcast(name).length, 1, name);
  ok('each change comes once per channel, with the same id on all, though its rooms were joined three times');

  for (const [resourceType, resourceId] of [['workspace', workspace], ['user', user.id], ['agent', agent], ['space', items[0].id]]) {
    const from = foreign.events.length;
    foreign.socket.emit('mcp:subscribe', { resourceType, resourceId });
    const at = await foreign.event('mcp:error', from);
    const { message, error } = foreign.events[at].payload;
    assertEqual([message, error], ['Failed to subscribe', 'not found'], resourceType);
  }
  const refusal = await foreign.socket.emitWithAck('agent:subscribe', { agentId: agent });
  assertEqual([refusal.subscribed, refusal.error], [false, 'not found'], 'ack');
  const unasked = foreign.events.length;
  foreign.socket.emit('agent:subscribe', { agentId: agent });
  assertEqual(foreign.events[await foreign.event('mcp:error', unasked)].payload.error, 'not found', 'a refusal without an ack');
  assertEqual(await foreign.socket.emitWithAck('agent:unsubscribe', { agentId: agent }), { unsubscribed: true }, 'ack');
  ok('what is another workspace’s is refused like what is not there, by the ack where one was asked for');

  // Events come in their order: once one is here that has to come, nothing earlier is on its way.
  await call(baseUrl, cookie, 'POST', '/api/parallax-agents/keyed/permissions', { permissions: ['read:projects'] });
  await keyed.event('agent:event', 0, ({ type, agentId }) => type === 'agent.permissions_updated' && agentId === 'keyed');
  await call(baseUrl, foreignCookie, 'POST', '/api/api-keys', { name: 'Fence' });
  await foreign.event('agent:event', 0, ({ type }) => type === 'key.created');
  const told = (recorder) => recorder.events.filter(({ name }) => name === 'agent:event' || name === 'mcp:event').map(({ payload }) => payload);
  assertEqual(told(foreign).map(({ type }) => type), ['key.created'], 'what an outsider heard');
  assert(told(keyed).every(({ agentId, resourceId }) => (agentId ?? resourceId) === 'keyed'), 'an agent heard of another');
  await call(baseUrl, cookie, 'POST', '/api/parallax-agents/keyed/revoke', { reason: 'done' });
  await keyed.event('disconnect');
  assert(!heard.gateway.concat(heard.broadcasts).some(({ name }) => name === 'exception'), 'an exception was told');
  ok('an agent hears of itself until its access ends, and an outsider of nothing');
});
