import { Text } from '@mantine/core';
import { useSyncExternalStore } from 'react';

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

/** How often relative times are computed anew. */
const TICK_MS = 15_000;

let ticks = 0;
const listeners = new Set<() => void>();
let timer: number | undefined;

/** One clock for every moment on the page; it runs while one is shown. */
function onTick(listener: () => void) {
  listeners.add(listener);
  timer ??= window.setInterval(() => {
    ticks += 1;
    for (const tell of listeners) tell();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    window.clearInterval(timer);
    timer = undefined;
  };
}

/** A moment as "3 minutes ago" or "in 2 days", with the exact local time on hover. */
export function Time({ at }: { at: string }) {
  const date = new Date(at);
  useSyncExternalStore(onTick, () => ticks);
  return (
    <Text component="time" inherit dateTime={at} title={date.toLocaleString()} style={{ whiteSpace: 'nowrap' }}>
      {describe((date.getTime() - Date.now()) / 1000)}
    </Text>
  );
}

function describe(seconds: number): string {
  const unit = UNITS.find(([, size]) => Math.abs(seconds) >= size);
  if (unit) return relative.format(Math.round(seconds / unit[1]), unit[0]);
  return seconds > 0 ? 'in a moment' : 'just now';
}
