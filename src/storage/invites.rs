//! Rows of `agent_invites`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{InviteId, UserId, WorkspaceId},
    invite::Invite,
    permission::PermissionSet,
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
    description: Option<String>,
    token_enc: Option<Vec<u8>>,
    token_prefix: String,
    permissions: Vec<String>,
    uses_remaining: Option<i32>,
    uses_count: i32,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Invite {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let permissions = PermissionSet::known(&row.permissions);
        Ok(Self {
            id: InviteId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            name: row.name,
            description: row.description,
            token_sealed: row.token_enc,
            token_prefix: row.token_prefix,
            permissions,
            uses_remaining: row.uses_remaining,
            uses_count: row.uses_count,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

pub async fn insert(conn: &mut Conn, invite: &Invite, token_hash: &str) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_invites (id, workspace_id, name, description, token_hash, token_enc, token_prefix, permissions, uses_remaining,
                                    expires_at, created_by, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        invite.id.0,
        invite.workspace.0,
        invite.name,
        invite.description,
        token_hash,
        invite.token_sealed,
        invite.token_prefix,
        &invite.permissions.to_strings(),
        invite.uses_remaining,
        invite.expires_at,
        invite.created_by.map(|user| user.0),
        invite.created_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Invites that are not deleted, newest first.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId, limit: i64) -> Result<Vec<Invite>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, name, description, token_enc, token_prefix, permissions, uses_remaining, uses_count, expires_at, revoked_at,
                created_by, created_at, updated_at
         FROM agent_invites WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT $2",
        workspace.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Takes one use of the invite with this token, whatever its workspace: the token is the proof.
/// `None` when the token is unknown or the invite revoked, expired, deleted or used up.
pub async fn redeem(conn: &mut Conn, token_hash: &str, now: DateTime<Utc>) -> Result<Option<Invite>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE agent_invites
         SET uses_remaining = uses_remaining - 1, uses_count = uses_count + 1, updated_at = $2,
             token_enc = CASE WHEN uses_remaining = 1 THEN NULL ELSE token_enc END
         WHERE token_hash = $1 AND revoked_at IS NULL AND deleted_at IS NULL
           AND (expires_at IS NULL OR $2 < expires_at) AND (uses_remaining IS NULL OR uses_remaining > 0)
         RETURNING id, workspace_id, name, description, token_enc, token_prefix, permissions, uses_remaining, uses_count, expires_at, revoked_at,
                   created_by, created_at, updated_at",
        token_hash,
        now
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Ends an invite; ending it again changes nothing and keeps the first time and name (D-67).
/// `None` when there is no such invite here. The flag says whether this call ended it.
pub async fn revoke(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: InviteId,
    by: UserId,
    now: DateTime<Utc>,
) -> Result<Option<(Invite, bool)>, StorageError> {
    let changed = sqlx::query!(
        "UPDATE agent_invites SET revoked_at = $4, revoked_by = $3, token_enc = NULL, updated_at = $4
         WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL AND deleted_at IS NULL",
        workspace.0,
        id.0,
        by.0,
        now
    )
    .execute(&mut *conn)
    .await?
    .rows_affected()
        == 1;
    Ok(get(conn, workspace, id).await?.map(|invite| (invite, changed)))
}

pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: InviteId) -> Result<Option<Invite>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, name, description, token_enc, token_prefix, permissions, uses_remaining, uses_count, expires_at, revoked_at,
                created_by, created_at, updated_at
         FROM agent_invites WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL",
        workspace.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Takes an invite out of use and out of every list; returns its name, `None` when it is not here.
pub async fn delete(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: InviteId,
    by: UserId,
    now: DateTime<Utc>,
) -> Result<Option<String>, StorageError> {
    let name = sqlx::query_scalar!(
        "UPDATE agent_invites
         SET deleted_at = $4, token_enc = NULL, updated_at = $4, revoked_at = coalesce(revoked_at, $4), revoked_by = coalesce(revoked_by, $3)
         WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING name",
        workspace.0,
        id.0,
        by.0,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(name)
}
