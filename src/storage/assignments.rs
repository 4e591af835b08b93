//! Rows of `parallax_agent_assignments`, and the projects and tasks that they point to.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    actor::AgentCaller,
    assignment::{Assignment, AssignmentRole, OpenTask, Place, Target},
    ids::{AgentId, AssignmentId, ProjectId, SpaceId, TaskId, UserId, WorkspaceId},
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    agent_id: String,
    project_id: Option<Uuid>,
    task_id: Option<Uuid>,
    role: String,
    assigned_at: DateTime<Utc>,
    assigned_by: Option<Uuid>,
    unassigned_at: Option<DateTime<Utc>>,
    task_status: Option<String>,
}

impl TryFrom<Row> for Assignment {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "parallax_agent_assignments", column, id: row.id.to_string() };
        let target = match (row.project_id, row.task_id) {
            (Some(project), None) => Target::Project(ProjectId(project)),
            (None, Some(task)) => Target::Task(TaskId(task)),
            (Some(_), Some(_)) | (None, None) => return Err(corrupt("project_id")),
        };
        Ok(Self {
            id: AssignmentId(row.id),
            agent: row.agent_id.parse().map_err(|_| corrupt("agent_id"))?,
            workspace: WorkspaceId(row.workspace_id),
            target,
            role: AssignmentRole::parse(&row.role).ok_or_else(|| corrupt("role"))?,
            assigned_at: row.assigned_at,
            assigned_by: row.assigned_by.map(UserId),
            unassigned_at: row.unassigned_at,
            task_status: row.task_status,
        })
    }
}

/// Active assignments of an agent, newest first.
pub async fn active_of_agent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    limit: i64,
) -> Result<Vec<Assignment>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT x.id, x.workspace_id, x.agent_id, x.project_id, x.task_id, x.role, x.assigned_at, x.assigned_by, x.unassigned_at,
                  t.status::text AS task_status
           FROM parallax_agent_assignments x LEFT JOIN tasks t ON t.id = x.task_id AND t.deleted_at IS NULL
           WHERE x.workspace_id = $1 AND x.agent_id = $2 AND x.unassigned_at IS NULL
           ORDER BY x.assigned_at DESC, x.id DESC LIMIT $3"#,
        workspace.0,
        agent.as_str(),
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// As [`active_of_agent`], as far as the agent may know of what it is assigned to: what is deleted or kept from agents is left
/// out (D-40). What people assign it to in a space without it is told, since only they can let it in.
pub async fn active_of_caller(conn: &mut Conn, by: &AgentCaller, limit: i64) -> Result<Vec<Assignment>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT x.id, x.workspace_id, x.agent_id, x.project_id, x.task_id, x.role, x.assigned_at, x.assigned_by, x.unassigned_at,
                  t.status::text AS task_status
           FROM parallax_agent_assignments x LEFT JOIN tasks t ON t.id = x.task_id
           LEFT JOIN projects p ON p.id = coalesce(x.project_id, t.project_id)
           WHERE x.workspace_id = $1 AND x.agent_id = $2 AND x.unassigned_at IS NULL
             AND t.deleted_at IS NULL AND p.deleted_at IS NULL AND t.agent_accessible IS NOT FALSE
           ORDER BY x.assigned_at DESC, x.id DESC LIMIT $3"#,
        by.workspace.0,
        by.agent.as_str(),
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// An assignment, active or not, kept from being ended by anybody else until the transaction ends.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: AssignmentId) -> Result<Option<Assignment>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, workspace_id, agent_id, project_id, task_id, role, assigned_at, assigned_by, unassigned_at, NULL::text AS task_status
           FROM parallax_agent_assignments WHERE workspace_id = $1 AND id = $2 FOR UPDATE"#,
        workspace.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// A project or task of the workspace that is not deleted. Assigning to a project makes others who
/// would do so wait, so that its limit holds.
pub async fn lock_place(conn: &mut Conn, workspace: WorkspaceId, target: Target) -> Result<Option<Place>, StorageError> {
    let space = match target {
        Target::Project(id) => {
            let query = sqlx::query_scalar!(
                "SELECT p.space_id FROM projects p JOIN spaces s ON s.id = p.space_id
                 WHERE p.workspace_id = $1 AND p.id = $2 AND p.deleted_at IS NULL AND s.deleted_at IS NULL FOR NO KEY UPDATE OF p",
                workspace.0,
                id.0
            );
            query.fetch_optional(conn).await?
        }
        Target::Task(_) => return place(conn, workspace, target).await,
    };
    Ok(space.map(|space| Place { target, space: SpaceId(space) }))
}

