//! Terminal sessions as the REST API and the terminal gateway show them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{AgentId, SessionId, UserId, WorkspaceId},
    login::Login,
    terminal::{SessionLog, SessionStatus, Size, TerminalSession as Row},
};

/// A terminal session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000005", "workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": "scout",
    "runtimeSessionId": "session-1", "status": "active", "title": "Scout", "cols": 120, "rows": 40, "runtimeEndpoint": "http://127.0.0.1:8081",
    "lastActivityAt": null, "connectedUserId": null, "metadata": {}, "createdAt": "2026-01-02T03:04:05.678Z",
    "updatedAt": "2026-01-02T03:04:05.678Z", "terminatedAt": null
}))]
pub struct TerminalSession {
    pub id: SessionId,
    pub workspace_id: WorkspaceId,
    pub agent_id: AgentId,
    pub runtime_session_id: String,
    pub status: SessionStatus,
    #[schema(required)]
    pub title: Option<String>,
    pub cols: u16,
    pub rows: u16,
    #[schema(required)]
    pub runtime_endpoint: Option<String>,
    #[schema(required)]
    pub last_activity_at: Option<Timestamp>,
    #[schema(required)]
    pub connected_user_id: Option<UserId>,
    pub metadata: Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[schema(required)]
    pub terminated_at: Option<Timestamp>,
}

impl From<Row> for TerminalSession {
    fn from(session: Row) -> Self {
        Self {
            id: session.id,
            workspace_id: session.workspace,
            agent_id: session.agent,
            runtime_session_id: session.runtime_session_id,
            status: session.status,
            title: session.title,
            cols: session.size.cols(),
            rows: session.size.rows(),
            runtime_endpoint: session.runtime_endpoint,
            last_activity_at: session.last_activity_at.map(Into::into),
            connected_user_id: session.connected_user,
            metadata: json!({}),
            created_at: session.created_at.into(),
            updated_at: session.updated_at.into(),
            terminated_at: session.terminated_at.map(Into::into),
        }
    }
}

/// Body by which a runtime offers a session.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": "scout", "runtimeSessionId": "pty-1"}))]
pub struct OfferSession {
    pub workspace_id: WorkspaceId,
    pub agent_id: AgentId,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub runtime_session_id: String,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub title: Option<String>,
    #[validate(range(min = 1, max = 1000, message = "must be a whole number from 1 to 1000"))]
    #[schema(minimum = 1, maximum = 1000)]
    pub cols: Option<u16>,
    #[validate(range(min = 1, max = 500, message = "must be a whole number from 1 to 500"))]
    #[schema(minimum = 1, maximum = 500)]
    pub rows: Option<u16>,
    /// Must be on the configured runtime.
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub runtime_endpoint: Option<String>,
}

/// Body by which a runtime reports how a session stands.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"status": "login_required", "loginUrl": "https://example.com/login"}))]
pub struct ReportSession {
    #[schema(value_type = SessionStatus)]
    pub status: String,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub login_url: Option<String>,
    /// Needed when sessions of several workspaces have the same name at their runtimes; `X-Workspace-Id` means the same.
    pub workspace_id: Option<WorkspaceId>,
}

/// Which part of a log is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// 1 to 200; 100 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// Lines to leave out at the start.
    #[param(minimum = 0)]
    pub offset: Option<i64>,
}

/// One line of a session's log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000004", "sessionId": "019a0000-0000-7000-8000-000000000005", "logType": "stdout", "content": "ready", "createdAt": "2030-01-01T09:00:00.000Z"}))]
pub struct TerminalSessionLog {
    pub id: uuid::Uuid,
    pub session_id: SessionId,
    /// `stdin`, `stdout`, `stderr` or `system`.
    pub log_type: String,
    #[schema(required)]
    pub content: Option<String>,
    pub created_at: Timestamp,
}

impl From<SessionLog> for TerminalSessionLog {
    fn from(log: SessionLog) -> Self {
        Self { id: log.id, session_id: log.session, log_type: log.log_type, content: log.content, created_at: log.created_at.into() }
    }
}

/// Which sessions a list shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct SessionQuery {
    /// `true` to include sessions that have ended.
    pub include_terminated: Option<String>,
}

/// `attached`: the answer to `attach` (realtime contract §5.3).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own on the wire")]
pub struct Attached {
    pub session_id: SessionId,
    pub agent_id: AgentId,
    pub status: SessionStatus,
    pub cols: u16,
    pub rows: u16,
    /// Whether the viewer may type and resize.
    pub can_write: bool,
    /// Whether the viewer may end the session.
    pub can_terminate: bool,
    /// This place among the terminal's viewers.
    pub viewer_id: String,
    /// Whether output comes as bytes.
    pub binary: bool,
    /// Where output goes on, if the client's own position is still held; otherwise a screen comes first.
    pub offset: Option<u64>,
    /// Tells positions of this stream from those of another, for the next `attach`.
    pub stream: u64,
    /// Whether the client is to acknowledge, and how much may be on its way before it does.
    pub acknowledge: bool,
    pub window: Option<u32>,
}

/// What a client may ask for with `attach` beside the session; one that asks for nothing gets what the original sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Output as bytes instead of text.
    pub binary: bool,
    /// The position up to which the client has seen the output, and the stream that it was told of.
    pub offset: Option<u64>,
    pub stream: Option<u64>,
    /// Bytes that may be on their way before the client acknowledges some; `None`: it acknowledges nothing.
    pub window: Option<u32>,
}

