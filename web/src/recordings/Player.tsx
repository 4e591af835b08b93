import '@xterm/xterm/css/xterm.css';
import { Alert, Box, Button, Group, Paper, SegmentedControl, Slider, Stack, Switch, Text } from '@mantine/core';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from 'react';
import { ErrorNote } from '../components/ErrorNote';
import { Loading } from '../components/Loading';
import { useCast, useRecording } from '../api/queries';
import { clock, size } from '../words';
import { type Cast, readCast } from './cast';
import { openPlayback, type Playback, type PlaybackState } from './playback';

/** Output beyond this many bytes is not played in a page, which would have to hold all of it. */
const PLAYED_BYTES_MAX = 16_000_000;

/** Markers that are drawn below the seek bar at the most; more would be a smear. */
const MARKERS_MAX = 40;

/** How far one press of a key on the seek bar goes, in milliseconds; the bar itself is as fine as its pixels. */
const KEY_STEPS: Record<string, number> = {
  ArrowLeft: -5_000,
  ArrowDown: -5_000,
  ArrowRight: 5_000,
  ArrowUp: 5_000,
  PageDown: -60_000,
  PageUp: 60_000,
};

/** Sizes of the font in pixels: where a line of the terminal is in view, and the smallest that one can make out. */
const FONT_PX = 13;
const FONT_PX_MIN = 5;

const SPEEDS = [0.5, 1, 2, 4, 8, 16];

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** What is to be shown: a session, and the moment to begin at, as the service tells it. Each wish is an object of its own. */
export type Shown = { sessionId: string; from?: string };

/** Plays the recording of one session. */
export function Player({ shown }: { shown: Shown }) {
  const { sessionId } = shown;
  const recording = useRecording(sessionId);
  const tooLong = (recording.data?.bytes ?? 0) > PLAYED_BYTES_MAX;
  if (recording.error) return <ErrorNote error={recording.error} onRetry={() => void recording.refetch()} />;
  if (!recording.data) return <Loading what="recording" />;
  if (tooLong) {
    return (
      <Alert color="gray" title="Too long to be played here">
        This recording has {size(recording.data.bytes)} of output. Download it and play it with asciinema.
      </Alert>
    );
  }
  if (recording.data.bytes === 0) return <Alert color="gray">Nothing is kept of this recording.</Alert>;
  return <LoadedPlayer shown={shown} />;
}

function LoadedPlayer({ shown }: { shown: Shown }) {
  const text = useCast(shown.sessionId);
  const cast = useMemo(() => (text.data === undefined ? undefined : readCast(text.data)), [text.data]);
  useEffect(() => {
    // A match may be newer than what was read of a recording that goes on.
    if (cast && startOf(shown, cast) > cast.durationMs) void text.refetch();
  }, [shown]);
  if (text.error) return <ErrorNote error={text.error} onRetry={() => void text.refetch()} />;
  if (!cast) return <Loading what="recording" />;
  return <Screen cast={cast} shown={shown} />;
}

function Screen({ cast, shown }: { cast: Cast; shown: Shown }) {
  const player = useRef<HTMLDivElement>(null);
  const screen = useRef<HTMLDivElement>(null);
  const playback = useRef<Playback>(null);
  const [state, setState] = useState<PlaybackState>({ at: 0, playing: false, speed: 1, skipsPauses: true });

  useEffect(() => {
    const term = new Terminal({
      fontFamily: FONT,
      fontSize: FONT_PX,
      cols: cast.cols,
      rows: cast.rows,
      disableStdin: true,
      theme: { background: '#16181d', foreground: '#e4e6eb' },
      // Nobody opens what an agent once printed.
      linkHandler: { activate: () => undefined },
    });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(screen.current!);
    const lay = () => fitWidth(term, fit);
    term.onResize(lay);
    const resizing = new ResizeObserver(lay);
    resizing.observe(screen.current!);
    const opened = openPlayback(cast, term, setState);
    playback.current = opened;
    return () => {
      opened.close();
      resizing.disconnect();
      term.dispose();
    };
  }, [cast]);

  useEffect(() => {
    playback.current?.seek(within(startOf(shown, cast), cast));
    // A match may be far below or above the player.
    player.current?.scrollIntoView({ block: 'nearest' });
  }, [cast, shown]);

  const turn = () => (state.playing ? playback.current?.pause() : playback.current?.play());
  const seekByKey = (event: KeyboardEvent) => {
    const step = KEY_STEPS[event.key];
    if (step === undefined && event.key !== ' ') return;
    event.preventDefault();
    event.stopPropagation();
    if (step === undefined) turn();
    else playback.current?.seek(within(state.at + step, cast));
  };
  const marks = cast.markers.slice(0, MARKERS_MAX);
  return (
    <Paper ref={player} withBorder style={{ overflow: 'clip' }}>
      <div className="terminal-frame recording-frame">
        <div ref={screen} data-testid="recording-screen" aria-label="Recording" role="group" />
      </div>
      <Stack className="recording-controls" gap="xs" px="md" py="sm">
        <Box onKeyDownCapture={seekByKey}>
          <Slider
            thumbLabel="Position"
            thumbValueText={`${clock(state.at)} of ${clock(cast.durationMs)}`}
            min={0}
            max={Math.max(cast.durationMs, 1)}
            step={1}
            value={state.at}
            label={clock}
            marks={marks.map(({ at }) => ({ value: at }))}
            onChange={(at) => playback.current?.seek(at)}
          />
        </Box>
        <Group justify="space-between" gap="sm">
          <Group gap="sm">
            <Button size="compact-sm" onClick={turn}>
              {state.playing ? 'Pause' : 'Play'}
            </Button>
            <Text size="sm" data-testid="recording-time">
              {clock(state.at)} / {clock(cast.durationMs)}
            </Text>
          </Group>
          <Group gap="md">
            <Switch
              size="xs"
              label="Skip pauses"
              checked={state.skipsPauses}
              onChange={(event) => playback.current?.setSkipsPauses(event.currentTarget.checked)}
            />
            <SegmentedControl
              size="xs"
              aria-label="Speed"
              data={SPEEDS.map((speed) => ({ value: String(speed), label: `${speed}×` }))}
              value={String(state.speed)}
              onChange={(speed) => playback.current?.setSpeed(Number(speed))}
            />
          </Group>
        </Group>
        {marks.length > 0 && (
          <Group gap="xs">
            {marks.map(({ at, text }, index) => (
              <Button key={index} size="compact-xs" variant="default" onClick={() => playback.current?.seek(at)}>
                {clock(at)} {text}
              </Button>
            ))}
          </Group>
        )}
      </Stack>
    </Paper>
  );
}

/** When to begin, in milliseconds since the recording's start. */
function startOf({ from }: Shown, { startedAt }: Cast): number {
  // Both times are cut to milliseconds; one more has the moment itself shown.
  return from ? new Date(from).getTime() - startedAt + 1 : 0;
}

/** The nearest time that the recording has. */
function within(at: number, { durationMs }: Cast): number {
  return Math.min(Math.max(at, 0), durationMs);
}

/** Gives the letters the size in which a line of the terminal has the width of the page; they are never enlarged. */
function fitWidth(term: Terminal, fit: FitAddon) {
  term.options.fontSize = FONT_PX;
  const room = fit.proposeDimensions();
  const ratio = room ? Math.min(1, room.cols / term.cols) : 1;
  term.options.fontSize = Math.max(FONT_PX_MIN, Math.floor(FONT_PX * ratio));
}
