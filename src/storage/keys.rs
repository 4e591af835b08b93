//! Rows of `mcp_api_keys`.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    actor::{AgentCaller, KeyHolder, Person},
    ids::{AgentId, UserId, WorkspaceId},
    key::{ApiKey, KeyKind, NewKey},
    permission::PermissionSet,
    policy::WorkspacePolicy,
    workspace::Role,
};

struct Row {
    id: String,
    workspace_id: Uuid,
    user_id: Uuid,
    agent_id: Option<String>,
    kind: String,
    name: String,
    key_prefix: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for ApiKey {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "mcp_api_keys", column, id: row.id.clone() };
        Ok(Self {
            workspace: WorkspaceId(row.workspace_id),
            user: UserId(row.user_id),
            agent: row.agent_id.as_deref().map(str::parse).transpose().map_err(|_| corrupt("agent_id"))?,
            kind: KeyKind::parse(&row.kind).ok_or_else(|| corrupt("kind"))?,
            id: row.id,
            name: row.name,
            prefix: row.key_prefix,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        })
    }
}

pub async fn insert(conn: &mut Conn, key: &NewKey, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO mcp_api_keys (id, user_id, workspace_id, name, hashed_key, key_prefix, kind, agent_id, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        key.id,
        key.user.0,
        key.workspace.0,
        key.name,
        key.secret.hash(),
        key.secret.shown_prefix(),
        key.kind().as_str(),
        key.agent.as_ref().map(AgentId::as_str),
        key.expires_at,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A key that is good now.
pub struct Verified {
    pub holder: KeyHolder,
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether its last use was noted over a minute ago.
    pub use_is_stale: bool,
}

/// Finds whom a key speaks for: the key is not revoked or expired, the account active, an agent approved.
pub async fn verify(conn: &mut Conn, key_hash: &str, clock_offset: TimeDelta) -> Result<Option<Verified>, StorageError> {
    let interval = PgInterval { months: 0, days: 0, microseconds: clock_offset.num_microseconds().unwrap_or(0) };
    let row = sqlx::query!(
        r#"SELECT k.id, k.kind, k.workspace_id, k.user_id, k.expires_at, u.role, a.id AS "agent_id?", a.granted_permissions AS "granted_permissions?",
                  w.settings -> 'agent' AS agent_settings,
                  (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute') AS "use_is_stale!"
           FROM mcp_api_keys k
           JOIN users u ON u.id = k.user_id AND u.workspace_id = k.workspace_id
           JOIN workspaces w ON w.id = k.workspace_id AND w.deleted_at IS NULL
           LEFT JOIN parallax_agents a ON a.workspace_id = k.workspace_id AND a.id = k.agent_id AND a.status = 'approved'
           WHERE k.hashed_key = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR now() + $2::interval < k.expires_at)
             AND u.deleted_at IS NULL AND u.deactivated_at IS NULL
             AND CASE k.kind WHEN 'agent' THEN a.id IS NOT NULL WHEN 'user' THEN u.role IS DISTINCT FROM 'agent' ELSE false END"#,
        key_hash,
        interval
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let corrupt = |column| StorageError::Corrupt { table: "mcp_api_keys", column, id: row.id.clone() };
        let (workspace, user) = (WorkspaceId(row.workspace_id), UserId(row.user_id));
        let holder = match (&row.agent_id, &row.granted_permissions) {
            (Some(agent), Some(granted)) => KeyHolder::Agent(AgentCaller {
                workspace,
                agent: agent.parse().map_err(|_| corrupt("agent_id"))?,
                user,
                key_id: row.id.clone(),
                permissions: PermissionSet::known(granted),
                policy: Arc::new(WorkspacePolicy::read(row.agent_settings.as_ref().unwrap_or(&Value::Null))),
            }),
            _ => KeyHolder::Person {
                person: Person {
                    user,
                    workspace,
                    role: Role::from_column(row.role.as_deref()),
                    expires_at: row.expires_at.map_or(i64::MAX, |at| at.timestamp()),
                    sign_in: None,
                },
                key_id: row.id.clone(),
            },
        };
        Ok(Verified { holder, expires_at: row.expires_at, use_is_stale: row.use_is_stale })
    })
    .transpose()
}

/// Whether a key is neither revoked nor expired.
pub async fn is_live(conn: &mut Conn, id: &str) -> Result<bool, StorageError> {
    let live = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM mcp_api_keys WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR now() < expires_at)) AS "live!""#,
        id
    )
    .fetch_one(conn)
    .await?;
    Ok(live)
}

/// Whether a key is good at `now`, as [`verify`] has it.
pub(super) async fn is_good(conn: &mut Conn, id: &str, now: DateTime<Utc>) -> Result<bool, StorageError> {
    let good = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM mcp_api_keys k
               JOIN users u ON u.id = k.user_id AND u.workspace_id = k.workspace_id AND u.deleted_at IS NULL AND u.deactivated_at IS NULL
               LEFT JOIN parallax_agents a ON a.workspace_id = k.workspace_id AND a.id = k.agent_id AND a.status = 'approved'
               WHERE k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR $2 < k.expires_at)
                 AND (k.kind <> 'agent' OR a.id IS NOT NULL)
           ) AS "good!""#,
        id,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(good)
}

