import { Center } from '@mantine/core';
import { Navigate, Route, Routes } from 'react-router';
import type { Me } from './api/client';
import { refreshAll, useIsAdmin, useMe, usePublicWorkspace } from './api/queries';
import { ErrorNote } from './components/ErrorNote';
import { Loading } from './components/Loading';
import { Shell } from './components/Shell';
import { ActivityPage } from './pages/ActivityPage';
import { AgentPage } from './pages/AgentPage';
import { AgentsPage } from './pages/AgentsPage';
import { ApiKeysPage } from './pages/ApiKeysPage';
import { ApprovalsPage } from './pages/ApprovalsPage';
import { InvitesPage } from './pages/InvitesPage';
import { SettingsPage } from './pages/SettingsPage';
import { SetupPage } from './pages/SetupPage';
import { SignInPage } from './pages/SignInPage';
import { TerminalPage } from './pages/TerminalPage';

/** Decides what a visitor sees: setup before the first workspace, sign-in without a session, else the console. */
export function App() {
  const workspace = usePublicWorkspace();
  const me = useMe();
  const isAdmin = useIsAdmin();

  if (workspace.data === null) return <SetupPage />;
  if (workspace.data && me.data === null) return <SignInPage workspaceName={workspace.data.name ?? 'your workspace'} />;
  const error = workspace.error ?? (me.data ? null : me.error);
  if (error) {
    return (
      <Center mih="100dvh" p="md">
        <ErrorNote error={error} onRetry={() => void refreshAll()} />
      </Center>
    );
  }
  if (!workspace.data || !me.data) {
    return <Loading what="console" />;
  }
  return (
    <Routes>
      <Route path="/terminal/:sessionId" element={<TerminalPage />} />
      <Route path="*" element={<Console me={me.data} isAdmin={isAdmin} />} />
    </Routes>
  );
}

/** The pages that share a frame. */
function Console({ me, isAdmin }: { me: Me; isAdmin: boolean }) {
  return (
    <Shell me={me}>
      <Routes>
        <Route path="/agents" element={<AgentsPage />} />
        <Route path="/agents/:agentId" element={<AgentPage />} />
        {isAdmin && <Route path="/invites" element={<InvitesPage />} />}
        {isAdmin && <Route path="/activity" element={<ActivityPage />} />}
        <Route path="/approvals" element={<ApprovalsPage />} />
        <Route path="/api-keys" element={<ApiKeysPage />} />
        <Route path="/settings" element={<SettingsPage />} />
        <Route path="*" element={<Navigate to="/agents" replace />} />
      </Routes>
    </Shell>
  );
}
