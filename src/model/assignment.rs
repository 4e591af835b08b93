//! An agent's place on a project or a task (REST contract §2.0).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{AgentId, AssignmentId, ProjectId, SpaceId, TaskId, UserId, WorkspaceId};

/// Active assignments of one agent at the most (REST contract §4.7).
pub const ASSIGNMENTS_PER_AGENT_MAX: u32 = 50;

/// What an agent is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Project(ProjectId),
    Task(TaskId),
}

impl Target {
    /// `project` or `task`, as columns and the wire say.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Task(_) => "task",
        }
    }
}

/// What an agent is on a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AssignmentRole {
    #[default]
    Member,
    Lead,
}

impl AssignmentRole {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Lead => "lead",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Member, Self::Lead].into_iter().find(|role| role.as_str() == text)
    }
}

/// One assignment.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub id: AssignmentId,
    pub agent: AgentId,
    pub workspace: WorkspaceId,
    pub target: Target,
    pub role: AssignmentRole,
    pub assigned_at: DateTime<Utc>,
    pub assigned_by: Option<UserId>,
    pub unassigned_at: Option<DateTime<Utc>>,
    /// Status of the task, for a task.
    pub task_status: Option<String>,
}

/// A project or task that agents may be assigned to, and the space that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub target: Target,
    pub space: SpaceId,
}

/// A task that agents can see.
#[derive(Clone, Copy, Debug)]
pub struct OpenTask {
    pub space: SpaceId,
    /// Whether agents may take it: what the task says, or else its project.
    pub is_live: bool,
}
