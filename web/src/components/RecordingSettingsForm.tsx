import { NumberInput, Switch } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type RecordingSettings } from '../api/client';
import { SettingsForm, useSaveSettings } from './SettingsForm';

/** Whether terminals are recorded, and how long recordings are kept. */
export function RecordingSettingsForm({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  const [draft, setDraft] = useState<Partial<RecordingSettings>>({});
  const save = useSaveSettings('Recording settings are saved.', () => setDraft({}));
  const stored = settings.recording;
  const shown = { ...stored, ...draft };
  const changed = Object.entries(draft).some(([name, value]) => stored[name as keyof RecordingSettings] !== value);
  return (
    <SettingsForm
      title="Recordings"
      readOnly={readOnly}
      changed={changed}
      save={save}
      onSubmit={() => save.mutate({ recording: shown })}
      onReset={() => setDraft({})}
    >
      <Switch
        label="Record terminals"
        description="Everything that agents' terminals show, whether or not somebody watches. API keys and invite tokens are masked."
        disabled={readOnly}
        checked={shown.enabled}
        onChange={(event) => setDraft({ ...draft, enabled: event.currentTarget.checked })}
      />
      <NumberInput
        label="Days that recordings are kept"
        description="The operator may allow fewer."
        disabled={readOnly || !shown.enabled}
        min={1}
        max={3650}
        allowDecimal={false}
        clampBehavior="blur"
        value={shown.keepDays}
        error={fieldError(save.error, 'recording.keepDays', 'keepDays')}
        onChange={(value) => setDraft({ ...draft, keepDays: Number(value) })}
      />
      <NumberInput
        label="Megabytes that all recordings may take"
        description="The oldest go first. The operator may allow less."
        disabled={readOnly || !shown.enabled}
        min={1}
        max={1_000_000}
        allowDecimal={false}
        clampBehavior="blur"
        value={shown.maxMegabytes}
        error={fieldError(save.error, 'recording.maxMegabytes', 'maxMegabytes')}
        onChange={(value) => setDraft({ ...draft, maxMegabytes: Number(value) })}
      />
      <Switch
        label="Record what people type, too"
        description="Never while an agent waits for a login. It may hold passwords, which everybody who reads recordings then sees."
        disabled={readOnly || !shown.enabled}
        checked={shown.input}
        onChange={(event) => setDraft({ ...draft, input: event.currentTarget.checked })}
      />
    </SettingsForm>
  );
}
