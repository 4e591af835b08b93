import { Switch, TagsInput, Text } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type UpdateSettings } from '../api/client';
import { useTools } from '../api/queries';
import { SettingsForm, useSaveSettings } from './SettingsForm';

type Draft = Pick<UpdateSettings, 'allowTaskWrites' | 'allowPageWrites' | 'allowProjectWrites' | 'allowOwnApproval' | 'policy'>;

/** What a switch is about: these tools and no others, see `SWITCHES` of the service's policy. */
const about = (tools: string, others: string) =>
  `About ${tools}: switched off, each call waits until an owner or admin approves it. An agent needs the permission too. ${others}`;

const SWITCHES = [
  {
    name: 'allowTaskWrites',
    label: 'Agents create and change tasks without asking',
    description: about('task_create and task_update', 'Other tools that change tasks do not wait for it.'),
  },
  {
    name: 'allowPageWrites',
    label: 'Agents create pages without asking',
    description: about('page_create and project_create_page', 'Tools that change pages do not wait for it.'),
  },
  {
    name: 'allowProjectWrites',
    label: 'Agents create projects without asking',
    description: about('project_create', 'Tools that change projects do not wait for it.'),
  },
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
        <div key={name}>
          <TagsInput
            label={label}
            description={`${description} Names such as comment_create, or page.* for all that begin so.`}
            disabled={readOnly}
            error={fieldError(save.error, `policy.${name}`)}
            value={policy[name]}
            onChange={(names) => change({ policy: { ...policy, [name]: names } })}
          />
          <UnknownNames names={policy[name]} />
        </div>
      ))}
    </SettingsForm>
  );
}

/** Which names mean no tool. They are kept: a list may be that of another service, which has more tools. */
function UnknownNames({ names }: { names: string[] }) {
  const tools = useTools().data;
  if (!tools) return null;
  return names
    .filter((name) => !tools.some((tool) => means(name, tool)))
    .map((name) => (
      <Text key={name} size="xs" c="dimmed" mt={4}>
        No tool here is called {name}.
      </Text>
    ));
}

/** Whether an entry of a list means a tool by this name, as the service reads it: in any case, and by its beginning before an asterisk. */
function means(listed: string, name: string): boolean {
  const wanted = listed.trim().toLowerCase();
  return wanted.endsWith('*') ? name.toLowerCase().startsWith(wanted.slice(0, -1)) : name.toLowerCase() === wanted;
}
