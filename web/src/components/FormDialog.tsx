import { Button, Group, Modal, Stack } from '@mantine/core';
import type { ReactNode } from 'react';
import { ErrorNote } from './ErrorNote';

type Props = {
  title: string;
  submit: string;
  danger?: boolean;
  disabled?: boolean;
  pending: boolean;
  error: Error | null;
  onSubmit: () => void;
  onClose: () => void;
  children: ReactNode;
};

/** A dialog with a form, its error and the two buttons every form needs. Mount it to open it. */
export function FormDialog({ title, submit, danger, disabled, pending, error, onSubmit, onClose, children }: Props) {
  return (
    <Modal opened onClose={onClose} title={title}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        <Stack>
          {children}
          <Stack className="dialog-footer" gap="sm">
            <ErrorNote error={error} />
            <Group justify="flex-end">
              <Button variant="default" onClick={onClose}>
                Cancel
              </Button>
              <Button type="submit" color={danger ? 'red' : undefined} disabled={disabled} loading={pending}>
                {submit}
              </Button>
            </Group>
          </Stack>
        </Stack>
      </form>
    </Modal>
  );
}
