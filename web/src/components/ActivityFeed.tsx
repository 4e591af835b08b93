import { Button, Group, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import type { ActivityFilter } from '../api/client';
import { useActivity } from '../api/queries';
import { ActivityList } from './ActivityList';
import { ErrorNote } from './ErrorNote';
import { Loading } from './Loading';

type Props = { filter: ActivityFilter; showAgent?: boolean };

/** The feed page by page. Give it a key made of its filter: another filter begins with the newest rows. */
export function ActivityFeed({ filter, showAgent }: Props) {
  // Cursors of the pages that were turned, the current one last; none on the newest page.
  const [cursors, setCursors] = useState<string[]>([]);
  const page = useActivity(filter, cursors.at(-1));

  if (!page.data) {
    return page.error ? <ErrorNote error={page.error} onRetry={() => void page.refetch()} /> : <Loading what="activity" />;
  }
  const { data: entries, nextCursor } = page.data;
  return (
    <Stack>
      <ErrorNote error={page.error} onRetry={() => void page.refetch()} />
      {entries.length === 0 && (
        <Text size="sm" c="dimmed">
          {isEmpty(filter)
            ? 'Nothing yet. Requests, decisions and runs appear here as they happen.'
            : 'Nothing of this kind. Choose another filter to see more.'}
        </Text>
      )}
      <ActivityList entries={entries} showAgent={showAgent} />
      {(cursors.length > 0 || nextCursor) && (
        <Group justify="space-between">
          <Button
            size="xs"
            variant="default"
            disabled={cursors.length === 0 || page.isPlaceholderData}
            onClick={() => setCursors(cursors.slice(0, -1))}
          >
            Newer
          </Button>
          <Button
            size="xs"
            variant="default"
            disabled={!nextCursor || page.isPlaceholderData}
            onClick={() => nextCursor && setCursors([...cursors, nextCursor])}
          >
            Older
          </Button>
        </Group>
      )}
    </Stack>
  );
}

function isEmpty({ type, since, until }: ActivityFilter): boolean {
  return !type && !since && !until;
}
