import { Switch, TagsInput } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type UpdateSettings } from '../api/client';
import { SettingsForm, useSaveSettings } from './SettingsForm';

type Draft = Pick<UpdateSettings, 'allowTaskWrites' | 'allowPageWrites' | 'allowProjectWrites' | 'allowOwnApproval' | 'policy'>;

const ASKS = 'An agent needs the permission too. Switched off, each call waits until an owner or admin approves it.';

const SWITCHES = [
  { name: 'allowTaskWrites', label: 'Agents create and change tasks without asking', description: ASKS },
  { name: 'allowPageWrites', label: 'Agents create pages without asking', description: ASKS },
  { name: 'allowProjectWrites', label: 'Agents create projects without asking', description: ASKS },
  {
    name: 'allowOwnApproval',
    label: 'People approve calls of their own keys',
    description: 'Switched off, another owner or admin has to. Calls of agents are not concerned.',
  },
] as const;

const LISTS = [
  { name: 'requireApproval', label: 'Tools that wait for an approval', description: 'Beside those that the operator chose.' },
  { name: 'deny', label: 'Tools that no agent may call', description: 'Whatever it was granted.' },
] as const;

/** Which tool calls of agents go on by themselves. What does not waits under Approvals. */
export function ToolSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  // Only what was changed here: the rest follows what is stored.
  const [draft, setDraft] = useState<Draft>({});
  const change = (fields: Draft) => setDraft((before) => ({ ...before, ...fields }));
  const save = useSaveSettings('Tool settings are saved.', () => setDraft({}));
  const policy = draft.policy ?? settings.policy;
  return (
    <SettingsForm
      title="Tools"
      readOnly={readOnly}
      changed={Object.keys(draft).length > 0}
      save={save}
      onSubmit={() => save.mutate(draft)}
      onReset={() => setDraft({})}
    >
      {SWITCHES.map(({ name, label, description }) => (
        <Switch
          key={name}
          label={label}
          description={description}
          disabled={readOnly}
          checked={draft[name] ?? settings[name]}
          onChange={(event) => change({ [name]: event.currentTarget.checked })}
        />
      ))}
      {LISTS.map(({ name, label, description }) => (
        <TagsInput
          key={name}
          label={label}
          description={`${description} Names such as comment_create.`}
          disabled={readOnly}
          error={fieldError(save.error, `policy.${name}`)}
          value={policy[name]}
          onChange={(names) => change({ policy: { ...policy, [name]: names } })}
        />
      ))}
    </SettingsForm>
  );
}
