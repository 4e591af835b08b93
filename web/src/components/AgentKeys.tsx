import { Button, Text } from '@mantine/core';
import { useState } from 'react';
import { type Agent, api } from '../api/client';
import { useAgentKeys } from '../api/queries';
import { ErrorNote } from './ErrorNote';
import { KeyList } from './KeyList';
import { Loading } from './Loading';
import { RotateDialog } from './RotateDialog';
import { Section } from './Section';

/** The agent's API keys. For admins only. */
export function AgentKeys({ agent }: { agent: Agent }) {
  const keys = useAgentKeys(agent.id);
  const [rotating, setRotating] = useState(false);
  return (
    <Section
      title="API keys"
      actions={
        agent.status === 'approved' && (
          <Button size="xs" variant="default" onClick={() => setRotating(true)}>
            Rotate key
          </Button>
        )
      }
    >
      <ErrorNote error={keys.error} onRetry={() => void keys.refetch()} />
      {keys.isPending && <Loading what="API keys" />}
      {keys.data?.keys.length === 0 && (
        <Text size="sm" c="dimmed">
          None. An agent gets its key when it is approved.
        </Text>
      )}
      {keys.data && <KeyList keys={keys.data.keys} revoke={(key) => api.revokeAgentKey(agent.id, key.id)} />}
      {rotating && (
        <RotateDialog
          of={agent.name}
          explanation="Every earlier key of the agent ends. A process that is running has its key from its start and keeps the earlier one."
          rotate={async (body) => (await api.rotateAgentKey(agent.id, body)).mcpApiKey}
          onClose={() => setRotating(false)}
        />
      )}
    </Section>
  );
}
