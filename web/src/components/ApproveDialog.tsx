import { Alert, Checkbox, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Agent, api, ApiError, fieldError } from '../api/client';
import { refreshLive } from '../api/queries';
import { FormDialog } from './FormDialog';
import { PermissionPicker } from './PermissionPicker';
import { SecretDialog } from './SecretDialog';

/** Grants permissions to an agent, then shows its key once. */
export function ApproveDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  // The request as it was when it was looked at: if it changes meanwhile, the service refuses the old version.
  const [request, setRequest] = useState(agent);
  const [granted, setGranted] = useState(agent.requestedPermissions);
  const [beyond, setBeyond] = useState(false);
  const [changed, setChanged] = useState(false);
  const unasked = granted.filter((name) => !request.requestedPermissions.includes(name));

  const look = useMutation({
    mutationFn: () => api.agent(request.id),
    onSuccess: (current) => {
      setRequest(current);
      setGranted(current.requestedPermissions);
      setBeyond(false);
      setChanged(true);
      approve.reset();
    },
  });
  const approve = useMutation({
    mutationFn: () =>
      api.approve(request.id, {
        grantedPermissions: granted,
        requestVersion: request.requestVersion,
        grantBeyondRequest: unasked.length > 0 && beyond,
      }),
    onError: (error) => {
      if (error instanceof ApiError && error.code === 'REQUEST_CHANGED') look.mutate();
    },
    onSettled: refreshLive,
    gcTime: 0,
  });

  if (approve.data) {
    return (
      <SecretDialog
        title={`${request.name} is approved`}
        explanation="Hand it over, or let the agent collect it itself with the claim secret that its request returned."
        apiKey={approve.data.mcpApiKey}
        onClose={onClose}
      />
    );
  }
  return (
    <FormDialog
      title={request.status === 'pending' ? `Approve ${request.name}` : `Reinstate ${request.name}`}
      submit="Approve"
      disabled={granted.length === 0 || (unasked.length > 0 && !beyond)}
      pending={approve.isPending || look.isPending}
      error={look.error ?? approve.error}
      onSubmit={() => approve.mutate()}
      onClose={onClose}
      notice={
        <>
          {changed && (
            <Alert color="orange" role="alert" title="The request has changed">
              The agent asked again while you decided, so nothing was granted. Its request as it is now is selected.
            </Alert>
          )}
          {unasked.length > 0 && (
            <Checkbox
              label="Grant more than the agent asked for"
              description={`It did not ask for ${unasked.join(', ')}.`}
              checked={beyond}
              onChange={(event) => setBeyond(event.currentTarget.checked)}
            />
          )}
        </>
      }
    >
      <Text size="sm" c="dimmed">
        The requested permissions are selected. The agent can do what is selected here and nothing else.
      </Text>
      <PermissionPicker
        label="Permissions"
        value={granted}
        onChange={setGranted}
        requested={request.requestedPermissions}
        error={fieldError(approve.error, 'grantedPermissions')}
      />
    </FormDialog>
  );
}
