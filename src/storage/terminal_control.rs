//! Who controls a terminal, and rows of `terminal_shares`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{SessionId, ShareId, UserId, WorkspaceId},
    terminal_share::TerminalShare,
};

/// Somebody who controlled a terminal when it was last noted.
pub struct NotedController {
    pub user: UserId,
    pub name: Option<String>,
    pub since: DateTime<Utc>,
}

/// Who controlled the session, as far as they may sign in still.
pub async fn controller(conn: &mut Conn, session: SessionId) -> Result<Option<NotedController>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT u.id, u.name, s.controller_since AS "since!" FROM terminal_sessions s JOIN users u ON u.id = s.controller_user_id
           WHERE s.id = $1 AND s.terminated_at IS NULL AND s.controller_since IS NOT NULL
             AND u.deleted_at IS NULL AND u.deactivated_at IS NULL"#,
        session.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| NotedController { user: UserId(row.id), name: row.name, since: row.since }))
}

/// Notes who controls the session now.
pub async fn set_controller(conn: &mut Conn, session: SessionId, controller: Option<(UserId, DateTime<Utc>)>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE terminal_sessions SET controller_user_id = $2, controller_since = $3 WHERE id = $1",
        session.0,
        controller.map(|(user, _)| user.0),
        controller.map(|(_, since)| since)
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    session_id: Uuid,
    created_by: Uuid,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<Row> for TerminalShare {
    fn from(row: Row) -> Self {
        Self {
            id: ShareId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            session: SessionId(row.session_id),
            created_by: UserId(row.created_by),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

pub async fn insert_share(conn: &mut Conn, share: &TerminalShare, token_hash: &str) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO terminal_shares (id, workspace_id, session_id, token_hash, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        share.id.0,
        share.workspace.0,
        share.session.0,
        token_hash,
        share.created_by.0,
        share.created_at,
        share.expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The share of this workspace with this token, unless whoever made it may not sign in any more.
pub async fn share_by_token(conn: &mut Conn, workspace: WorkspaceId, token_hash: &str) -> Result<Option<TerminalShare>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT s.id, s.workspace_id, s.session_id, s.created_by, s.created_at, s.expires_at, s.revoked_at
         FROM terminal_shares s JOIN users u ON u.id = s.created_by
         WHERE s.workspace_id = $1 AND s.token_hash = $2 AND u.deleted_at IS NULL AND u.deactivated_at IS NULL",
        workspace.0,
        token_hash
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// Sessions of which somebody made shares that were not revoked, expired ones among them.
pub async fn shared_by(conn: &mut Conn, user: UserId) -> Result<Vec<SessionId>, StorageError> {
    let sessions =
        sqlx::query_scalar!("SELECT DISTINCT session_id FROM terminal_shares WHERE created_by = $1 AND revoked_at IS NULL", user.0);
    Ok(sessions.fetch_all(conn).await?.into_iter().map(SessionId).collect())
}

/// Shares of a session that are good now, newest first.
pub async fn good_shares(
    conn: &mut Conn,
    workspace: WorkspaceId,
    session: SessionId,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<TerminalShare>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT s.id, s.workspace_id, s.session_id, s.created_by, s.created_at, s.expires_at, s.revoked_at
         FROM terminal_shares s JOIN users u ON u.id = s.created_by
         WHERE s.workspace_id = $1 AND s.session_id = $2 AND s.revoked_at IS NULL AND s.expires_at > $3
           AND u.deleted_at IS NULL AND u.deactivated_at IS NULL
         ORDER BY s.created_at DESC, s.id DESC LIMIT $4",
        workspace.0,
        session.0,
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Ends a share. `None` when the session has no such share; the flag says whether this call ended it.
pub async fn revoke_share(
    conn: &mut Conn,
    workspace: WorkspaceId,
    session: SessionId,
    id: ShareId,
    by: UserId,
    now: DateTime<Utc>,
) -> Result<Option<(TerminalShare, bool)>, StorageError> {
    let changed = sqlx::query!(
        "UPDATE terminal_shares SET revoked_at = $5, revoked_by = $4
         WHERE workspace_id = $1 AND session_id = $2 AND id = $3 AND revoked_at IS NULL",
        workspace.0,
        session.0,
        id.0,
        by.0,
        now
    )
    .execute(&mut *conn)
    .await?
    .rows_affected()
        == 1;
    let row = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, session_id, created_by, created_at, expires_at, revoked_at FROM terminal_shares
         WHERE workspace_id = $1 AND session_id = $2 AND id = $3",
        workspace.0,
        session.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.into(), changed)))
}
