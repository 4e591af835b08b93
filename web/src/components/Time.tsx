import { Text } from '@mantine/core';

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

/** A moment as "3 minutes ago" or "in 2 days", with the exact local time on hover. */
export function Time({ at }: { at: string }) {
  const date = new Date(at);
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
