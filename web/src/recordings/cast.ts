/** A recording as it is played: asciicast version 3, with times since its start. */

/** One thing that happened, at a time in milliseconds. */
export type CastEvent =
  | { at: number; kind: 'output'; text: string }
  | { at: number; kind: 'resize'; cols: number; rows: number };

export type Cast = {
  cols: number;
  rows: number;
  /** When it starts, in milliseconds since 1970. */
  startedAt: number;
  events: CastEvent[];
  markers: { at: number; text: string }[];
  durationMs: number;
};

type Head = { term: { cols: number; rows: number }; timestamp: number; startedAt?: string };

/** Reads an asciicast. Lines that cannot be read are left out: the end of a download may be missing. */
export function readCast(text: string): Cast {
  const [head, ...lines] = text.split('\n');
  const { term, timestamp, startedAt: exactly } = JSON.parse(head ?? '') as Head;
  // The format's own time is in whole seconds.
  const startedAt = exactly ? new Date(exactly).getTime() : timestamp * 1000;
  const cast: Cast = { cols: term.cols, rows: term.rows, startedAt, events: [], markers: [], durationMs: 0 };
  let at = 0;
  for (const line of lines) {
    const event = readLine(line);
    if (!event) continue;
    const [seconds, code, data] = event;
    at += seconds * 1000;
    if (code === 'o') cast.events.push({ at, kind: 'output', text: data });
    if (code === 'm') cast.markers.push({ at, text: data });
    if (code === 'r') {
      const [cols = 0, rows = 0] = data.split('x').map(Number);
      if (cols > 0 && rows > 0) cast.events.push({ at, kind: 'resize', cols, rows });
    }
  }
  cast.durationMs = at;
  return cast;
}

function readLine(line: string): [number, string, string] | undefined {
  if (!line) return undefined;
  try {
    return JSON.parse(line) as [number, string, string];
  } catch {
    return undefined;
  }
}
