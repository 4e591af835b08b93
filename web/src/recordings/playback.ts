/** Plays a recording on a terminal: at any speed, from any time, with or without its pauses. */
import type { Terminal } from '@xterm/xterm';
import type { Cast } from './cast';

/** A pause longer than this is cut to it when pauses are skipped, in milliseconds. */
const PAUSE_MS = 1_000;

/** Characters that are handed to the terminal at once; it has drawn them before it is given more. */
const WRITE_CHARS = 256 * 1024;

/** RIS, "reset to initial state": what came before it does not matter any more. */
const RESET = '\x1bc';

export type PlaybackState = { at: number; playing: boolean; speed: number; skipsPauses: boolean };

export type Playback = {
  play(): void;
  pause(): void;
  seek(at: number): void;
  setSpeed(speed: number): void;
  setSkipsPauses(skips: boolean): void;
  close(): void;
};

/** Plays `cast` on `term` and tells `onState` where it is. It begins where it stops: at the start, paused. */
export function openPlayback(cast: Cast, term: Terminal, onState: (state: PlaybackState) => void): Playback {
  let state: PlaybackState = { at: 0, playing: false, speed: 1, skipsPauses: true };
  const starts = startsOf(cast);
  /** The next event to show. */
  let next = 0;
  /** Everything up to this time is to be shown. */
  let goal = 0;
  /** The start to go on from once the terminal has drawn what it was given. */
  let restart: Start | undefined;
  /** Whether the terminal draws what it was given. */
  let drawing = false;
  let closed = false;
  let frame: number | undefined;
  let shownAt = 0;

  const change = (changed: Partial<PlaybackState>) => {
    state = { ...state, ...changed };
    onState(state);
  };

  /** Shows everything up to `at`. */
  const showUntil = (at: number) => {
    goal = at;
    draw();
  };

  /** Gives the terminal what it is to draw next, until the goal is reached. */
  const draw = () => {
    if (drawing || closed) return;
    let text = '';
    if (restart) {
      next = restart.next;
      term.resize(restart.cols, restart.rows);
      text = RESET;
      restart = undefined;
    }
    for (let event = cast.events[next]; event && event.at <= goal; event = cast.events[next]) {
      // What was printed for the earlier size is drawn first.
      if (text && (event.kind === 'resize' || text.length >= WRITE_CHARS)) break;
      next += 1;
      if (event.kind === 'output') text += event.text;
      else term.resize(event.cols, event.rows);
    }
    if (!text) return;
    drawing = true;
    term.write(text, () => {
      drawing = false;
      draw();
    });
  };

  /** Goes to a time, by way of the last start before it, unless what is shown is on the way. */
  const goTo = (at: number) => {
    const start = starts.findLast((start) => start.at <= at) ?? starts[0]!;
    if (at < goal || (restart ? start.next > restart.next : start.next > next)) restart = start;
    showUntil(at);
  };

  const tick = (now: number) => {
    const passed = (now - shownAt) * state.speed;
    shownAt = now;
    let at = state.at + passed;
    const coming = cast.events[next];
    if (state.skipsPauses && !restart && coming && coming.at - at > PAUSE_MS) at = coming.at - PAUSE_MS;
    at = Math.min(at, cast.durationMs);
    showUntil(at);
    const over = at >= cast.durationMs;
    change({ at, playing: !over });
    frame = over ? undefined : requestAnimationFrame(tick);
  };

  const stop = () => {
    if (frame !== undefined) cancelAnimationFrame(frame);
    frame = undefined;
  };

  const seek = (at: number) => {
    goTo(at);
    change({ at });
  };

  term.options.disableStdin = true;
  term.resize(cast.cols, cast.rows);
  showUntil(0);
  onState(state);
  return {
    play() {
      if (frame !== undefined) return;
      if (state.at >= cast.durationMs) seek(0);
      change({ playing: true });
      shownAt = performance.now();
      frame = requestAnimationFrame(tick);
    },
    pause() {
      stop();
      change({ playing: false });
    },
    seek,
    setSpeed: (speed) => change({ speed }),
    setSkipsPauses: (skipsPauses) => change({ skipsPauses }),
    close() {
      closed = true;
      stop();
    },
  };
}

/** An event that a terminal can begin with, and the size that it has there. */
type Start = { at: number; next: number; cols: number; rows: number };

/** Where a recording can be played from: its start, and whatever resets the terminal. */
function startsOf(cast: Cast): Start[] {
  let { cols, rows } = cast;
  const starts: Start[] = [{ at: 0, next: 0, cols, rows }];
  cast.events.forEach((event, index) => {
    if (event.kind === 'resize') ({ cols, rows } = event);
    else if (event.text.includes(RESET)) starts.push({ at: event.at, next: index, cols, rows });
  });
  return starts;
}
