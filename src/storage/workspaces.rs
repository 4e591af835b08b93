//! Workspaces with their first space and group.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{SpaceId, UserId, WorkspaceId},
    settings::WorkspaceRules,
    workspace::Workspace,
};

struct Row {
    id: Uuid,
    name: Option<String>,
    description: Option<String>,
    logo: Option<String>,
    hostname: Option<String>,
    custom_domain: Option<String>,
    settings: Option<Value>,
    email_domains: Option<Vec<String>>,
    default_space_id: Option<Uuid>,
    status: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Workspace {
    fn from(row: Row) -> Self {
        Self {
            id: WorkspaceId(row.id),
            name: row.name,
            description: row.description,
            logo: row.logo,
            hostname: row.hostname,
            custom_domain: row.custom_domain,
            settings: row.settings.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            email_domains: row.email_domains.unwrap_or_default(),
            default_space_id: row.default_space_id.map(SpaceId),
            status: row.status,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

pub async fn get(conn: &mut Conn, id: WorkspaceId) -> Result<Option<Workspace>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, name, description, logo, hostname, custom_domain, settings, email_domains, default_space_id, status, created_at, updated_at
         FROM workspaces WHERE id = $1 AND deleted_at IS NULL",
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// The workspace of a self-hosted installation: the oldest (REST contract §1.3).
pub async fn oldest(conn: &mut Conn) -> Result<Option<WorkspaceId>, StorageError> {
    let id = sqlx::query_scalar!("SELECT id FROM workspaces WHERE deleted_at IS NULL ORDER BY created_at, id LIMIT 1")
        .fetch_optional(conn)
        .await?;
    Ok(id.map(WorkspaceId))
}

/// The workspace that a host name's first label stands for.
pub async fn by_hostname(conn: &mut Conn, label: &str) -> Result<Option<WorkspaceId>, StorageError> {
    let id = sqlx::query_scalar!("SELECT id FROM workspaces WHERE lower(hostname) = lower($1) AND deleted_at IS NULL", label)
        .fetch_optional(conn)
        .await?;
    Ok(id.map(WorkspaceId))
}

/// Makes everyone who is about to count or add agents of this workspace wait for each other, and
/// tells its rules. `None` when there is no such workspace.
pub async fn lock(conn: &mut Conn, id: WorkspaceId) -> Result<Option<WorkspaceRules>, StorageError> {
    // Not FOR UPDATE: rows that refer to the workspace may go on being inserted.
    let settings = sqlx::query_scalar!("SELECT settings FROM workspaces WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE", id.0)
        .fetch_optional(conn)
        .await?;
    Ok(settings.map(|settings| WorkspaceRules::read(&settings.unwrap_or(Value::Null))))
}

/// The settings of a workspace, kept from being changed by anybody else until the transaction ends.
pub async fn lock_settings(conn: &mut Conn, id: WorkspaceId) -> Result<Value, StorageError> {
    let settings =
        sqlx::query_scalar!("SELECT settings FROM workspaces WHERE id = $1 FOR NO KEY UPDATE", id.0).fetch_optional(conn).await?;
    Ok(settings.flatten().unwrap_or_else(|| Value::Object(serde_json::Map::new())))
}

pub async fn save_settings(conn: &mut Conn, id: WorkspaceId, settings: &Value) -> Result<(), StorageError> {
    sqlx::query!("UPDATE workspaces SET settings = $2, updated_at = now() WHERE id = $1", id.0, settings).execute(conn).await?;
    Ok(())
}

/// Workspaces whose settings hold a runtime's key in plain text, kept from being changed meanwhile.
pub async fn with_plain_runtime_key(conn: &mut Conn) -> Result<Vec<(WorkspaceId, Value)>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT id, settings AS "settings!" FROM workspaces WHERE jsonb_exists(settings -> 'agent', 'runtimeApiKey') FOR NO KEY UPDATE"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (WorkspaceId(row.id), row.settings)).collect())
}

/// Makes everyone who is about to set up the first workspace wait for each other.
pub async fn lock_setup(conn: &mut Conn) -> Result<(), StorageError> {
    sqlx::query!("LOCK TABLE workspaces IN SHARE ROW EXCLUSIVE MODE").execute(conn).await?;
    Ok(())
}

pub async fn insert(conn: &mut Conn, id: WorkspaceId, name: &str, hostname: Option<&str>) -> Result<(), StorageError> {
    sqlx::query!("INSERT INTO workspaces (id, name, hostname, status, settings) VALUES ($1, $2, $3, 'active', '{}')", id.0, name, hostname)
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds the default group and the space "General" with the owner as its admin, and makes it the
/// workspace's default space (REST contract §3.3).
pub async fn insert_first_space(conn: &mut Conn, workspace: WorkspaceId, owner: UserId) -> Result<(), StorageError> {
    let group = sqlx::query_scalar!(
        "INSERT INTO groups (name, is_default, workspace_id, creator_id) VALUES ('Everyone', true, $1, $2) RETURNING id",
        workspace.0,
        owner.0
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!("INSERT INTO group_users (user_id, group_id) VALUES ($1, $2)", owner.0, group).execute(&mut *conn).await?;
    let space = sqlx::query_scalar!(
        "INSERT INTO spaces (name, slug, creator_id, workspace_id) VALUES ('General', 'general', $2, $1) RETURNING id",
        workspace.0,
        owner.0
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO space_members (space_id, user_id, group_id, role, added_by_id)
         VALUES ($1, $2, NULL, 'admin', $2), ($1, NULL, $3, 'writer', $2)",
        space,
        owner.0,
        group
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE workspaces SET default_space_id = $2 WHERE id = $1", workspace.0, space).execute(conn).await?;
    Ok(())
}

/// Stores what a runtime last said of itself under `settings.agent.runtimeStatus` (D-17).
pub async fn set_runtime_status(conn: &mut Conn, id: WorkspaceId, status: &Value) -> Result<bool, StorageError> {
    let updated = sqlx::query!(
        "UPDATE workspaces
         SET settings = coalesce(settings, '{}') || jsonb_build_object('agent', coalesce(settings -> 'agent', '{}') || jsonb_build_object('runtimeStatus', $2::jsonb)),
             updated_at = now()
         WHERE id = $1 AND deleted_at IS NULL",
        id.0,
        status
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// People of the workspace; agents' accounts are not counted (D-08).
pub async fn member_count(conn: &mut Conn, id: WorkspaceId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM users WHERE workspace_id = $1 AND deleted_at IS NULL AND role IS DISTINCT FROM 'agent'"#,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}
