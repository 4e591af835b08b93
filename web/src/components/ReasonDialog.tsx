import { Text, Textarea } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { fieldError } from '../api/client';
import { refreshLive } from '../api/queries';
import { FormDialog } from './FormDialog';

type Props<T> = {
  title: string;
  explanation: string;
  submit: string;
  act: (reason: string) => Promise<T>;
  onDone: (result: T) => void;
  onClose: () => void;
};

/** Asks why before an agent is denied or revoked. */
export function ReasonDialog<T>({ title, explanation, submit, act, onDone, onClose }: Props<T>) {
  const [reason, setReason] = useState('');
  const action = useMutation({
    mutationFn: () => act(reason.trim()),
    onSuccess: onDone,
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={title}
      submit={submit}
      danger
      disabled={reason.trim() === ''}
      pending={action.isPending}
      error={action.error}
      onSubmit={() => action.mutate()}
      onClose={onClose}
    >
      <Text size="sm" c="dimmed">
        {explanation}
      </Text>
      <Textarea
        label="Reason"
        required
        autosize
        minRows={2}
        data-autofocus
        maxLength={2000}
        error={fieldError(action.error, 'reason')}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
    </FormDialog>
  );
}
