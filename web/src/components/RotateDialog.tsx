import { Radio, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { fieldError, type RotateKey } from '../api/client';
import { refreshLive } from '../api/queries';
import { FormDialog } from './FormDialog';
import { endAfter, LifetimeSelect } from './LifetimeSelect';
import { SecretDialog } from './SecretDialog';

/** How long an earlier key may stay good beside the new one, in seconds. */
const GRACES = [
  { value: '0', label: 'At once' },
  { value: '3600', label: 'In 1 hour' },
  { value: '86400', label: 'In 1 day' },
];

type Props = {
  /** Whose key it is, as a title says it. */
  of: string;
  explanation: string;
  /** Makes the new key and resolves with it. */
  rotate: (body: RotateKey) => Promise<string>;
  onClose: () => void;
};

/** Replaces a key by a new one, then shows the new one once. */
export function RotateDialog({ of, explanation, rotate, onClose }: Props) {
  const [grace, setGrace] = useState('0');
  const [hours, setHours] = useState('');
  const rotation = useMutation({
    mutationFn: () => rotate({ graceSeconds: Number(grace), expiresAt: endAfter(hours) }),
    onSettled: refreshLive,
    gcTime: 0,
  });
  if (rotation.data) {
    const end = grace === '0' ? 'has ended' : `ends ${GRACES.find(({ value }) => value === grace)?.label.toLowerCase()}`;
    return (
      <SecretDialog
        title={`New key for ${of}`}
        explanation={`Put it where the earlier one is in use: the earlier one ${end}.`}
        apiKey={rotation.data}
        onClose={onClose}
      />
    );
  }
  return (
    <FormDialog
      title={`Rotate the key of ${of}`}
      submit="Rotate"
      pending={rotation.isPending}
      error={rotation.error}
      onSubmit={() => rotation.mutate()}
      onClose={onClose}
    >
      <Text size="sm" c="dimmed">
        {explanation}
      </Text>
      <Radio.Group
        label="The earlier key ends"
        value={grace}
        onChange={setGrace}
        error={fieldError(rotation.error, 'graceSeconds')}
      >
        <Stack gap="xs" mt="xs">
          {GRACES.map(({ value, label }) => (
            <Radio key={value} value={value} label={label} />
          ))}
        </Stack>
      </Radio.Group>
      <LifetimeSelect
        label="The new key expires"
        hours={hours}
        onChange={setHours}
        error={fieldError(rotation.error, 'expiresAt')}
      />
    </FormDialog>
  );
}
