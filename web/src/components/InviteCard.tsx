import { Badge, Box, Button, Group, Modal, Paper, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Invite } from '../api/client';
import { refreshLive } from '../api/queries';
import { NameBadges } from './Badges';
import { FormDialog } from './FormDialog';
import { InviteInstructions } from './InviteInstructions';
import { Time } from './Time';

/** One invite in the list. */
export function InviteCard({ invite }: { invite: Invite }) {
  const [dialog, setDialog] = useState<'instructions' | 'revoke' | null>(null);
  const close = () => setDialog(null);
  const revoke = useMutation({
    mutationFn: () => api.revokeInvite(invite.id),
    onSuccess: close,
    onSettled: refreshLive,
  });
  const state = stateOf(invite);

  return (
    <Paper withBorder p="md" component="article" aria-label={invite.name}>
      <Group justify="space-between" align="flex-start" gap="sm">
        <Box flex="1 1 260px" miw={0}>
          <Group gap="xs">
            <Text fw={600}>{invite.name}</Text>
            <Badge variant="light" color={state === 'Active' ? 'teal' : 'gray'} tt="none">
              {state}
            </Badge>
          </Group>
          <Text size="xs" c="dimmed">
            {uses(invite)} · created <Time at={invite.createdAt} />
            {state === 'Active' && invite.expiresAt && (
              <>
                {' '}
                · expires <Time at={invite.expiresAt} />
              </>
            )}
          </Text>
        </Box>
        {state === 'Active' && (
          <Group gap="xs">
            <Button size="xs" variant="default" onClick={() => setDialog('instructions')}>
              Show token
            </Button>
            <Button size="xs" variant="light" color="red" onClick={() => setDialog('revoke')}>
              Revoke
            </Button>
          </Group>
        )}
      </Group>
      {invite.description && (
        <Text size="sm" mt="sm">
          {invite.description}
        </Text>
      )}
      <Box mt="sm">
        <NameBadges names={invite.permissions} />
      </Box>
      {dialog === 'instructions' && (
        <Modal opened onClose={close} title={invite.name}>
          <InviteInstructions token={invite.token} />
        </Modal>
      )}
      {dialog === 'revoke' && (
        <FormDialog
          title={`Revoke invite "${invite.name}"`}
          submit="Revoke"
          danger
          pending={revoke.isPending}
          error={revoke.error}
          onSubmit={() => revoke.mutate()}
          onClose={close}
        >
          <Text size="sm">Nobody can register with it any more. Agents that already did keep their access.</Text>
        </FormDialog>
      )}
    </Paper>
  );
}

function stateOf(invite: Invite): 'Revoked' | 'Expired' | 'Exhausted' | 'Active' {
  if (invite.revokedAt) return 'Revoked';
  if (invite.expiresAt && new Date(invite.expiresAt).getTime() <= Date.now()) return 'Expired';
  if (invite.usesRemaining != null && invite.usesRemaining <= 0) return 'Exhausted';
  return 'Active';
}

function uses(invite: Invite): string {
  if (invite.usesRemaining == null) return `used ${invite.usesCount} times, no limit`;
  return `used ${invite.usesCount} of ${invite.usesCount + invite.usesRemaining}`;
}
