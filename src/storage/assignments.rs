//! Rows of `parallax_agent_assignments`.

use chrono::{DateTime, Utc};

use super::{Conn, StorageError};
use crate::model::{
    assignment::{Assignment, Target},
    ids::{AgentId, AssignmentId, ProjectId, TaskId, UserId, WorkspaceId},
};

/// Active assignments of an agent, newest first.
pub async fn active_of_agent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    limit: i64,
) -> Result<Vec<Assignment>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT x.id, x.project_id, x.task_id, x.role, x.assigned_at, x.assigned_by, x.unassigned_at, t.status::text AS task_status
           FROM parallax_agent_assignments x LEFT JOIN tasks t ON t.id = x.task_id AND t.deleted_at IS NULL
           WHERE x.workspace_id = $1 AND x.agent_id = $2 AND x.unassigned_at IS NULL
           ORDER BY x.assigned_at DESC, x.id DESC LIMIT $3"#,
        workspace.0,
        agent.as_str(),
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let target = match (row.project_id, row.task_id) {
                (Some(project), None) => Target::Project(ProjectId(project)),
                (None, Some(task)) => Target::Task(TaskId(task)),
                (Some(_), Some(_)) | (None, None) => {
                    return Err(StorageError::Corrupt {
                        table: "parallax_agent_assignments",
                        column: "project_id",
                        id: row.id.to_string(),
                    });
                }
            };
            Ok(Assignment {
                id: AssignmentId(row.id),
                agent: agent.clone(),
                workspace,
                target,
                role: row.role,
                assigned_at: row.assigned_at,
                assigned_by: row.assigned_by.map(UserId),
                unassigned_at: row.unassigned_at,
                task_status: row.task_status,
            })
        })
        .collect()
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
