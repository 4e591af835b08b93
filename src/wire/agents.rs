//! Agents as the REST API shows them (REST contract §2.0).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    agent::{Agent as AgentRow, AgentState, AgentStatus, AgentView},
    ids::{AgentId, ApprovalId, InviteId, RunId, SessionId, UserId, WorkspaceId},
    permission::Category,
    run::{Run as RunRow, RunStatus},
    runtime::RuntimeName,
    tool_approval::Granted,
};

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "scout", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "Scout", "description": "Answers questions about the docs",
    "avatarUrl": null, "capabilities": ["code"], "status": "approved", "requestedPermissions": ["read:pages", "read:tasks"],
    "grantedPermissions": ["read:pages"], "mcpApiKeyId": "019a0000-0000-7000-8000-000000000008", "metadata": {}, "endpoint": null,
    "inviteId": null, "requestedAt": "2026-01-02T03:04:05.678Z", "resolvedAt": "2026-01-02T03:05:00.000Z", "resolvedBy": "019a0000-0000-7000-8000-000000000002",
    "denialReason": null, "revokedAt": null, "revocationReason": null, "requestVersion": 1, "run": null,
    "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:05:00.000Z"
}))]
pub struct Agent {
    pub id: AgentId,
    pub workspace_id: WorkspaceId,
    pub name: String,
    #[schema(required)]
    pub description: Option<String>,
    #[schema(required)]
    pub avatar_url: Option<String>,
    pub capabilities: Vec<String>,
    pub status: AgentStatus,
    pub requested_permissions: Vec<String>,
    pub granted_permissions: Vec<String>,
    #[schema(required)]
    pub mcp_api_key_id: Option<String>,
    /// Empty but for owners and admins.
    pub metadata: Value,
    #[schema(required)]
    pub endpoint: Option<String>,
    #[schema(required)]
    pub invite_id: Option<InviteId>,
    pub requested_at: Timestamp,
    #[schema(required)]
    pub resolved_at: Option<Timestamp>,
    #[schema(required)]
    pub resolved_by: Option<UserId>,
    #[schema(required)]
    pub denial_reason: Option<String>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    #[schema(required)]
    pub revocation_reason: Option<String>,
    /// Counts the requests under this id; send it back with an approval.
    pub request_version: i32,
    /// The newest process of a spawned agent.
    #[schema(required)]
    pub run: Option<Run>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An agent by itself, with what it was granted for a while.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "scout", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "Scout", "description": "Answers questions about the docs",
    "avatarUrl": null, "capabilities": ["code"], "status": "approved", "requestedPermissions": ["read:pages", "read:tasks"],
    "grantedPermissions": ["read:pages"], "mcpApiKeyId": "019a0000-0000-7000-8000-000000000008", "metadata": {}, "endpoint": null,
    "inviteId": null, "requestedAt": "2026-01-02T03:04:05.678Z", "resolvedAt": "2026-01-02T03:05:00.000Z", "resolvedBy": "019a0000-0000-7000-8000-000000000002",
    "denialReason": null, "revokedAt": null, "revocationReason": null, "requestVersion": 1, "run": null,
    "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:05:00.000Z",
    "grants": [{"approvalId": "019a0000-0000-7000-8000-000000000005", "permission": "read:tasks", "expiresAt": "2026-01-02T04:05:00.000Z"}]
}))]
pub struct AgentDetail {
    #[serde(flatten)]
    pub agent: Agent,
    /// Permissions that it has for a while beside `grantedPermissions`, those that end first before others. Empty but for owners
    /// and admins.
    pub grants: Vec<Grant>,
}

/// A permission that an agent has for a while.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"approvalId": "019a0000-0000-7000-8000-000000000005", "permission": "read:tasks", "expiresAt": "2026-01-02T04:05:00.000Z"}))]
pub struct Grant {
    /// Rejecting this ends it.
    pub approval_id: ApprovalId,
    pub permission: String,
    pub expires_at: Timestamp,
}

impl From<Granted> for Grant {
    fn from(granted: Granted) -> Self {
        Self { approval_id: granted.approval, permission: granted.permission, expires_at: granted.expires_at.into() }
    }
}

impl Agent {
    /// All fields, for owners and admins and for whoever made the request.
    #[must_use]
    pub fn full(view: AgentView) -> Self {
        let run = view.run.map(Into::into);
        Self { run, ..view.agent.into() }
    }

    /// What any member may see.
    #[must_use]
    pub fn for_member(view: AgentView) -> Self {
        Self {
            metadata: Value::Object(serde_json::Map::new()),
            endpoint: None,
            denial_reason: None,
            revocation_reason: None,
            mcp_api_key_id: None,
            ..Self::full(view)
        }
    }
}

