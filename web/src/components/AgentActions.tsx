import { Button, Group } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Agent, api } from '../api/client';
import { refreshLive } from '../api/queries';
import { ApproveDialog } from './ApproveDialog';
import { ReasonDialog } from './ReasonDialog';

/** The buttons that fit the agent's state, with their dialogs. For admins only. */
export function AgentActions({ agent }: { agent: Agent }) {
  const [dialog, setDialog] = useState<'approve' | 'deny' | 'revoke' | null>(null);
  const close = () => setDialog(null);
  const stop = useMutation({
    mutationFn: () => api.stop(agent.id),
    onError: (error) => notifications.show({ color: 'red', title: `Could not stop ${agent.name}`, message: error.message }),
    onSettled: refreshLive,
  });

  return (
    <Group gap="xs">
      {agent.status === 'pending' && (
        <>
          <Button size="xs" onClick={() => setDialog('approve')}>
            Approve
          </Button>
          <Button size="xs" variant="default" onClick={() => setDialog('deny')}>
            Deny
          </Button>
        </>
      )}
      {isRunning(agent) && (
        <Button size="xs" variant="default" loading={stop.isPending} onClick={() => stop.mutate()}>
          Stop agent
        </Button>
      )}
      {agent.status === 'approved' && (
        <Button size="xs" variant="light" color="red" onClick={() => setDialog('revoke')}>
          Revoke
        </Button>
      )}
      {(agent.status === 'denied' || agent.status === 'revoked') && (
        <Button size="xs" variant="default" onClick={() => setDialog('approve')}>
          Reinstate
        </Button>
      )}
      {dialog === 'approve' && <ApproveDialog agent={agent} onClose={close} />}
      {dialog === 'deny' && (
        <ReasonDialog
          title={`Deny ${agent.name}`}
          explanation="The agent is told the reason and may ask again."
          submit="Deny"
          act={(reason) => api.deny(agent.id, reason)}
          onClose={close}
        />
      )}
      {dialog === 'revoke' && (
        <ReasonDialog
          title={`Revoke ${agent.name}`}
          explanation="Ends its keys, terminals, assignments and process at once. Only an admin can bring it back."
          submit="Revoke"
          act={(reason) => revoke(agent, reason)}
          onClose={close}
        />
      )}
    </Group>
  );
}

function isRunning(agent: Agent): boolean {
  return agent.run != null && !['stopping', 'stopped', 'failed'].includes(agent.run.status);
}

async function revoke(agent: Agent, reason: string) {
  const { receipt } = await api.revoke(agent.id, reason);
  notifications.show({
    title: `${agent.name} is revoked`,
    message: `Ended: keys ${receipt.keys}, terminals ${receipt.sessions}, assignments ${receipt.assignments}, processes ${receipt.runs}.`,
  });
}
