/** What the console reads and keeps fresh. Live data sits under one key; an agent's event refreshes what it concerns. */
import { keepPreviousData, MutationCache, type Query, QueryCache, QueryClient, useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { type ActivityFilter, api, ApiError } from './client';

const ME = ['me'];
const WORKSPACE = ['workspace'];
const LIVE = ['live'];

/** How often what no event tells of is asked for: a session's connection, a runtime's health, approvals that expire. */
const REFRESH_MS = 30_000;
/** Safety net for what events do tell of, at once; a gap among them refreshes everything. */
const SAFETY_MS = 300_000;

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
  queryClient.removeQueries({ predicate: ({ queryKey: [what] }) => what !== ME[0] && what !== WORKSPACE[0] });
  queryClient.setQueryData(ME, null);
}

export const refreshMe = () => queryClient.invalidateQueries({ queryKey: ME });
export const refreshLive = () => queryClient.invalidateQueries({ queryKey: LIVE });

/** Live data of one agent, as the part of the key after LIVE says. */
const OF_AGENT = ['agent', 'session', 'keys', 'assignments'];

/** Refreshes what events of these agents concern; approvals too, since those of a revoked agent end. */
export function refreshAgents(agentIds: Set<string>) {
  const concerns = ({ queryKey: [live, what, agentId] }: Query) => {
    if (live !== LIVE[0]) return false;
    if (what === 'activity') return agentId === null || agentIds.has(agentId as string);
    if (OF_AGENT.includes(what as string)) return agentIds.has(agentId as string);
    // An agent that comes in uses an invite up.
    return what === 'agents' || what === 'invites' || what === 'approvals';
  };
  return queryClient.invalidateQueries({ predicate: concerns });
}

/** Refreshes live data of these kinds, as the part of the key after LIVE says. */
export const refreshOf = (kinds: string[]) =>
  queryClient.invalidateQueries({ predicate: ({ queryKey: [live, what] }) => live === LIVE[0] && kinds.includes(what as string) });

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
    // Many parts of a page ask who looks at it.
    staleTime: REFRESH_MS,
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
  return useQuery({ queryKey: [...LIVE, 'agents'], queryFn: api.agents, refetchInterval: SAFETY_MS });
}

export function useAgent(agentId: string) {
  return useQuery({
    queryKey: [...LIVE, 'agent', agentId],
    queryFn: () => api.agent(agentId),
    refetchInterval: SAFETY_MS,
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

const sharesOf = (sessionId: string) => [...LIVE, 'shares', sessionId];

export const refreshShares = (sessionId: string) => queryClient.invalidateQueries({ queryKey: sharesOf(sessionId) });

/** Links to a terminal that are good now, for those who may type. */
export function useShares(sessionId: string) {
  return useQuery({ queryKey: sharesOf(sessionId), queryFn: () => api.shares(sessionId), refetchInterval: REFRESH_MS });
}

/** What is recorded of an agent's terminals, newest first. */
export function useRecordings(agentId: string) {
  return useQuery({
    queryKey: [...LIVE, 'recordings', agentId],
    queryFn: () => api.recordings(agentId),
    refetchInterval: REFRESH_MS,
  });
}

/** One recording with its markers. */
export function useRecording(sessionId: string) {
  return useQuery({ queryKey: [...LIVE, 'recording', sessionId], queryFn: () => api.recording(sessionId) });
}

/** A recording to play. It is read once; what is recorded meanwhile is seen when it is opened again. */
export function useCast(sessionId: string) {
  return useQuery({ queryKey: ['cast', sessionId], queryFn: () => api.cast(sessionId), staleTime: Infinity, gcTime: 0 });
}

export function useAgentKeys(agentId: string) {
  return useQuery({ queryKey: [...LIVE, 'keys', agentId], queryFn: () => api.agentKeys(agentId) });
}

export function useAssignments(agentId: string) {
  return useQuery({ queryKey: [...LIVE, 'assignments', agentId], queryFn: () => api.assignments(agentId) });
}

export function useOwnKeys() {
  return useQuery({ queryKey: [...LIVE, 'own-keys'], queryFn: api.ownKeys });
}

/** Every name of every tool that agents may be let to call. */
export function useTools() {
  return useQuery({ queryKey: ['tools'], queryFn: api.toolNames, staleTime: Infinity });
}

/** Tool calls that the person may decide about, as far as they were asked for. No event tells when one expires. */
export function useApprovals() {
  return useInfiniteQuery({
    queryKey: [...LIVE, 'approvals'],
    queryFn: ({ pageParam }) => api.approvals(pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor ?? undefined,
    select: ({ pages }) => pages.flatMap(({ data }) => data),
    refetchInterval: REFRESH_MS,
  });
}

/** How often the newest rows of a feed that is in view are asked for. */
const FEED_REFRESH_MS = 10_000;

/** Rows per page of a feed. */
const FEED_PAGE = 30;

/** One page of the feed: the newest rows, or those after `cursor`. */
export function useActivity(filter: ActivityFilter, cursor?: string) {
  return useQuery({
    queryKey: [...LIVE, 'activity', filter.agentId ?? null, filter, cursor ?? null],
    queryFn: () => api.activity({ ...filter, cursor, limit: FEED_PAGE }),
    // The page stays on screen while the next one loads.
    placeholderData: keepPreviousData,
    // Rows are never changed, so what follows a cursor is the same for good.
    staleTime: cursor ? Infinity : 0,
    // No event tells members of tool calls: they are many.
    refetchInterval: cursor ? false : FEED_REFRESH_MS,
  });
}

/** Days of the chart, and those whose activity types are offered as filters. */
export const DAYS = 30;

/** Counts per day, type and agent; the service counts once an hour. */
export function useDailyActivity(agentId?: string) {
  return useQuery({
    queryKey: ['daily', agentId ?? null],
    queryFn: () => api.dailyActivity(DAYS, agentId),
    staleTime: REFRESH_MS,
  });
}

/** Which activity types there are: those that were counted and those of the newest rows. */
export function useActivityTypes(agentId?: string): string[] {
  const counted = useDailyActivity(agentId).data ?? [];
  const newest = useActivity({ agentId }).data?.data ?? [];
  return [...new Set([...counted, ...newest].map((entry) => entry.activityType))].sort();
}

export function useSettings() {
  return useQuery({ queryKey: [...LIVE, 'settings'], queryFn: api.settings });
}

/** What an agent gets when nobody says otherwise; undefined until it is known. */
export function useDefaultPermissions(): string[] | undefined {
  return useSettings().data?.parallax.defaultPermissions;
}

/** Whether the configured runtime answers now. */
export function useRuntimeHealth() {
  return useQuery({ queryKey: [...LIVE, 'runtime'], queryFn: api.runtimeHealth, refetchInterval: REFRESH_MS });
}

/** The workspace's runtimes, for owners and admins. */
export function useRuntimes(enabled = true) {
  return useQuery({ queryKey: [...LIVE, 'runtimes'], queryFn: api.runtimes, refetchInterval: REFRESH_MS, enabled });
}

/** People whose names are looked up; with more, the others go unnamed. */
const PEOPLE_MAX = 100;

/** Names a person by id; undefined for somebody who is not known, such as the account of an agent. */
export function usePersonName(): (userId: string) => string | undefined {
  const people = useQuery({ queryKey: ['people'], queryFn: () => api.members(PEOPLE_MAX), staleTime: 300_000 });
  return (userId) => {
    const person = people.data?.items.find(({ id }) => id === userId);
    return person?.name ?? person?.email;
  };
}
