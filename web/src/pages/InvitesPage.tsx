import { Button, Group, Stack, Title } from '@mantine/core';
import { useState } from 'react';
import { useInvites } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { InviteCard } from '../components/InviteCard';
import { InviteDialog } from '../components/InviteDialog';
import { Loading } from '../components/Loading';

export function InvitesPage() {
  const invites = useInvites();
  const [creating, setCreating] = useState(false);
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          Invites
        </Title>
        <Button onClick={() => setCreating(true)}>Create invite</Button>
      </Group>
      <ErrorNote error={invites.error} onRetry={() => void invites.refetch()} />
      {invites.data?.map((invite) => <InviteCard key={invite.id} invite={invite} />)}
      {invites.data?.length === 0 && (
        <EmptyState title="No invites yet">
          An invite lets an agent register itself with the permissions you choose. Create one and hand over its token.
        </EmptyState>
      )}
      {invites.isPending && <Loading what="invites" />}
      {creating && <InviteDialog onClose={() => setCreating(false)} />}
    </Stack>
  );
}
