/** A crowd of real clients hears a flood of events: each client all of them, once, in order and under the same ids. */
import { io } from 'socket.io-client';
import { args, assert, assertEqual, main, ok, until } from './lib.mjs';

const [baseUrl, cookie, sockets, events] = args('base-url', 'cookie', 'sockets', 'events');

/** The event behind the flood, which says that nothing more of it comes. */
const FENCES = { '/': 'key:created', '/mcp': 'key.created' };

main(60_000, async () => {
  const clients = Array.from({ length: Number(sockets) }, (_, number) => client(number % 2 === 0 ? '/' : '/mcp'));
  await until('the end of the flood on every socket', () => clients.every(({ fenced }) => fenced), 50_000);
  for (const { gaps, lost } of clients) assertEqual([gaps, lost], [0, 0], 'gaps and lost connections');

  const wanted = Array.from({ length: Number(events) }, (_, number) => number + 1);
  const [first] = clients;
  for (const { namespace, heard } of clients) {
    const forms = Object.entries(heard);
    assertEqual(forms.map(([name]) => name), namespace === '/' ? ['agent:access_denied'] : ['mcp:event', 'agent:event'], 'forms');
    for (const [name, told] of forms) {
      assertEqual(told.map(({ number }) => number), wanted, `events on ${namespace} as ${name}`);
      assertEqual(told.map(({ id }) => id), first.heard['agent:access_denied'].map(({ id }) => id), `ids on ${namespace} as ${name}`);
    }
  }
  const ids = new Set(first.heard['agent:access_denied'].map(({ id }) => id));
  assert(ids.size === wanted.length && !ids.has(undefined), `${ids.size} ids of ${wanted.length} events`);
  ok(`each of ${sockets} sockets heard each of ${events} events once, in order, with its id, in every form`);
});

/** Connects, and keeps what it hears of the flood by the forms in which it comes. */
function client(namespace) {
  const address = baseUrl.replace(/^http/, 'ws') + namespace;
  const socket = io(address, { transports: ['websocket'], forceNew: true, extraHeaders: { Cookie: cookie } });
  const client = { namespace, heard: {}, gaps: 0, lost: 0, fenced: false };
  const keep = (name, reason, id) => (client.heard[name] ??= []).push({ number: parseInt(reason, 10), id });
  socket.on('agent:access_denied', ({ reason, eventId }) => keep('agent:access_denied', reason, eventId));
  socket.on('mcp:event', ({ type, data, eventId }) => {
    if (type === 'agent_access_denied') keep('mcp:event', data.reason, eventId);
  });
  socket.on('agent:event', ({ type, data, eventId }) => {
    if (type === 'agent.access_denied') keep('agent:event', data.reason, eventId);
    client.fenced ||= type === FENCES[namespace];
  });
  socket.on(FENCES['/'], () => (client.fenced = true));
  socket.on('events:gap', () => client.gaps++);
  socket.on('disconnect', () => client.lost++);
  return client;
}
