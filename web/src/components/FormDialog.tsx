import { Button, Group, Stack } from '@mantine/core';
import type { ReactNode } from 'react';
import { Dialog } from './Dialog';
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
  /** What must be in view beside the buttons, however long the form is. */
  notice?: ReactNode;
  children: ReactNode;
};

/** A dialog with a form, its error and the two buttons every form needs. Mount it to open it. */
export function FormDialog(props: Props) {
  const { title, submit, danger, disabled, pending, error, onSubmit, onClose, notice, children } = props;
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          // React passes events on to the page's own form, though the dialog is not inside it.
          event.stopPropagation();
          onSubmit();
        }}
      >
        <Stack>
          {children}
          <Stack className="dialog-footer" gap="sm">
            {notice}
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
    </Dialog>
  );
}
