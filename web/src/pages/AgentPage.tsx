import { Alert, Anchor, Avatar, Box, Grid, Group, Stack, Tabs, Text, Title } from '@mantine/core';
import { useState } from 'react';
import { Link, useParams } from 'react-router';
import { useAgent, useIsAdmin } from '../api/queries';
import { ActivityFeed } from '../components/ActivityFeed';
import { AgentActions } from '../components/AgentActions';
import { AgentAssignments } from '../components/AgentAssignments';
import { AgentDetails } from '../components/AgentDetails';
import { AgentDialog, type AgentQuestion } from '../components/AgentDialog';
import { AgentGrants } from '../components/AgentGrants';
import { AgentKeys } from '../components/AgentKeys';
import { AgentPermissions } from '../components/AgentPermissions';
import { RunBadge, StatusBadge } from '../components/Badges';
import { ErrorNote } from '../components/ErrorNote';
import { KEYS_PLACE, LeakAlerts } from '../components/LeakAlerts';
import { LiveTerminal } from '../components/LiveTerminal';
import { Loading } from '../components/Loading';
import { Section } from '../components/Section';
import { TypeSelect } from '../components/TypeSelect';
import { Recordings } from '../recordings/Recordings';

export function AgentPage() {
  const { agentId = '' } = useParams();
  const isAdmin = useIsAdmin();
  const [question, setQuestion] = useState<AgentQuestion | null>(null);
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
        {isAdmin && <AgentActions agent={agent} onAsk={setQuestion} />}
      </Group>
      {isAdmin && <LeakAlerts agent={agent} />}
      {agent.description && <Text size="sm">{agent.description}</Text>}
      {!isAdmin && <Alert color="gray">Owners and admins can stop or revoke this agent.</Alert>}
      <Tabs defaultValue="terminal">
        <Tabs.List mb="md">
          <Tabs.Tab value="terminal">Terminal</Tabs.Tab>
          <Tabs.Tab value="recordings">Recordings</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="terminal">
          <LiveTerminal key={agent.id} agentId={agent.id} />
        </Tabs.Panel>
        <Tabs.Panel value="recordings" keepMounted={false}>
          <Recordings key={agent.id} agentId={agent.id} />
        </Tabs.Panel>
      </Tabs>
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: isAdmin ? 7 : 12 }}>
          <Stack>
            <AgentDetails agent={agent} />
            <AgentPermissions agent={agent} />
            {isAdmin && <AgentGrants agent={agent} />}
            {isAdmin && (
              <Box id={KEYS_PLACE}>
                <AgentKeys agent={agent} />
              </Box>
            )}
            <AgentAssignments agent={agent} />
          </Stack>
        </Grid.Col>
        {isAdmin && (
          <Grid.Col span={{ base: 12, md: 5 }}>
            <Section title="Activity">
              <AgentActivity key={agent.id} agentId={agent.id} />
            </Section>
          </Grid.Col>
        )}
      </Grid>
      {question && <AgentDialog question={question} onClose={() => setQuestion(null)} />}
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

function AgentActivity({ agentId }: { agentId: string }) {
  const [type, setType] = useState('');
  return (
    <Stack>
      <TypeSelect agentId={agentId} value={type} onChange={setType} />
      <ActivityFeed key={type} filter={{ agentId, type: type || undefined }} />
    </Stack>
  );
}
