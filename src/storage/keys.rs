//! Rows of `mcp_api_keys`.

use chrono::{DateTime, Utc};

use super::{Conn, StorageError};
use crate::model::{
    actor::AgentCaller,
    ids::{AgentId, WorkspaceId},
    key::NewKey,
    permission::PermissionSet,
};

pub async fn insert(conn: &mut Conn, key: &NewKey, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO mcp_api_keys (id, user_id, workspace_id, name, hashed_key, key_prefix, kind, agent_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'agent', $7, $8)",
        key.id,
        key.user.0,
        key.workspace.0,
        key.name,
        key.secret.hash(),
        key.secret.shown_prefix(),
        key.agent.as_str(),
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An agent's key that is good now.
pub struct Verified {
    pub caller: AgentCaller,
    /// Whether its last use was noted over a minute ago.
    pub use_is_stale: bool,
}

/// Finds the agent of a key: the key is not revoked or expired, the agent approved, its account active.
pub async fn verify(conn: &mut Conn, key_hash: &str) -> Result<Option<Verified>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT k.id, (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute') AS "use_is_stale!", a.workspace_id, a.id AS agent_id, a.granted_permissions
           FROM mcp_api_keys k
           JOIN parallax_agents a ON a.workspace_id = k.workspace_id AND a.id = k.agent_id
           JOIN users u ON u.id = k.user_id AND u.workspace_id = k.workspace_id
           WHERE k.hashed_key = $1 AND k.kind = 'agent' AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR now() < k.expires_at)
             AND a.status = 'approved' AND u.deleted_at IS NULL AND u.deactivated_at IS NULL"#,
        key_hash
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let corrupt = |column| StorageError::Corrupt { table: "parallax_agents", column, id: row.agent_id.clone() };
        let caller = AgentCaller {
            workspace: WorkspaceId(row.workspace_id),
            agent: row.agent_id.parse().map_err(|_| corrupt("id"))?,
            key_id: row.id.clone(),
            permissions: PermissionSet::parse(&row.granted_permissions).map_err(|_| corrupt("granted_permissions"))?,
        };
        Ok(Verified { caller, use_is_stale: row.use_is_stale })
    })
    .transpose()
}

/// Notes that a key was used, at most once a minute however often it is.
pub async fn touch(conn: &mut Conn, key_id: &str) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_api_keys SET last_used_at = now()
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        key_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Revokes every live key of an agent; returns how many.
pub async fn revoke_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId, at: DateTime<Utc>) -> Result<u64, StorageError> {
    let revoked = sqlx::query!(
        "UPDATE mcp_api_keys SET revoked_at = $3 WHERE workspace_id = $1 AND agent_id = $2 AND revoked_at IS NULL",
        workspace.0,
        agent.as_str(),
        at
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}
