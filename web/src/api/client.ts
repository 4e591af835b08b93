/**
 * Every call to the service, named after what it does. Paths and types come from schema.d.ts, which is
 * generated from the service's OpenAPI document (`npm run gen`); nothing else in the console names a path.
 */
import createClient from 'openapi-fetch';
import { duration, sentence } from '../words';
import type { components, paths } from './schema';

type Schemas = components['schemas'];
export type Activity = Schemas['Activity'];
export type ActivityPage = Schemas['ActivityPage'];
export type Agent = Schemas['Agent'];
export type AgentDetail = Schemas['AgentDetail'];
export type AgentSettings = Schemas['AgentSettings'];
export type AgentStatus = Agent['status'];
export type AgentType = Schemas['SpawnAgents']['agentType'];
export type ApiKey = Schemas['ApiKey'];
export type Assignment = Schemas['Assignment'];
export type AssignmentRole = Schemas['AssignmentRole'];
export type DailyActivity = Schemas['DailyActivity'];
export type Grant = Schemas['Grant'];
export type Invite = Schemas['Invite'];
export type Me = Schemas['Me'];
export type Member = Schemas['Member'];
export type Permission = Schemas['Permission'];
export type Recording = Schemas['RecordingSummary'];
export type RecordingMatch = Schemas['RecordingMatch'];
export type RecordingSettings = Schemas['RecordingSettings'];
export type Receipt = Schemas['Receipt'];
export type RotateKey = Schemas['RotateKey'];
export type Run = NonNullable<Agent['run']>;
export type Runtime = Schemas['Runtime'];
export type RuntimeHealth = Schemas['RuntimeHealth'];
export type SessionStatus = Schemas['TerminalSession']['status'];
export type TerminalController = Schemas['TerminalController'];
export type TerminalViewer = Schemas['TerminalViewer'];
export type ToolApproval = Schemas['ToolApproval'];

type FeedQuery = NonNullable<paths['/api/parallax-agents/activity/workspace']['get']['parameters']['query']>;
/** Which rows of an activity feed to read. */
export type ActivityFilter = Pick<FeedQuery, 'type' | 'agentId' | 'since' | 'until'>;

/** Settings to change; what is absent stays. */
export type UpdateSettings = Schemas['UpdateAgentSettings'];

/**
 * A refused or failed call; its message is a sentence to show. `status` is 0 when the service was not
 * reached. `fields` says what is wrong with each field of the input, by the name that the service gives it.
 */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code?: string,
    readonly requestId?: string,
    readonly fields: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** What the service says is wrong with a field of the input, if anything. */
export function fieldError(error: Error | null, ...names: string[]): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  return names.map((name) => error.fields[name]).find(Boolean);
}

const http = createClient<paths>({ baseUrl: window.location.origin, credentials: 'include' });

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** Resolves with the body of a 2xx answer; rejects with ApiError on everything else. */
async function send<T>(call: Promise<Answer<T>>): Promise<T> {
  const answer = await call.catch(() => {
    throw new ApiError('The service cannot be reached. Check that it is running, then try again.', 0);
  });
  if (!answer.response.ok) throw toApiError(answer.error, answer.response);
  return answer.data as T;
}

/** Like send, and takes the value out of the envelope `{data, success, status}`. */
async function fetchData<T>(call: Promise<Answer<{ data: T }>>): Promise<T> {
  return (await send(call)).data;
}

function toApiError(body: unknown, { status, headers }: Response): ApiError {
  // Something between us and the service may answer with anything.
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Schemas['ProblemBody']>;
  const errors = problem.errors ?? [];
  const detail = problem.detail || `the service answered with status ${status}`;
  const text = errors.length > 0 ? errors.map(explain).join(' ') : sentence(detail);
  const seconds = Number(headers.get('retry-after'));
  return new ApiError(
    seconds > 0 ? `${text} Try again in ${duration(seconds)}.` : text,
    status,
    problem.code,
    problem.requestId,
    Object.fromEntries(errors.map(({ field, message }) => [field, sentence(message)])),
  );
}

