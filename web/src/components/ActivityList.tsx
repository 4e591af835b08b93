import { Anchor, Group, Stack, Text } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import { Link } from 'react-router';
import type { Activity } from '../api/client';
import { ErrorNote } from './ErrorNote';
import { Loading } from './Loading';
import { Time } from './Time';

type Props = { activity: UseQueryResult<Activity[]>; showAgent?: boolean };

/** What happened, newest first. */
export function ActivityList({ activity, showAgent }: Props) {
  if (!activity.data) {
    if (activity.error) return <ErrorNote error={activity.error} onRetry={() => void activity.refetch()} />;
    return <Loading what="activity" />;
  }
  if (activity.data.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        Nothing yet. Requests, decisions and runs appear here as they happen.
      </Text>
    );
  }
  return (
    <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: 'none' }}>
      {activity.data.map((entry) => (
        <li key={entry.id}>
          <Group justify="space-between" wrap="nowrap" align="baseline" gap="sm">
            <Group gap="0 8px">
              <Text size="sm" fw={500}>
                {title(entry.activityType)}
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
          <Text size="xs" c="dimmed">
            {[entry.description, reason(entry)].filter(Boolean).join(': ')}
          </Text>
        </li>
      ))}
    </Stack>
  );
}

/** Why it happened, where the entry says so: a failed spawn's error, the reason of a denial. */
function reason({ metadata }: Activity): string | undefined {
  const { error, reason } = (metadata ?? {}) as Record<string, unknown>;
  return [error, reason].find((text) => typeof text === 'string');
}

/** "access_approved" reads as "Access approved". */
function title(activityType: string): string {
  const words = activityType.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
