//! Rows of `tasks`. Every query is limited to the account's workspace, its spaces and, for agents, to what is not
//! kept from them (D-40).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    account::{Account, Author},
    ids::{PageId, ProjectId, SpaceId, TaskId},
    space::{PageRequest, SpaceRole},
    task::{Task, TaskBucket, TaskFilter, TaskPriority, TaskStatus, Triage},
};

struct Row {
    id: Uuid,
    title: String,
    description: Option<String>,
    status: String,
    priority: String,
    bucket: String,
    position: Option<String>,
    due_date: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    estimated_time: Option<i32>,
    project_id: Option<Uuid>,
    project_name: Option<String>,
    parent_task_id: Option<Uuid>,
    parent_title: Option<String>,
    page_id: Option<Uuid>,
    space_id: Uuid,
    creator_id: Option<Uuid>,
    creator_name: Option<String>,
    creator_avatar: Option<String>,
    assignee_id: Option<Uuid>,
    assignee_name: Option<String>,
    assignee_avatar: Option<String>,
    agent_live: bool,
    agent_accessible: Option<bool>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    total: i64,
}

impl From<Row> for Task {
    fn from(row: Row) -> Self {
        Self {
            id: TaskId(row.id),
            title: row.title,
            description: row.description,
            status: TaskStatus::from_column(&row.status),
            priority: TaskPriority::from_column(&row.priority),
            bucket: TaskBucket::from_column(&row.bucket),
            position: row.position,
            due_at: row.due_date,
            completed_at: row.completed_at,
            estimate_minutes: row.estimated_time,
            project: row.project_id.map(ProjectId),
            project_name: row.project_name,
            parent: row.parent_task_id.map(TaskId),
            parent_title: row.parent_title,
            page: row.page_id.map(PageId),
            space: SpaceId(row.space_id),
            creator: Author::joined(row.creator_id, row.creator_name, row.creator_avatar),
            assignee: Author::joined(row.assignee_id, row.assignee_name, row.assignee_avatar),
            agent_live: row.agent_live,
            agent_accessible: row.agent_accessible,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Finds a task and keeps everyone else from changing it until the transaction ends; says what the account may do in
/// its space.
pub async fn lock(conn: &mut Conn, account: &Account, id: TaskId) -> Result<Option<SpaceRole>, StorageError> {
    let role = sqlx::query_scalar!(
        r#"SELECT a.role AS "role!" FROM tasks t JOIN account_spaces($2) a ON a.space_id = t.space_id
           LEFT JOIN projects p ON p.id = t.project_id
           WHERE t.workspace_id = $1 AND t.id = $4 AND t.deleted_at IS NULL AND p.deleted_at IS NULL
             AND (NOT $3 OR t.agent_accessible IS NOT FALSE) FOR NO KEY UPDATE OF t"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(role.map(|role| SpaceRole::from_column(&role)))
}

/// A task with whom and what it names.
pub async fn find(conn: &mut Conn, account: &Account, id: TaskId) -> Result<Option<Task>, StorageError> {
    let one = PageRequest { page: 1, limit: 1, query: None };
    let (found, _) = select(conn, account, Some(id), &TaskFilter::default(), &one).await?;
    Ok(found.into_iter().next())
}

/// Tasks that fit, in their order, and how many there are in all.
pub async fn list(conn: &mut Conn, account: &Account, filter: &TaskFilter, page: &PageRequest) -> Result<(Vec<Task>, i64), StorageError> {
    let (found, total) = select(conn, account, None, filter, page).await?;
    if found.is_empty() && page.page > 1 {
        // Behind the last page the rows that would tell the number are missing.
        let first = PageRequest { page: 1, limit: 1, query: page.query.clone() };
        return Ok((found, select(conn, account, None, filter, &first).await?.1));
    }
    Ok((found, total))
}

async fn select(
    conn: &mut Conn,
    account: &Account,
    id: Option<TaskId>,
    filter: &TaskFilter,
    page: &PageRequest,
) -> Result<(Vec<Task>, i64), StorageError> {
    let statuses: Vec<String> = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
    // A parent or project that the account must not see is left out of what is told of the task.
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT t.id, t.title, t.description, t.status::text AS "status!", t.priority::text AS "priority!", t.bucket::text AS "bucket!",
                  t.position, t.due_date, t.completed_at, t.estimated_time, t.project_id, p.name AS "project_name?",
                  parent.id AS "parent_task_id?", parent.title AS "parent_title?", page.id AS "page_id?", t.space_id,
                  c.id AS "creator_id?", c.name AS creator_name, c.avatar_url AS creator_avatar,
                  u.id AS "assignee_id?", u.name AS assignee_name, u.avatar_url AS assignee_avatar,
                  coalesce(t.agent_live, p.agent_live, false) AS "agent_live!", t.agent_accessible, t.created_at, t.updated_at,
                  count(*) OVER () AS "total!"
           FROM tasks t
           LEFT JOIN projects p ON p.id = t.project_id
           LEFT JOIN tasks parent ON parent.id = t.parent_task_id AND parent.deleted_at IS NULL AND parent.space_id = t.space_id
                                 AND (NOT $3 OR parent.agent_accessible IS NOT FALSE)
           LEFT JOIN pages page ON page.id = t.page_id AND page.deleted_at IS NULL AND (NOT $3 OR page.agent_accessible IS NOT FALSE)
                               AND page.space_id IN (SELECT space_id FROM account_spaces($2))
           LEFT JOIN users c ON c.id = t.creator_id LEFT JOIN users u ON u.id = t.assignee_id
           WHERE t.workspace_id = $1 AND t.deleted_at IS NULL AND p.deleted_at IS NULL
             AND t.space_id IN (SELECT space_id FROM account_spaces($2)) AND (NOT $3 OR t.agent_accessible IS NOT FALSE)
             AND ($4::uuid IS NULL OR t.id = $4) AND ($5::uuid IS NULL OR t.space_id = $5) AND ($6::uuid IS NULL OR t.project_id = $6)
             AND (cardinality($7::text[]) = 0 OR t.status::text = ANY ($7)) AND ($8::uuid IS NULL OR t.assignee_id = $8)
             AND ($9::text IS NULL OR t.bucket::text = $9)
             AND ($10::text IS NULL OR position(lower($10) in lower(t.title)) > 0)
           ORDER BY t.position COLLATE "C" NULLS LAST, t.created_at DESC, t.id DESC LIMIT $11 OFFSET $12"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id.map(|id| id.0),
        filter.space.map(|space| space.0),
        filter.project.map(|project| project.0),
        &statuses,
        filter.assignee.map(|user| user.0),
        filter.bucket.map(TaskBucket::as_str),
        page.query,
        page.limit,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    Ok((rows.into_iter().map(Into::into).collect(), total))
}

/// How many tasks of a space, or of all of the account's, wait for what. Days are those of UTC.
pub async fn triage(conn: &mut Conn, account: &Account, space: Option<SpaceId>, now: DateTime<Utc>) -> Result<Triage, StorageError> {
    let counts = sqlx::query_as!(
        Triage,
        r#"SELECT count(*) FILTER (WHERE t.bucket = 'inbox') AS "inbox!", count(*) FILTER (WHERE t.bucket = 'waiting') AS "waiting!",
                  count(*) FILTER (WHERE t.bucket = 'someday') AS "someday!",
                  count(*) FILTER (WHERE t.due_date < date_trunc('day', $5, 'UTC')) AS "overdue!",
                  count(*) FILTER (WHERE t.due_date >= date_trunc('day', $5, 'UTC')
                                     AND t.due_date < date_trunc('day', $5, 'UTC') + interval '1 day') AS "due_today!",
                  count(*) FILTER (WHERE t.status = 'blocked') AS "blocked!", count(*) FILTER (WHERE t.assignee_id IS NULL) AS "unassigned!",
                  count(*) AS "open!"
           FROM tasks t LEFT JOIN projects p ON p.id = t.project_id
           WHERE t.workspace_id = $1 AND t.deleted_at IS NULL AND p.deleted_at IS NULL
             AND t.space_id IN (SELECT space_id FROM account_spaces($2)) AND (NOT $3 OR t.agent_accessible IS NOT FALSE)
             AND ($4::uuid IS NULL OR t.space_id = $4) AND t.status <> 'done' AND NOT t.is_completed"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        space.map(|space| space.0),
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(counts)
}

/// The greatest position among the tasks of a project, or of a space's tasks without one.
pub async fn last_position(conn: &mut Conn, space: SpaceId, project: Option<ProjectId>) -> Result<Option<String>, StorageError> {
    let last = sqlx::query_scalar!(
        r#"SELECT max(position COLLATE "C") FROM tasks WHERE space_id = $1 AND project_id IS NOT DISTINCT FROM $2"#,
        space.0,
        project.map(|project| project.0)
    )
    .fetch_one(conn)
    .await?;
    Ok(last)
}

/// Adds a task.
pub async fn insert(conn: &mut Conn, account: &Account, task: &Task) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO tasks (id, title, description, status, priority, bucket, position, due_date, is_completed, completed_at, estimated_time,
                            project_id, parent_task_id, page_id, creator_id, assignee_id, space_id, workspace_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4::text::task_status, $5::text::task_priority, $6::text::task_bucket, $7, $8, $9::timestamptz IS NOT NULL, $9, $10,
                 $11, $12, $13, $14, $15, $16, $17, $18, $18)",
        task.id.0,
        task.title,
        task.description,
        task.status.as_str(),
        task.priority.as_str(),
        task.bucket.as_str(),
        task.position,
        task.due_at,
        task.completed_at,
        task.estimate_minutes,
        task.project.map(|project| project.0),
        task.parent.map(|parent| parent.0),
        task.page.map(|page| page.0),
        account.user.0,
        task.assignee.as_ref().map(|assignee| assignee.id.0),
        task.space.0,
        account.workspace.0,
        task.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes a task that this transaction has locked. What it points to stays as it is, unless it is told anew: the
/// account may not have been shown all of it.
pub async fn save(
    conn: &mut Conn,
    account: &Account,
    task: &Task,
    page: Option<Option<PageId>>,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE tasks
         SET title = $3, description = $4, status = $5::text::task_status, priority = $6::text::task_priority,
             bucket = $7::text::task_bucket, position = $8, due_date = $9, is_completed = $10::timestamptz IS NOT NULL, completed_at = $10,
             estimated_time = $11, project_id = $12, page_id = CASE WHEN $13 THEN $14 ELSE page_id END, assignee_id = $15, space_id = $16,
             agent_accessible = $17, updated_at = $18
         WHERE workspace_id = $1 AND id = $2",
        account.workspace.0,
        task.id.0,
        task.title,
        task.description,
        task.status.as_str(),
        task.priority.as_str(),
        task.bucket.as_str(),
        task.position,
        task.due_at,
        task.completed_at,
        task.estimate_minutes,
        task.project.map(|project| project.0),
        page.is_some(),
        page.flatten().map(|page| page.0),
        task.assignee.as_ref().map(|assignee| assignee.id.0),
        task.space.0,
        task.agent_accessible,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether agents may take a task up; `None` is as its project says.
pub async fn set_agent_live(conn: &mut Conn, account: &Account, id: TaskId, live: Option<bool>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE tasks SET agent_live = $3 WHERE workspace_id = $1 AND id = $2", account.workspace.0, id.0, live)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes a task, softly.
pub async fn delete(conn: &mut Conn, account: &Account, id: TaskId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE tasks SET deleted_at = $3, updated_at = $3 WHERE workspace_id = $1 AND id = $2", account.workspace.0, id.0, at)
        .execute(conn)
        .await?;
    Ok(())
}
