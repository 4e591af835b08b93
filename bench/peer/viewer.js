// The real client at a terminal: attaches, shows nothing, and counts what comes from `ready` to the end of a run.
// Arguments: base URL, token, session id, and these two texts. Prints `attached`, then `ready` once it saw that, and at the
// end one line of JSON: the bytes, and how often the server made it start over.

import { io } from 'socket.io-client';

const [baseUrl, token, sessionId, ready, end] = process.argv.slice(2);
let begun = false;
let done = false;
let tail = '';
let bytes = 0;
let clears = 0;

const socket = io(`${baseUrl}/terminal`, { transports: ['websocket'], auth: { token }, reconnection: false });
socket.on('connect', () => socket.emit('attach', { sessionId }));
socket.on('attached', () => console.log('attached'));
socket.on('clear', () => {
  if (begun) clears++;
});
socket.on('data', (text) => {
  const seen = tail + text;
  if (!begun) {
    tail = seen.slice(-ready.length);
    if (!seen.includes(ready)) return;
    begun = true;
    console.log('ready');
    return;
  }
  bytes += Buffer.byteLength(text);
  tail = seen.slice(-end.length);
  if (!seen.includes(end)) return;
  done = true;
  console.log(JSON.stringify({ bytes, clears }));
  socket.disconnect();
});
for (const name of ['error', 'connect_error', 'disconnect']) {
  socket.on(name, (reason) => {
    if (done) return;
    console.log(JSON.stringify({ error: `${name}: ${reason?.message ?? reason}`, bytes }));
    process.exit(1);
  });
}
