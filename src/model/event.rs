//! What happened: one value per event, from which activity rows and broadcasts are made.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    agent::Agent,
    assignment::{Assignment, Target},
    display_name,
    ids::{
        AgentId, ApprovalId, AssignmentId, EventId, InviteId, PageId, ProjectId, SessionId, ShareId, SpaceId, TaskId, UserId, WorkspaceId,
    },
    login::Login,
    runtime::RuntimeName,
    terminal_rights::Viewers,
};

/// Something that happened in a workspace.
#[derive(Clone, Debug)]
pub struct Event {
    pub workspace: WorkspaceId,
    /// `None` for what concerns the workspace as a whole.
    pub agent: Option<AgentId>,
    /// Who is behind it, if somebody is: a person, or the account of an agent.
    pub actor: Option<UserId>,
    pub kind: EventKind,
}

impl Event {
    /// An event of one agent.
    #[must_use]
    pub fn about(agent: &Agent, actor: Option<UserId>, kind: EventKind) -> Self {
        Self { workspace: agent.workspace, agent: Some(agent.id.clone()), actor, kind }
    }

    /// An event of a workspace as a whole.
    #[must_use]
    pub fn within(workspace: WorkspaceId, actor: Option<UserId>, kind: EventKind) -> Self {
        Self { workspace, agent: None, actor, kind }
    }

    /// The row for the activity feed, if it has one. Owners and admins read the feed, and not every page: what a person
    /// did with a key is told there without titles.
    #[must_use]
    pub fn note(&self) -> Option<ActivityNote> {
        let note = self.kind.activity(self.actor)?;
        Some(if self.agent.is_none() && self.kind.is_content() { note.without_title() } else { note })
    }
}

/// An event that was recorded, with its id and the time of its transaction.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: EventId,
    pub workspace: WorkspaceId,
    pub agent: Option<AgentId>,
    /// The person behind it, if one is.
    pub actor: Option<UserId>,
    pub kind: EventKind,
    pub at: DateTime<Utc>,
}

/// What an event says of its agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentBrief {
    pub id: AgentId,
    pub name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    pub status: String,
}

impl AgentBrief {
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let name = display_name::harmless(&agent.profile.name);
        Self { id: agent.id.clone(), name, agent_type: None, status: agent.state.status().as_str().to_owned() }
    }
}

/// What an event says of an assignment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentBrief {
    pub id: AssignmentId,
    /// `project` or `task`.
    pub assignment_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Whoever is in it may know of the assignment; without one only owners and admins do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    pub role: String,
}

impl AssignmentBrief {
    #[must_use]
    pub fn of(assignment: &Assignment, space: Option<SpaceId>) -> Self {
        let (project_id, task_id) = match assignment.target {
            Target::Project(id) => (Some(id), None),
            Target::Task(id) => (None, Some(id)),
        };
        let assignment_type = assignment.target.kind().to_owned();
        Self { id: assignment.id, assignment_type, project_id, task_id, space_id: space, role: assignment.role.as_str().to_owned() }
    }
}

/// What an event says of a page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageBrief {
    pub id: PageId,
    pub title: String,
    pub space_id: SpaceId,
}

/// What an event says of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskBrief {
    pub id: TaskId,
    pub title: String,
    pub status: String,
    pub space_id: SpaceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
}

/// What an event says of something else in the knowledge base.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBrief {
    /// `task`, `project`, `comment` or `memory`.
    pub kind: String,
    pub id: Uuid,
    pub title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_id: Option<PageId>,
}

