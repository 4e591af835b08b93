//! The activity feed as the REST API shows it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::time::Timestamp;
use crate::model::{
    activity::Activity as Row,
    ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId},
};

/// How many rows are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
}

/// One thing that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000007", "agentId": "scout", "workspaceId": "019a0000-0000-7000-8000-000000000001",
    "actorUserId": "019a0000-0000-7000-8000-000000000002", "activityType": "access_approved", "description": "Scout was approved",
    "metadata": {}, "projectId": null, "taskId": null, "pageId": null, "createdAt": "2026-01-02T03:04:05.678Z"
}))]
pub struct Activity {
    pub id: EventId,
    /// Absent for what concerns the workspace as a whole.
    #[schema(required)]
    pub agent_id: Option<AgentId>,
    pub workspace_id: WorkspaceId,
    /// The person behind it.
    #[schema(required)]
    pub actor_user_id: Option<UserId>,
    pub activity_type: String,
    #[schema(required)]
    pub description: Option<String>,
    pub metadata: Value,
    #[schema(required)]
    pub project_id: Option<ProjectId>,
    #[schema(required)]
    pub task_id: Option<TaskId>,
    #[schema(required)]
    pub page_id: Option<PageId>,
    pub created_at: Timestamp,
}

impl From<Row> for Activity {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            agent_id: row.agent,
            workspace_id: row.workspace,
            actor_user_id: row.actor,
            activity_type: row.activity_type,
            description: row.description,
            metadata: row.metadata,
            project_id: row.project,
            task_id: row.task,
            page_id: row.page,
            created_at: row.created_at.into(),
        }
    }
}
