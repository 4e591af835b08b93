/** What the console reads and keeps fresh. Live data sits under one key so that a socket event refreshes it all. */
import { MutationCache, QueryCache, QueryClient, useQuery } from '@tanstack/react-query';
import { api, ApiError } from './client';

const ME = ['me'];
const WORKSPACE = ['workspace'];
const LIVE = ['live'];

/** Safety net for a lost socket event; events normally refresh at once. */
const REFRESH_MS = 30_000;

function signOutOn401(error: Error) {
  if (error instanceof ApiError && error.status === 401) showSignIn();
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({ onError: signOutOn401 }),
  mutationCache: new MutationCache({ onError: signOutOn401 }),
  defaultOptions: {
    queries: {
      retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
});

/** Forgets the person and everything they saw; the app then shows the sign-in page. */
export function showSignIn() {
  queryClient.removeQueries({ queryKey: LIVE });
  queryClient.setQueryData(ME, null);
}

export const refreshMe = () => queryClient.invalidateQueries({ queryKey: ME });
export const refreshLive = () => queryClient.invalidateQueries({ queryKey: LIVE });

/** After setup the workspace exists and its first owner is signed in. */
export const refreshAll = () => queryClient.invalidateQueries();

/** The signed-in person and workspace, or null when nobody is signed in. */
export function useMe() {
  return useQuery({
    queryKey: ME,
    queryFn: () =>
      api.me().catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 401) return null;
        throw error;
      }),
  });
}

/** The workspace's public face, or null when none was set up yet. */
export function usePublicWorkspace() {
  return useQuery({
    queryKey: WORKSPACE,
    queryFn: () =>
      api.publicWorkspace().catch((error: unknown) => {
        if (error instanceof ApiError && /workspace not found/i.test(error.message)) return null;
        throw error;
      }),
    staleTime: Infinity,
  });
}

/** Whether the person may decide about agents. The service checks it again on every call. */
export function useIsAdmin() {
  const role = useMe().data?.user.role;
  return role === 'owner' || role === 'admin';
}

export function usePermissions() {
  return useQuery({ queryKey: ['permissions'], queryFn: api.permissions, staleTime: Infinity });
}

export function useAgents() {
  return useQuery({ queryKey: [...LIVE, 'agents'], queryFn: api.agents, refetchInterval: REFRESH_MS });
}

export function useAgent(agentId: string) {
  return useQuery({
    queryKey: [...LIVE, 'agent', agentId],
    queryFn: () => api.agent(agentId),
    refetchInterval: REFRESH_MS,
  });
}

export function useInvites() {
  return useQuery({ queryKey: [...LIVE, 'invites'], queryFn: api.invites });
}

export function useSession(agentId: string) {
  return useQuery({
    queryKey: [...LIVE, 'session', agentId],
    queryFn: () => api.session(agentId),
    refetchInterval: REFRESH_MS,
  });
}

export function useAgentActivity(agentId: string) {
  return useQuery({ queryKey: [...LIVE, 'activity', agentId], queryFn: () => api.agentActivity(agentId, 20) });
}

export function useWorkspaceActivity() {
  return useQuery({ queryKey: [...LIVE, 'activity'], queryFn: () => api.workspaceActivity(50) });
}
