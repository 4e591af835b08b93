import { Button, Group, Modal, NativeSelect, NumberInput, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import { refreshLive, usePermissions } from '../api/queries';
import { FormDialog } from './FormDialog';
import { InviteInstructions } from './InviteInstructions';
import { PermissionPicker } from './PermissionPicker';

const HOUR_MS = 3_600_000;

/** Lifetimes on offer, in hours; an empty value means no end. */
const LIFETIMES = [
  { value: '1', label: 'In 1 hour' },
  { value: '24', label: 'In 1 day' },
  { value: '168', label: 'In 7 days' },
  { value: '720', label: 'In 30 days' },
  { value: '', label: 'Never' },
];

/** Creates an invite, then shows its token and how to use it. */
export function InviteDialog({ onClose }: { onClose: () => void }) {
  const catalogue = usePermissions();
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [uses, setUses] = useState<string | number>(1);
  const [lifetimeHours, setLifetimeHours] = useState('168');
  const [picked, setPicked] = useState<string[] | null>(null);
  const permissions = picked ?? catalogue.data?.defaults ?? [];

  const create = useMutation({
    mutationFn: () =>
      api.createInvite({
        name: name.trim(),
        description: description.trim() || undefined,
        permissions,
        usesRemaining: uses === '' ? undefined : Number(uses),
        expiresAt: lifetimeHours ? new Date(Date.now() + Number(lifetimeHours) * HOUR_MS).toISOString() : undefined,
      }),
    onSuccess: refreshLive,
  });

  if (create.data) {
    return (
      <Modal opened onClose={onClose} title={`Invite "${create.data.name}" is ready`} closeOnClickOutside={false}>
        <InviteInstructions token={create.data.token} />
        <Group justify="flex-end" mt="md">
          <Button onClick={onClose}>Done</Button>
        </Group>
      </Modal>
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
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <TextInput
        label="Description"
        maxLength={500}
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
        />
        <NativeSelect
          label="Expires"
          description="Agents already registered stay."
          data={LIFETIMES}
          value={lifetimeHours}
          onChange={(event) => setLifetimeHours(event.currentTarget.value)}
        />
      </Group>
      <PermissionPicker label="Permissions" value={permissions} onChange={setPicked} />
    </FormDialog>
  );
}
