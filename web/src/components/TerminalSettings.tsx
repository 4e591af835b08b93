import { NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type UpdateSettings } from '../api/client';
import { SettingsForm, useSaveSettings } from './SettingsForm';

type Draft = Pick<UpdateSettings, 'terminalReaders' | 'terminalWriters'>;

/** What is decided here, each by a choice. */
const CHOICES: {
  field: keyof Draft;
  label: string;
  description: string;
  data: { value: string; label: string }[];
}[] = [
  {
    field: 'terminalReaders',
    label: 'Who may watch',
    description: 'Terminals and what was recorded of them. Whoever watches by a link may not type.',
    data: [
      { value: 'members', label: 'Everybody in the workspace' },
      { value: 'writers', label: 'Only those who may type' },
    ],
  },
  {
    field: 'terminalWriters',
    label: 'Who may type',
    description: 'And resize, take control and share. It holds at once, for open terminals too.',
    data: [
      { value: 'spawner', label: 'Owners, admins and whoever spawned the agent' },
      { value: 'admins', label: 'Owners and admins' },
      { value: 'members', label: 'Everybody in the workspace' },
    ],
  },
];

/** Who may watch terminals and type into them. */
export function TerminalSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  // Only what was changed here: the rest follows what is stored.
  const [draft, setDraft] = useState<Draft>({});
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
      {CHOICES.map(({ field, label, description, data }) => (
        <NativeSelect
          key={field}
          label={label}
          description={description}
          disabled={readOnly}
          data={data}
          error={fieldError(save.error, field)}
          value={draft[field] ?? settings[field]}
          onChange={({ currentTarget: { value } }) => setDraft((before) => ({ ...before, [field]: value }))}
        />
      ))}
    </SettingsForm>
  );
}
