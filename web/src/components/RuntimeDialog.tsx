import { Checkbox, NumberInput, PasswordInput, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api, fieldError, type Runtime } from '../api/client';
import { refreshLive } from '../api/queries';
import { announce } from '../notify';
import { AGENT_TYPES } from './agentTypes';
import { FormDialog } from './FormDialog';

/** The service takes at most this many agents on one runtime. */
const AGENTS_MAX = 10_000;

/** Whether a field of the form says what is wrong. */
const shownAtField = (error: Error | null) => Boolean(fieldError(error, 'name', 'endpoint', 'token', 'agentsMax', 'kinds'));

/** Adds a runtime, or changes the one that is given. */
export function RuntimeDialog({ runtime, onClose }: { runtime?: Runtime; onClose: () => void }) {
  const [name, setName] = useState(runtime?.name ?? '');
  const [endpoint, setEndpoint] = useState(runtime?.endpoint ?? '');
  const [token, setToken] = useState('');
  const [kinds, setKinds] = useState<string[]>(runtime?.kinds ?? []);
  // Types that only a runtime's own adapters know are set over REST; here they can be taken away.
  const unlisted = (runtime?.kinds ?? [])
    .filter((kind) => !AGENT_TYPES.some(({ value }) => value === kind))
    .map((kind) => ({ value: kind, label: kind }));
  const [agentsMax, setAgentsMax] = useState<string | number>(runtime?.agentsMax ?? '');
  const [enabled, setEnabled] = useState(runtime?.enabled ?? true);
  const save = useMutation({
    mutationFn: () => {
      const limit = agentsMax === '' ? undefined : Number(agentsMax);
      const common = { endpoint: endpoint.trim(), token: token || undefined, kinds, enabled };
      return runtime
        ? api.updateRuntime(runtime.name, { ...common, agentsMax: limit ?? 0 })
        : api.addRuntime({ ...common, name: name.trim(), agentsMax: limit });
    },
    onSuccess: (saved) => {
      announce(`The runtime ${saved.name} is ${runtime ? 'saved' : 'added'}.`);
      onClose();
    },
    onSettled: refreshLive,
    // What was sent may hold the runtime's token.
    gcTime: 0,
  });
  return (
    <FormDialog
      title={runtime ? `Edit runtime ${runtime.name}` : 'Add runtime'}
      submit={runtime ? 'Save' : 'Add'}
      disabled={name.trim() === '' || endpoint.trim() === ''}
      pending={save.isPending}
      error={shownAtField(save.error) ? null : save.error}
      onSubmit={() => save.mutate()}
      onClose={onClose}
    >
      {!runtime && (
        <TextInput
          label="Name"
          description="Small letters, digits and dashes. It cannot be changed later."
          required
          maxLength={40}
          spellCheck={false}
          data-autofocus
          error={fieldError(save.error, 'name')}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
      )}
      <TextInput
        label="Endpoint"
        description="Base URL, on an origin that the operator allows."
        type="url"
        required
        maxLength={2000}
        spellCheck={false}
        error={fieldError(save.error, 'endpoint')}
        value={endpoint}
        onChange={(event) => setEndpoint(event.currentTarget.value)}
      />
      <PasswordInput
        label="Token"
        description={
          runtime
            ? 'Left empty, it stays; with another endpoint it has to be given again.'
            : 'Kept encrypted and never shown again.'
        }
        autoComplete="off"
        maxLength={2000}
        error={fieldError(save.error, 'token')}
        visibilityToggleButtonProps={{ 'aria-label': 'Show or hide' }}
        value={token}
        onChange={(event) => setToken(event.currentTarget.value)}
      />
      <NumberInput
        label="Agents at the same time"
        description="Empty means without a limit here."
        min={1}
        max={AGENTS_MAX}
        allowDecimal={false}
        allowNegative={false}
        value={agentsMax}
        onChange={setAgentsMax}
        error={fieldError(save.error, 'agentsMax')}
      />
      <Checkbox.Group
        label="Takes only"
        description="With none chosen, it takes agents of every type."
        value={kinds}
        onChange={setKinds}
        error={fieldError(save.error, 'kinds')}
      >
        {[...AGENT_TYPES, ...unlisted].map(({ value, label }) => (
          <Checkbox key={value} value={value} label={label} mt="xs" />
        ))}
      </Checkbox.Group>
      <Checkbox
        label="New agents may be spawned there"
        checked={enabled}
        onChange={(event) => setEnabled(event.currentTarget.checked)}
      />
    </FormDialog>
  );
}
