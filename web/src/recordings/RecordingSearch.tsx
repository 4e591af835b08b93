import { Button, Group, Mark, Stack, Text, TextInput, UnstyledButton } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type RecordingMatch } from '../api/client';
import { ErrorNote } from '../components/ErrorNote';
import { Time } from '../components/Time';
import { clock } from '../words';

type Props = {
  agentId: string;
  /** Opens a session at the moment of a match. */
  onShow: (sessionId: string, from: string) => void;
};

/** Searches everything that is recorded of an agent, for words as they stand beside each other. */
export function RecordingSearch({ agentId, onShow }: Props) {
  const [typed, setTyped] = useState('');
  const [wanted, setWanted] = useState('');
  const found = useInfiniteQuery({
    queryKey: ['recording-search', agentId, wanted],
    queryFn: ({ pageParam }) => api.searchRecordings(agentId, wanted, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor ?? undefined,
    enabled: wanted !== '',
    staleTime: 0,
    gcTime: 0,
  });
  const matches = found.data?.pages.flatMap(({ items }) => items) ?? [];
  const isOver = found.isSuccess && !found.hasNextPage;
  return (
    <Stack gap="xs">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setWanted(typed.trim());
        }}
      >
        <Group gap="xs" wrap="nowrap">
          <TextInput
            flex={1}
            aria-label="Search recordings"
            placeholder="Search all recordings of this agent"
            maxLength={200}
            value={typed}
            onChange={(event) => setTyped(event.currentTarget.value)}
          />
          <Button type="submit" variant="default" loading={found.isFetching} disabled={typed.trim() === ''}>
            Search
          </Button>
        </Group>
      </form>
      <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
      {matches.map((match) => (
        <Match key={`${match.sessionId} ${match.offset}`} match={match} onShow={onShow} />
      ))}
      {found.hasNextPage && (
        <Button variant="subtle" size="compact-sm" loading={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>
          Search on
        </Button>
      )}
      {isOver && matches.length === 0 && (
        <Text size="sm" c="dimmed">
          Nothing was found.
        </Text>
      )}
    </Stack>
  );
}

function Match({ match, onShow }: { match: RecordingMatch; onShow: Props['onShow'] }) {
  // Positions count characters, of which JavaScript has two for some.
  const characters = [...match.snippet];
  const end = match.matchStart + match.matchLength;
  return (
    <UnstyledButton data-testid="recording-match" onClick={() => onShow(match.sessionId, match.at)}>
      <Text size="xs" c="dimmed">
        <Time at={match.at} /> · {clock(match.timeMs)}
      </Text>
      <Text size="sm" className="mono">
        {characters.slice(0, match.matchStart).join('')}
        <Mark>{characters.slice(match.matchStart, end).join('')}</Mark>
        {characters.slice(end).join('')}
      </Text>
    </UnstyledButton>
  );
}
