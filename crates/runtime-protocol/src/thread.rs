//! Managed threads: an agent together with the objective that it works on (runtime contract §11).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AgentStatus, ContextFile};

/// Body of `POST /api/threads`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub execution_id: String,
    pub agent_type: String,
    pub name: String,
    /// What the agent is told first.
    pub objective: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the agent works: `path` is its folder, the other members are kept as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Map<String, Value>>,
    #[serde(default)]
    pub env: HashMap<String, String>,
    #[serde(default)]
    pub context_files: Vec<ContextFile>,
    /// How much the agent may do without asking: `readonly`, `standard`, `permissive` or `autonomous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_preset: Option<String>,
    /// What a control plane made ready beforehand; its members take the place of those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<ThreadPreparation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The members of a thread's request that its preparation can replace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadPreparation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<HashMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_files: Option<Vec<ContextFile>>,
}

/// What a runtime says of one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadHandle {
    pub id: String,
    pub execution_id: String,
    pub runtime_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    pub agent_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub status: ThreadStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Map<String, Value>>,
    pub objective: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Reply to `GET /api/threads`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ThreadList {
    pub threads: Vec<ThreadHandle>,
    #[serde(default)]
    pub count: usize,
}

/// Where a thread stands. Ours sends neither `preparing`, `idle`, `waiting` nor `completed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadStatus {
    Pending,
    Preparing,
    Starting,
    Ready,
    Running,
    Blocked,
    Idle,
    Waiting,
    Completed,
    Failed,
    Stopped,
}

impl From<AgentStatus> for ThreadStatus {
    fn from(status: AgentStatus) -> Self {
        match status {
            AgentStatus::Pending => Self::Pending,
            AgentStatus::Starting | AgentStatus::Authenticating => Self::Starting,
            AgentStatus::Ready => Self::Ready,
            AgentStatus::Busy => Self::Running,
            AgentStatus::Stopping | AgentStatus::Stopped => Self::Stopped,
            AgentStatus::Error => Self::Failed,
        }
    }
}

/// The member `event` of a `thread_event`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadEvent {
    pub thread_id: String,
    pub execution_id: String,
    #[serde(rename = "type")]
    pub kind: ThreadEventType,
    pub timestamp: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// What can happen to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThreadEventType {
    #[serde(rename = "thread_started")]
    Started,
    #[serde(rename = "thread_ready")]
    Ready,
    #[serde(rename = "thread_output")]
    Output,
    #[serde(rename = "thread_turn_complete")]
    TurnComplete,
    #[serde(rename = "thread_blocked")]
    Blocked,
    #[serde(rename = "thread_auth_required")]
    AuthRequired,
    #[serde(rename = "thread_stopped")]
    Stopped,
    #[serde(rename = "thread_failed")]
    Failed,
}
