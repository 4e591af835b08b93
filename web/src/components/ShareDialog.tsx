import { Button, Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, fieldError } from '../api/client';
import { refreshShares, usePersonName, useShares } from '../api/queries';
import { CopyField } from './CopyField';
import { Dialog } from './Dialog';
import { ErrorNote } from './ErrorNote';
import { Time } from './Time';

/** Lifetimes on offer, in minutes; the service allows a week. */
const LIFETIMES = [
  { value: '15', label: '15 minutes' },
  { value: '60', label: '1 hour' },
  { value: '1440', label: '1 day' },
  { value: '10080', label: '7 days' },
];

/** Makes links by which members watch a terminal, shows each once, and revokes those that are good. */
export function ShareDialog({ sessionId, onClose }: { sessionId: string; onClose: () => void }) {
  const shares = useShares(sessionId);
  const nameOf = usePersonName();
  const [minutes, setMinutes] = useState('60');
  const create = useMutation({
    mutationFn: () => api.shareTerminal(sessionId, Number(minutes)),
    onSuccess: () => refreshShares(sessionId),
    // What came back holds the token.
    gcTime: 0,
  });
  const revoke = useMutation({
    mutationFn: (shareId: string) => api.revokeShare(sessionId, shareId),
    onSettled: () => refreshShares(sessionId),
  });
  return (
    <Dialog title="Share this terminal" onClose={onClose}>
      <Stack>
        <Text size="sm">Signed-in members of this workspace who open the link watch this terminal. They cannot type, and see nothing else by it.</Text>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            // React passes events on to the page's own form, though the dialog is not inside it.
            event.stopPropagation();
            create.mutate();
          }}
        >
          <Group align="flex-end">
            <NativeSelect
              label="The link is good for"
              data={LIFETIMES}
              value={minutes}
              error={fieldError(create.error, 'expiresInMinutes')}
              onChange={(event) => setMinutes(event.currentTarget.value)}
            />
            <Button type="submit" loading={create.isPending}>
              Create link
            </Button>
          </Group>
        </form>
        <ErrorNote error={create.error} />
        {create.data && (
          <>
            <CopyField label="link" value={create.data.link} />
            <Text size="xs" c="dimmed">
              It is shown once.
            </Text>
          </>
        )}
        <ErrorNote error={shares.error ?? revoke.error} onRetry={() => void shares.refetch()} />
        {shares.data && shares.data.length > 0 && (
          <Stack component="ul" aria-label="Links that are good" gap="xs" p={0} m={0} style={{ listStyle: 'none' }}>
            {shares.data.map((share) => (
              <Group component="li" key={share.id} justify="space-between" wrap="nowrap">
                <Text size="sm">
                  By {nameOf(share.createdBy) ?? 'somebody'}, ends <Time at={share.expiresAt} />
                </Text>
                <Button
                  size="compact-xs"
                  variant="light"
                  color="red"
                  loading={revoke.isPending && revoke.variables === share.id}
                  onClick={() => revoke.mutate(share.id)}
                >
                  Revoke
                </Button>
              </Group>
            ))}
          </Stack>
        )}
      </Stack>
    </Dialog>
  );
}
