import { PasswordInput, TextInput } from '@mantine/core';
import { fieldError } from '../api/client';

/** Bounds of the service for a new password, in characters. */
const PASSWORD_MIN = 8;
const PASSWORD_MAX = 70;

/** The fields `email` and `password`; a new password must keep the service's bounds. */
export function Credentials({ password, error }: { password: 'new' | 'current'; error: Error | null }) {
  return (
    <>
      <TextInput
        label="Email"
        name="email"
        type="email"
        autoComplete="username"
        required
        error={fieldError(error, 'email')}
      />
      <PasswordInput
        label="Password"
        name="password"
        description={password === 'new' ? `At least ${PASSWORD_MIN} characters.` : undefined}
        autoComplete={`${password}-password`}
        minLength={password === 'new' ? PASSWORD_MIN : undefined}
        maxLength={PASSWORD_MAX}
        required
        error={fieldError(error, 'password')}
        // Its default name contains "password", which would make the field's own label ambiguous.
        visibilityToggleButtonProps={{ 'aria-label': 'Show or hide' }}
      />
    </>
  );
}