/// A project or task of the workspace that is not deleted.
pub async fn place(conn: &mut Conn, workspace: WorkspaceId, target: Target) -> Result<Option<Place>, StorageError> {
    let space = match target {
        Target::Project(id) => {
            let query = sqlx::query_scalar!(
                "SELECT p.space_id FROM projects p JOIN spaces s ON s.id = p.space_id
                 WHERE p.workspace_id = $1 AND p.id = $2 AND p.deleted_at IS NULL AND s.deleted_at IS NULL",
                workspace.0,
                id.0
            );
            query.fetch_optional(conn).await?
        }
        Target::Task(id) => {
            let query = sqlx::query_scalar!(
                "SELECT t.space_id FROM tasks t JOIN spaces s ON s.id = t.space_id LEFT JOIN projects p ON p.id = t.project_id
                 WHERE t.workspace_id = $1 AND t.id = $2 AND t.deleted_at IS NULL AND p.deleted_at IS NULL AND s.deleted_at IS NULL",
                workspace.0,
                id.0
            );
            query.fetch_optional(conn).await?
        }
    };
    Ok(space.map(|space| Place { target, space: SpaceId(space) }))
}

/// A task of the workspace that is not deleted and that agents can see, kept from everybody else who would put an
/// agent on it until the transaction ends.
pub async fn lock_open_task(conn: &mut Conn, workspace: WorkspaceId, task: TaskId) -> Result<Option<OpenTask>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT t.space_id, coalesce(t.agent_live, p.agent_live, false) AS "is_live!"
           FROM tasks t JOIN spaces s ON s.id = t.space_id LEFT JOIN projects p ON p.id = t.project_id
           WHERE t.workspace_id = $1 AND t.id = $2 AND t.deleted_at IS NULL AND p.deleted_at IS NULL AND s.deleted_at IS NULL
             AND coalesce(t.agent_accessible, true)
           FOR NO KEY UPDATE OF t"#,
        workspace.0,
        task.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| OpenTask { space: SpaceId(row.space_id), is_live: row.is_live }))
}

/// An agent that works on a task, if one does.
pub async fn agent_on_task(conn: &mut Conn, workspace: WorkspaceId, task: TaskId) -> Result<Option<AgentId>, StorageError> {
    let agent = sqlx::query_scalar!(
        "SELECT agent_id FROM parallax_agent_assignments WHERE workspace_id = $1 AND task_id = $2 AND unassigned_at IS NULL
         ORDER BY assigned_at LIMIT 1",
        workspace.0,
        task.0
    )
    .fetch_optional(conn)
    .await?;
    let corrupt = |id: &str| StorageError::Corrupt { table: "parallax_agent_assignments", column: "agent_id", id: id.to_owned() };
    agent.map(|id| id.parse().map_err(|_| corrupt(&id))).transpose()
}

/// Ends an agent's assignment to a task, if it has one.
pub async fn end_on_task(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    task: TaskId,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE parallax_agent_assignments SET unassigned_at = $4
         WHERE workspace_id = $1 AND agent_id = $2 AND task_id = $3 AND unassigned_at IS NULL",
        workspace.0,
        agent.as_str(),
        task.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The number of agents that are on a project.
pub async fn count_on_project(conn: &mut Conn, workspace: WorkspaceId, project: ProjectId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM parallax_agent_assignments WHERE workspace_id = $1 AND project_id = $2 AND unassigned_at IS NULL"#,
        workspace.0,
        project.0
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// The number of an agent's active assignments.
pub async fn count_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM parallax_agent_assignments WHERE workspace_id = $1 AND agent_id = $2 AND unassigned_at IS NULL"#,
        workspace.0,
        agent.as_str()
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Adds an assignment; `false` when the agent is there already.
pub async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<bool, StorageError> {
    let (project, task) = match assignment.target {
        Target::Project(id) => (Some(id.0), None),
        Target::Task(id) => (None, Some(id.0)),
    };
    let inserted = sqlx::query!(
        "INSERT INTO parallax_agent_assignments (id, workspace_id, agent_id, assignment_type, project_id, task_id, role, assigned_at, assigned_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        assignment.id.0,
        assignment.workspace.0,
        assignment.agent.as_str(),
        assignment.target.kind(),
        project,
        task,
        assignment.role.as_str(),
        assignment.assigned_at,
        assignment.assigned_by.map(|user| user.0)
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Ends one assignment; `false` when it has ended before.
pub async fn end(conn: &mut Conn, workspace: WorkspaceId, id: AssignmentId, at: DateTime<Utc>) -> Result<bool, StorageError> {
    let ended = sqlx::query!(
        "UPDATE parallax_agent_assignments SET unassigned_at = $3 WHERE workspace_id = $1 AND id = $2 AND unassigned_at IS NULL",
        workspace.0,
        id.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends every active assignment of an agent; returns how many.
pub async fn end_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId, at: DateTime<Utc>) -> Result<u64, StorageError> {
    let ended = sqlx::query!(
        "UPDATE parallax_agent_assignments SET unassigned_at = $3 WHERE workspace_id = $1 AND agent_id = $2 AND unassigned_at IS NULL",
        workspace.0,
        agent.as_str(),
        at
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected())
}
