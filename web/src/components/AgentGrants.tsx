import { Box, Button, Group, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type AgentDetail, api, type Grant } from '../api/client';
import { refreshLive } from '../api/queries';
import { announce, announceFailure } from '../notify';
import { Section } from './Section';
import { Time } from './Time';

/** Permissions that the agent was granted for a while and has still; nothing when there are none. */
export function AgentGrants({ agent }: { agent: AgentDetail }) {
  const grants = agent.grants.filter(({ expiresAt }) => new Date(expiresAt).getTime() > Date.now());
  if (grants.length === 0) return null;
  return (
    <Section title="Granted for a while">
      <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: 'none' }}>
        {grants.map((grant) => (
          <li key={grant.approvalId}>
            <GrantRow agent={agent} grant={grant} />
          </li>
        ))}
      </Stack>
    </Section>
  );
}

function GrantRow({ agent, grant: { approvalId, permission, expiresAt } }: { agent: AgentDetail; grant: Grant }) {
  const end = useMutation({
    mutationFn: () => api.denyCall(approvalId),
    onSuccess: () => announce(`${agent.name} no longer has ${permission}, from its next call on.`),
    onError: (error) => announceFailure(`Could not end ${permission}`, error),
    onSettled: refreshLive,
  });
  return (
    <Group justify="space-between" gap="xs">
      <Box miw={0} flex="1 1 240px">
        <Text size="sm" className="mono">
          {permission}
        </Text>
        <Text size="xs" c="dimmed">
          ends <Time at={expiresAt} />
        </Text>
      </Box>
      <Button
        size="xs"
        variant="light"
        color="red"
        aria-label={`End ${permission}`}
        loading={end.isPending}
        onClick={() => end.mutate()}
      >
        End
      </Button>
    </Group>
  );
}