impl From<AgentRow> for Agent {
    fn from(agent: AgentRow) -> Self {
        let status = agent.state.status();
        let granted = agent.granted();
        let mut wire = Self {
            id: agent.id,
            workspace_id: agent.workspace,
            name: agent.profile.name,
            description: agent.profile.description,
            avatar_url: agent.profile.avatar_url,
            capabilities: agent.profile.capabilities,
            status,
            requested_permissions: agent.profile.requested.to_strings(),
            granted_permissions: granted.to_strings(),
            mcp_api_key_id: agent.api_key_id,
            metadata: agent.profile.metadata,
            endpoint: agent.profile.endpoint,
            invite_id: agent.invite_id,
            requested_at: agent.requested_at.into(),
            resolved_at: None,
            resolved_by: None,
            denial_reason: None,
            revoked_at: None,
            revocation_reason: None,
            request_version: agent.request_version,
            run: None,
            created_at: agent.created_at.into(),
            updated_at: agent.updated_at.into(),
        };
        match agent.state {
            AgentState::Pending => {}
            AgentState::Approved { by, at, .. } => {
                wire.resolved_at = Some(at.into());
                wire.resolved_by = by;
            }
            AgentState::Denied { reason, by, at } => {
                wire.resolved_at = Some(at.into());
                wire.resolved_by = by;
                wire.denial_reason = Some(reason);
            }
            AgentState::Revoked { reason, at, approved_by, approved_at, .. } => {
                wire.resolved_at = Some(approved_at.into());
                wire.resolved_by = approved_by;
                wire.revoked_at = Some(at.into());
                wire.revocation_reason = Some(reason);
            }
        }
        wire
    }
}

/// One process of a spawned agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000004", "status": "ready", "agentType": "claude-code", "runtime": "default", "runtimeSessionId": "session-1",
    "terminalSessionId": "019a0000-0000-7000-8000-000000000005", "loginUrl": null, "loginInstructions": null, "loginDeviceCode": null,
    "stopReportedAt": null, "pausedAt": null, "startedAt": "2026-01-02T03:04:05.678Z", "stoppedAt": null,
    "exitCode": null, "reason": null
}))]
pub struct Run {
    pub id: RunId,
    pub status: RunPhase,
    /// `claude-code`, `codex`, `gemini-cli`, `aider` or `custom`.
    pub agent_type: String,
    /// The workspace's name for the runtime that it was started on.
    pub runtime: RuntimeName,
    #[schema(required)]
    pub runtime_session_id: Option<String>,
    #[schema(required)]
    pub terminal_session_id: Option<SessionId>,
    /// Where the agent is logged in, while it waits for that; always a host that is known for its type.
    #[schema(required)]
    pub login_url: Option<String>,
    /// What else a person has to know to log it in. An address in it is not checked.
    #[schema(required)]
    pub login_instructions: Option<String>,
    #[schema(required)]
    pub login_device_code: Option<String>,
    /// When the runtime told of an end that is not confirmed yet.
    #[schema(required)]
    pub stop_reported_at: Option<Timestamp>,
    /// Since when a person has the agent's terminal to themselves.
    #[schema(required)]
    pub paused_at: Option<Timestamp>,
    pub started_at: Timestamp,
    #[schema(required)]
    pub stopped_at: Option<Timestamp>,
    #[schema(required)]
    pub exit_code: Option<i32>,
    #[schema(required)]
    pub reason: Option<String>,
}

/// Where a run stands, for people: a run whose end was asked for is stopping.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    Spawning,
    Starting,
    LoginRequired,
    Ready,
    Stopping,
    Stopped,
    Failed,
}

impl From<RunRow> for Run {
    fn from(run: RunRow) -> Self {
        let stopping = run.stop_requested_at.is_some() && run.stopped_at.is_none();
        Self {
            id: run.id,
            status: match run.status {
                _ if stopping => RunPhase::Stopping,
                RunStatus::Spawning => RunPhase::Spawning,
                RunStatus::Starting => RunPhase::Starting,
                RunStatus::LoginRequired => RunPhase::LoginRequired,
                RunStatus::Ready => RunPhase::Ready,
                RunStatus::Stopped => RunPhase::Stopped,
                RunStatus::Failed => RunPhase::Failed,
            },
            agent_type: runtime_protocol::wire_agent_type(&run.agent_type).to_owned(),
            runtime: run.runtime,
            runtime_session_id: run.runtime_session_id,
            terminal_session_id: run.terminal_session,
            login_url: run.login.url,
            login_instructions: run.login.instructions,
            login_device_code: run.login.device_code,
            stop_reported_at: run.stop_report.map(|report| report.at.into()),
            paused_at: run.paused_at.map(Into::into),
            started_at: run.started_at.into(),
            stopped_at: run.stopped_at.map(Into::into),
            exit_code: run.exit_code,
            reason: run.reason,
        }
    }
}

