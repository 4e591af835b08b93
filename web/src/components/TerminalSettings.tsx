import { NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type UpdateSettings } from '../api/client';
import { SettingsForm, useSaveSettings } from './SettingsForm';

type Draft = Pick<UpdateSettings, 'terminalReaders' | 'terminalWriters'>;

const READERS: { value: NonNullable<Draft['terminalReaders']>; label: string }[] = [
  { value: 'members', label: 'Everybody in the workspace' },
  { value: 'writers', label: 'Only those who may type' },
];

const WRITERS: { value: NonNullable<Draft['terminalWriters']>; label: string }[] = [
  { value: 'spawner', label: 'Owners, admins and whoever spawned the agent' },
  { value: 'admins', label: 'Owners and admins' },
  { value: 'members', label: 'Everybody in the workspace' },
];

/** Who may watch terminals and type into them. */
export function TerminalSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  // Only what was changed here: the rest follows what is stored.
  const [draft, setDraft] = useState<Draft>({});
  const change = (fields: Draft) => setDraft((before) => ({ ...before, ...fields }));
  const save = useSaveSettings('Terminal settings are saved.', () => setDraft({}));
  return (
    <SettingsForm
      title="Terminals"
      readOnly={readOnly}
      changed={Object.keys(draft).length > 0}
      save={save}
      onSubmit={() => save.mutate(draft)}
      onReset={() => setDraft({})}
    >
      <NativeSelect
        label="Who may watch"
        description="Terminals and what was recorded of them. Whoever watches by a link may not type."
        disabled={readOnly}
        data={READERS}
        error={fieldError(save.error, 'terminalReaders')}
        value={draft.terminalReaders ?? settings.terminalReaders}
        onChange={(event) => change({ terminalReaders: event.currentTarget.value as Draft['terminalReaders'] })}
      />
      <NativeSelect
        label="Who may type"
        description="And resize, take control and share. It holds at once, for open terminals too."
        disabled={readOnly}
        data={WRITERS}
        error={fieldError(save.error, 'terminalWriters')}
        value={draft.terminalWriters ?? settings.terminalWriters}
        onChange={(event) => change({ terminalWriters: event.currentTarget.value as Draft['terminalWriters'] })}
      />
    </SettingsForm>
  );
}