/// Notes that a key was used, at most once a minute however often it is. `false` when it was revoked
/// while this waited for its row.
pub async fn touch(conn: &mut Conn, key_id: &str) -> Result<bool, StorageError> {
    let live = sqlx::query_scalar!(
        r#"UPDATE mcp_api_keys SET last_used_at = now()
           WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
           RETURNING revoked_at IS NULL AS "live!""#,
        key_id
    )
    .fetch_optional(conn)
    .await?;
    // Somebody else noted it meanwhile.
    Ok(live.unwrap_or(true))
}

/// Keys of an agent, newest first, revoked ones included.
pub async fn of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId, limit: i64) -> Result<Vec<ApiKey>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, user_id, agent_id, kind, name, key_prefix, created_at, updated_at, last_used_at, expires_at, revoked_at
         FROM mcp_api_keys WHERE workspace_id = $1 AND agent_id = $2 ORDER BY created_at DESC, id LIMIT $3",
        workspace.0,
        agent.as_str(),
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// A person's own keys that are not revoked, newest first.
pub async fn of_person(conn: &mut Conn, workspace: WorkspaceId, user: UserId, limit: i64) -> Result<Vec<ApiKey>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, user_id, agent_id, kind, name, key_prefix, created_at, updated_at, last_used_at, expires_at, revoked_at
         FROM mcp_api_keys WHERE workspace_id = $1 AND user_id = $2 AND kind = 'user' AND revoked_at IS NULL
         ORDER BY created_at DESC, id LIMIT $3",
        workspace.0,
        user.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// A key, kept from being changed by anybody else until the transaction ends.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: &str) -> Result<Option<ApiKey>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, workspace_id, user_id, agent_id, kind, name, key_prefix, created_at, updated_at, last_used_at, expires_at, revoked_at
         FROM mcp_api_keys WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
        workspace.0,
        id
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// The number of a person's keys that are good.
pub async fn count_of_person(conn: &mut Conn, workspace: WorkspaceId, user: UserId, now: DateTime<Utc>) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM mcp_api_keys WHERE workspace_id = $1 AND user_id = $2 AND kind = 'user' AND revoked_at IS NULL AND (expires_at IS NULL OR $3 < expires_at)"#,
        workspace.0,
        user.0,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// The number of an agent's keys that are good.
pub async fn count_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM mcp_api_keys WHERE workspace_id = $1 AND agent_id = $2 AND revoked_at IS NULL"#,
        workspace.0,
        agent.as_str()
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// Whether another key has taken this one's place.
pub async fn is_replaced(conn: &mut Conn, id: &str) -> Result<bool, StorageError> {
    let replaced = sqlx::query_scalar!(r#"SELECT replaced_by IS NOT NULL AS "replaced!" FROM mcp_api_keys WHERE id = $1"#, id);
    Ok(replaced.fetch_optional(conn).await?.unwrap_or(false))
}

/// Revokes one key; `false` when it was revoked before or is not here.
pub async fn revoke(conn: &mut Conn, workspace: WorkspaceId, id: &str, at: DateTime<Utc>) -> Result<bool, StorageError> {
    let revoked = sqlx::query!(
        "UPDATE mcp_api_keys SET revoked_at = $3, updated_at = $3 WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL",
        workspace.0,
        id,
        at
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected() == 1)
}

/// Revokes every live key of an agent; returns how many.
pub async fn revoke_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId, at: DateTime<Utc>) -> Result<u64, StorageError> {
    let revoked = sqlx::query!(
        "UPDATE mcp_api_keys SET revoked_at = $3, updated_at = $3 WHERE workspace_id = $1 AND agent_id = $2 AND revoked_at IS NULL",
        workspace.0,
        agent.as_str(),
        at
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}

/// Has every live key of an agent but `successor` end at `ends_at` at the latest; returns how many.
pub async fn supersede_of_agent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    successor: &str,
    ends_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, StorageError> {
    let superseded = sqlx::query!(
        "UPDATE mcp_api_keys
         SET replaced_by = $3, updated_at = $5,
             expires_at = CASE WHEN $4::timestamptz > $5 THEN least(coalesce(expires_at, $4), $4) ELSE expires_at END,
             revoked_at = CASE WHEN $4::timestamptz > $5 THEN NULL ELSE $5 END
         WHERE workspace_id = $1 AND agent_id = $2 AND id <> $3 AND revoked_at IS NULL AND (expires_at IS NULL OR $5 < expires_at)",
        workspace.0,
        agent.as_str(),
        successor,
        ends_at,
        now
    )
    .execute(conn)
    .await?;
    Ok(superseded.rows_affected())
}

/// As [`supersede_of_agent`], for one key of a person.
pub async fn supersede(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: &str,
    successor: &str,
    ends_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_api_keys
         SET replaced_by = $3, updated_at = $5,
             expires_at = CASE WHEN $4::timestamptz > $5 THEN least(coalesce(expires_at, $4), $4) ELSE expires_at END,
             revoked_at = CASE WHEN $4::timestamptz > $5 THEN NULL ELSE $5 END
         WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL",
        workspace.0,
        id,
        successor,
        ends_at,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
