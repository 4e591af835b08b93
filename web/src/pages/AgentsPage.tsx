import { Badge, Button, Group, ScrollArea, Stack, Tabs, Text, Title } from '@mantine/core';
import { useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import type { Agent, AgentStatus } from '../api/client';
import { useAgents, useIsAdmin } from '../api/queries';
import { AgentCard } from '../components/AgentCard';
import { AgentDialog, type AgentQuestion } from '../components/AgentDialog';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { Loading } from '../components/Loading';
import { SpawnDialog } from '../components/SpawnDialog';

const STATUSES: AgentStatus[] = ['pending', 'approved', 'denied', 'revoked'];

export function AgentsPage() {
  const isAdmin = useIsAdmin();
  const agents = useAgents();
  const [search, setSearch] = useSearchParams();
  const [spawning, setSpawning] = useState(false);
  const [question, setQuestion] = useState<AgentQuestion | null>(null);
  const status = STATUSES.find((known) => known === search.get('status'));

  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          Agents
        </Title>
        {isAdmin && <Button onClick={() => setSpawning(true)}>Spawn agent</Button>}
      </Group>
      {!isAdmin && (
        <Text size="sm" c="dimmed">
          You can see the workspace's agents. Owners and admins approve, start and stop them.
        </Text>
      )}
      <Tabs
        value={status ?? 'all'}
        onChange={(tab) => setSearch(tab && tab !== 'all' ? { status: tab } : {}, { replace: true })}
      >
        <ScrollArea type="never">
          <Tabs.List aria-label="Agents by status" style={{ flexWrap: 'nowrap' }}>
            <Tabs.Tab value="all">All</Tabs.Tab>
            {STATUSES.map((tab) => (
              <Tabs.Tab key={tab} value={tab} tt="capitalize" rightSection={<Count of={agents.data} status={tab} />}>
                {tab}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        </ScrollArea>
        <Tabs.Panel value={status ?? 'all'} pt="md">
          <ErrorNote error={agents.error} onRetry={() => void agents.refetch()} />
          {agents.data && (
            <AgentList
              agents={agents.data.filter((agent) => !status || agent.status === status)}
              status={status}
              onAsk={setQuestion}
            />
          )}
          {agents.isPending && <Loading what="agents" />}
        </Tabs.Panel>
      </Tabs>
      {question && <AgentDialog question={question} onClose={() => setQuestion(null)} />}
      {spawning && <SpawnDialog onClose={() => setSpawning(false)} />}
    </Stack>
  );
}

function Count({ of: agents = [], status }: { of?: Agent[]; status: AgentStatus }) {
  const count = agents.filter((agent) => agent.status === status).length;
  if (count === 0) return null;
  return (
    <Badge size="sm" circle variant="light" color={status === 'pending' ? 'orange' : 'gray'}>
      {count}
    </Badge>
  );
}

type ListProps = { agents: Agent[]; status?: AgentStatus; onAsk: (question: AgentQuestion) => void };

function AgentList({ agents, status, onAsk }: ListProps) {
  if (agents.length === 0) return status ? <NoneWithStatus status={status} /> : <NoneAtAll />;
  return (
    <Stack gap="sm">
      {agents.map((agent) => (
        <AgentCard key={agent.id} agent={agent} onAsk={onAsk} />
      ))}
    </Stack>
  );
}

function NoneAtAll() {
  const isAdmin = useIsAdmin();
  if (!isAdmin) return <EmptyState title="No agents yet">An owner or admin can start one or invite one.</EmptyState>;
  return (
    <EmptyState title="No agents yet">
      Spawn an agent on the workspace's runtime, or <Link to="/invites">create an invite</Link> so that an agent from
      elsewhere can register itself.
    </EmptyState>
  );
}

const NONE_WITH_STATUS: Record<AgentStatus, string> = {
  pending: 'Nobody waits for a decision. Agents that ask for access appear here.',
  approved: 'Approve a pending agent, spawn one, or invite one.',
  denied: 'Agents whose request was refused appear here; they may ask again.',
  revoked: 'Agents that lost their access appear here, and an admin can reinstate them.',
};

function NoneWithStatus({ status }: { status: AgentStatus }) {
  return <EmptyState title={`No ${status} agents`}>{NONE_WITH_STATUS[status]}</EmptyState>;
}
