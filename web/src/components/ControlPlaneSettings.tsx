import { Alert, Switch } from '@mantine/core';
import { useState } from 'react';
import type { AgentSettings } from '../api/client';
import { SettingsForm, useSaveSettings } from './SettingsForm';

/** Whether agents' keys leave the service. */
export function ControlPlaneSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  const stored = settings.parallax.sendKeyToControlPlane;
  const [draft, setDraft] = useState<boolean | null>(null);
  const save = useSaveSettings('Control plane settings are saved.', () => setDraft(null));
  const sends = draft ?? stored;
  return (
    <SettingsForm
      title="Control plane"
      readOnly={readOnly}
      changed={sends !== stored}
      save={save}
      onSubmit={() => save.mutate({ parallax: { sendKeyToControlPlane: sends } })}
      onReset={() => setDraft(null)}
    >
      <Switch
        label="Send agents' API keys to the control plane"
        description="With the news of an approval, and only where the control plane is reached by https."
        disabled={readOnly}
        checked={sends}
        onChange={(event) => setDraft(event.currentTarget.checked)}
      />
      {sends && (
        <Alert color="orange" title="Keys leave this service">
          Whoever runs the control plane can act as every agent that is approved from now on. Switch this on only if it
          hands the keys to the agents.
        </Alert>
      )}
    </SettingsForm>
  );
}
