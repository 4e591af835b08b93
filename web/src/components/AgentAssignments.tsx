import { Badge, Box, Button, Group, NativeSelect, SegmentedControl, Stack, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type Agent, api, type Assignment, type AssignmentRole, fieldError } from '../api/client';
import { refreshLive, useAssignments, useIsAdmin, usePersonName } from '../api/queries';
import { announce, announceFailure } from '../notify';
import { ErrorNote } from './ErrorNote';
import { FormDialog } from './FormDialog';
import { Loading } from './Loading';
import { Section } from './Section';
import { Time } from './Time';

/** The projects and tasks that the agent works on. */
export function AgentAssignments({ agent }: { agent: Agent }) {
  const isAdmin = useIsAdmin();
  const assignments = useAssignments(agent.id);
  const [assigning, setAssigning] = useState(false);
  return (
    <Section
      title="Assignments"
      actions={
        isAdmin &&
        agent.status === 'approved' && (
          <Button size="xs" variant="default" onClick={() => setAssigning(true)}>
            Assign
          </Button>
        )
      }
    >
      <ErrorNote error={assignments.error} onRetry={() => void assignments.refetch()} />
      {assignments.isPending && <Loading what="assignments" />}
      {assignments.data?.length === 0 && (
        <Text size="sm" c="dimmed">
          None. Assigned to a project or task, the agent appears there.
        </Text>
      )}
      <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: 'none' }}>
        {assignments.data?.map((assignment) => (
          <li key={assignment.id}>
            <AssignmentRow agent={agent} assignment={assignment} />
          </li>
        ))}
      </Stack>
      {assigning && <AssignDialog agent={agent} onClose={() => setAssigning(false)} />}
    </Section>
  );
}

function AssignmentRow({ agent, assignment }: { agent: Agent; assignment: Assignment }) {
  const isAdmin = useIsAdmin();
  const personName = usePersonName();
  const by = assignment.assignedBy && personName(assignment.assignedBy);
  const target = `${assignment.assignmentType} ${assignment.projectId ?? assignment.taskId}`;
  const unassign = useMutation({
    mutationFn: () => api.unassign(assignment.id),
    onSuccess: () => announce(`${agent.name} is no longer assigned to ${target}.`),
    onError: (error) => announceFailure(`Could not unassign ${agent.name}`, error),
    onSettled: refreshLive,
  });
  return (
    <Group justify="space-between" align="flex-start" gap="xs">
      <Box miw={0} flex="1 1 240px">
        <Group gap="xs">
          <Text size="sm" className="mono sentence-case">
            {target}
          </Text>
          {assignment.projectId && (
            <Badge variant="default" tt="capitalize">
              {assignment.role}
            </Badge>
          )}
        </Group>
        <Text size="xs" c="dimmed">
          assigned <Time at={assignment.assignedAt} />
          {by && ` by ${by}`}
        </Text>
      </Box>
      {isAdmin && (
        <Button
          size="xs"
          variant="default"
          aria-label={`Unassign from ${target}`}
          loading={unassign.isPending}
          onClick={() => unassign.mutate()}
        >
          Unassign
        </Button>
      )}
    </Group>
  );
}

type Target = 'project' | 'task';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function AssignDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const [target, setTarget] = useState<Target>('project');
  const [id, setId] = useState('');
  const [role, setRole] = useState<AssignmentRole>('member');
  const given = id.trim();
  const malformed = given !== '' && !UUID.test(given);
  const assign = useMutation({
    mutationFn: () =>
      target === 'project'
        ? api.assignToProject(agent.id, { projectId: given, role })
        : api.assignToTask(agent.id, { taskId: given }),
    onSuccess: () => {
      announce(`${agent.name} is assigned to ${target} ${given}.`);
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={`Assign ${agent.name}`}
      submit="Assign"
      disabled={given === '' || malformed}
      pending={assign.isPending}
      error={assign.error}
      onSubmit={() => assign.mutate()}
      onClose={onClose}
    >
      <SegmentedControl
        aria-label="Assign to"
        value={target}
        onChange={(value) => {
          setTarget(value as Target);
          assign.reset();
        }}
        data={[
          { value: 'project', label: 'Project' },
          { value: 'task', label: 'Task' },
        ]}
      />
      <TextInput
        label={target === 'project' ? 'Project id' : 'Task id'}
        description="The UUID in its address."
        placeholder="019a0000-0000-7000-8000-000000000003"
        required
        spellCheck={false}
        data-autofocus
        error={malformed ? 'This is no UUID.' : fieldError(assign.error, 'projectId', 'taskId')}
        value={id}
        onChange={(event) => setId(event.currentTarget.value)}
      />
      {target === 'project' && (
        <NativeSelect
          label="Role"
          data={[
            { value: 'member', label: 'Member' },
            { value: 'lead', label: 'Lead' },
          ]}
          error={fieldError(assign.error, 'role')}
          value={role}
          onChange={(event) => setRole(event.currentTarget.value as AssignmentRole)}
        />
      )}
    </FormDialog>
  );
}
