/**
 * The terminal's socket: attaches to one session, feeds the emulator and sends what is typed.
 * A new connection, or a `clear` from the service, empties the emulator first, so replayed history shows once.
 */
import type { Terminal } from '@xterm/xterm';
import { io } from 'socket.io-client';
import type { SessionStatus } from '../api/client';

export type LinkState = {
  status: SessionStatus;
  /** Attached: output flows and typing reaches the agent. */
  attached: boolean;
  /** The service refused or dropped this viewer; only the person can ask again. */
  stopped: boolean;
  login?: Login;
  problem?: string;
};

/** How to log the agent in; the service lets no address through but one where agents of the type log in. */
export type Login = { url?: string; instructions?: string; deviceCode?: string };

/** RIS, "reset to initial state". Written in-band, so output queued before it cannot appear after it. */
const RESET = '\x1bc';

/** Output waiting to be drawn, in characters; the emulator itself gives up at 50 million. */
const BACKLOG_MAX = 16_000_000;

/** The service accepts 64 KiB of input per event; a UTF-16 unit takes at most 3 bytes. */
const INPUT_CHARS_MAX = 16_000;

/** How long after `clear` output counts as history, in milliseconds. */
const REPLAY_MS = 300;

/** The emulator's answers to queries. An answer to a query in replayed history would reach a program that never asked. */
const EMULATOR_REPORT = /^\x1b(\[[?>=]?[\d;]*[$]?[cnRty]|[P\]])/;

/** Opens the link and reports every change. The returned functions ask again after `stopped`, and close for good. */
export function openTerminalLink(sessionId: string, term: Terminal, onChange: (change: Partial<LinkState>) => void) {
  const socket = io('/terminal', { transports: ['websocket'], forceNew: true });
  let attached = false;
  let ended = false;
  let replaying = false;
  let replayTimer: number | undefined;
  let backlog = 0;
  let overflowed = false;

  const attach = () => {
    overflowed = false;
    socket.emit('attach', { sessionId });
  };
  const startReplay = () => {
    replaying = true;
    term.write(RESET);
    window.clearTimeout(replayTimer);
    replayTimer = window.setTimeout(() => term.write('', () => (replaying = false)), REPLAY_MS);
  };
  const sendSize = () => {
    if (attached) socket.emit('resize', { cols: term.cols, rows: term.rows });
  };
  const update = (change: Partial<LinkState>) => {
    attached = change.attached ?? attached;
    ended ||= change.status === 'terminated';
    term.options.disableStdin = ended || !attached;
    term.options.cursorBlink = !ended && attached;
    onChange(ended ? { ...change, status: 'terminated', login: undefined, problem: undefined } : change);
  };

  socket.on('connect', () => {
    term.write(RESET);
    attach();
  });
  socket.on('attached', (session: { status: SessionStatus }) => {
    update({ attached: true, stopped: false, status: session.status, login: undefined, problem: undefined });
    sendSize();
  });
  socket.on('clear', startReplay);
  socket.on('data', (chunk: string) => {
    if (overflowed) return;
    if (backlog > BACKLOG_MAX) {
      overflowed = true;
      term.write(RESET, attach);
      return;
    }
    backlog += chunk.length;
    term.write(chunk, () => (backlog -= chunk.length));
  });
  socket.on('status', (change: { status: SessionStatus; loginUrl?: string; instructions?: string; deviceCode?: string }) => {
    const { status, loginUrl: url, instructions, deviceCode } = change;
    update({ status, login: status === 'login_required' ? { url, instructions, deviceCode } : undefined });
  });
  socket.on('detached', () => update({ attached: false, stopped: true }));
  socket.on('error', (error: { message?: string; code?: string }) => {
    if (error.code === 'SESSION_TERMINATED') update({ status: 'terminated' });
    else update({ problem: error.message ?? 'The terminal reported an error.', stopped: !attached });
  });
  socket.on('disconnect', () => update({ attached: false, stopped: !socket.active }));
  socket.on('connect_error', (error) => {
    if (!socket.active) update({ attached: false, stopped: true, problem: error.message });
  });

  term.onData((text) => {
    if (!attached || (replaying && EMULATOR_REPORT.test(text))) return;
    for (let at = 0; at < text.length; at += INPUT_CHARS_MAX) {
      socket.emit('input', text.slice(at, at + INPUT_CHARS_MAX));
    }
  });
  term.onResize(sendSize);

  return {
    retry: () => {
      update({ stopped: false, problem: undefined });
      if (socket.connected) attach();
      else socket.connect();
    },
    close: () => {
      window.clearTimeout(replayTimer);
      socket.disconnect();
    },
  };
}
