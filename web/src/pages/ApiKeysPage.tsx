import { Button, Group, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type ApiKey, fieldError } from '../api/client';
import { refreshLive, useIsAdmin, useOwnKeys } from '../api/queries';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { FormDialog } from '../components/FormDialog';
import { KeyList } from '../components/KeyList';
import { endAfter, LifetimeSelect } from '../components/LifetimeSelect';
import { Loading } from '../components/Loading';
import { RotateDialog } from '../components/RotateDialog';
import { SecretDialog } from '../components/SecretDialog';

/** The person's own API keys. */
export function ApiKeysPage() {
  const isAdmin = useIsAdmin();
  const keys = useOwnKeys();
  const [creating, setCreating] = useState(false);
  const [rotating, setRotating] = useState<ApiKey | null>(null);
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={1} size="h3">
          API keys
        </Title>
        {isAdmin && <Button onClick={() => setCreating(true)}>Create API key</Button>}
      </Group>
      <Text size="sm" c="dimmed">
        Whoever holds one of your keys acts in your name.
        {!isAdmin && ' Owners and admins create keys; you can revoke yours.'}
      </Text>
      <ErrorNote error={keys.error} onRetry={() => void keys.refetch()} />
      {keys.isPending && <Loading what="API keys" />}
      {keys.data?.keys.length === 0 && (
        <EmptyState title="No API keys yet">
          {isAdmin ? 'Create one for a program that is to act in your name.' : 'You hold no keys.'}
        </EmptyState>
      )}
      {keys.data && keys.data.keys.length > 0 && (
        <Paper withBorder p="md">
          <KeyList
            keys={keys.data.keys}
            revoke={(key) => api.revokeKey(key.id)}
            actions={(key) =>
              isAdmin && (
                <Button
                  size="xs"
                  variant="default"
                  aria-label={`Rotate key ${key.keyPrefix}`}
                  onClick={() => setRotating(key)}
                >
                  Rotate
                </Button>
              )
            }
          />
        </Paper>
      )}
      {creating && <CreateDialog onClose={() => setCreating(false)} />}
      {rotating && (
        <RotateDialog
          of={`"${rotating.name}"`}
          explanation="Makes a key of the same name."
          rotate={async (body) => (await api.rotateKey(rotating.id, body)).key}
          onClose={() => setRotating(null)}
        />
      )}
    </Stack>
  );
}

function CreateDialog({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const [hours, setHours] = useState('');
  const create = useMutation({
    mutationFn: () => api.createKey({ name: name.trim(), expiresAt: endAfter(hours) }),
    onSettled: refreshLive,
    gcTime: 0,
  });
  if (create.data) {
    return (
      <SecretDialog
        title={`API key "${name.trim()}" is ready`}
        explanation="Treat it like a password."
        apiKey={create.data.key}
        onClose={onClose}
      />
    );
  }
  return (
    <FormDialog
      title="Create API key"
      submit="Create"
      disabled={name.trim() === ''}
      pending={create.isPending}
      error={create.error}
      onSubmit={() => create.mutate()}
      onClose={onClose}
    >
      <TextInput
        label="Name"
        description="Where it will be used, such as Laptop."
        required
        maxLength={100}
        data-autofocus
        error={fieldError(create.error, 'name')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <LifetimeSelect hours={hours} onChange={setHours} error={fieldError(create.error, 'expiresAt')} />
    </FormDialog>
  );
}
