import { Badge, Button, Group, Paper, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Invite } from '../api/client';
import { refreshLive, usePersonName } from '../api/queries';
import { announce } from '../notify';
import { NameBadges } from './Badges';
import { Dialog } from './Dialog';
import { Fact } from './Fact';
import { FormDialog } from './FormDialog';
import { InviteInstructions } from './InviteInstructions';
import { Time } from './Time';

/** One invite in the list, with all that is known of it. */
export function InviteCard({ invite }: { invite: Invite }) {
  const [dialog, setDialog] = useState<'instructions' | 'revoke' | 'delete' | null>(null);
  const personName = usePersonName();
  const close = () => setDialog(null);
  const state = inviteState(invite);
  const by = invite.createdBy && personName(invite.createdBy);

  return (
    <Paper withBorder p="md" component="article" aria-label={invite.name}>
      <Group justify="space-between" align="flex-start" gap="sm">
        <Group gap="xs" flex="1 1 260px" miw={0}>
          <Text fw={600} style={{ overflowWrap: 'anywhere' }}>
            {invite.name}
          </Text>
          <Badge variant="light" color={state === 'Active' ? 'teal' : 'gray'} tt="none">
            {state}
          </Badge>
        </Group>
        <Group gap="xs">
          {state === 'Active' && (
            <>
              <Button size="xs" variant="default" onClick={() => setDialog('instructions')}>
                Show token
              </Button>
              <Button size="xs" variant="light" color="red" onClick={() => setDialog('revoke')}>
                Revoke
              </Button>
            </>
          )}
          <Button size="xs" variant="subtle" color="red" onClick={() => setDialog('delete')}>
            Delete
          </Button>
        </Group>
      </Group>
      {invite.description && (
        <Text size="sm" mt="sm">
          {invite.description}
        </Text>
      )}
      <dl className="facts" style={{ marginTop: 12 }}>
        <Fact term="Uses">{uses(invite)}</Fact>
        <Fact term={state === 'Expired' ? 'Expired' : 'Expires'}>
          {invite.expiresAt ? <Time at={invite.expiresAt} /> : 'Never'}
        </Fact>
        <Fact term="Created">
          <Time at={invite.createdAt} />
          {by && ` by ${by}`}
        </Fact>
        {invite.revokedAt && (
          <Fact term="Revoked">
            <Time at={invite.revokedAt} />
          </Fact>
        )}
        <Fact term="Permissions">
          <NameBadges names={invite.permissions} />
        </Fact>
      </dl>
      {dialog === 'instructions' && (
        <Dialog title={invite.name} onClose={close}>
          <InviteInstructions token={invite.token} />
        </Dialog>
      )}
      {dialog === 'revoke' && (
        <EndDialog
          invite={invite}
          verb="Revoke"
          explanation="Nobody can register with it any more. Agents that already did keep their access."
          act={api.revokeInvite}
          done="revoked"
          onClose={close}
        />
      )}
      {dialog === 'delete' && (
        <EndDialog
          invite={invite}
          verb="Delete"
          explanation="Ends it and takes it out of this list for good. Agents that registered with it keep their access."
          act={api.deleteInvite}
          done="deleted"
          onClose={close}
        />
      )}
    </Paper>
  );
}

type EndProps = {
  invite: Invite;
  verb: string;
  explanation: string;
  act: (inviteId: string) => Promise<unknown>;
  done: string;
  onClose: () => void;
};

function EndDialog({ invite, verb, explanation, act, done, onClose }: EndProps) {
  const end = useMutation({
    mutationFn: () => act(invite.id),
    onSuccess: () => {
      announce(`The invite "${invite.name}" is ${done}.`);
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={`${verb} invite "${invite.name}"`}
      submit={verb}
      danger
      pending={end.isPending}
      error={end.error}
      onSubmit={() => end.mutate()}
      onClose={onClose}
    >
      <Text size="sm">{explanation}</Text>
    </FormDialog>
  );
}

/** Whether the invite can admit somebody, and if not, why. */
export function inviteState(invite: Invite): 'Revoked' | 'Expired' | 'Exhausted' | 'Active' {
  if (invite.revokedAt) return 'Revoked';
  if (invite.expiresAt && new Date(invite.expiresAt).getTime() <= Date.now()) return 'Expired';
  if (invite.usesRemaining != null && invite.usesRemaining <= 0) return 'Exhausted';
  return 'Active';
}

function uses(invite: Invite): string {
  if (invite.usesRemaining == null) return `${invite.usesCount}, without a limit`;
  return `${invite.usesCount} of ${invite.usesCount + invite.usesRemaining}`;
}
