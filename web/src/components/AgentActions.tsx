import { Button, Group } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type Agent, api } from '../api/client';
import { refreshLive } from '../api/queries';
import { announce, announceFailure } from '../notify';
import type { AgentQuestion } from './AgentDialog';

type Props = { agent: Agent; onAsk: (question: AgentQuestion) => void };

/** The buttons that fit the agent's state. For admins only. */
export function AgentActions({ agent, onAsk }: Props) {
  const stop = useMutation({
    mutationFn: () => api.stop(agent.id),
    onSuccess: () => announce(`${agent.name} was asked to stop.`),
    onError: (error) => announceFailure(`Could not stop ${agent.name}`, error),
    onSettled: refreshLive,
  });

  return (
    <Group gap="xs">
      {agent.status === 'pending' && (
        <>
          <Button size="xs" onClick={() => onAsk({ kind: 'approve', agent })}>
            Approve
          </Button>
          <Button size="xs" variant="default" onClick={() => onAsk({ kind: 'deny', agent })}>
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
        <Button size="xs" variant="light" color="red" onClick={() => onAsk({ kind: 'revoke', agent })}>
          Revoke
        </Button>
      )}
      {(agent.status === 'denied' || agent.status === 'revoked') && (
        <Button size="xs" variant="default" onClick={() => onAsk({ kind: 'approve', agent })}>
          Reinstate
        </Button>
      )}
    </Group>
  );
}

function isRunning(agent: Agent): boolean {
  return agent.run != null && !['stopping', 'stopped', 'failed'].includes(agent.run.status);
}
