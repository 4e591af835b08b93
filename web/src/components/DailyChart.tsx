import { Group, Text } from '@mantine/core';
import type { DailyActivity } from '../api/client';
import { DAYS, useDailyActivity } from '../api/queries';
import { counted } from '../words';
import { ErrorNote } from './ErrorNote';
import { Loading } from './Loading';

const DAY_MS = 86_400_000;
/** Units of the picture; it is stretched to the width of the page. */
const HEIGHT = 100;
const DAY_WIDTH = 20;
const GAP = 4;

type Day = { date: string; count: number };

/** How much happened on each of the last days, of one agent or type if given. */
export function DailyChart({ agentId, type }: { agentId?: string; type?: string }) {
  const daily = useDailyActivity(agentId);
  if (!daily.data) {
    return daily.error ? <ErrorNote error={daily.error} onRetry={() => void daily.refetch()} /> : <Loading what="counts" />;
  }
  const days = perDay(daily.data.filter((entry) => !type || entry.activityType === type));
  const most = Math.max(...days.map(({ count }) => count));
  return (
    <figure style={{ margin: 0 }}>
      <svg
        className="daily-chart"
        role="img"
        aria-label={summary(days)}
        viewBox={`0 0 ${DAYS * DAY_WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
      >
        {days.map(({ date, count }, index) => {
          const height = most === 0 ? 0 : (count / most) * HEIGHT;
          return (
            <g key={date}>
              <title>{`${date}: ${count}`}</title>
              {/* Takes the pointer all the way up, so that a low day can be read too. */}
              <rect x={index * DAY_WIDTH} y={0} width={DAY_WIDTH} height={HEIGHT} fill="transparent" />
              <rect x={index * DAY_WIDTH + GAP / 2} y={HEIGHT - height} width={DAY_WIDTH - GAP} height={height} />
            </g>
          );
        })}
      </svg>
      <Group justify="space-between" aria-hidden>
        <Text size="xs" c="dimmed">
          {days[0]?.date}
        </Text>
        <Text size="xs" c="dimmed">
          {days.at(-1)?.date}
        </Text>
      </Group>
      <Text component="figcaption" size="xs" c="dimmed" mt="xs">
        {summary(days)} Days are those of UTC, and today's entries are counted once an hour.
      </Text>
    </figure>
  );
}

/** A count for each day, the oldest first, also for those without any. */
function perDay(entries: DailyActivity[]): Day[] {
  const counts = new Map<string, number>();
  for (const { date, count } of entries) counts.set(date, (counts.get(date) ?? 0) + count);
  return Array.from({ length: DAYS }, (_, index) => {
    const date = new Date(Date.now() - (DAYS - 1 - index) * DAY_MS).toISOString().slice(0, 10);
    return { date, count: counts.get(date) ?? 0 };
  });
}

function summary(days: Day[]): string {
  const total = days.reduce((sum, { count }) => sum + count, 0);
  if (total === 0) return `Nothing was counted in ${DAYS} days.`;
  const top = days.reduce((most, day) => (day.count > most.count ? day : most));
  return `${counted(total, 'entry', 'entries')} in ${DAYS} days, most on ${top.date} (${top.count}).`;
}
