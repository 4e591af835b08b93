import { NumberInput, SimpleGrid, Switch } from '@mantine/core';
import { useState } from 'react';
import { type AgentSettings, fieldError, type UpdateSettings } from '../api/client';
import { PermissionPicker } from './PermissionPicker';
import { SettingsForm, useSaveSettings } from './SettingsForm';

/** Bounds of the service, in agents. */
const AGENTS_MAX = 10_000;
const AGENTS_PER_PROJECT_MAX = 1000;

type Draft = {
  enabled?: boolean;
  isPublic?: boolean;
  maxAgents?: string | number;
  maxAgentsPerProject?: string | number;
  defaultPermissions?: string[];
};

/** Who may come in, how many of them, and with what. */
export function AccessSettings({ settings, readOnly }: { settings: AgentSettings; readOnly: boolean }) {
  const { parallax } = settings;
  // Only what was changed here: the rest follows what is stored.
  const [draft, setDraft] = useState<Draft>({});
  const change = (fields: Draft) => setDraft((before) => ({ ...before, ...fields }));
  const save = useSaveSettings('Access settings are saved.', () => setDraft({}));
  const maxAgents = draft.maxAgents ?? parallax.maxAgents ?? '';
  const perProject = draft.maxAgentsPerProject ?? parallax.maxAgentsPerProject;

  return (
    <SettingsForm
      title="Access"
      readOnly={readOnly}
      changed={Object.keys(draft).length > 0 && perProject !== ''}
      save={save}
      onSubmit={() => save.mutate(toUpdate(draft))}
      onReset={() => setDraft({})}
    >
      <Switch
        label="Agents may come in"
        description="Off, nobody registers, asks for access, is approved or spawned. Agents that are in stay."
        disabled={readOnly}
        checked={draft.enabled ?? parallax.enabled}
        onChange={(event) => change({ enabled: event.currentTarget.checked })}
      />
      <Switch
        label="Public registration"
        description="Anybody who reaches the service may ask for access, without the webhook secret. You still decide."
        disabled={readOnly}
        checked={draft.isPublic ?? settings.allowPublicAgentRegistration}
        onChange={(event) => change({ isPublic: event.currentTarget.checked })}
      />
      <SimpleGrid cols={{ base: 1, xs: 2 }}>
        <NumberInput
          label="Agents at most"
          description="How many can act at the same time. Empty leaves it to the operator."
          min={1}
          max={AGENTS_MAX}
          allowDecimal={false}
          readOnly={readOnly}
          error={fieldError(save.error, 'parallax.maxAgents')}
          value={maxAgents}
          onChange={(value) => change({ maxAgents: value })}
        />
        <NumberInput
          label="Agents per project at most"
          description="How many can be assigned to one project."
          min={1}
          max={AGENTS_PER_PROJECT_MAX}
          allowDecimal={false}
          readOnly={readOnly}
          error={perProject === '' ? 'Enter a number.' : fieldError(save.error, 'parallax.maxAgentsPerProject')}
          value={perProject}
          onChange={(value) => change({ maxAgentsPerProject: value })}
        />
      </SimpleGrid>
      <PermissionPicker
        label="Default permissions"
        value={draft.defaultPermissions ?? parallax.defaultPermissions}
        onChange={(defaultPermissions) => change({ defaultPermissions })}
        disabled={readOnly}
        error={fieldError(save.error, 'parallax.defaultPermissions')}
      />
    </SettingsForm>
  );
}

function toUpdate({ enabled, isPublic, maxAgents, maxAgentsPerProject, defaultPermissions }: Draft): UpdateSettings {
  return {
    allowPublicAgentRegistration: isPublic,
    parallax: {
      enabled,
      // 0 leaves it to the operator.
      maxAgents: maxAgents === '' ? 0 : count(maxAgents),
      maxAgentsPerProject: count(maxAgentsPerProject),
      defaultPermissions,
    },
  };
}

/** What was typed as a number; undefined, which changes nothing, where nothing was. */
function count(typed: string | number | undefined): number | undefined {
  return typed === undefined || typed === '' ? undefined : Number(typed);
}
