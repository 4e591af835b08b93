//! The activity feed (REST contract §2.0) and its daily counts.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use super::{
    cursor::Cursor,
    ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId},
};

/// One row of the feed.
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

impl Activity {
    /// This row's place in the feed.
    #[must_use]
    pub fn cursor(&self) -> Cursor<EventId> {
        Cursor { at: self.created_at, id: self.id }
    }
}

/// How often something happened on one day (UTC).
#[derive(Clone, Debug)]
pub struct DailyActivity {
    pub date: NaiveDate,
    pub agent: Option<AgentId>,
    pub activity_type: String,
    pub count: i32,
}