impl Terms {
    /// Whether the client knows of positions, and so of the events that the original does not send.
    #[must_use]
    pub fn are_negotiated(self) -> bool {
        self != Self::default()
    }
}

/// Second argument of `data` for a client that negotiates: where the piece stands in the output.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stretch {
    /// Position of its first byte.
    pub offset: u64,
    /// Position behind its last byte.
    pub end: u64,
}

/// Second argument of `screen`: after it is drawn, output goes on at `offset`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Drawn {
    pub offset: u64,
    pub cols: u16,
    pub rows: u16,
}

/// `resized`, and `resize` towards a runtime that connected to us: the terminal's size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resized {
    pub cols: u16,
    pub rows: u16,
}

impl From<Size> for Resized {
    fn from(size: Size) -> Self {
        Self { cols: size.cols(), rows: size.rows() }
    }
}

/// Answer to an event whose client asked for one.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Answer {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TerminalProblem>,
}

impl From<Result<(), TerminalProblem>> for Answer {
    fn from(outcome: Result<(), TerminalProblem>) -> Self {
        Self { ok: outcome.is_ok(), error: outcome.err() }
    }
}

/// `status`: the session's new status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusChange {
    pub status: SessionStatus,
    /// Clients open it without asking, so it leads to a host where agents of the type are known to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
    /// For a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_code: Option<String>,
}

impl StatusChange {
    #[must_use]
    pub fn new(status: SessionStatus, login: Login) -> Self {
        Self { status, login_url: login.url, instructions: login.instructions, device_code: login.device_code }
    }
}

/// `error` on the terminal gateway: the original's texts with a stable code (realtime contract §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TerminalProblem {
    pub message: &'static str,
    pub code: &'static str,
}

impl TerminalProblem {
    pub const UNAUTHORIZED: Self = Self { message: "Unauthorized", code: "UNAUTHORIZED" };
    pub const SESSION_NOT_FOUND: Self = Self { message: "Session not found", code: "SESSION_NOT_FOUND" };
    pub const SESSION_TERMINATED: Self = Self { message: "Session has been terminated", code: "SESSION_TERMINATED" };
    pub const FORBIDDEN: Self = Self { message: "You may watch this terminal, not type into it", code: "FORBIDDEN" };
    pub const ACCESS_ENDED: Self = Self { message: "You may not watch this terminal any more", code: "FORBIDDEN" };
    pub const NOT_CONTROLLER: Self = Self { message: "Somebody else controls this terminal", code: "NOT_CONTROLLER" };
    pub const NOT_HOLDER: Self = Self { message: "You do not control this terminal", code: "NOT_CONTROLLER" };
    pub const MAY_NOT_CONTROL: Self = Self { message: "You may watch this terminal, not control it", code: "FORBIDDEN" };
    pub const MAY_NOT_TAKE: Self = Self { message: "You may not take control from somebody", code: "FORBIDDEN" };
    pub const NO_SUCH_VIEWER: Self = Self { message: "This viewer is not here any more, or may not type", code: "INVALID_PAYLOAD" };
    pub const INVALID_CONTROL: Self = Self { message: "control:hand_over needs viewerId", code: "INVALID_PAYLOAD" };
    pub const NOT_ATTACHED: Self = Self { message: "Not attached to a session", code: "NOT_ATTACHED" };
    pub const RUNTIME_NOT_CONNECTED: Self = Self { message: "Runtime not connected", code: "RUNTIME_NOT_CONNECTED" };
    pub const TERMINAL_UNSUPPORTED: Self = Self { message: "Terminal not supported by this runtime", code: "RUNTIME_ERROR" };
    pub const UNAVAILABLE: Self = Self { message: "The service is busy, try again", code: "RUNTIME_ERROR" };
    pub const INPUT_TOO_LARGE: Self = Self { message: "Input is longer than 64 KiB", code: "INPUT_TOO_LARGE" };
    pub const INVALID_INPUT: Self = Self { message: "input must be a string", code: "INVALID_PAYLOAD" };
    pub const INVALID_ATTACH: Self = Self { message: "attach needs sessionId or agentId", code: "INVALID_PAYLOAD" };
    pub const INVALID_RESIZE: Self = Self { message: "resize needs cols 1 to 1000 and rows 1 to 500", code: "INVALID_PAYLOAD" };
    pub const TOO_MANY_SOCKETS: Self = Self { message: "Too many sockets are open", code: "RATE_LIMITED" };
    pub const TOO_MANY_VIEWERS: Self = Self { message: "Too many watch this terminal", code: "RATE_LIMITED" };
    pub const RUNTIME_TAKEN: Self = Self { message: "The session has a runtime already", code: "FORBIDDEN" };
    pub const INVALID_OUTPUT: Self = Self { message: "output needs data of its own session, at most 512 KiB", code: "INVALID_PAYLOAD" };
    pub const INVALID_STATUS: Self = Self { message: "status needs a status of its own session", code: "INVALID_PAYLOAD" };
    pub const SESSION_BEGUN: Self = Self { message: "A session is pending only before anything else", code: "INVALID_PAYLOAD" };
    pub const RATE_LIMITED: Self = Self { message: "Too many events at once", code: "RATE_LIMITED" };
}
