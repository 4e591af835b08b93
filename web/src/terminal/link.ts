/**
 * The terminal's socket: attaches to one session, feeds the emulator and sends what is typed.
 *
 * Output comes as bytes with their positions. A new connection names the position that was reached, so that nothing is
 * drawn twice; where the service has forgotten it, it sends the screen, which begins with a reset. A service that does
 * not know of positions sends text, and `clear` before its history.
 */
import type { Terminal } from '@xterm/xterm';
import { io } from 'socket.io-client';
import type { SessionStatus, TerminalController, TerminalViewer } from '../api/client';

export type LinkState = {
  status: SessionStatus;
  /** Attached: output flows. */
  attached: boolean;
  /** The service refused or dropped this viewer; only the person can ask again. */
  stopped: boolean;
  /** The share by which the viewer comes is not good any more: asking again changes nothing. */
  shareEnded: boolean;
  /** What the person may do here. */
  canWrite: boolean;
  canTerminate: boolean;
  /** This page among the viewers. */
  viewerId?: string;
  agentId?: string;
  viewers: TerminalViewer[];
  /** How many there are; not all of them are listed. */
  viewerCount: number;
  /** Who alone types and resizes; null while everybody who may write does. */
  controller: TerminalController | null;
  /** The terminal's size, which somebody else may have chosen. */
  size?: Size;
  login?: Login;
  problem?: string;
};

export type Size = { cols: number; rows: number };

/** How to log the agent in; the service lets no address through but one where agents of the type log in. */
export type Login = { url?: string; instructions?: string; deviceCode?: string };

export const UNLINKED: LinkState = {
  status: 'connecting',
  attached: false,
  stopped: false,
  shareEnded: false,
  canWrite: false,
  canTerminate: false,
  viewers: [],
  viewerCount: 0,
  controller: null,
};

/** Whether a UTF-16 unit is the first of two that make one character. */
const isFirstHalf = (unit: number) => unit >= 0xd800 && unit < 0xdc00;

/** Whether what is typed here reaches the agent. */
export function mayType({ attached, status, canWrite, controller, viewerId }: LinkState): boolean {
  return attached && status !== 'terminated' && canWrite && (controller === null || controller.viewerId === viewerId);
}

/** RIS, "reset to initial state". Written in-band, so output queued before it cannot appear after it. */
const RESET = '\x1bc';

/** Output waiting to be drawn, in characters or bytes; the emulator itself gives up at 50 million. */
const BACKLOG_MAX = 16_000_000;

/** The service accepts 64 KiB of input per event; a UTF-16 unit takes at most 3 bytes. */
const INPUT_CHARS_MAX = 16_000;

/** Bytes that are drawn before the service hears of it, where it does not say how much may be on its way. */
const ACKNOWLEDGE_EVERY_BYTES = 65_536;

/** Acknowledgements per window: the service never waits for one that is on its way. */
const ACKNOWLEDGEMENTS_PER_WINDOW = 4;

/** How long the service may take to answer a request about control, in milliseconds. */
const ANSWER_MS = 10_000;

type Attached = Size & {
  agentId: string;
  status: SessionStatus;
  canWrite: boolean;
  canTerminate?: boolean;
  viewerId?: string;
  binary?: boolean;
  offset?: number | null;
  stream?: number;
  window?: number | null;
};

export type TerminalLink = ReturnType<typeof openTerminalLink>;

/**
 * Opens the link and reports every change. `share` is the token of a share, by which the viewer comes. The returned
 * functions ask for control, change the size, ask again after `stopped`, and close for good.
 */