/** "parallax.maxAgents" with "must be at most 20" reads as "Max agents must be at most 20." */
function explain({ field, message }: Schemas['FieldProblem']): string {
  const name = field.split('.').at(-1) ?? field;
  return sentence(`${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)} ${message}`);
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
  setPermissions: (agentId: string, permissions: string[]) =>
    fetchData(
      http.POST('/api/parallax-agents/{agentId}/permissions', { params: agentPath(agentId), body: { permissions } }),
    ),
  deny: (agentId: string, reason: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/deny', { params: agentPath(agentId), body: { reason } })),
  revoke: (agentId: string, reason: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/revoke', { params: agentPath(agentId), body: { reason } })),
  stop: (agentId: string) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/stop', { params: agentPath(agentId) })),
  spawn: (body: Schemas['SpawnAgents']) => fetchData(http.POST('/api/parallax-agents/spawn', { body })),

  agentKeys: (agentId: string) =>
    fetchData(http.GET('/api/parallax-agents/{agentId}/keys', { params: agentPath(agentId) })),
  rotateAgentKey: (agentId: string, body: RotateKey) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/keys/rotate', { params: agentPath(agentId), body })),
  revokeAgentKey: (agentId: string, keyId: string) =>
    fetchData(http.DELETE('/api/parallax-agents/{agentId}/keys/{keyId}', { params: { path: { agentId, keyId } } })),

  assignments: (agentId: string) =>
    fetchData(http.GET('/api/parallax-agents/{agentId}/assignments', { params: agentPath(agentId) })),
  assignToProject: (agentId: string, body: Schemas['AssignProject']) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/assign/project', { params: agentPath(agentId), body })),
  assignToTask: (agentId: string, body: Schemas['AssignTask']) =>
    fetchData(http.POST('/api/parallax-agents/{agentId}/assign/task', { params: agentPath(agentId), body })),
  unassign: (assignmentId: string) =>
    fetchData(http.DELETE('/api/parallax-agents/assignments/{assignmentId}', { params: { path: { assignmentId } } })),

  invites: () =>
    fetchData(http.GET('/api/parallax-agents/invites', { params: { query: { includeRevoked: true } } })),
  createInvite: (body: Schemas['CreateInvite']) => fetchData(http.POST('/api/parallax-agents/invites', { body })),
  revokeInvite: (inviteId: string) =>
    fetchData(http.POST('/api/parallax-agents/invites/{inviteId}/revoke', { params: { path: { inviteId } } })),
  deleteInvite: (inviteId: string) =>
    fetchData(http.DELETE('/api/parallax-agents/invites/{inviteId}', { params: { path: { inviteId } } })),

  mcpConfig: () => fetchData(http.GET('/api/mcp-config')),
  ownKeys: () => fetchData(http.GET('/api/api-keys')),
  createKey: (body: Schemas['CreateKey']) => fetchData(http.POST('/api/api-keys', { body })),
  rotateKey: (keyId: string, body: RotateKey) =>
    fetchData(http.POST('/api/api-keys/{keyId}/rotate', { params: { path: { keyId } }, body })),
  revokeKey: (keyId: string) =>
    fetchData(http.DELETE('/api/api-keys/{keyId}', { params: { path: { keyId } } })),

  toolNames: async () =>
    (await send(http.POST('/api/mcp-standard/list_tools', { body: {} }))).tools.flatMap(({ name, aliases }) => [name, ...aliases]),
  approvals: (cursor?: string) => send(http.POST('/api/approvals/list', { body: { cursor } })),
  approveCall: (approvalToken: string) => fetchData(http.POST('/api/approvals/confirm', { body: { approvalToken } })),
  denyCall: (approvalToken: string) => fetchData(http.POST('/api/approvals/reject', { body: { approvalToken } })),

  /** One page of the feed, newest first: of one agent alone where the filter names it, else of the workspace. */
  activity: (query: FeedQuery) => send(http.GET('/api/parallax-agents/activity/workspace', { params: { query } })),
  dailyActivity: (days: number, agentId?: string) =>
    fetchData(http.GET('/api/parallax-agents/activity/daily', { params: { query: { days, agentId } } })),

  settings: () => fetchData(http.POST('/api/workspace/agent-settings')),
  updateSettings: (body: UpdateSettings) => fetchData(http.POST('/api/workspace/agent-settings/update', { body })),
  runtimeHealth: () => fetchData(http.POST('/api/workspace/agent-settings/runtime-health')),
  testRuntime: (body: Schemas['TestRuntime']) =>
    fetchData(http.POST('/api/parallax-agents/runtime/test', { body })),

  runtimes: () => fetchData(http.GET('/api/parallax-agents/runtimes')),
  addRuntime: (body: Schemas['AddRuntime']) => fetchData(http.POST('/api/parallax-agents/runtimes', { body })),
  updateRuntime: (runtimeName: string, body: Schemas['UpdateRuntime']) =>
    fetchData(http.PATCH('/api/parallax-agents/runtimes/{runtimeName}', { params: { path: { runtimeName } }, body })),
  removeRuntime: (runtimeName: string, force: boolean) =>
    fetchData(
      http.DELETE('/api/parallax-agents/runtimes/{runtimeName}', { params: { path: { runtimeName }, query: { force } } }),
    ),
  members: (limit: number) => fetchData(http.POST('/api/workspace/members', { body: { limit } })),

  session: (agentId: string) =>
    fetchData(http.GET('/api/terminal/agents/{agentId}/session', { params: agentPath(agentId) })),
  recordings: (agentId: string) =>
    fetchData(http.GET('/api/terminal/agents/{agentId}/recordings', { params: agentPath(agentId) })),
  searchRecordings: (agentId: string, q: string, cursor?: string) =>
    fetchData(
      http.GET('/api/terminal/agents/{agentId}/recordings/search', { params: { path: { agentId }, query: { q, cursor } } }),
    ),
  recording: (sessionId: string) =>
    fetchData(http.GET('/api/terminal/sessions/{sessionId}/recording', { params: { path: { sessionId } } })),
  /** The recording as asciicast, version 3. */
  cast: (sessionId: string) =>
    send(
      http.GET('/api/terminal/sessions/{sessionId}/recording/asciicast', {
        params: { path: { sessionId } },
        parseAs: 'text',
      }),
    ),
  deleteRecording: (sessionId: string) =>
    send(http.DELETE('/api/terminal/sessions/{sessionId}/recording', { params: { path: { sessionId } } })),
  endSession: (sessionId: string) =>
    fetchData(http.DELETE('/api/terminal/sessions/{sessionId}', { params: { path: { sessionId } } })),
  shares: (sessionId: string) =>
    fetchData(http.GET('/api/terminal/sessions/{sessionId}/shares', { params: { path: { sessionId } } })),
  shareTerminal: (sessionId: string, expiresInMinutes: number) =>
    fetchData(
      http.POST('/api/terminal/sessions/{sessionId}/shares', { params: { path: { sessionId } }, body: { expiresInMinutes } }),
    ),
  revokeShare: (sessionId: string, shareId: string) =>
    fetchData(http.DELETE('/api/terminal/sessions/{sessionId}/shares/{shareId}', { params: { path: { sessionId, shareId } } })),
};

const CAST_PATH: keyof paths = '/api/terminal/sessions/{sessionId}/recording/asciicast';
const TEXT_PATH: keyof paths = '/api/terminal/sessions/{sessionId}/recording/text';

/** Where the browser downloads a recording from, by what it is to be. */
export function recordingFiles(sessionId: string): { label: string; address: string }[] {
  const at = (path: string) => path.replace('{sessionId}', encodeURIComponent(sessionId));
  return [
    { label: 'Asciicast (version 3)', address: at(CAST_PATH) },
    { label: 'Asciicast (version 2)', address: `${at(CAST_PATH)}?version=2` },
    { label: 'Plain text', address: at(TEXT_PATH) },
  ];
}

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
