//! Rows of `mcp_approvals`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{ApprovalId, UserId, WorkspaceId},
    tool_approval::{ApprovalStatus, ToolApproval},
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    requested_by: Option<Uuid>,
    agent_id: Option<String>,
    method: String,
    params: Value,
    params_hash: String,
    status: String,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for ToolApproval {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "mcp_approvals", column, id: row.id.to_string() };
        Ok(Self {
            id: ApprovalId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            requested_by: row.requested_by.map(UserId),
            agent: row.agent_id.as_deref().map(str::parse).transpose().map_err(|_| corrupt("agent_id"))?,
            status: ApprovalStatus::parse(&row.status).ok_or_else(|| corrupt("status"))?,
            method: row.method,
            params: row.params,
            params_hash: row.params_hash,
            expires_at: row.expires_at,
            created_at: row.created_at,
        })
    }
}

/// Adds an approval that waits. `token_hash` is unique by the id that it is made of.
pub async fn insert(conn: &mut Conn, approval: &ToolApproval, token_hash: &str) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO mcp_approvals (id, workspace_id, token_hash, requested_by, agent_id, method, params, params_hash, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        approval.id.0,
        approval.workspace.0,
        token_hash,
        approval.requested_by.map(|user| user.0),
        approval.agent.as_ref().map(crate::model::ids::AgentId::as_str),
        approval.method,
        approval.params,
        approval.params_hash,
        approval.expires_at,
        approval.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Approvals that wait and have not expired, those that expire first first; of one requester if given.
pub async fn waiting(
    conn: &mut Conn,
    workspace: WorkspaceId,
    requester: Option<UserId>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ToolApproval>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, requested_by, agent_id, method, params, params_hash, status, expires_at, created_at FROM mcp_approvals
         WHERE workspace_id = $1 AND status = 'pending' AND $3 < expires_at AND ($2::uuid IS NULL OR (requested_by = $2 AND agent_id IS NULL))
         ORDER BY expires_at, id LIMIT $4",
        workspace.0,
        requester.map(|user| user.0),
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The number of approvals that one requester waits for.
pub async fn count_waiting(conn: &mut Conn, workspace: WorkspaceId, requester: UserId, now: DateTime<Utc>) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM mcp_approvals
           WHERE workspace_id = $1 AND requested_by = $2 AND status = 'pending' AND $3 < expires_at"#,
        workspace.0,
        requester.0,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// An approval of the workspace, kept from being changed by anybody else until the transaction ends.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: ApprovalId) -> Result<Option<ToolApproval>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, requested_by, agent_id, method, params, params_hash, status, expires_at, created_at FROM mcp_approvals
         WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
        workspace.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Moves an approval on; `by` is the person who decided it.
pub async fn set_status(
    conn: &mut Conn,
    id: ApprovalId,
    status: ApprovalStatus,
    by: Option<UserId>,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = $2, decided_by = coalesce($3, decided_by), decided_at = CASE WHEN $3::uuid IS NULL THEN decided_at ELSE $4 END
         WHERE id = $1",
        id.0,
        status.as_str(),
        by.map(|user| user.0),
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes approvals that ended over a month ago; returns how many.
pub async fn prune(conn: &mut Conn) -> Result<u64, StorageError> {
    let deleted = sqlx::query!("DELETE FROM mcp_approvals WHERE expires_at < now() - interval '30 days'").execute(conn).await?;
    Ok(deleted.rows_affected())
}
