import { Button, Group, Menu, Stack, Table, Text } from '@mantine/core';
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
import { Player } from './Player';
import { RecordingSearch } from './RecordingSearch';

/** What is open: a session, and the moment to begin at. */
type Shown = { sessionId: string; from?: string };

/** Everything that is recorded of an agent's terminals: a list, a search over all of it, and a player. */
export function Recordings({ agentId }: { agentId: string }) {
  const recordings = useRecordings(agentId);
  const [shown, setShown] = useState<Shown | null>(null);
  if (recordings.error) return <ErrorNote error={recordings.error} onRetry={() => void recordings.refetch()} />;
  if (!recordings.data) return <Loading what="recordings" />;
  if (recordings.data.length === 0) {
    return (
      <EmptyState title="Nothing is recorded">
        Whatever this agent's terminal shows is recorded here, unless the workspace's settings say otherwise.
      </EmptyState>
    );
  }
  return (
    <Stack>
      <RecordingSearch agentId={agentId} onShow={(sessionId, from) => setShown({ sessionId, from })} />
      {shown && <Player key={shown.sessionId} sessionId={shown.sessionId} from={shown.from} />}
      <Table.ScrollContainer minWidth={520}>
        <Table verticalSpacing="xs" aria-label="Recordings">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Started</Table.Th>
              <Table.Th>Duration</Table.Th>
              <Table.Th>Output</Table.Th>
              <Table.Th>Stored</Table.Th>
              <Table.Th />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {recordings.data.map((recording) => (
              <Row
                key={recording.sessionId}
                recording={recording}
                isShown={shown?.sessionId === recording.sessionId}
                onShow={(show) => setShown(show ? { sessionId: recording.sessionId } : null)}
              />
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Stack>
  );
}

type RowProps = { recording: Recording; isShown: boolean; onShow: (show: boolean) => void };

function Row({ recording, isShown, onShow }: RowProps) {
  const isAdmin = useIsAdmin();
  const [deleting, setDeleting] = useState(false);
  return (
    <Table.Tr data-testid="recording">
      <Table.Td>
        <Time at={recording.startedAt} />
        <Text size="xs" c="dimmed">
          {note(recording)}
        </Text>
      </Table.Td>
      <Table.Td>{clock(recording.durationMs)}</Table.Td>
      <Table.Td>{size(recording.bytes)}</Table.Td>
      <Table.Td>{size(recording.storedBytes)}</Table.Td>
      <Table.Td>
        <Group gap="xs" justify="flex-end" wrap="nowrap">
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
            onDeleted={() => onShow(false)}
            onClose={() => setDeleting(false)}
          />
        )}
      </Table.Td>
    </Table.Tr>
  );
}

/** What of a recording is not as one would think. */
function note({ endedAt, lostBytes, prunedAt, deletedAt }: Recording): string {
  return [
    !endedAt && 'goes on',
    prunedAt && 'its beginning is no longer kept',
    deletedAt && 'was deleted before',
    lostBytes > 0 && `${size(lostBytes)} are missing`,
  ]
    .filter(Boolean)
    .join(', ');
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
