import { Alert, Button, Text } from '@mantine/core';
import { ApiError } from '../api/client';

/** Says what went wrong; with the request, to look it up, when the service is at fault. Renders nothing without an error. */
export function ErrorNote({ error, onRetry }: { error: Error | null; onRetry?: () => void }) {
  if (!error) return null;
  return (
    <Alert color="red" role="alert">
      <Text size="sm">{error.message}</Text>
      {error instanceof ApiError && error.status >= 500 && error.requestId && (
        <Text size="xs" c="dimmed" className="mono">
          Request {error.requestId}
        </Text>
      )}
      {onRetry && (
        <Button mt="xs" size="xs" color="red" variant="light" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}
