import { Alert, Button, Checkbox, Group, PasswordInput, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { type AgentSettings, api, fieldError, type RuntimeHealth } from '../api/client';
import { useRuntimeHealth } from '../api/queries';
import { counted, sentence } from '../words';
import { ErrorNote } from './ErrorNote';
import { Fact } from './Fact';
import { FormDialog } from './FormDialog';
import { Section } from './Section';
import { SettingsForm, useSaveSettings } from './SettingsForm';
import { Time } from './Time';

/** Where the workspace's agents run, and whether that answers. */
export function RuntimeSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  const stored = settings.runtimeEndpoint ?? '';
  const [draft, setDraft] = useState<string | null>(null);
  const endpoint = (draft ?? stored).trim();
  const storedOwn = settings.hostingMode === 'custom';
  const [ownDraft, setOwnDraft] = useState<boolean | null>(null);
  const own = ownDraft ?? storedOwn;
  const reset = () => {
    setDraft(null);
    setOwnDraft(null);
  };
  const save = useSaveSettings('Runtime settings are saved.', reset);
  const test = useMutation({ mutationFn: () => api.testRuntime({ endpoint: endpoint || undefined }) });
  return (
    <SettingsForm
      title="Runtime of the workspace's own settings"
      readOnly={readOnly}
      changed={endpoint !== stored || own !== storedOwn}
      save={save}
      onSubmit={() =>
        save.mutate({ runtimeEndpoint: endpoint, ...(own !== storedOwn && { hostingMode: own ? 'custom' : 'local' }) })
      }
      onReset={reset}
    >
      <Text size="sm">Kept for clients that know a single runtime. Where it is spawned on, it appears above as “custom”.</Text>
      <Status settings={settings} />
      <TextInput
        label="Endpoint"
        description="Base URL of the workspace's own runtime, on an origin that the operator allows."
        type="url"
        spellCheck={false}
        readOnly={readOnly}
        error={fieldError(save.error ?? test.error, 'runtimeEndpoint', 'endpoint')}
        value={draft ?? stored}
        onChange={(event) => {
          setDraft(event.currentTarget.value);
          // What was found at another address says nothing about this one.
          test.reset();
        }}
      />
      <Checkbox
        label="Spawn on the workspace's own runtime"
        description="It goes before the operator's, which takes only what no other has room for."
        disabled={readOnly}
        checked={own}
        onChange={(event) => setOwnDraft(event.currentTarget.checked)}
      />
      {!readOnly && (
        <>
          <Group>
            <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
              Test runtime
            </Button>
          </Group>
          {!fieldError(test.error, 'endpoint') && <ErrorNote error={test.error} />}
          {test.data && (
            <Alert color={test.data.connected ? 'teal' : 'orange'} role="status">
              {describeHealth(test.data)}
            </Alert>
          )}
        </>
      )}
    </SettingsForm>
  );
}

/** What the runtime answers now and what it last said of itself. */
function Status({ settings: { runtimeStatus } }: { settings: AgentSettings }) {
  const health = useRuntimeHealth();
  return (
    <dl className="facts">
      <Fact term="Now">
        {health.data ? describeHealth(health.data) : health.error ? health.error.message : 'Asking…'}
      </Fact>
      <Fact term="Last heartbeat">
        {runtimeStatus.lastHeartbeat ? <Time at={runtimeStatus.lastHeartbeat} /> : 'None yet'}
        {runtimeStatus.lastHeartbeat && runtimeStatus.activeAgents != null && `, ${counted(runtimeStatus.activeAgents, 'agent')}`}
        {runtimeStatus.lastHeartbeat && runtimeStatus.version && `, version ${runtimeStatus.version}`}
        {!runtimeStatus.connected && ' (a runtime sends them while it runs agents of the workspace)'}
      </Fact>
      {runtimeStatus.error && <Fact term="Its error">{runtimeStatus.error}</Fact>}
    </dl>
  );
}

/** What a runtime answered, as a sentence. */
export function describeHealth({ connected, error, latency, version, activeAgents }: RuntimeHealth): string {
  if (error || !connected) return sentence(error ?? 'the runtime does not answer');
  const parts = [
    latency != null && `Answers in ${latency} ms`,
    version && `version ${version}`,
    activeAgents != null && counted(activeAgents, 'agent'),
  ];
  return sentence(parts.filter(Boolean).join(', '));
}

/** The runtime's API key, which goes in and never comes out again. */
export function RuntimeKeySettings({ isSet, readOnly }: { isSet: boolean; readOnly: boolean }) {
  const [dialog, setDialog] = useState<'set' | 'remove' | null>(null);
  return (
    <Section title="Its API key">
      <Text size="sm" mb={readOnly ? 0 : 'sm'}>{isSet ? 'An API key for the runtime is set.' : 'No API key for the runtime is set.'}</Text>
      {!readOnly && (
        <Group gap="xs">
          <Button variant="default" onClick={() => setDialog('set')}>
            {isSet ? 'Replace key' : 'Set key'}
          </Button>
          {isSet && (
            <Button variant="light" color="red" onClick={() => setDialog('remove')}>
              Remove key
            </Button>
          )}
        </Group>
      )}
      {dialog && <RuntimeKeyDialog remove={dialog === 'remove'} onClose={() => setDialog(null)} />}
    </Section>
  );
}

function RuntimeKeyDialog({ remove, onClose }: { remove: boolean; onClose: () => void }) {
  const [key, setKey] = useState('');
  const save = useSaveSettings(`The runtime's API key is ${remove ? 'removed' : 'saved'}.`, onClose);
  return (
    <FormDialog
      title={remove ? "Remove the runtime's API key" : "The runtime's API key"}
      submit={remove ? 'Remove' : 'Save'}
      danger={remove}
      disabled={!remove && key.trim() === ''}
      pending={save.isPending}
      error={save.error}
      onSubmit={() =>
        save.mutate({ runtimeApiKey: remove ? '' : key.trim(), runtimeAuthType: remove ? 'none' : 'api_key' })
      }
      onClose={onClose}
    >
      {remove ? (
        <Text size="sm">The service forgets the key and speaks to the workspace's runtime without one.</Text>
      ) : (
        <PasswordInput
          label="API key"
          description="Kept encrypted and never shown again."
          autoComplete="off"
          required
          maxLength={2000}
          data-autofocus
          error={fieldError(save.error, 'runtimeApiKey')}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide' }}
          value={key}
          onChange={(event) => setKey(event.currentTarget.value)}
        />
      )}
    </FormDialog>
  );
}
