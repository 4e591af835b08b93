import { Modal } from '@mantine/core';
import { type ReactNode, useLayoutEffect } from 'react';

type Props = {
  title: string;
  /** Whether only a button closes it, because what it shows is shown once. */
  keep?: boolean;
  onClose: () => void;
  children: ReactNode;
};

/** A dialog that is open while it is mounted. At its end the focus returns to where it was. */
export function Dialog({ title, keep = false, onClose, children }: Props) {
  useLayoutEffect(() => {
    const before = document.activeElement;
    return () => {
      // What the dialog did may have taken its button away.
      const target = before instanceof HTMLElement && before.isConnected ? before : document.querySelector('main');
      target?.focus({ preventScroll: true });
    };
  }, []);
  return (
    <Modal
      opened
      onClose={onClose}
      title={title}
      closeOnClickOutside={!keep}
      closeOnEscape={!keep}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {children}
    </Modal>
  );
}
