import { Anchor, Avatar, Box, Group, Paper, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import type { Agent } from '../api/client';
import { useIsAdmin, useRuntimes } from '../api/queries';
import { AgentActions } from './AgentActions';
import type { AgentQuestion } from './AgentDialog';
import { NameBadges, RunBadge, StatusBadge } from './Badges';
import { Time } from './Time';

/** One agent in the list. */
export function AgentCard({ agent, onAsk }: { agent: Agent; onAsk: (question: AgentQuestion) => void }) {
  const isAdmin = useIsAdmin();
  // Only owners and admins may ask which runtimes there are; others are told of every one but the operator's.
  const several = (useRuntimes(isAdmin).data?.length ?? 0) > 1;
  return (
    <Paper withBorder p="md" component="article" aria-label={agent.name}>
      <Group justify="space-between" align="flex-start" gap="sm">
        <Group gap="sm" wrap="nowrap" flex="1 1 260px" miw={0} align="flex-start">
          <Avatar src={agent.avatarUrl} name={agent.name} color="initials" />
          <Box miw={0}>
            <Group gap="xs">
              <Anchor component={Link} to={`/agents/${encodeURIComponent(agent.id)}`} fw={600} c="var(--mantine-color-text)">
                {agent.name}
              </Anchor>
              <StatusBadge status={agent.status} />
              {agent.run && <RunBadge run={agent.run} />}
            </Group>
            <Text size="xs" c="dimmed">
              <span className="mono">{agent.id}</span> · requested <Time at={agent.requestedAt} />
              {agent.run && (several || agent.run.runtime !== 'default') && ` · on ${agent.run.runtime}`}
            </Text>
          </Box>
        </Group>
        {isAdmin && <AgentActions agent={agent} onAsk={onAsk} />}
      </Group>
      <Stack gap="xs" mt={agent.description || agent.status === 'pending' ? 'sm' : 0}>
        {agent.description && (
          <Text size="sm" lineClamp={2}>
            {agent.description}
          </Text>
        )}
        {agent.status === 'pending' && (
          <Box>
            <Text size="xs" c="dimmed" mb={4}>
              Requested permissions
            </Text>
            <NameBadges names={agent.requestedPermissions} />
          </Box>
        )}
      </Stack>
    </Paper>
  );
}
