import { Button, Table, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Agent, api, fieldError } from '../api/client';
import { refreshLive, useIsAdmin } from '../api/queries';
import { announce } from '../notify';
import { FormDialog } from './FormDialog';
import { PermissionPicker } from './PermissionPicker';
import { Section } from './Section';

/** What the agent asked for beside what it was granted. */
export function AgentPermissions({ agent }: { agent: Agent }) {
  const isAdmin = useIsAdmin();
  const [editing, setEditing] = useState(false);
  const names = [...new Set([...agent.grantedPermissions, ...agent.requestedPermissions])].sort();
  return (
    <Section
      title="Permissions"
      actions={
        isAdmin &&
        agent.status === 'approved' && (
          <Button size="xs" variant="default" onClick={() => setEditing(true)}>
            Edit permissions
          </Button>
        )
      }
    >
      {names.length === 0 ? (
        <Text size="sm" c="dimmed">
          None. This agent may touch nothing.
        </Text>
      ) : (
        <Table aria-label="Requested and granted permissions">
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">Permission</Table.Th>
              <Table.Th scope="col">Requested</Table.Th>
              <Table.Th scope="col">Granted</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {names.map((name) => (
              <Table.Tr key={name}>
                <Table.Th scope="row" fw={500}>
                  {name}
                </Table.Th>
                <YesOrNo yes={agent.requestedPermissions.includes(name)} />
                <YesOrNo yes={agent.grantedPermissions.includes(name)} />
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {agent.requestedPermissions.length === 0 && names.length > 0 && (
        <Text size="xs" c="dimmed" mt="xs">
          It did not ask for any itself: an invite or whoever spawned it decided.
        </Text>
      )}
      {editing && <EditDialog agent={agent} onClose={() => setEditing(false)} />}
    </Section>
  );
}

function YesOrNo({ yes }: { yes: boolean }) {
  return <Table.Td c={yes ? undefined : 'dimmed'}>{yes ? 'Yes' : 'No'}</Table.Td>;
}

function EditDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const [granted, setGranted] = useState(agent.grantedPermissions);
  const save = useMutation({
    mutationFn: () => api.setPermissions(agent.id, granted),
    onSuccess: () => {
      announce(`Permissions of ${agent.name} are saved. They hold for its next call.`);
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={`Permissions of ${agent.name}`}
      submit="Save"
      pending={save.isPending}
      error={save.error}
      onSubmit={() => save.mutate()}
      onClose={onClose}
    >
      <Text size="sm" c="dimmed">
        What is selected here replaces what the agent was granted, from its next call on.
      </Text>
      <PermissionPicker
        label="Permissions"
        value={granted}
        onChange={setGranted}
        requested={agent.requestedPermissions}
        error={fieldError(save.error, 'permissions')}
      />
    </FormDialog>
  );
}