/// Filters of the list of agents.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AgentQuery {
    /// `pending`, `approved`, `denied` or `revoked`.
    pub status: Option<String>,
    /// Comma-separated: approved agents with any of these. `status` is ignored beside it.
    pub capabilities: Option<String>,
}

/// Which approved agents are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CapabilityQuery {
    /// Comma-separated: agents with any of these.
    pub capabilities: Option<String>,
}

/// Body of an approval.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"grantedPermissions": ["read:pages", "read:tasks"], "requestVersion": 1}))]
pub struct ApproveAgent {
    #[validate(length(min = 1, max = 64, message = "must name at least one permission"))]
    #[schema(min_items = 1, max_items = 64)]
    pub granted_permissions: Vec<String>,
    /// The `requestVersion` that was reviewed: refused with 409 when the agent has asked again since.
    pub request_version: Option<i32>,
    /// Has to be true to grant what the agent did not ask for.
    #[serde(default)]
    pub grant_beyond_request: bool,
}

/// Body that replaces an agent's permissions.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"permissions": ["read:pages", "write:pages"]}))]
pub struct SetPermissions {
    #[validate(length(min = 1, max = 64, message = "must name at least one permission"))]
    #[schema(min_items = 1, max_items = 64)]
    pub permissions: Vec<String>,
}

/// An approved agent with its API key, shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedAgent {
    pub agent: Agent,
    #[schema(example = "mcp_agent_…")]
    pub mcp_api_key: String,
}

/// Why an agent is denied or revoked.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"reason": "No longer needed"}))]
pub struct Decision {
    #[validate(length(min = 1, max = 2000, message = "must be 1 to 2000 characters"), custom(function = super::access::visible_text))]
    #[schema(min_length = 1, max_length = 2000, pattern = r"\S")]
    pub reason: String,
}

/// What a revocation ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Revoked {
    pub success: bool,
    pub receipt: Receipt,
}

/// How many of each were ended, and how long it took.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"keys": 1, "sockets": 2, "streams": 0, "sessions": 1, "assignments": 3, "runs": 1, "processesEnded": 1, "tookMs": 41}))]
pub struct Receipt {
    /// API keys that were good until now.
    pub keys: u64,
    /// Socket.io connections.
    pub sockets: u64,
    /// Streams of MCP sessions.
    pub streams: u64,
    /// Terminal sessions.
    pub sessions: u64,
    pub assignments: u64,
    /// Processes whose end was asked for.
    pub runs: u64,
    /// Those of them whose end the runtime has confirmed; others are pursued until it does.
    pub processes_ended: u64,
    /// From the request to the last thing closed, in milliseconds.
    pub took_ms: u64,
}

/// Agents that may be watched.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"agents": [{"id": "scout", "name": "Scout", "type": "agent", "status": "approved", "avatarUrl": null}]}))]
pub struct Watchable {
    pub agents: Vec<WatchableAgent>,
}

/// An agent in the list of those that may be watched.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "scout", "name": "Scout", "type": "agent", "status": "approved", "avatarUrl": null}))]
pub struct WatchableAgent {
    pub id: AgentId,
    pub name: String,
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "agent")]
    pub agent_type: &'static str,
    pub status: AgentStatus,
    #[schema(required)]
    pub avatar_url: Option<String>,
}

impl From<AgentView> for WatchableAgent {
    fn from(AgentView { agent, .. }: AgentView) -> Self {
        Self {
            status: agent.state.status(),
            id: agent.id,
            name: agent.profile.name,
            agent_type: "agent",
            avatar_url: agent.profile.avatar_url,
        }
    }
}

/// A run whose end was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stopping {
    pub run: Run,
}

/// The permission catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "permissions": [{"id": "read:pages", "description": "Read pages", "category": "read"}], "defaults": ["read:pages"]
}))]
pub struct Permissions {
    pub permissions: Vec<Permission>,
    /// What a spawned agent gets when nobody says otherwise.
    pub defaults: Vec<String>,
}

/// One permission.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "read:pages", "description": "Read pages", "category": "read"}))]
pub struct Permission {
    #[schema(value_type = String, example = "read:pages")]
    pub id: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
    pub category: Category,
}
