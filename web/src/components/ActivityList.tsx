import { Anchor, Group, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import type { Activity } from '../api/client';
import { usePersonName } from '../api/queries';
import { activityTitle } from '../words';
import { Time } from './Time';

/** What happened, newest first. */
export function ActivityList({ entries, showAgent }: { entries: Activity[]; showAgent?: boolean }) {
  const personName = usePersonName();
  return (
    <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: 'none' }} aria-label="Activity">
      {entries.map((entry) => (
        <li key={entry.id}>
          <Group justify="space-between" wrap="nowrap" align="baseline" gap="sm">
            <Group gap="0 8px">
              <Text size="sm" fw={500}>
                {activityTitle(entry.activityType)}
              </Text>
              {showAgent && entry.agentId && (
                <Anchor component={Link} to={`/agents/${encodeURIComponent(entry.agentId)}`} size="sm" className="mono">
                  {entry.agentId}
                </Anchor>
              )}
            </Group>
            <Text size="xs" c="dimmed">
              <Time at={entry.createdAt} />
            </Text>
          </Group>
          <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
            {[entry.description, reason(entry)].filter(Boolean).join(': ')}
            {between(entry, personName)}
            {by(entry.actorUserId && personName(entry.actorUserId))}
          </Text>
        </li>
      ))}
    </Stack>
  );
}

function by(name: string | null | undefined): string | undefined {
  return name ? ` · by ${name}` : undefined;
}

/** From whom and to whom control of a terminal went. */
function between({ metadata }: Activity, personName: (userId: string) => string | undefined): string {
  const { takenFrom, handedOverTo } = (metadata ?? {}) as Record<string, unknown>;
  const name = (user: unknown) => (typeof user === 'string' ? (personName(user) ?? 'somebody') : undefined);
  const [from, to] = [name(takenFrom), name(handedOverTo)];
  return `${from ? ` · from ${from}` : ''}${to ? ` · to ${to}` : ''}`;
}

/** Why it happened, where the entry says so: a failed spawn's error, the reason of a denial, why access is asked for. */
function reason({ metadata }: Activity): string | undefined {
  const { error, reason, justification } = (metadata ?? {}) as Record<string, unknown>;
  return [error, reason, justification].find((text) => typeof text === 'string');
}
