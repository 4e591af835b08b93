//! The activity feed as the REST API shows it.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{input, problem::Problem, time::Timestamp};
use crate::model::{
    activity::{Activity as Row, DailyActivity as DailyRow},
    cursor::{self, Cursor},
    ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId},
};

/// Which rows of the feed are wanted. All conditions must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct ActivityQuery {
    /// 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `nextCursor` of an earlier answer: rows that are older than its last.
    pub cursor: Option<String>,
    /// Comma-separated activity types, such as `access_approved,access_revoked`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    pub activity_type: Option<String>,
    /// Rows of this agent only.
    pub agent_id: Option<String>,
    /// From this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// Types that one filter may name.
const TYPES_MAX: usize = 50;

impl ActivityQuery {
    /// The limit and the conditions.
    ///
    /// Errors: a parameter that breaks a rule.
    pub fn read(self, default_limit: u64) -> Result<(u64, ActivityConditions), Problem> {
        let limit = input::limit(self.limit, default_limit)?;
        let after = self.cursor.map(|text| text.parse::<Cursor<EventId>>()).transpose();
        let after = after.map_err(|error| Problem::invalid("cursor", &error.to_string()))?;
        let agent = self.agent_id.map(|id| id.parse::<AgentId>()).transpose();
        let agent = agent.map_err(|error| Problem::invalid("agentId", &error.to_string()))?;
        let types = self.activity_type.unwrap_or_default();
        let activity_types: Vec<String> = types.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if activity_types.len() > TYPES_MAX {
            return Err(Problem::invalid("type", "must name at most 50 types"));
        }
        Ok((limit, ActivityConditions { after, agent, activity_types, since: self.since, until: self.until }))
    }
}

/// What an [`ActivityQuery`] asks for.
pub struct ActivityConditions {
    pub after: Option<Cursor<EventId>>,
    pub agent: Option<AgentId>,
    pub activity_types: Vec<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// One page of the feed in its envelope, with the cursor beside it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"data": [{"id": "019a0000-0000-7000-8000-000000000006", "agentId": "scout", "workspaceId": "019a0000-0000-7000-8000-000000000001", "actorUserId": "019a0000-0000-7000-8000-000000000002", "activityType": "access_approved", "description": "Scout was approved", "metadata": {"agentName": "Scout"}, "projectId": null, "taskId": null, "pageId": null, "createdAt": "2030-01-01T09:00:00.000Z"}], "success": true, "status": 200, "nextCursor": null}))]
pub struct ActivityPage {
    pub data: Vec<Activity>,
    pub success: bool,
    pub status: u16,
    /// For the rows after these; null when there are none.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl ActivityPage {
    /// Rows that were asked for with one more than `limit`, to know whether there are more.
    #[must_use]
    pub fn of(rows: Vec<Row>, limit: u64) -> Self {
        let (rows, next) = cursor::page(rows, limit, Row::cursor);
        let next_cursor = next.map(|next| next.to_string());
        Self { data: rows.into_iter().map(Into::into).collect(), success: true, status: 200, next_cursor }
    }
}

impl IntoResponse for ActivityPage {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// How many rows are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
}

/// Which daily counts are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct DailyQuery {
    /// How many days back, 1 to 366; 30 when absent.
    #[param(minimum = 1, maximum = 366)]
    pub days: Option<i64>,
    /// Counts of this agent only.
    pub agent_id: Option<String>,
}

/// How often something happened on one day (UTC).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"date": "2030-01-01", "agentId": "scout", "activityType": "tool_executed", "count": 12}))]
pub struct DailyActivity {
    /// `YYYY-MM-DD`.
    #[schema(value_type = String, format = Date, example = "2030-01-01")]
    pub date: NaiveDate,
    #[schema(required)]
    pub agent_id: Option<AgentId>,
    pub activity_type: String,
    pub count: i32,
}

impl From<DailyRow> for DailyActivity {
    fn from(row: DailyRow) -> Self {
        Self { date: row.date, agent_id: row.agent, activity_type: row.activity_type, count: row.count }
    }
}

/// The newest rows of one agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"activities": [{"id": "019a0000-0000-7000-8000-000000000006", "activityType": "access_approved", "description": "Scout was approved", "metadata": {"agentName": "Scout"}, "createdAt": "2030-01-01T09:00:00.000Z"}]}))]
pub struct RecentActivities {
    pub activities: Vec<RecentActivity>,
}

/// One row, as the watch panel reads it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000006", "activityType": "access_approved", "description": "Scout was approved", "metadata": {"agentName": "Scout"}, "createdAt": "2030-01-01T09:00:00.000Z"}))]
pub struct RecentActivity {
    pub id: EventId,
    pub activity_type: String,
    #[schema(required)]
    pub description: Option<String>,
    pub metadata: Value,
    pub created_at: Timestamp,
}

impl From<Row> for RecentActivity {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            activity_type: row.activity_type,
            description: row.description,
            metadata: row.metadata,
            created_at: row.created_at.into(),
        }
    }
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
