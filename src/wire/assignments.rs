//! Assignments as the REST API and the tools show them (REST contract §2.0).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    assignment::{Assignment as Row, AssignmentRole, Target},
    ids::{AgentId, AssignmentId, ProjectId, TaskId, UserId, WorkspaceId},
};

/// Body that assigns an agent to a project.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"projectId": "019a0000-0000-7000-8000-000000000003", "role": "member"}))]
pub struct AssignProject {
    pub project_id: ProjectId,
    #[serde(default)]
    #[schema(inline)]
    pub role: Option<AssignmentRole>,
}

/// Body that assigns an agent to a task.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"taskId": "019a0000-0000-7000-8000-000000000004"}))]
pub struct AssignTask {
    pub task_id: TaskId,
}

/// An agent's place on a project or task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000007", "agentId": "scout", "workspaceId": "019a0000-0000-7000-8000-000000000001", "assignmentType": "project", "projectId": "019a0000-0000-7000-8000-000000000003", "taskId": null, "role": "member", "assignedAt": "2030-01-01T09:00:00.000Z", "assignedBy": "019a0000-0000-7000-8000-000000000002", "unassignedAt": null}))]
pub struct Assignment {
    pub id: AssignmentId,
    pub agent_id: AgentId,
    pub workspace_id: WorkspaceId,
    #[schema(value_type = String, example = "project")]
    pub assignment_type: &'static str,
    #[schema(required)]
    pub project_id: Option<ProjectId>,
    #[schema(required)]
    pub task_id: Option<TaskId>,
    pub role: AssignmentRole,
    pub assigned_at: Timestamp,
    #[schema(required)]
    pub assigned_by: Option<UserId>,
    #[schema(required)]
    pub unassigned_at: Option<Timestamp>,
}

impl From<&Row> for Assignment {
    fn from(assignment: &Row) -> Self {
        let (project_id, task_id) = match assignment.target {
            Target::Project(id) => (Some(id), None),
            Target::Task(id) => (None, Some(id)),
        };
        Self {
            id: assignment.id,
            agent_id: assignment.agent.clone(),
            workspace_id: assignment.workspace,
            assignment_type: assignment.target.kind(),
            project_id,
            task_id,
            role: assignment.role,
            assigned_at: assignment.assigned_at.into(),
            assigned_by: assignment.assigned_by,
            unassigned_at: assignment.unassigned_at.map(Into::into),
        }
    }
}
