//! An agent's place on a project or a task (REST contract §2.0).

use chrono::{DateTime, Utc};

use super::ids::{AgentId, AssignmentId, ProjectId, TaskId, UserId, WorkspaceId};

/// What an agent is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Project(ProjectId),
    Task(TaskId),
}

/// One assignment.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub id: AssignmentId,
    pub agent: AgentId,
    pub workspace: WorkspaceId,
    pub target: Target,
    pub role: String,
    pub assigned_at: DateTime<Utc>,
    pub assigned_by: Option<UserId>,
    pub unassigned_at: Option<DateTime<Utc>>,
    /// Status of the task, for a task.
    pub task_status: Option<String>,
}
