import { Button, Group, List, Stack, Text } from '@mantine/core';
import type { Receipt } from '../api/client';
import { counted } from '../words';
import { Dialog } from './Dialog';

/** Says what a revocation ended and how long it took. */
export function ReceiptDialog({ title, receipt, onClose }: { title: string; receipt: Receipt; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose}>
      <Stack>
        <Text size="sm">It took {receipt.tookMs} ms to end:</Text>
        <List size="sm" aria-label="What was ended">
          {parts(receipt).map((part) => (
            <List.Item key={part}>{part}</List.Item>
          ))}
        </List>
        {receipt.runs > receipt.processesEnded && (
          <Text size="sm" c="dimmed">
            The runtime is asked again until every process has ended.
          </Text>
        )}
        <Group justify="flex-end">
          <Button onClick={onClose}>Done</Button>
        </Group>
      </Stack>
    </Dialog>
  );
}

function parts({ keys, sockets, streams, sessions, assignments, runs, processesEnded }: Receipt): string[] {
  return [
    counted(keys, 'API key'),
    counted(sockets + streams, 'connection'),
    counted(sessions, 'terminal session'),
    counted(assignments, 'assignment'),
    runs === 0 ? 'no process' : `${processesEnded} of ${counted(runs, 'process', 'processes')}`,
  ];
}

/** What revoking a key ended, as a sentence. */
export function keyReceipt({ sockets, streams, tookMs }: Receipt): string {
  return `Ended with it: ${counted(sockets + streams, 'connection')}, in ${tookMs} ms.`;
}
