import { Button, Group, NumberInput, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, fieldError } from '../api/client';
import { refreshLive, useDefaultPermissions } from '../api/queries';
import { Dialog } from './Dialog';
import { FormDialog } from './FormDialog';
import { InviteInstructions } from './InviteInstructions';
import { endAfter, LifetimeSelect } from './LifetimeSelect';
import { PermissionPicker } from './PermissionPicker';

/** Creates an invite, then shows its token and how to use it. */
export function InviteDialog({ onClose }: { onClose: () => void }) {
  const defaults = useDefaultPermissions();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [uses, setUses] = useState<string | number>(1);
  const [lifetimeHours, setLifetimeHours] = useState('168');
  const [picked, setPicked] = useState<string[] | null>(null);
  const permissions = picked ?? defaults ?? [];

  const create = useMutation({
    mutationFn: () =>
      api.createInvite({
        name: name.trim(),
        description: description.trim() || undefined,
        permissions,
        usesRemaining: uses === '' ? undefined : Number(uses),
        expiresAt: endAfter(lifetimeHours),
      }),
    onSuccess: refreshLive,
    gcTime: 0,
  });

  if (create.data) {
    return (
      <Dialog title={`Invite "${create.data.name}" is ready`} onClose={onClose}>
        <InviteInstructions token={create.data.token} />
        <Group justify="flex-end" mt="md">
          <Button onClick={onClose}>Done</Button>
        </Group>
      </Dialog>
    );
  }
  return (
    <FormDialog
      title="Create invite"
      submit="Create"
      disabled={name.trim() === '' || permissions.length === 0}
      pending={create.isPending}
      error={create.error}
      onSubmit={() => create.mutate()}
      onClose={onClose}
    >
      <TextInput
        label="Name"
        required
        maxLength={100}
        data-autofocus
        error={fieldError(create.error, 'name')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <TextInput
        label="Description"
        maxLength={500}
        error={fieldError(create.error, 'description')}
        value={description}
        onChange={(event) => setDescription(event.currentTarget.value)}
      />
      <Group grow align="flex-start">
        <NumberInput
          label="Uses"
          description="Empty means unlimited."
          min={1}
          allowDecimal={false}
          allowNegative={false}
          value={uses}
          onChange={setUses}
          error={fieldError(create.error, 'usesRemaining')}
        />
        <LifetimeSelect
          description="Agents already registered stay."
          hours={lifetimeHours}
          onChange={setLifetimeHours}
          error={fieldError(create.error, 'expiresAt')}
        />
      </Group>
      <PermissionPicker
        label="Permissions"
        value={permissions}
        onChange={setPicked}
        error={fieldError(create.error, 'permissions')}
      />
    </FormDialog>
  );
}