/// The kinds of event. The serialised form is what the outbox keeps; every channel makes its own
/// shape from it. The tag is the event's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "name", content = "data", rename_all_fields = "camelCase")]
pub enum EventKind {
    #[serde(rename = "agent.access_requested")]
    AccessRequested { agent: AgentBrief, capabilities: Vec<String>, requested_permissions: Vec<String>, justification: Option<String> },
    #[serde(rename = "agent.access_approved")]
    AccessApproved { agent: AgentBrief, granted_permissions: Vec<String>, via: Option<Via> },
    #[serde(rename = "agent.access_denied")]
    AccessDenied { agent: AgentBrief, reason: String },
    #[serde(rename = "agent.access_revoked")]
    AccessRevoked { agent: AgentBrief, reason: String },
    #[serde(rename = "agent.permissions_updated")]
    PermissionsUpdated { agent: AgentBrief, old_permissions: Vec<String>, new_permissions: Vec<String> },
    #[serde(rename = "agent.key_claimed")]
    KeyClaimed,
    #[serde(rename = "agent.key_rotated")]
    KeyRotated { agent: AgentBrief, key_id: String, grace_seconds: i64 },
    #[serde(rename = "key.created")]
    KeyCreated { key_id: String, key_name: String, user_id: UserId },
    #[serde(rename = "key.revoked")]
    KeyRevoked {
        key_id: String,
        key_name: String,
        /// Whose it was.
        #[serde(default)]
        user_id: Option<UserId>,
    },
    #[serde(rename = "agent.assigned")]
    Assigned { agent: AgentBrief, assignment: AssignmentBrief },
    #[serde(rename = "agent.unassigned")]
    Unassigned { agent: AgentBrief, assignment: AssignmentBrief },
    #[serde(rename = "invite.created")]
    InviteCreated { invite_id: InviteId, invite_name: String, permissions: Vec<String> },
    #[serde(rename = "invite.revoked")]
    InviteRevoked { invite_id: InviteId, invite_name: String },
    #[serde(rename = "invite.deleted")]
    InviteDeleted { invite_id: InviteId, invite_name: String },
    #[serde(rename = "settings.changed")]
    SettingsChanged { fields: Vec<String> },
    /// A runtime of the workspace was added, changed or removed.
    #[serde(rename = "runtime.changed")]
    RuntimeChanged { runtime: RuntimeName, change: String },
    #[serde(rename = "runtime.online")]
    RuntimeOnline { runtime: RuntimeName },
    #[serde(rename = "runtime.offline")]
    RuntimeOffline { runtime: RuntimeName },
    #[serde(rename = "user.changed")]
    UserChanged { user_id: UserId, change: String },
    #[serde(rename = "approval.requested")]
    ApprovalRequested {
        approval_id: ApprovalId,
        method: String,
        /// Who asked, a person or the account of an agent.
        #[serde(default)]
        requester: Option<UserId>,
    },
    #[serde(rename = "approval.decided")]
    ApprovalDecided {
        approval_id: ApprovalId,
        method: String,
        approved: bool,
        #[serde(default)]
        requester: Option<UserId>,
        /// The permission that was asked for, where it is not a call.
        #[serde(default)]
        permission: Option<String>,
    },
    /// Somebody called a tool with an API key.
    #[serde(rename = "tool.executed")]
    ToolExecuted {
        /// Whose key it was: a person, or the account of an agent.
        caller: UserId,
        is_agent: bool,
        /// Its published name, or what the caller said where no tool has that name.
        tool: String,
        /// Shortened and without what may be secret: see [`super::tool_call::redact`].
        params: Value,
        success: bool,
        duration_ms: u64,
        error: Option<String>,
        result_summary: Option<String>,
    },
    /// An agent says how it stands.
    #[serde(rename = "agent.status_changed")]
    StatusChanged { agent: AgentBrief, previous_status: Option<String>, new_status: String, reason: Option<String> },
    /// An agent wrote into the feed.
    #[serde(rename = "agent.activity_logged")]
    ActivityLogged(LoggedActivity),
    #[serde(rename = "agent.task_claimed")]
    TaskClaimed { agent: AgentBrief, assignment: AssignmentBrief },
    #[serde(rename = "agent.task_delegated")]
    TaskDelegated { agent: AgentBrief, task_id: TaskId, space_id: Option<SpaceId>, to_agent: AgentBrief, reason: Option<String> },
    #[serde(rename = "agent.task_received")]
    TaskReceived { agent: AgentBrief, assignment: AssignmentBrief, from_agent: AgentBrief, reason: Option<String> },
    #[serde(rename = "notification.given_up")]
    NotificationGivenUp { decision: String, attempts: i32, error: String },
    #[serde(rename = "agents.spawned")]
    AgentsSpawned { agent_type: String, count: u32, spawned_agents: Vec<AgentId>, errors: Vec<String> },
    #[serde(rename = "run.started")]
    RunStarted { agent: AgentBrief, runtime_session_id: Option<String> },
    #[serde(rename = "run.ready")]
    RunReady { agent: AgentBrief, runtime_session_id: Option<String>, mcp_endpoint: Option<String> },
    #[serde(rename = "run.login_required")]
    RunLoginRequired {
        agent: AgentBrief,
        #[serde(flatten)]
        login: Login,
        runtime_session_id: Option<String>,
        /// Who may know of the login.
        #[serde(default)]
        viewers: Viewers,
    },
    /// The agent asks something, and waits for the answer.
    #[serde(rename = "run.waiting")]
    RunWaiting {
        agent: AgentBrief,
        prompt: Option<String>,
        /// Who may know what it asks.
        #[serde(default)]
        viewers: Viewers,
    },
    #[serde(rename = "run.stop_unconfirmed")]
    RunStopUnconfirmed { agent: AgentBrief, reason: Option<String> },
    #[serde(rename = "run.message_sent")]
    RunMessageSent { agent: AgentBrief, characters: usize },
    #[serde(rename = "run.keys_sent")]
    RunKeysSent { agent: AgentBrief, keys: usize },
    #[serde(rename = "run.paused")]
    RunPaused { agent: AgentBrief },
    #[serde(rename = "run.resumed")]
    RunResumed { agent: AgentBrief },
    #[serde(rename = "run.stop_requested")]
    RunStopRequested { reason: String },
    #[serde(rename = "terminal.ended")]
    TerminalEnded { session_id: SessionId },
    /// Somebody controls a terminal now, which another person may have controlled.
    #[serde(rename = "terminal.control_taken")]
    TerminalControlTaken { session_id: SessionId, from_user: Option<UserId> },
    #[serde(rename = "terminal.control_handed_over")]
    TerminalControlHandedOver { session_id: SessionId, to_user: UserId },
    #[serde(rename = "terminal.shared")]
    TerminalShared { session_id: SessionId, share_id: ShareId, expires_at: DateTime<Utc> },
    #[serde(rename = "terminal.share_revoked")]
    TerminalShareRevoked { session_id: SessionId, share_id: ShareId },
    /// A secret that is good was seen in a terminal's output. The secret itself is not in here.
    #[serde(rename = "secret.leaked")]
    SecretLeaked { agent: AgentBrief, session_id: SessionId, kind: SecretKind, secret_id: String, label: String },
    #[serde(rename = "recording.deleted")]
    RecordingDeleted { session_id: SessionId },
    #[serde(rename = "run.stopped")]
    RunStopped { agent: AgentBrief, reason: Option<String>, exit_code: Option<i32> },
    /// The runtime tells of an error of an agent whose process goes on.
    #[serde(rename = "run.troubled")]
    RunTroubled {
        agent: AgentBrief,
        error: String,
        /// As of [`Self::RunFailed`].
        #[serde(default)]
        viewers: Viewers,
    },
    #[serde(rename = "run.failed")]
    RunFailed {
        agent: AgentBrief,
        error: String,
        /// Who may know what went wrong, which may be a line of the terminal.
        #[serde(default)]
        viewers: Viewers,
    },
    #[serde(rename = "agent.page_created")]
    PageCreated { page: PageBrief },
    /// `change` says what was done to it, such as `updated`.
    #[serde(rename = "agent.page_updated")]
    PageUpdated { page: PageBrief, change: String },
    #[serde(rename = "agent.task_started")]
    TaskStarted { task: TaskBrief },
    #[serde(rename = "agent.task_completed")]
    TaskCompleted { task: TaskBrief },
    /// Somebody who was to do it cannot: it is blocked.
    #[serde(rename = "agent.task_failed")]
    TaskFailed { task: TaskBrief },
    /// Anything else in the knowledge base.
    #[serde(rename = "content.changed")]
    ContentChanged { content: ContentBrief, change: String },
    #[serde(rename = "terminal.changed")]
    TerminalChanged {
        session_id: SessionId,
        status: String,
        #[serde(flatten)]
        login: Login,
        /// For the end: whether the last output is still to be shown.
        drain: bool,
    },
}

