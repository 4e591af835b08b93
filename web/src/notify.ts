import { notifications } from '@mantine/notifications';

/** Says what was done. */
export function announce(message: string) {
  notifications.show({ color: 'teal', message });
}

/** Says what must not be missed; it stays until it is closed. */
export function alarm(title: string, message: string) {
  notifications.show({ color: 'red', title, message, autoClose: false });
}

/** Says what was not done, where no form can: "Could not stop Scout". */
export function announceFailure(title: string, error: Error) {
  notifications.show({ color: 'red', title, message: error.message });
}
