import '@xterm/xterm/css/xterm.css';
import { Alert, Button, Group, Paper, SegmentedControl, Slider, Stack, Switch, Text } from '@mantine/core';
import { Terminal } from '@xterm/xterm';
import { useEffect, useMemo, useRef, useState } from 'react';
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

const SPEEDS = [0.5, 1, 2, 4, 8, 16];

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';

type Props = {
  sessionId: string;
  /** Where to begin: when, as the service tells it. */
  from?: string;
};

/** Plays the recording of one session. */
export function Player({ sessionId, from }: Props) {
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
  return <LoadedPlayer key={`${sessionId} ${from ?? ''}`} sessionId={sessionId} from={from} />;
}

function LoadedPlayer({ sessionId, from }: Props) {
  const text = useCast(sessionId);
  const cast = useMemo(() => (text.data === undefined ? undefined : readCast(text.data)), [text.data]);
  if (text.error) return <ErrorNote error={text.error} onRetry={() => void text.refetch()} />;
  if (!cast) return <Loading what="recording" />;
  // Both times are cut to milliseconds; one more has the moment itself shown.
  const start = from ? new Date(from).getTime() - cast.startedAt + 1 : 0;
  return <Screen cast={cast} start={start} />;
}

function Screen({ cast, start }: { cast: Cast; start: number }) {
  const screen = useRef<HTMLDivElement>(null);
  const playback = useRef<Playback>(null);
  /** Where the slider is while it is dragged. */
  const [dragged, setDragged] = useState<number | null>(null);
  const [state, setState] = useState<PlaybackState>({ at: 0, playing: false, speed: 1, skipsPauses: true });

  useEffect(() => {
    const term = new Terminal({
      fontFamily: FONT,
      fontSize: 13,
      cols: cast.cols,
      rows: cast.rows,
      disableStdin: true,
      theme: { background: '#16181d', foreground: '#e4e6eb' },
      // Nobody opens what an agent once printed.
      linkHandler: { activate: () => undefined },
    });
    term.open(screen.current!);
    const opened = openPlayback(cast, term, setState);
    opened.seek(Math.min(Math.max(start, 0), cast.durationMs));
    playback.current = opened;
    return () => {
      opened.close();
      term.dispose();
    };
  }, [cast, start]);

  const marks = cast.markers.slice(0, MARKERS_MAX);
  return (
    <Paper withBorder style={{ overflow: 'hidden' }}>
      <div className="terminal-frame recording-frame">
        <div ref={screen} data-testid="recording-screen" aria-label="Recording" role="group" />
      </div>
      <Stack gap="xs" px="md" py="sm">
        <Slider
          thumbLabel="Position"
          thumbValueText={`${clock(dragged ?? state.at)} of ${clock(cast.durationMs)}`}
          min={0}
          max={Math.max(cast.durationMs, 1)}
          step={1}
          value={dragged ?? state.at}
          label={clock}
          marks={marks.map(({ at }) => ({ value: at }))}
          onChange={setDragged}
          onChangeEnd={(at) => {
            playback.current?.seek(at);
            setDragged(null);
          }}
        />
        <Group justify="space-between" gap="sm">
          <Group gap="sm">
            <Button
              size="compact-sm"
              onClick={() => (state.playing ? playback.current?.pause() : playback.current?.play())}
            >
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
