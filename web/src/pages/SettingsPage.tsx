import { Alert, Stack, Title } from '@mantine/core';
import { useIsAdmin, useSettings } from '../api/queries';
import { AccessSettings } from '../components/AccessSettings';
import { ControlPlaneSettings } from '../components/ControlPlaneSettings';
import { ErrorNote } from '../components/ErrorNote';
import { Loading } from '../components/Loading';
import { RecordingSettingsForm } from '../components/RecordingSettingsForm';
import { RuntimeList } from '../components/RuntimeList';
import { RuntimeKeySettings, RuntimeSettings } from '../components/RuntimeSettings';
import { TerminalSettings } from '../components/TerminalSettings';
import { ToolSettings } from '../components/ToolSettings';

/** What holds for all agents of the workspace. Members see it; owners and admins change it. */
export function SettingsPage() {
  const isAdmin = useIsAdmin();
  const settings = useSettings();
  return (
    <Stack>
      <Title order={1} size="h3">
        Settings
      </Title>
      {!isAdmin && <Alert color="gray">Owners and admins change these settings.</Alert>}
      <ErrorNote error={settings.error} onRetry={() => void settings.refetch()} />
      {settings.isPending && <Loading what="settings" />}
      {settings.data && (
        <>
          <AccessSettings settings={settings.data} readOnly={!isAdmin} />
          <ToolSettings settings={settings.data} readOnly={!isAdmin} />
          <TerminalSettings settings={settings.data} readOnly={!isAdmin} />
          <ControlPlaneSettings settings={settings.data} readOnly={!isAdmin} />
          <RecordingSettingsForm settings={settings.data} readOnly={!isAdmin} />
          {isAdmin && <RuntimeList />}
          <RuntimeSettings settings={settings.data} readOnly={!isAdmin} />
          <RuntimeKeySettings isSet={settings.data.runtimeApiKeySet} readOnly={!isAdmin} />
        </>
      )}
    </Stack>
  );
}
