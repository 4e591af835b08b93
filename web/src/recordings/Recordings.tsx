import { Box, Button, Group, Menu, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Recording, recordingFiles } from '../api/client';
import { refreshLive, useIsAdmin, useRecordings } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { FormDialog } from '../components/FormDialog';
import { Loading } from '../components/Loading';
import { Time } from '../components/Time';
import { announce } from '../notify';
import { clock, size } from '../words';
import { Player, type Shown } from './Player';
import { RecordingSearch } from './RecordingSearch';

/** Everything that is recorded of an agent's terminals: a list, a search over all of it, and a player. */
export function Recordings({ agentId }: { agentId: string }) {
  const recordings = useRecordings(agentId);
  const [shown, setShown] = useState<Shown | null>(null);
  if (recordings.error) return <ErrorNote error={recordings.error} onRetry={() => void recordings.refetch()} />;
  if (!recordings.data) return <Loading what="recordings" />;
  if (recordings.data.length === 0) {
    return (
      <EmptyState title="No recordings">
        Whatever this agent's terminal shows is recorded for those who may watch it, unless the workspace's settings say otherwise.
      </EmptyState>
    );
  }
  return (
    <Stack>
      <RecordingSearch agentId={agentId} onShow={(sessionId, from) => setShown({ sessionId, from })} />
      {shown && <Player key={shown.sessionId} shown={shown} />}
      <Stack component="ul" aria-label="Recordings" gap="md" p={0} m={0} style={{ listStyle: 'none' }}>
        {recordings.data.map((recording) => (
          <Row
            key={recording.sessionId}
            recording={recording}
            isShown={shown?.sessionId === recording.sessionId}
            onShow={(show) => setShown(show ? { sessionId: recording.sessionId } : null)}
          />
        ))}
      </Stack>
    </Stack>
  );
}

type RowProps = { recording: Recording; isShown: boolean; onShow: (show: boolean) => void };

function Row({ recording, isShown, onShow }: RowProps) {
  const isAdmin = useIsAdmin();
  const [deleting, setDeleting] = useState(false);
  return (
    <Group component="li" data-testid="recording" justify="space-between" gap="xs">
      <Box miw={0} flex="1 1 240px">
        <Text size="sm" fw={500}>
          <Time at={recording.startedAt} />
        </Text>
        <Text size="xs" c="dimmed">
          {facts(recording)}
        </Text>
      </Box>
      <Group gap="xs">
        <Button size="compact-sm" variant="light" onClick={() => onShow(!isShown)}>
          {isShown ? 'Close' : 'Open'}
        </Button>
        <Menu position="bottom-end">
          <Menu.Target>
            <Button size="compact-sm" variant="default">
              Download
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {recordingFiles(recording.sessionId).map(({ label, address }) => (
              <Menu.Item key={address} component="a" href={address} download>
                {label}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
        {isAdmin && (
          <Button size="compact-sm" variant="subtle" color="red" onClick={() => setDeleting(true)}>
            Delete
          </Button>
        )}
      </Group>
      {deleting && (
        <DeleteRecording
          sessionId={recording.sessionId}
          onDeleted={() => isShown && onShow(false)}
          onClose={() => setDeleting(false)}
        />
      )}
    </Group>
  );
}

/** How long and how big a recording is, and what of it is not as one would think. */
function facts({ durationMs, bytes, storedBytes, endedAt, lostBytes, prunedAt, deletedAt }: Recording): string {
  return [
    clock(durationMs),
    `${size(bytes)} of output`,
    `${size(storedBytes)} stored`,
    !endedAt && 'goes on',
    prunedAt && 'its beginning is no longer kept',
    deletedAt && 'was deleted before',
    lostBytes > 0 && `${size(lostBytes)} are missing`,
  ]
    .filter(Boolean)
    .join(' · ');
}

function DeleteRecording(props: { sessionId: string; onDeleted: () => void; onClose: () => void }) {
  const { sessionId, onDeleted, onClose } = props;
  const remove = useMutation({
    mutationFn: () => api.deleteRecording(sessionId),
    onSuccess: () => {
      announce('The recording is deleted.');
      onDeleted();
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title="Delete this recording"
      submit="Delete"
      danger
      pending={remove.isPending}
      error={remove.error}
      onSubmit={() => remove.mutate()}
      onClose={onClose}
    >
      <Text size="sm">What was recorded until now is gone for good. A terminal that is open is recorded further.</Text>
    </FormDialog>
  );
}