export function openTerminalLink(
  sessionId: string,
  share: string | undefined,
  term: Terminal,
  onChange: (state: LinkState) => void,
) {
  const socket = io('/terminal', { transports: ['websocket'], forceNew: true });
  let state = UNLINKED;
  /** Position behind what was handed to the emulator; undefined until the service has named one. */
  let position: number | undefined;
  /** What the position is of: another stream may have other output there. */
  let stream: number | undefined;
  let acknowledged = 0;
  let acknowledgeEvery = ACKNOWLEDGE_EVERY_BYTES;
  let binary = false;
  let backlog = 0;
  let overflowed = false;

  const attach = () => {
    overflowed = false;
    const seen = { offset: position, stream };
    socket.emit('attach', { sessionId, share, binary: true, acknowledge: true, presence: true, ...seen });
  };
  const update = (change: Partial<LinkState>) => {
    const ended = state.status === 'terminated' || change.status === 'terminated';
    state = { ...state, ...change };
    if (ended) state = { ...state, status: 'terminated', login: undefined, problem: undefined, controller: null };
    const typing = mayType(state);
    term.options.disableStdin = !typing;
    term.options.cursorBlink = typing;
    onChange(state);
  };
  /** Gives output to the emulator; `end` is the position behind it, where there are positions. */
  const draw = (output: string | Uint8Array, end?: number) => {
    if (overflowed) return;
    if (backlog > BACKLOG_MAX) {
      // Too far behind to catch up: start over from the screen.
      overflowed = true;
      position = undefined;
      term.write(RESET, attach);
      return;
    }
    backlog += output.length;
    position = end ?? position;
    term.write(output, () => {
      backlog -= output.length;
      if (end !== undefined && (end - acknowledged >= acknowledgeEvery || backlog === 0)) acknowledge(end);
    });
  };
  /** Notes the terminal's size once all that was printed for the earlier one is drawn. */
  const takeSize = ({ cols, rows }: Size) => term.write('', () => update({ size: { cols, rows } }));
  const acknowledge = (offset: number) => {
    acknowledged = offset;
    if (binary && state.attached && !overflowed) socket.emit('acknowledge', { offset });
  };
  /** Asks for a change of control; a refusal is told by the event `error`, too. */
  const ask = (event: string, payload: object = {}) => {
    if (socket.connected) socket.timeout(ANSWER_MS).emit(event, payload, (missing: Error | null) => {
      if (missing) update({ problem: 'The service did not answer.' });
    });
  };

  socket.on('connect', () => {
    if (position === undefined) term.write(RESET);
    attach();
  });
  socket.on('attached', (session: Attached) => {
    binary = session.binary === true;
    acknowledged = session.offset ?? position ?? 0;
    stream = session.stream;
    if (session.window) acknowledgeEvery = Math.max(1, Math.floor(session.window / ACKNOWLEDGEMENTS_PER_WINDOW));
    if (!binary) position = undefined;
    const { status, canWrite, canTerminate = false, viewerId, agentId, cols, rows } = session;
    const here = { status, canWrite, canTerminate, viewerId, agentId, size: { cols, rows } };
    update({ ...here, attached: true, stopped: false, shareEnded: false, login: undefined, problem: undefined });
  });
  socket.on('clear', () => {
    if (!binary) term.write(RESET);
  });
  socket.on('data', (chunk: string | ArrayBuffer, at?: { end: number }) => {
    if (typeof chunk === 'string') draw(chunk);
    else draw(new Uint8Array(chunk), at?.end);
  });
  socket.on('screen', (drawing: ArrayBuffer, { offset, cols, rows }: Size & { offset: number }) => {
    overflowed = false;
    // Before what goes on there, the service waits for nothing.
    acknowledged = offset;
    takeSize({ cols, rows });
    draw(new Uint8Array(drawing), offset);
  });
  socket.on('resized', takeSize);
  socket.on('rights', (rights: { canWrite: boolean; canTerminate: boolean }) => {
    update(rights);
    // The right to type comes with a place of one's own.
    if (rights.canWrite) attach();
  });
  socket.on('viewers', (viewers: TerminalViewer[], { count }: { count: number }) => update({ viewers, viewerCount: count }));
  socket.on('controller', (controller: TerminalController | null) => update({ controller, problem: undefined }));
  socket.on('status', (change: { status: SessionStatus; loginUrl?: string; instructions?: string; deviceCode?: string }) => {
    const { status, loginUrl: url, instructions, deviceCode } = change;
    update({ status, login: status === 'login_required' ? { url, instructions, deviceCode } : undefined });
  });
  const left = { attached: false, viewers: [], viewerCount: 0, controller: null };
  socket.on('detached', () => update({ ...left, canWrite: false, canTerminate: false, stopped: true }));
  socket.on('error', (error: { message?: string; code?: string }) => {
    if (error.code === 'SESSION_TERMINATED') update({ status: 'terminated' });
    // Whoever came by a link is shown out when it ends, and not let in by it later.
    else if (share && (error.code === 'SESSION_NOT_FOUND' || (error.code === 'FORBIDDEN' && state.stopped))) update({ ...left, stopped: true, shareEnded: true, problem: undefined });
    else update({ problem: error.message ?? 'The terminal reported an error.', stopped: !state.attached });
  });
  socket.on('disconnect', () => update({ ...left, stopped: !socket.active }));
  socket.on('connect_error', (error) => {
    if (!socket.active) update({ ...left, stopped: true, problem: error.message });
  });

  term.onData((text) => {
    if (!mayType(state)) return;
    for (let at = 0; at < text.length; ) {
      const next = at + INPUT_CHARS_MAX;
      // Half of a character is no text, and would be refused with all that comes with it.
      const end = isFirstHalf(text.charCodeAt(next - 1)) ? next - 1 : next;
      socket.emit('input', text.slice(at, end));
      at = end;
    }
  });

  return {
    resize: (size: Size) => {
      if (mayType(state)) socket.emit('resize', size);
    },
    takeControl: (force: boolean) => ask('control:take', { force }),
    handOver: (viewerId: string) => ask('control:hand_over', { viewerId }),
    requestControl: () => ask('control:request'),
    releaseControl: () => ask('control:release'),
    retry: () => {
      update({ stopped: false, problem: undefined });
      if (socket.connected) attach();
      else socket.connect();
    },
    close: () => socket.disconnect(),
  };
}
