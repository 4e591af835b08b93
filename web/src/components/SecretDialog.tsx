import { Button, Group, Stack, Text } from '@mantine/core';
import { CopyField } from './CopyField';
import { Dialog } from './Dialog';
import { McpClients } from './McpClients';

type Props = { title: string; explanation: string; apiKey: string; onClose: () => void };

/** Shows a new API key. It is gone with the dialog, so only a button closes it. */
export function SecretDialog({ title, explanation, apiKey, onClose }: Props) {
  return (
    <Dialog title={title} keep onClose={onClose}>
      <Stack>
        <Text size="sm">This key is shown once. {explanation}</Text>
        <CopyField label="API key" value={apiKey} />
        <McpClients />
        <Group justify="flex-end">
          <Button onClick={onClose}>Done</Button>
        </Group>
      </Stack>
    </Dialog>
  );
}
