/**
 * Every call to the service, named after what it does. Paths and types come from schema.d.ts, which is
 * generated from the service's OpenAPI document (`npm run gen`); nothing else in the console names a path.
 */
import createClient from 'openapi-fetch';
import type { components, paths } from './schema';

type Schemas = components['schemas'];
export type Activity = Schemas['Activity'];
export type Agent = Schemas['Agent'];
export type AgentStatus = Agent['status'];
export type AgentType = Schemas['SpawnAgents']['agentType'];
export type Invite = Schemas['Invite'];
export type Me = Schemas['Me'];
export type Permission = Schemas['Permission'];
export type Run = NonNullable<Agent['run']>;
export type SessionStatus = Schemas['TerminalSession']['status'];

/** A refused or failed call, with a message fit to show. `status` is 0 when the service was not reached. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code?: string,
    readonly requestId?: string,
  ) {
    super(message);
  }
}

const http = createClient<paths>({ baseUrl: window.location.origin, credentials: 'include' });

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** Resolves with the body of a 2xx answer; rejects with ApiError on everything else. */
async function send<T>(call: Promise<Answer<T>>): Promise<T> {
  const answer = await call.catch(() => {
    throw new ApiError('The service cannot be reached. Check that it is running, then try again.', 0);
  });
  if (!answer.response.ok) throw toApiError(answer.error, answer.response.status);
  return answer.data as T;
}

/** Like send, and takes the value out of the envelope `{data, success, status}`. */
async function fetchData<T>(call: Promise<Answer<{ data: T }>>): Promise<T> {
  return (await send(call)).data;
}

function toApiError(body: unknown, status: number): ApiError {
  const problem = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const { message, code, requestId } = problem;
  const text = Array.isArray(message) ? message.join('. ') : message;
  return new ApiError(
    typeof text === 'string' && text !== '' ? text : `The service answered with status ${status}.`,
    status,
    typeof code === 'string' ? code : undefined,
    typeof requestId === 'string' ? requestId : undefined,
  );
}

const agentPath = (agentId: string) => ({ path: { agentId } });

export const api = {
  publicWorkspace: () => fetchData(http.POST('/api/workspace/public')),
  setup: (body: Schemas['SetUp']) => fetchData(http.POST('/api/auth/setup', { body })),
  signIn: (body: Schemas['Login']) => send(http.POST('/api/auth/login', { body })),
  signOut: () => send(http.POST('/api/auth/logout')),
  me: () => fetchData(http.POST('/api/users/me')),

  permissions: () => fetchData(http.GET('/api/parallax-agents/permissions')),
  agents: () => fetchData(http.GET('/api/parallax-agents')),
  agent: (agentId: string) =>
    fetchData(http.GET('/api/parallax-agents/{agentId}', { params: agentPath(agentId) })),
  approve: (agentId: string, body: Schemas['ApproveAgent']) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/approve', { params: agentPath(agentId), body })),
  deny: (agentId: string, reason: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/deny', { params: agentPath(agentId), body: { reason } })),
  revoke: (agentId: string, reason: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/revoke', { params: agentPath(agentId), body: { reason } })),
  stop: (agentId: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/stop', { params: agentPath(agentId) })),
  spawn: (body: Schemas['SpawnAgents']) => fetchData(http.POST('/api/parallax-agents/spawn', { body })),

  invites: () => fetchData(http.GET('/api/parallax-agents/invites')),
  createInvite: (body: Schemas['CreateInvite']) => fetchData(http.POST('/api/parallax-agents/invites', { body })),
  revokeInvite: (inviteId: string) =>
    fetchData(http.POST('/api/parallax-agents/invites/{inviteId}/revoke', { params: { path: { inviteId } } })),

  agentActivity: (agentId: string, limit: number) =>
    fetchData(
      http.GET('/api/parallax-agents/{agentId}/activity', { params: { ...agentPath(agentId), query: { limit } } }),
    ),
  workspaceActivity: (limit: number) =>
    fetchData(http.GET('/api/parallax-agents/activity/workspace', { params: { query: { limit } } })),

  session: (agentId: string) =>
    fetchData(http.GET('/api/terminal/agents/{agentId}/session', { params: agentPath(agentId) })),
  endSession: (sessionId: string) =>
    fetchData(http.DELETE('/api/terminal/sessions/{sessionId}', { params: { path: { sessionId } } })),
};

const REGISTER_PATH: keyof paths = '/api/parallax-agents/register';

/** The command that an invited agent's owner runs to register it, ready for a POSIX shell. */
export function registerCommand(inviteToken: string): string {
  const body: Schemas['RegisterAgent'] = {
    inviteToken,
    agentId: 'my-agent',
    name: 'My agent',
    capabilities: ['code'],
  };
  return [
    `curl -X POST '${window.location.origin}${REGISTER_PATH}'`,
    `-H 'Content-Type: application/json'`,
    `-d '${JSON.stringify(body)}'`,
  ].join(' \\\n  ');
}
