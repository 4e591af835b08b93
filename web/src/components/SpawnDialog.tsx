import { Group, NativeSelect, NumberInput, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { api, fieldError } from '../api/client';
import { refreshLive, useDefaultPermissions, useRuntimes } from '../api/queries';
import { announce } from '../notify';
import { splitCommand } from '../splitCommand';
import { counted } from '../words';
import { AGENT_TYPE_NAME, AGENT_TYPES } from './agentTypes';
import { FormDialog } from './FormDialog';
import { PermissionPicker } from './PermissionPicker';

/** The service starts at most this many agents at once. */
const COUNT_MAX = 10;

/** Stands in the list for every type that is not in it; no type has an empty name. */
const OTHER = '';

/** Starts agents on the workspace's runtime. */
export function SpawnDialog({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const defaults = useDefaultPermissions();
  const [listedType, setListedType] = useState('claude-code');
  const [otherType, setOtherType] = useState('');
  const agentType = listedType === OTHER ? otherType.trim() : listedType;
  const [name, setName] = useState('');
  const [count, setCount] = useState<string | number>(1);
  const [command, setCommand] = useState('');
  const [workdir, setWorkdir] = useState('');
  const [runtime, setRuntime] = useState('');
  const runtimes = (useRuntimes().data ?? []).filter(
    ({ enabled, kinds }) => enabled && (kinds.length === 0 || kinds.includes(agentType)),
  );
  // One that does not take the type any more is not chosen either.
  const chosen = runtimes.some(({ name }) => name === runtime) ? runtime : '';
  const [picked, setPicked] = useState<string[] | null>(null);
  const permissions = picked ?? defaults ?? [];

  const spawn = useMutation({
    mutationFn: async () => {
      const [program, ...args] = agentType === 'custom' ? splitCommand(command) : [];
      const result = await api.spawn({
        agentType,
        count: Number(count),
        name: name.trim() || undefined,
        runtime: chosen || undefined,
        permissions,
        config: {
          ...(program && { command: program, args }),
          ...(workdir.trim() && { workdir: workdir.trim() }),
        },
      });
      if (!result.success) throw new Error(result.errors?.join(' ') || 'The runtime started no agent.');
      return result;
    },
    onSuccess: ({ spawnedAgents, errors }) => {
      if (errors?.length) notifications.show({ color: 'orange', title: 'Not all started', message: errors.join(' ') });
      else announce(`${counted(spawnedAgents.length, 'agent is', 'agents are')} starting.`);
      onClose();
      const [first] = spawnedAgents;
      if (first && spawnedAgents.length === 1) void navigate(`/agents/${encodeURIComponent(first.id)}`);
    },
    onSettled: refreshLive,
  });

  return (
    <FormDialog
      title="Spawn agent"
      submit="Spawn"
      disabled={!AGENT_TYPE_NAME.test(agentType) || count === '' || permissions.length === 0 || (agentType === 'custom' && command.trim() === '')}
      pending={spawn.isPending}
      error={spawn.error}
      onSubmit={() => spawn.mutate()}
      onClose={onClose}
    >
      <Group grow align="flex-start">
        <NativeSelect
          label="Agent type"
          data={[...AGENT_TYPES, { value: OTHER, label: 'Other…' }]}
          value={listedType}
          error={listedType === OTHER ? undefined : fieldError(spawn.error, 'agentType')}
          onChange={(event) => {
            setListedType(event.currentTarget.value);
            // What was wrong with another type says nothing about this one.
            spawn.reset();
          }}
        />
        <NumberInput
          label="Count"
          min={1}
          max={COUNT_MAX}
          clampBehavior="strict"
          allowDecimal={false}
          value={count}
          onChange={setCount}
          error={fieldError(spawn.error, 'count')}
        />
      </Group>
      {listedType === OTHER && (
        <TextInput
          label="Name of the type"
          description="As the runtime's adapter calls it: small letters, digits, dashes and underscores."
          placeholder="hermes"
          required
          maxLength={40}
          spellCheck={false}
          error={fieldError(spawn.error, 'agentType')}
          value={otherType}
          onChange={(event) => {
            setOtherType(event.currentTarget.value);
            spawn.reset();
          }}
        />
      )}
      <TextInput
        label="Name"
        description="Left empty, the service picks one."
        maxLength={100}
        error={fieldError(spawn.error, 'name')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      {runtimes.length > 1 && (
        <NativeSelect
          label="Runtime"
          data={[
            { value: '', label: 'Where there is most room' },
            ...runtimes.map(({ name, state, runs, agentsMax }) => ({
              value: name,
              label: `${name} (${state}, ${agentsMax == null ? counted(runs, 'agent') : `${runs} of ${agentsMax} agents`})`,
              disabled: state === 'offline',
            })),
          ]}
          error={fieldError(spawn.error, 'runtime')}
          value={chosen}
          onChange={(event) => setRuntime(event.currentTarget.value)}
        />
      )}
      {agentType === 'custom' && (
        <TextInput
          label="Command"
          description="A program and its arguments, quoted as in a shell. No shell expands it."
          placeholder="bash -l"
          required
          spellCheck={false}
          error={fieldError(spawn.error, 'config.command', 'config.args')}
          value={command}
          onChange={(event) => setCommand(event.currentTarget.value)}
        />
      )}
      <TextInput
        label="Working directory"
        description="A folder inside the runtime's own, such as my-project. Left empty, the runtime makes one."
        spellCheck={false}
        error={fieldError(spawn.error, 'config.workdir')}
        value={workdir}
        onChange={(event) => setWorkdir(event.currentTarget.value)}
      />
      <PermissionPicker
        label="Permissions"
        value={permissions}
        onChange={setPicked}
        error={fieldError(spawn.error, 'permissions')}
      />
    </FormDialog>
  );
}
