import { Badge, Box, Button, Group, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { ApiKey, Receipt } from '../api/client';
import { refreshLive } from '../api/queries';
import { announce } from '../notify';
import { FormDialog } from './FormDialog';
import { keyReceipt } from './ReceiptDialog';
import { Time } from './Time';

type Props = {
  keys: ApiKey[];
  /** Ends a key at once. */
  revoke: (key: ApiKey) => Promise<{ receipt: Receipt }>;
  /** Further buttons of a key that is good. */
  actions?: (key: ApiKey) => ReactNode;
};

/** API keys with what is known of each; never a key itself. */
export function KeyList({ keys, revoke, actions }: Props) {
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  return (
    <Stack gap="md" component="ul" m={0} p={0} style={{ listStyle: 'none' }}>
      {keys.map((key) => (
        <li key={key.id}>
          <Group justify="space-between" align="flex-start" gap="xs">
            <Box miw={0} flex="1 1 240px">
              <Group gap="xs">
                <Text size="sm" fw={500} style={{ overflowWrap: 'anywhere' }}>
                  {key.name}
                </Text>
                <KeyBadge apiKey={key} />
              </Group>
              <Text size="xs" c="dimmed">
                <span className="mono">{key.keyPrefix}…</span> · created <Time at={key.createdAt} /> ·{' '}
                {key.lastUsedAt ? (
                  <>
                    last used <Time at={key.lastUsedAt} />
                  </>
                ) : (
                  'never used'
                )}
                <End of={key} />
              </Text>
            </Box>
            {isGood(key) && (
              <Group gap="xs">
                {actions?.(key)}
                <Button
                  size="xs"
                  variant="light"
                  color="red"
                  aria-label={`Revoke key ${key.keyPrefix}`}
                  onClick={() => setRevoking(key)}
                >
                  Revoke
                </Button>
              </Group>
            )}
          </Group>
        </li>
      ))}
      {revoking && <RevokeKeyDialog apiKey={revoking} revoke={revoke} onClose={() => setRevoking(null)} />}
    </Stack>
  );
}

/** Whether the key still opens doors. */
export function isGood({ revokedAt, expiresAt }: ApiKey): boolean {
  return !revokedAt && (!expiresAt || new Date(expiresAt).getTime() > Date.now());
}

function KeyBadge({ apiKey }: { apiKey: ApiKey }) {
  const [label, color] = apiKey.revokedAt ? ['Revoked', 'red'] : isGood(apiKey) ? ['Active', 'teal'] : ['Expired', 'gray'];
  return (
    <Badge variant="light" color={color} tt="none">
      {label}
    </Badge>
  );
}

function End({ of: key }: { of: ApiKey }) {
  const at = key.revokedAt ?? key.expiresAt;
  if (!at) return ' · does not expire';
  return (
    <>
      {key.revokedAt ? ' · revoked ' : isGood(key) ? ' · expires ' : ' · expired '}
      <Time at={at} />
    </>
  );
}

type RevokeProps = { apiKey: ApiKey; revoke: Props['revoke']; onClose: () => void };

function RevokeKeyDialog({ apiKey, revoke, onClose }: RevokeProps) {
  const ending = useMutation({
    mutationFn: () => revoke(apiKey),
    onSuccess: ({ receipt }) => {
      announce(`The key ${apiKey.keyPrefix}… is revoked. ${keyReceipt(receipt)}`);
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={`Revoke key "${apiKey.name}"`}
      submit="Revoke"
      danger
      pending={ending.isPending}
      error={ending.error}
      onSubmit={() => ending.mutate()}
      onClose={onClose}
    >
      <Text size="sm">
        The very next call with <span className="mono">{apiKey.keyPrefix}…</span> is refused, and connections that were
        opened with it are closed.
      </Text>
    </FormDialog>
  );
}