/// What an agent wrote into the feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedActivity {
    pub agent: AgentBrief,
    pub activity_type: String,
    pub description: String,
    pub details: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_id: Option<PageId>,
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// An API key.
    Key,
    /// An invite's token.
    Invite,
    /// What a requester claims an agent's key with.
    Claim,
    /// A link to watch a terminal by.
    Share,
}

impl SecretKind {
    pub const ALL: [Self; 4] = [Self::Key, Self::Invite, Self::Claim, Self::Share];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Invite => "invite",
            Self::Claim => "claim",
            Self::Share => "share",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Key => "the API key",
            Self::Invite => "the token of the invite",
            Self::Claim => "the claim secret of",
            Self::Share => "the share link",
        }
    }
}

/// By what an agent came in, when no admin decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Via {
    Invite { invite_id: InviteId, invite_name: String },
    Spawn,
}

/// Types of rows that only the service writes: an agent that wrote them would tell of decisions that nobody took, or of changes
/// that nobody made. What it did with a task it may say in these words itself.
pub const OWN_ACTIVITY_TYPES: [&str; 52] = [
    "access_approved",
    "access_denied",
    "access_requested",
    "access_revoked",
    "agent_error",
    "agent_started",
    "agent_stopped",
    "agents_spawned",
    "approval_granted",
    "approval_rejected",
    "approval_requested",
    "assigned_to_project",
    "assigned_to_task",
    "content_changed",
    "invite_created",
    "invite_deleted",
    "invite_revoked",
    "key_claimed",
    "key_created",
    "key_revoked",
    "key_rotated",
    "keys_sent",
    "message_sent",
    "notification_given_up",
    "page_created",
    "page_updated",
    "permissions_updated",
    "recording_deleted",
    "run_paused",
    "run_resumed",
    "runtime_changed",
    "runtime_offline",
    "runtime_online",
    "secret_leaked",
    "settings_changed",
    "spawn_failed",
    "spawn_ready",
    "spawn_requires_login",
    "status_change",
    "stop_requested",
    "stop_unconfirmed",
    "task_claimed",
    "task_delegated",
    "task_received",
    "terminal_control_handed_over",
    "terminal_control_taken",
    "terminal_ended",
    "terminal_share_revoked",
    "terminal_shared",
    "tool_executed",
    "unassigned",
    "user_changed",
];

