import { Badge, Button, Group, Paper, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Runtime } from '../api/client';
import { refreshLive, useRuntimes } from '../api/queries';
import { announce } from '../notify';
import { counted } from '../words';
import { NameBadges } from './Badges';
import { ErrorNote } from './ErrorNote';
import { Fact } from './Fact';
import { FormDialog } from './FormDialog';
import { Loading } from './Loading';
import { RuntimeDialog } from './RuntimeDialog';
import { describeHealth } from './RuntimeSettings';
import { Section } from './Section';
import { Time } from './Time';

const STATE: Record<Runtime['state'], { label: string; color: string }> = {
  online: { label: 'Online', color: 'teal' },
  offline: { label: 'Offline', color: 'red' },
  unknown: { label: 'Not heard of yet', color: 'gray' },
};

/** The workspace's runtimes, for its owners and admins. */
export function RuntimeList() {
  const runtimes = useRuntimes();
  const [adding, setAdding] = useState(false);
  return (
    <Section
      title="Runtimes"
      actions={
        <Button size="xs" variant="default" onClick={() => setAdding(true)}>
          Add runtime
        </Button>
      }
    >
      <Stack>
        <ErrorNote error={runtimes.error} onRetry={() => void runtimes.refetch()} />
        {runtimes.isPending && <Loading what="runtimes" />}
        {runtimes.data?.length === 0 && (
          <Text size="sm">No runtime is configured. Add one, and agents can be spawned on it.</Text>
        )}
        {runtimes.data?.map((runtime) => <RuntimeCard key={runtime.name} runtime={runtime} />)}
      </Stack>
      {adding && <RuntimeDialog onClose={() => setAdding(false)} />}
    </Section>
  );
}

function RuntimeCard({ runtime }: { runtime: Runtime }) {
  const [dialog, setDialog] = useState<'edit' | 'remove' | null>(null);
  const test = useMutation({ mutationFn: () => api.testRuntime({ name: runtime.name }), onSettled: refreshLive });
  const { label, color } = STATE[runtime.state];
  const seen = [runtime.lastContact, runtime.lastHeartbeat].filter((at) => at != null).sort().at(-1);
  return (
    <Paper withBorder p="sm" component="article" aria-label={`Runtime ${runtime.name}`}>
      <Group justify="space-between" align="flex-start" gap="sm">
        <Group gap="xs" flex="1 1 200px" miw={0}>
          <Text fw={600} style={{ overflowWrap: 'anywhere' }}>
            {runtime.name}
          </Text>
          <Badge variant="dot" color={color} tt="none">
            {label}
          </Badge>
          {!runtime.enabled && (
            <Badge variant="light" color="gray" tt="none">
              Takes no new agents
            </Badge>
          )}
        </Group>
        <Group gap="xs">
          <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate()}>
            Test
          </Button>
          {runtime.isManaged && (
            <>
              <Button size="xs" variant="default" onClick={() => setDialog('edit')}>
                Edit
              </Button>
              <Button size="xs" variant="subtle" color="red" onClick={() => setDialog('remove')}>
                Remove
              </Button>
            </>
          )}
        </Group>
      </Group>
      <dl className="facts" style={{ marginTop: 12 }}>
        <Fact term="Endpoint">
          <span style={{ overflowWrap: 'anywhere' }}>{runtime.endpoint}</span>
        </Fact>
        <Fact term="Agents">
          {runtime.agentsMax == null ? `${runtime.runs}, without a limit here` : `${runtime.runs} of ${runtime.agentsMax}`}
          {runtime.activeAgents != null && `; it says that it runs ${runtime.activeAgents}`}
        </Fact>
        {runtime.kinds.length > 0 && (
          <Fact term="Takes only">
            <NameBadges names={runtime.kinds} />
          </Fact>
        )}
        <Fact term="Last sign of life">
          {seen ? <Time at={seen} /> : 'None yet'}
          {runtime.version && `, version ${runtime.version}`}
        </Fact>
        {(runtime.isDefault || !runtime.isManaged) && (
          <Fact term="Set by">{runtime.isDefault ? 'the operator, for all workspaces' : 'the settings below'}</Fact>
        )}
      </dl>
      <ErrorNote error={test.error} />
      {test.data && (
        <Text size="sm" mt="xs" c={test.data.connected ? 'teal' : 'orange'} role="status">
          {describeHealth(test.data)}
        </Text>
      )}
      {dialog === 'edit' && <RuntimeDialog runtime={runtime} onClose={() => setDialog(null)} />}
      {dialog === 'remove' && <RemoveDialog runtime={runtime} onClose={() => setDialog(null)} />}
    </Paper>
  );
}

function RemoveDialog({ runtime, onClose }: { runtime: Runtime; onClose: () => void }) {
  const remove = useMutation({
    mutationFn: () => api.removeRuntime(runtime.name, runtime.runs > 0),
    onSuccess: () => {
      announce(`The runtime ${runtime.name} is removed.`);
      onClose();
    },
    onSettled: refreshLive,
  });
  return (
    <FormDialog
      title={`Remove runtime ${runtime.name}`}
      submit={runtime.runs > 0 ? 'Stop agents and remove' : 'Remove'}
      danger
      pending={remove.isPending}
      error={remove.error}
      onSubmit={() => remove.mutate()}
      onClose={onClose}
    >
      <Text size="sm">
        The service forgets it with its token.
        {runtime.runs > 0 && ` ${counted(runtime.runs, 'agent runs', 'agents run')} there and will be stopped first.`}
      </Text>
    </FormDialog>
  );
}
