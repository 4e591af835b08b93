import { Alert, Anchor, Avatar, Box, Grid, Group, Paper, Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link, useParams } from 'react-router';
import { useAgent, useAgentActivity, useIsAdmin } from '../api/queries';
import { ActivityList } from '../components/ActivityList';
import { AgentActions } from '../components/AgentActions';
import { AgentDetails } from '../components/AgentDetails';
import { NameBadges, RunBadge, StatusBadge } from '../components/Badges';
import { ErrorNote } from '../components/ErrorNote';
import { LiveTerminal } from '../components/LiveTerminal';
import { Loading } from '../components/Loading';

export function AgentPage() {
  const { agentId = '' } = useParams();
  const isAdmin = useIsAdmin();
  const { data: agent, error, refetch } = useAgent(agentId);

  if (!agent) {
    return (
      <Stack>
        <BackLink />
        {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Loading what="agent" />}
      </Stack>
    );
  }
  return (
    <Stack>
      <BackLink />
      <ErrorNote error={error} onRetry={() => void refetch()} />
      <Group justify="space-between">
        <Group gap="sm" wrap="nowrap" miw={0}>
          <Avatar src={agent.avatarUrl} name={agent.name} color="initials" size="lg" />
          <Box miw={0}>
            <Title order={1} size="h3" style={{ overflowWrap: 'anywhere' }}>
              {agent.name}
            </Title>
            <Group gap="xs" mt={4}>
              <StatusBadge status={agent.status} />
              {agent.run && <RunBadge run={agent.run} />}
            </Group>
          </Box>
        </Group>
        {isAdmin && <AgentActions agent={agent} />}
      </Group>
      {agent.description && <Text size="sm">{agent.description}</Text>}
      {isAdmin ? (
        <LiveTerminal key={agent.id} agentId={agent.id} />
      ) : (
        <Alert color="gray">Owners and admins can stop or revoke this agent and open its terminal.</Alert>
      )}
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: isAdmin ? 7 : 12 }}>
          <Stack>
            <AgentDetails agent={agent} />
            <Section title={agent.status === 'pending' ? 'Requested permissions' : 'Permissions'}>
              <Permissions names={agent.status === 'pending' ? agent.requestedPermissions : agent.grantedPermissions} />
            </Section>
          </Stack>
        </Grid.Col>
        {isAdmin && (
          <Grid.Col span={{ base: 12, md: 5 }}>
            <Section title="Activity">
              <AgentActivity agentId={agent.id} />
            </Section>
          </Grid.Col>
        )}
      </Grid>
    </Stack>
  );
}

function BackLink() {
  return (
    <Anchor component={Link} to="/agents" size="sm" w="fit-content">
      ← All agents
    </Anchor>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper component="section" withBorder p="md">
      <Title order={2} size="h6" mb="sm">
        {title}
      </Title>
      {children}
    </Paper>
  );
}

function Permissions({ names }: { names: string[] }) {
  if (names.length > 0) return <NameBadges names={names} />;
  return (
    <Text size="sm" c="dimmed">
      None. This agent may touch nothing.
    </Text>
  );
}

function AgentActivity({ agentId }: { agentId: string }) {
  return <ActivityList activity={useAgentActivity(agentId)} />;
}
