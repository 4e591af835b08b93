import { Badge, Button, Group, Stack, Tabs, Title } from '@mantine/core';
import { useState } from 'react';
import { useSearchParams } from 'react-router';
import { useInvites } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { InviteCard, inviteState } from '../components/InviteCard';
import { InviteDialog } from '../components/InviteDialog';
import { Loading } from '../components/Loading';

export function InvitesPage() {
  const invites = useInvites();
  const [creating, setCreating] = useState(false);
  const [search, setSearch] = useSearchParams();
  const tab = search.get('show') === 'ended' ? 'ended' : 'active';
  const active = invites.data?.filter((invite) => inviteState(invite) === 'Active') ?? [];
  const ended = invites.data?.filter((invite) => inviteState(invite) !== 'Active') ?? [];
  const shown = tab === 'active' ? active : ended;
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          Invites
        </Title>
        <Button onClick={() => setCreating(true)}>Create invite</Button>
      </Group>
      <Tabs
        value={tab}
        onChange={(value) => setSearch(value === 'ended' ? { show: 'ended' } : {}, { replace: true })}
      >
        <Tabs.List aria-label="Invites by state">
          <Tabs.Tab value="active" rightSection={<Count of={active.length} />}>
            Active
          </Tabs.Tab>
          <Tabs.Tab value="ended" rightSection={<Count of={ended.length} />}>
            Ended
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value={tab} pt="md">
          <Stack>
            <ErrorNote error={invites.error} onRetry={() => void invites.refetch()} />
            {shown.map((invite) => (
              <InviteCard key={invite.id} invite={invite} />
            ))}
            {invites.data && shown.length === 0 && <NoInvites tab={tab} />}
            {invites.isPending && <Loading what="invites" />}
          </Stack>
        </Tabs.Panel>
      </Tabs>
      {creating && <InviteDialog onClose={() => setCreating(false)} />}
    </Stack>
  );
}

function Count({ of: count }: { of: number }) {
  if (count === 0) return null;
  return (
    <Badge size="sm" circle variant="light" color="gray">
      {count}
    </Badge>
  );
}

function NoInvites({ tab }: { tab: 'active' | 'ended' }) {
  if (tab === 'ended') {
    return <EmptyState title="No ended invites">Revoked, expired and used up invites appear here.</EmptyState>;
  }
  return (
    <EmptyState title="No active invites">
      An invite lets an agent register itself with the permissions you choose. Create one and hand over its token.
    </EmptyState>
  );
}
