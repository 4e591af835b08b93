// The peer of the terminal scenarios: what a straightforward Node.js proxy does between browsers and a runtime.
// One upstream WebSocket per session, whose text goes to a Socket.io room per session as it comes.
// Settings: PORT, APP_SECRET, UPSTREAM (the runtime's base URL), UPSTREAM_TOKEN (if it wants one); started and ended by the bench.

import { createServer } from 'node:http';
import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';
import WebSocket from 'ws';

/** History for late viewers, in UTF-16 units: as much as the service had when this was written. */
const HISTORY_LENGTH = 512 * 1024;

const { PORT, APP_SECRET, UPSTREAM, UPSTREAM_TOKEN } = process.env;

class Session {
  #history = [];
  #length = 0;

  constructor(id) {
    const url = `${UPSTREAM.replace(/^http/, 'ws')}/ws/agents/${encodeURIComponent(id)}/terminal`;
    this.upstream = new WebSocket(url, UPSTREAM_TOKEN ? { headers: { authorization: `Bearer ${UPSTREAM_TOKEN}` } } : {});
    this.upstream.on('error', (error) => console.error(error.message));
    // The first frame is the runtime's greeting.
    this.upstream.once('message', () => {
      this.upstream.on('message', (data) => this.#output(data.toString()));
    });
    this.room = `session:${id}`;
  }

  #output(text) {
    this.#history.push(text);
    this.#length += text.length;
    while (this.#length > HISTORY_LENGTH) this.#length -= this.#history.shift().length;
    terminals.to(this.room).emit('data', text);
  }

  history() {
    return this.#history.join('');
  }

  input(text) {
    if (this.upstream.readyState === WebSocket.OPEN) this.upstream.send(text);
  }
}

const sessions = new Map();

function session(id) {
  if (!sessions.has(id)) sessions.set(id, new Session(id));
  return sessions.get(id);
}

const http = createServer((request, response) => {
  // The bench opens sessions as the service does: before anybody watches.
  const opened = request.url.match(/^\/open\/([^/]+)$/);
  if (opened) session(decodeURIComponent(opened[1]));
  response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
});

const io = new Server(http, { transports: ['websocket'], maxHttpBufferSize: 1_000_000 });
const terminals = io.of('/terminal');

terminals.use((socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, APP_SECRET, { algorithms: ['HS256'] });
    next(claims.type === 'access' ? undefined : new Error('Unauthorized'));
  } catch {
    next(new Error('Unauthorized'));
  }
});

terminals.on('connection', (socket) => {
  let attached;
  socket.on('attach', ({ sessionId }) => {
    if (attached) socket.leave(attached.room);
    attached = session(sessionId);
    socket.emit('attached', { sessionId, agentId: sessionId, status: 'active', cols: 80, rows: 24 });
    socket.emit('clear');
    const history = attached.history();
    if (history) socket.emit('data', history);
    socket.join(attached.room);
  });
  socket.on('detach', () => {
    if (!attached) return;
    socket.leave(attached.room);
    attached = undefined;
    socket.emit('detached');
  });
  socket.on('input', (text) => attached?.input(text));
  socket.on('resize', ({ cols, rows }) => attached?.input(JSON.stringify({ type: 'resize', cols, rows })));
});

http.listen(Number(PORT), '127.0.0.1');
