//! Rows of `parallax_agent_activity`.

use chrono::{DateTime, NaiveDate, Utc};
use sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Order, Query, any};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Conn, StorageError, filter};
use crate::model::{
    activity::{Activity, DailyActivity},
    cursor::Cursor,
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
        "INSERT INTO parallax_agent_activity (id, workspace_id, agent_id, actor_user_id, activity_type, description, metadata, project_id,
                                              task_id, page_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        id.0,
        workspace.0,
        agent.map(AgentId::as_str),
        actor.map(|user| user.0),
        note.activity_type.as_ref(),
        note.description,
        note.metadata,
        note.project.map(|id| id.0),
        note.task.map(|id| id.0),
        note.page.map(|id| id.0),
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which of these is not there for an agent: in another workspace, in a space that its account does not belong to, or kept
/// from agents. `None` when all are there.
pub async fn missing_subject(
    conn: &mut Conn,
    workspace: WorkspaceId,
    account: UserId,
    project: Option<ProjectId>,
    task: Option<TaskId>,
    page: Option<PageId>,
) -> Result<Option<&'static str>, StorageError> {
    let found = sqlx::query!(
        r#"WITH mine AS (SELECT space_id FROM account_spaces($5))
           SELECT
            ($2::uuid IS NULL OR EXISTS (SELECT 1 FROM projects WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL
                                                              AND space_id IN (SELECT space_id FROM mine))) AS "project!",
            ($3::uuid IS NULL OR EXISTS (SELECT 1 FROM tasks WHERE workspace_id = $1 AND id = $3 AND deleted_at IS NULL
                                                              AND space_id IN (SELECT space_id FROM mine)
                                                              AND agent_accessible IS NOT FALSE)) AS "task!",
            ($4::uuid IS NULL OR EXISTS (SELECT 1 FROM pages WHERE workspace_id = $1 AND id = $4 AND deleted_at IS NULL
                                                              AND space_id IN (SELECT space_id FROM mine)
                                                              AND agent_accessible IS NOT FALSE)) AS "page!""#,
        workspace.0,
        project.map(|id| id.0),
        task.map(|id| id.0),
        page.map(|id| id.0),
        account.0
    )
    .fetch_one(conn)
    .await?;
    Ok([(found.project, "project"), (found.task, "task"), (found.page, "page")].into_iter().find(|(there, _)| !there).map(|(_, what)| what))
}

/// A row that is to be added.
pub struct NewRow {
    pub id: EventId,
    pub workspace: WorkspaceId,
    pub agent: Option<AgentId>,
    pub actor: UserId,
    pub note: ActivityNote,
    pub at: DateTime<Utc>,
}

/// Adds rows with one statement. What was deleted since it happened is left out: a row of a workspace that is
/// gone, and the account of one that is.
pub async fn insert_many(conn: &mut Conn, rows: &[NewRow]) -> Result<(), StorageError> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id.0).collect();
    let workspaces: Vec<Uuid> = rows.iter().map(|row| row.workspace.0).collect();
    let agents: Vec<Option<&str>> = rows.iter().map(|row| row.agent.as_ref().map(AgentId::as_str)).collect();
    let actors: Vec<Uuid> = rows.iter().map(|row| row.actor.0).collect();
    let types: Vec<&str> = rows.iter().map(|row| row.note.activity_type.as_ref()).collect();
    let descriptions: Vec<&str> = rows.iter().map(|row| row.note.description.as_str()).collect();
    let metadata: Vec<Value> = rows.iter().map(|row| row.note.metadata.clone()).collect();
    let times: Vec<DateTime<Utc>> = rows.iter().map(|row| row.at).collect();
    sqlx::query!(
        "INSERT INTO parallax_agent_activity (id, workspace_id, agent_id, actor_user_id, activity_type, description, metadata, created_at)
         SELECT n.id, n.workspace_id, n.agent_id, u.id, n.activity_type, n.description, n.metadata, n.created_at
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::timestamptz[])
              AS n (id, workspace_id, agent_id, actor, activity_type, description, metadata, created_at)
         JOIN workspaces w ON w.id = n.workspace_id
         LEFT JOIN users u ON u.id = n.actor",
        &ids,
        &workspaces,
        &agents as &[Option<&str>],
        &actors,
        &types as &[&str],
        &descriptions as &[&str],
        &metadata,
        &times
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which rows of the feed are wanted. All conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct ActivityFilter {
    pub agent: Option<AgentId>,
    /// Rows of the project itself and of its tasks.
    pub project: Option<ProjectId>,
    pub activity_types: Vec<String>,
    /// From this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
    /// Rows that come after this one in the feed, which are older.
    pub after: Option<Cursor<EventId>>,
}