/// The activity row that an event leaves.
#[derive(Debug)]
pub struct ActivityNote {
    pub activity_type: Cow<'static, str>,
    pub description: String,
    pub metadata: Value,
    pub project: Option<ProjectId>,
    pub task: Option<TaskId>,
    pub page: Option<PageId>,
}

impl ActivityNote {
    /// For whoever may not read what it is about.
    fn without_title(mut self) -> Self {
        for part in self.metadata.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(fields) = part.as_object_mut() {
                fields.remove("title");
            }
        }
        "Somebody changed the knowledge base with a key".clone_into(&mut self.description);
        self
    }
}

impl LoggedActivity {
    fn note(&self) -> ActivityNote {
        ActivityNote {
            activity_type: Cow::Owned(self.activity_type.clone()),
            description: self.description.clone(),
            metadata: self.details.clone(),
            project: self.project_id,
            task: self.task_id,
            page: self.page_id,
        }
    }
}

impl EventKind {
    /// The event's name in the outbox, such as `agent.access_approved`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AccessRequested { .. } => "agent.access_requested",
            Self::AccessApproved { .. } => "agent.access_approved",
            Self::AccessDenied { .. } => "agent.access_denied",
            Self::AccessRevoked { .. } => "agent.access_revoked",
            Self::PermissionsUpdated { .. } => "agent.permissions_updated",
            Self::KeyClaimed => "agent.key_claimed",
            Self::KeyRotated { .. } => "agent.key_rotated",
            Self::KeyCreated { .. } => "key.created",
            Self::KeyRevoked { .. } => "key.revoked",
            Self::Assigned { .. } => "agent.assigned",
            Self::Unassigned { .. } => "agent.unassigned",
            Self::InviteCreated { .. } => "invite.created",
            Self::InviteRevoked { .. } => "invite.revoked",
            Self::InviteDeleted { .. } => "invite.deleted",
            Self::SettingsChanged { .. } => "settings.changed",
            Self::RuntimeChanged { .. } => "runtime.changed",
            Self::RuntimeOnline { .. } => "runtime.online",
            Self::RuntimeOffline { .. } => "runtime.offline",
            Self::UserChanged { .. } => "user.changed",
            Self::ApprovalRequested { .. } => "approval.requested",
            Self::ApprovalDecided { .. } => "approval.decided",
            Self::ToolExecuted { .. } => "tool.executed",
            Self::StatusChanged { .. } => "agent.status_changed",
            Self::ActivityLogged(_) => "agent.activity_logged",
            Self::TaskClaimed { .. } => "agent.task_claimed",
            Self::TaskDelegated { .. } => "agent.task_delegated",
            Self::TaskReceived { .. } => "agent.task_received",
            Self::NotificationGivenUp { .. } => "notification.given_up",
            Self::AgentsSpawned { .. } => "agents.spawned",
            Self::RunStarted { .. } => "run.started",
            Self::RunReady { .. } => "run.ready",
            Self::RunLoginRequired { .. } => "run.login_required",
            Self::RunWaiting { .. } => "run.waiting",
            Self::RunStopUnconfirmed { .. } => "run.stop_unconfirmed",
            Self::RunMessageSent { .. } => "run.message_sent",
            Self::RunKeysSent { .. } => "run.keys_sent",
            Self::RunPaused { .. } => "run.paused",
            Self::RunResumed { .. } => "run.resumed",
            Self::RunStopRequested { .. } => "run.stop_requested",
            Self::TerminalEnded { .. } => "terminal.ended",
            Self::TerminalControlTaken { .. } => "terminal.control_taken",
            Self::TerminalControlHandedOver { .. } => "terminal.control_handed_over",
            Self::TerminalShared { .. } => "terminal.shared",
            Self::TerminalShareRevoked { .. } => "terminal.share_revoked",
            Self::SecretLeaked { .. } => "secret.leaked",
            Self::RecordingDeleted { .. } => "recording.deleted",
            Self::RunStopped { .. } => "run.stopped",
            Self::RunTroubled { .. } => "run.troubled",
            Self::RunFailed { .. } => "run.failed",
            Self::PageCreated { .. } => "agent.page_created",
            Self::PageUpdated { .. } => "agent.page_updated",
            Self::TaskStarted { .. } => "agent.task_started",
            Self::TaskCompleted { .. } => "agent.task_completed",
            Self::TaskFailed { .. } => "agent.task_failed",
            Self::ContentChanged { .. } => "content.changed",
            Self::TerminalChanged { .. } => "terminal.changed",
        }
    }

    /// Whether it is a change of the knowledge base.
    #[must_use]
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Self::PageCreated { .. }
                | Self::PageUpdated { .. }
                | Self::TaskStarted { .. }
                | Self::TaskCompleted { .. }
                | Self::TaskFailed { .. }
                | Self::ContentChanged { .. }
        )
    }

    /// The row for the activity feed (REST contract §2.0); `None` for what only moves machinery.
    #[must_use]
    pub fn activity(&self, actor: Option<UserId>) -> Option<ActivityNote> {
        let (activity_type, description, metadata) = match self {
            Self::AccessRequested { agent, capabilities, requested_permissions, justification } => (
                "access_requested",
                format!("{} asked for access", agent.name),
                json!({"agentName": agent.name, "capabilities": capabilities, "requestedPermissions": requested_permissions, "justification": justification}),
            ),
            Self::AccessApproved { agent, granted_permissions, via } => {
                let mut metadata = json!({"agentName": agent.name, "approvedBy": actor, "grantedPermissions": granted_permissions});
                let description = match via {
                    Some(Via::Invite { invite_id, invite_name }) => {
                        metadata["via"] = json!("invite");
                        metadata["inviteId"] = json!(invite_id);
                        metadata["inviteName"] = json!(invite_name);
                        format!("{} registered with the invite {invite_name:?}", agent.name)
                    }
                    Some(Via::Spawn) => {
                        metadata["via"] = json!("spawn");
                        format!("{} was let in to be spawned", agent.name)
                    }
                    None => format!("{} was approved", agent.name),
                };
                ("access_approved", description, metadata)
            }
            Self::AccessDenied { agent, reason } => (
                "access_denied",
                format!("{} was denied access", agent.name),
                json!({"agentName": agent.name, "deniedBy": actor, "reason": reason}),
            ),
            Self::AccessRevoked { agent, reason } => (
                "access_revoked",
                format!("Access of {} was revoked", agent.name),
                json!({"agentName": agent.name, "revokedBy": actor, "reason": reason}),
            ),
            Self::PermissionsUpdated { agent, old_permissions, new_permissions } => (
                "permissions_updated",
                format!("Permissions of {} were changed", agent.name),
                json!({"agentName": agent.name, "updatedBy": actor, "oldPermissions": old_permissions, "newPermissions": new_permissions}),
            ),
            Self::KeyClaimed => ("key_claimed", "The requester collected the API key".to_owned(), json!({})),
            Self::KeyRotated { agent, key_id, grace_seconds } => (
                "key_rotated",
                format!("{} got a new API key", agent.name),
                json!({"agentName": agent.name, "keyId": key_id, "graceSeconds": grace_seconds, "rotatedBy": actor}),
            ),
            Self::KeyCreated { key_id, key_name, user_id } => (
                "key_created",
                format!("The API key {key_name:?} was created"),
                json!({"keyId": key_id, "keyName": key_name, "userId": user_id}),
            ),
            Self::KeyRevoked { key_id, key_name, .. } => {
                ("key_revoked", format!("The API key {key_name:?} was revoked"), json!({"keyId": key_id, "keyName": key_name}))
            }
            Self::Assigned { agent, assignment } => {
                let mut metadata =
                    json!({"agentName": agent.name, "assignmentId": assignment.id, "role": assignment.role, "assignedBy": actor});
                let (activity_type, target) = if let Some(project) = assignment.project_id {
                    metadata["projectId"] = json!(project);
                    ("assigned_to_project", "a project")
                } else {
                    metadata["taskId"] = json!(assignment.task_id);
                    ("assigned_to_task", "a task")
                };
                (activity_type, format!("{} was assigned to {target}", agent.name), metadata)
            }
            Self::Unassigned { agent, assignment } => (
                "unassigned",
                format!("{} was taken off a {}", agent.name, assignment.assignment_type),
                json!({"agentName": agent.name, "assignmentId": assignment.id, "assignmentType": assignment.assignment_type,
                       "targetId": assignment.project_id.map(|id| id.0).or(assignment.task_id.map(|id| id.0)), "unassignedBy": actor}),
            ),
            Self::InviteCreated { invite_id, invite_name, permissions } => (
                "invite_created",
                format!("The invite {invite_name:?} was created"),
                json!({"inviteId": invite_id, "inviteName": invite_name, "permissions": permissions}),
            ),
            Self::InviteRevoked { invite_id, invite_name } => (
                "invite_revoked",
                format!("The invite {invite_name:?} was revoked"),
                json!({"inviteId": invite_id, "inviteName": invite_name}),
            ),
            Self::InviteDeleted { invite_id, invite_name } => (
                "invite_deleted",
                format!("The invite {invite_name:?} was deleted"),
                json!({"inviteId": invite_id, "inviteName": invite_name}),
            ),
            Self::SettingsChanged { fields } => {
                ("settings_changed", format!("Settings were changed: {}", fields.join(", ")), json!({"fields": fields, "changedBy": actor}))
            }
            Self::RuntimeChanged { runtime, change } => (
                "runtime_changed",
                format!("The runtime {runtime} was {change}"),
                json!({"runtime": runtime, "change": change, "changedBy": actor}),
            ),
            Self::RuntimeOnline { runtime } => ("runtime_online", format!("The runtime {runtime} is back"), json!({"runtime": runtime})),
            Self::RuntimeOffline { runtime } => {
                ("runtime_offline", format!("The runtime {runtime} is silent"), json!({"runtime": runtime}))
            }
            Self::UserChanged { user_id, change } => {
                ("user_changed", format!("An account was changed: {change}"), json!({"userId": user_id, "change": change}))
            }
            Self::ApprovalRequested { approval_id, method, .. } => {
                ("approval_requested", format!("{method} waits for approval"), json!({"approvalId": approval_id, "method": method}))
            }
            Self::ApprovalDecided { approval_id, method, approved, permission, .. } => (
                if *approved { "approval_granted" } else { "approval_rejected" },
                format!("{} was {}", permission.as_deref().unwrap_or(method), if *approved { "approved" } else { "rejected" }),
                json!({"approvalId": approval_id, "method": method, "permission": permission, "decidedBy": actor}),
            ),
            Self::ToolExecuted { tool, params, success, duration_ms, error, result_summary, is_agent: true, .. } => (
                "tool_executed",
                format!("{tool} was called"),
                json!({"tool": tool, "params": params, "success": success, "durationMs": duration_ms, "error": error,
                       "resultSummary": result_summary}),
            ),
            Self::StatusChanged { agent, previous_status, new_status, reason } => (
                "status_change",
                format!("{} is {new_status}", agent.name),
                json!({"agentName": agent.name, "previousStatus": previous_status, "newStatus": new_status, "reason": reason}),
            ),
            Self::TaskClaimed { agent, assignment } => (
                "task_claimed",
                format!("{} took a task", agent.name),
                json!({"agentName": agent.name, "taskId": assignment.task_id, "assignmentId": assignment.id}),
            ),
            Self::TaskDelegated { agent, task_id, to_agent, reason, .. } => (
                "task_delegated",
                format!("{} gave a task to {}", agent.name, to_agent.name),
                json!({"taskId": task_id, "toAgentId": to_agent.id, "toAgentName": to_agent.name, "reason": reason}),
            ),
            Self::TaskReceived { agent, assignment, from_agent, reason } => (
                "task_received",
                format!("{} got a task from {}", agent.name, from_agent.name),
                json!({"taskId": assignment.task_id, "fromAgentId": from_agent.id, "fromAgentName": from_agent.name, "reason": reason}),
            ),
            Self::ActivityLogged(logged) => return Some(logged.note()),
            Self::NotificationGivenUp { decision, attempts, error } => (
                "notification_given_up",
                format!("The control plane could not be told of {decision}"),
                json!({"decision": decision, "attempts": attempts, "error": error}),
            ),
            Self::AgentsSpawned { agent_type, count, spawned_agents, errors } => (
                "agents_spawned",
                format!("{} of {count} {agent_type} agents were spawned", spawned_agents.len()),
                json!({"agentType": agent_type, "count": count, "spawnedAgents": spawned_agents, "requestedBy": actor, "errors": errors}),
            ),
            Self::RunStarted { agent, runtime_session_id } => (
                "agent_started",
                format!("{} started", agent.name),
                json!({"agentName": agent.name, "runtimeSessionId": runtime_session_id}),
            ),
            Self::RunReady { agent, runtime_session_id, .. } => (
                "spawn_ready",
                format!("{} is ready", agent.name),
                json!({"agentName": agent.name, "runtimeSessionId": runtime_session_id}),
            ),
            // The device code is left out: the feed is kept for long, and whoever has the code takes part in the login.
            Self::RunLoginRequired { agent, login, runtime_session_id, .. } => (
                "spawn_requires_login",
                format!("{} needs a login", agent.name),
                json!({"agentName": agent.name, "loginUrl": login.url, "instructions": login.instructions, "verified": login.verified,
                       "runtimeSessionId": runtime_session_id}),
            ),
            Self::RunStopUnconfirmed { agent, reason } => (
                "stop_unconfirmed",
                format!("The runtime says that {} stopped, which is not confirmed", agent.name),
                json!({"agentName": agent.name, "reason": reason}),
            ),
            // What was sent is in neither row: it may be a password.
            Self::RunMessageSent { agent, characters } => (
                "message_sent",
                format!("{} was sent a message", agent.name),
                json!({"agentName": agent.name, "characters": characters, "sentBy": actor}),
            ),
            Self::RunKeysSent { agent, keys } => {
                ("keys_sent", format!("{} was sent keys", agent.name), json!({"agentName": agent.name, "keys": keys, "sentBy": actor}))
            }
            Self::RunPaused { agent } => {
                ("run_paused", format!("{} was taken over", agent.name), json!({"agentName": agent.name, "pausedBy": actor}))
            }
            Self::RunResumed { agent } => {
                ("run_resumed", format!("{} was handed back", agent.name), json!({"agentName": agent.name, "resumedBy": actor}))
            }
            Self::RunStopped { agent, reason, exit_code } => (
                "agent_stopped",
                format!("{} stopped", agent.name),
                json!({"agentName": agent.name, "reason": reason, "exitCode": exit_code}),
            ),
            Self::RunTroubled { agent, error, .. } => {
                ("agent_error", format!("{} reports an error", agent.name), json!({"agentName": agent.name, "error": error}))
            }
            Self::RunFailed { agent, error, .. } => {
                ("spawn_failed", format!("{} failed", agent.name), json!({"agentName": agent.name, "error": error}))
            }
            Self::RunStopRequested { reason } => ("stop_requested", "A stop was requested".to_owned(), json!({"reason": reason})),
            Self::TerminalEnded { session_id } => {
                ("terminal_ended", "A terminal session was ended".to_owned(), json!({"sessionId": session_id, "endedBy": actor}))
            }
            Self::TerminalControlTaken { session_id, from_user } => (
                "terminal_control_taken",
                if from_user.is_some() { "Control of a terminal was taken from its holder" } else { "Control of a terminal was taken" }
                    .to_owned(),
                json!({"sessionId": session_id, "takenBy": actor, "takenFrom": from_user}),
            ),
            Self::TerminalControlHandedOver { session_id, to_user } => (
                "terminal_control_handed_over",
                "Control of a terminal was handed over".to_owned(),
                json!({"sessionId": session_id, "handedOverBy": actor, "handedOverTo": to_user}),
            ),
            // The token is in no row but as its hash.
            Self::TerminalShared { session_id, share_id, expires_at } => (
                "terminal_shared",
                "A terminal was shared with the workspace's members".to_owned(),
                json!({"sessionId": session_id, "shareId": share_id, "expiresAt": expires_at, "sharedBy": actor}),
            ),
            Self::TerminalShareRevoked { session_id, share_id } => (
                "terminal_share_revoked",
                "A share of a terminal was revoked".to_owned(),
                json!({"sessionId": session_id, "shareId": share_id, "revokedBy": actor}),
            ),
            Self::SecretLeaked { agent, session_id, kind, secret_id, label } => (
                "secret_leaked",
                format!("{} showed {} {label:?} in its terminal", agent.name, kind.in_words()),
                json!({"agentName": agent.name, "sessionId": session_id, "secretKind": kind, "secretId": secret_id, "label": label}),
            ),
            Self::RecordingDeleted { session_id } => (
                "recording_deleted",
                "The recording of a terminal was deleted".to_owned(),
                json!({"sessionId": session_id, "deletedBy": actor}),
            ),
            Self::PageCreated { page } => ("page_created", format!("The page {:?} was created", page.title), json!({"page": page})),
            Self::PageUpdated { page, change } => {
                ("page_updated", format!("The page {:?} was {change}", page.title), json!({"page": page, "change": change}))
            }
            Self::TaskStarted { task } => ("task_started", format!("Work on {:?} began", task.title), json!({"task": task})),
            Self::TaskCompleted { task } => ("task_completed", format!("{:?} is done", task.title), json!({"task": task})),
            Self::TaskFailed { task } => ("task_failed", format!("{:?} is blocked", task.title), json!({"task": task})),
            Self::ContentChanged { content, change } => (
                "content_changed",
                format!("The {} {:?} was {change}", content.kind, content.title),
                json!({"content": content, "change": change}),
            ),
            Self::TerminalChanged { .. } | Self::RunWaiting { .. } | Self::ToolExecuted { is_agent: false, .. } => return None,
        };
        let (project, task, page) = self.subject();
        Some(ActivityNote { activity_type: Cow::Borrowed(activity_type), description, metadata, project, task, page })
    }

    /// The project, task and page under which the activity row is found.
    fn subject(&self) -> (Option<ProjectId>, Option<TaskId>, Option<PageId>) {
        if let Self::Assigned { assignment, .. }
        | Self::Unassigned { assignment, .. }
        | Self::TaskClaimed { assignment, .. }
        | Self::TaskReceived { assignment, .. } = self
        {
            (assignment.project_id, assignment.task_id, None)
        } else if let Self::TaskDelegated { task_id, .. } = self {
            (None, Some(*task_id), None)
        } else if let Self::TaskStarted { task } | Self::TaskCompleted { task } | Self::TaskFailed { task } = self {
            (task.project_id, Some(task.id), None)
        } else if let Self::PageCreated { page } | Self::PageUpdated { page, .. } = self {
            (None, None, Some(page.id))
        } else if let Self::ContentChanged { content, .. } = self {
            (content.project_id, content.task_id, content.page_id)
        } else {
            (None, None, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_carries_the_name_and_reads_back() {
        let kind = EventKind::TerminalChanged {
            session_id: SessionId::generate(),
            status: "active".into(),
            login: Login::default(),
            drain: false,
        };
        let stored = serde_json::to_value(&kind).unwrap();
        assert_eq!(stored["name"], kind.name());
        assert!(serde_json::from_value::<EventKind>(stored).is_ok());
    }
}
