import { createTheme, InputWrapper, Modal } from '@mantine/core';

export const theme = createTheme({
  primaryColor: 'indigo',
  defaultRadius: 'md',
  cursorType: 'pointer',
  components: {
    // Without the asterisk a field's accessible name is exactly its label.
    InputWrapper: InputWrapper.extend({ defaultProps: { withAsterisk: false } }),
    Modal: Modal.extend({ defaultProps: { size: 'lg', overlayProps: { backgroundOpacity: 0.45 } }, styles: { title: { fontWeight: 600 } } }),
  },
});
