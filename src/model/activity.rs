//! One row of the activity feed (REST contract §2.0).

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId};

#[derive(Clone, Debug)]
pub struct Activity {
    pub id: EventId,
    pub agent: Option<AgentId>,
    pub workspace: WorkspaceId,
    pub actor: Option<UserId>,
    pub activity_type: String,
    pub description: Option<String>,
    pub metadata: Value,
    pub project: Option<ProjectId>,
    pub task: Option<TaskId>,
    pub page: Option<PageId>,
    pub created_at: DateTime<Utc>,
}
