import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Agent, api } from '../api/client';
import { refreshLive } from '../api/queries';
import { CopyField } from './CopyField';
import { FormDialog } from './FormDialog';
import { PermissionPicker } from './PermissionPicker';

/** Grants permissions to an agent, then shows its key once. */
export function ApproveDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  // The request as it was when the dialog opened: if it changes meanwhile, the service refuses the old version.
  const [request] = useState(agent);
  const [granted, setGranted] = useState(request.requestedPermissions);
  const approve = useMutation({
    mutationFn: () =>
      api.approve(request.id, { grantedPermissions: granted, requestVersion: request.requestVersion }),
    onSettled: refreshLive,
  });

  if (approve.data) return <KeyDialog agent={request} mcpApiKey={approve.data.mcpApiKey} onClose={onClose} />;
  return (
    <FormDialog
      title={request.status === 'pending' ? `Approve ${request.name}` : `Reinstate ${request.name}`}
      submit="Approve"
      disabled={granted.length === 0}
      pending={approve.isPending}
      error={approve.error}
      onSubmit={() => approve.mutate()}
      onClose={onClose}
    >
      <Text size="sm" c="dimmed">
        The requested permissions are selected. The agent can do what is selected here and nothing else.
      </Text>
      <PermissionPicker label="Permissions" value={granted} onChange={setGranted} />
    </FormDialog>
  );
}

function KeyDialog({ agent, mcpApiKey, onClose }: { agent: Agent; mcpApiKey: string; onClose: () => void }) {
  return (
    <Modal opened onClose={onClose} title={`${agent.name} is approved`} closeOnClickOutside={false}>
      <Stack>
        <Text size="sm">
          This key is shown once. Hand it over, or let the agent collect it itself with the claim secret that its
          request returned.
        </Text>
        <CopyField label="API key" value={mcpApiKey} />
        <Group justify="flex-end">
          <Button onClick={onClose}>Done</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
