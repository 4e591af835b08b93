/**
 * A viewer through a restart of the service on the same address, as the original web UI's client is one: it attaches
 * whenever it is connected, and detaches from its clean-up, which may happen while it is not.
 */
import { args, assert, assertEqual, main, ok } from './lib.mjs';
import { Shell } from './shell.mjs';

const [baseUrl, cookie, sessionId] = args('base-url', 'cookie', 'session-id');

main(120_000, async () => {
  const shell = new Shell(baseUrl, sessionId, { extraHeaders: { Cookie: cookie }, reconnectionDelay: 100, reconnectionDelayMax: 300 });
  shell.socket.on('connect', () => shell.emit('attach', { sessionId }));
  shell.socket.on('disconnect', () => shell.emit('detach'));
  await shell.event('data');
  assertEqual(await shell.run('echo before'), 'before\n', 'a command before the restart');
  const gone = await shell.event('disconnect', 0);
  assertEqual(shell.events[gone].payload, 'transport close', 'why the client was disconnected');
  const back = await shell.event('connect', gone);
  await shell.event('data', back);
  const names = shell.events.slice(back).map(({ name }) => name).filter((name) => name !== 'status');
  assertEqual(names.slice(0, 4), ['connect', 'attached', 'clear', 'data'], 'the first events after the restart');
  await shell.until('the line to be back', () => {
    shell.emit('input', '\r');
    return !shell.events.slice(-3).some(({ name }) => name === 'error');
  });
  assertEqual(await shell.run('echo after'), 'after\n', 'a command after the restart');
  assert(!shell.events.some(({ name }) => name === 'detached'), 'a stray detached');
  shell.close();
  ok('when the service restarts, a client loses its transport only, comes back by itself and is attached again');
});