/// The feed of a workspace, newest first.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId, filter: &ActivityFilter, limit: u64) -> Result<Vec<Activity>, StorageError> {
    let column = |name: &str| Expr::col(Alias::new(name));
    let mut query = Query::select();
    query
        .column(Asterisk)
        .from(Alias::new("parallax_agent_activity"))
        .and_where(column("workspace_id").eq(workspace.0))
        .order_by(Alias::new("created_at"), Order::Desc)
        .order_by(Alias::new("id"), Order::Desc)
        .limit(limit);
    if let Some(agent) = &filter.agent {
        query.and_where(column("agent_id").eq(agent.as_str()));
    }
    if let Some(project) = filter.project {
        let mut tasks = Query::select();
        tasks.column(Alias::new("id")).from(Alias::new("tasks")).and_where(column("project_id").eq(project.0));
        query.cond_where(any![column("project_id").eq(project.0), column("task_id").in_subquery(tasks)]);
    }
    if !filter.activity_types.is_empty() {
        query.and_where(column("activity_type").is_in(filter.activity_types.iter().map(String::as_str)));
    }
    if let Some(since) = filter.since {
        query.and_where(column("created_at").gte(since));
    }
    if let Some(until) = filter.until {
        query.and_where(column("created_at").lt(until));
    }
    if let Some(Cursor { at, id }) = filter.after {
        let row = Expr::tuple([column("created_at"), column("id")]);
        query.and_where(row.lt(Expr::tuple([Expr::val(at), Expr::val(id.0)])));
    }
    filter::fetch_all::<Row>(conn, &query).await?.into_iter().map(TryInto::try_into).collect()
}

/// Counts of one day.
pub async fn daily(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: Option<&AgentId>,
    since: NaiveDate,
    limit: i64,
) -> Result<Vec<DailyActivity>, StorageError> {
    let rows = sqlx::query!(
        "SELECT agent_id, activity_date, activity_type, count FROM parallax_agent_activity_daily
         WHERE workspace_id = $1 AND ($2::varchar IS NULL OR agent_id = $2) AND activity_date >= $3
         ORDER BY activity_date DESC, agent_id NULLS FIRST, activity_type LIMIT $4",
        workspace.0,
        agent.map(AgentId::as_str),
        since,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let agent = row.agent_id.map(|id| id.parse()).transpose();
            let corrupt =
                StorageError::Corrupt { table: "parallax_agent_activity_daily", column: "agent_id", id: row.activity_date.to_string() };
            Ok(DailyActivity {
                agent: agent.map_err(|_| corrupt)?,
                date: row.activity_date,
                activity_type: row.activity_type,
                count: row.count,
            })
        })
        .collect()
}

/// Counts the rows of every day (in UTC) from the last one that was counted on, and all rows before
/// `purged`, which are about to go: one that came late is counted too. Counting a day again gives the
/// same; one whose rows are partly gone keeps its count. Returns the number of counts written.
pub async fn roll_up(conn: &mut Conn, purged: Option<DateTime<Utc>>) -> Result<u64, StorageError> {
    let written = sqlx::query!(
        "WITH counted AS (
             SELECT workspace_id, agent_id, (created_at AT TIME ZONE 'UTC')::date AS activity_date, activity_type, count(*)::int AS count,
                    max(created_at) AS latest
             FROM parallax_agent_activity
             WHERE created_at >= coalesce((SELECT max(activity_date) FROM parallax_agent_activity_daily)::timestamp AT TIME ZONE 'UTC', '-infinity')
                OR created_at < $1
             GROUP BY 1, 2, 3, 4)
         INSERT INTO parallax_agent_activity_daily (workspace_id, agent_id, activity_date, activity_type, count, sample_metadata)
         SELECT c.workspace_id, c.agent_id, c.activity_date, c.activity_type, c.count,
                (SELECT jsonb_build_array(a.metadata) FROM parallax_agent_activity a
                 WHERE a.created_at = c.latest AND a.workspace_id = c.workspace_id AND a.agent_id IS NOT DISTINCT FROM c.agent_id
                   AND a.activity_type = c.activity_type LIMIT 1)
         FROM counted c
         ON CONFLICT ON CONSTRAINT parallax_agent_activity_daily_unique
         DO UPDATE SET count = greatest(parallax_agent_activity_daily.count, excluded.count), sample_metadata = excluded.sample_metadata",
        purged
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected())
}

/// Deletes up to `limit` rows older than `before`; returns how many.
pub async fn purge(conn: &mut Conn, before: DateTime<Utc>, limit: i64) -> Result<u64, StorageError> {
    let deleted = sqlx::query!(
        "DELETE FROM parallax_agent_activity WHERE id IN (SELECT id FROM parallax_agent_activity WHERE created_at < $1 LIMIT $2)",
        before,
        limit
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Deletes counts of days before `before`; returns how many.
pub async fn purge_daily(conn: &mut Conn, before: NaiveDate) -> Result<u64, StorageError> {
    let deleted = sqlx::query!("DELETE FROM parallax_agent_activity_daily WHERE activity_date < $1", before).execute(conn).await?;
    Ok(deleted.rows_affected())
}
