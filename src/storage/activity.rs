//! Rows of `parallax_agent_activity`.

use chrono::{DateTime, Utc};
use sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Order, Query};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Conn, StorageError, filter};
use crate::model::{
    activity::Activity,
    event::ActivityNote,
    ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    agent_id: Option<String>,
    workspace_id: Uuid,
    actor_user_id: Option<Uuid>,
    activity_type: String,
    description: Option<String>,
    metadata: Value,
    project_id: Option<Uuid>,
    task_id: Option<Uuid>,
    page_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for Activity {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = StorageError::Corrupt { table: "parallax_agent_activity", column: "agent_id", id: row.id.to_string() };
        Ok(Self {
            id: EventId(row.id),
            agent: row.agent_id.map(|id| id.parse()).transpose().map_err(|_| corrupt)?,
            workspace: WorkspaceId(row.workspace_id),
            actor: row.actor_user_id.map(UserId),
            activity_type: row.activity_type,
            description: row.description,
            metadata: row.metadata,
            project: row.project_id.map(ProjectId),
            task: row.task_id.map(TaskId),
            page: row.page_id.map(PageId),
            created_at: row.created_at,
        })
    }
}

pub async fn insert(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: EventId,
    agent: Option<&AgentId>,
    actor: Option<UserId>,
    note: &ActivityNote,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO parallax_agent_activity (id, workspace_id, agent_id, actor_user_id, activity_type, description, metadata, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id.0,
        workspace.0,
        agent.map(AgentId::as_str),
        actor.map(|user| user.0),
        note.activity_type,
        note.description,
        note.metadata,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The feed of a workspace, or of one of its agents, newest first.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId, agent: Option<&AgentId>, limit: u64) -> Result<Vec<Activity>, StorageError> {
    let column = |name: &str| Expr::col(Alias::new(name));
    let mut query = Query::select();
    query
        .column(Asterisk)
        .from(Alias::new("parallax_agent_activity"))
        .and_where(column("workspace_id").eq(workspace.0))
        .order_by(Alias::new("created_at"), Order::Desc)
        .order_by(Alias::new("id"), Order::Desc)
        .limit(limit);
    if let Some(agent) = agent {
        query.and_where(column("agent_id").eq(agent.as_str()));
    }
    filter::fetch_all::<Row>(conn, &query).await?.into_iter().map(TryInto::try_into).collect()
}
