/** Plays a recording on a terminal: at any speed, from any time, with or without its pauses. */
import type { Terminal } from '@xterm/xterm';
import type { Cast, CastEvent } from './cast';

/** A pause longer than this is cut to it when pauses are skipped, in milliseconds. */
const PAUSE_MS = 1_000;

/** Characters that are handed to the terminal at once. */
const WRITE_CHARS = 256 * 1024;

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
  /** The next event to show. */
  let next = 0;
  let frame: number | undefined;
  let shownAt = 0;

  const change = (changed: Partial<PlaybackState>) => {
    state = { ...state, ...changed };
    onState(state);
  };

  /** Shows everything up to `at`. */
  const showUntil = (at: number) => {
    let text = '';
    const flush = () => {
      if (text) term.write(text);
      text = '';
    };
    for (let event = cast.events[next]; event && event.at <= at; event = cast.events[next]) {
      next += 1;
      if (event.kind === 'output') text += event.text;
      if (event.kind === 'resize' || text.length >= WRITE_CHARS) flush();
      if (event.kind === 'resize') resizeAfterWrites(term, event);
    }
    flush();
  };

  const tick = (now: number) => {
    const passed = (now - shownAt) * state.speed;
    shownAt = now;
    let at = state.at + passed;
    const coming = cast.events[next];
    if (state.skipsPauses && coming && coming.at - at > PAUSE_MS) at = coming.at - PAUSE_MS;
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
    if (at < state.at) {
      next = 0;
      // What is still to be written of before must not come behind the reset.
      term.write('\x1bc');
      resizeAfterWrites(term, cast);
    }
    showUntil(at);
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
    close: stop,
  };
}

/** Changes the size once everything that was written before is shown. */
function resizeAfterWrites(term: Terminal, { cols, rows }: Pick<Extract<CastEvent, { kind: 'resize' }>, 'cols' | 'rows'>) {
  term.write('', () => term.resize(cols, rows));
}
