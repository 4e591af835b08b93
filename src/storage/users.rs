//! Accounts of people and of agents.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    agent::Agent,
    ids::{AgentId, SpaceId, UserId, WorkspaceId},
    space::{PageRequest, SpaceMember, SpaceRole},
    token::{SignIn, TokenHash},
    workspace::{Role, User},
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    name: Option<String>,
    email: String,
    email_verified_at: Option<DateTime<Utc>>,
    avatar_url: Option<String>,
    role: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
    settings: Option<Value>,
    agent_id: Option<String>,
    last_login_at: Option<DateTime<Utc>>,
    deactivated_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: UserId(row.id),
            workspace_id: WorkspaceId(row.workspace_id),
            name: row.name,
            email: row.email,
            email_verified_at: row.email_verified_at,
            avatar_url: row.avatar_url,
            role: Role::from_column(row.role.as_deref()),
            locale: row.locale,
            timezone: row.timezone,
            settings: row.settings,
            agent_id: row.agent_id.and_then(|id| id.parse::<AgentId>().ok()),
            last_login_at: row.last_login_at,
            deactivated_at: row.deactivated_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A person who may sign in; `None` when deleted or deactivated.
pub async fn active(conn: &mut Conn, workspace: WorkspaceId, id: UserId) -> Result<Option<User>, StorageError> {
    select_active(conn, workspace, id, None).await
}

/// As [`active`], if what the person came in by has not ended.
pub async fn signed_in(conn: &mut Conn, workspace: WorkspaceId, id: UserId, by: SignIn) -> Result<Option<User>, StorageError> {
    select_active(conn, workspace, id, Some(by)).await
}

async fn select_active(conn: &mut Conn, workspace: WorkspaceId, id: UserId, by: Option<SignIn>) -> Result<Option<User>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, workspace_id AS "workspace_id!", name, email, email_verified_at, avatar_url, role, locale, timezone, settings, agent_id,
                  last_login_at, deactivated_at, created_at, updated_at
           FROM users WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL AND deactivated_at IS NULL
             AND EXISTS (SELECT 1 FROM workspaces w WHERE w.id = $1 AND w.deleted_at IS NULL)
             AND NOT EXISTS (SELECT 1 FROM ended_sign_ins e WHERE e.token_hash = $3)
             AND NOT EXISTS (SELECT 1 FROM sign_ins_ended_until e WHERE e.user_id = $2 AND $4 <= e.issued_until)"#,
        workspace.0,
        id.0,
        by.map(|by| by.token.to_string()),
        by.map(|by| by.issued_at)
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// Whether one sign-in has ended before its token.
pub async fn sign_in_has_ended(conn: &mut Conn, token: &TokenHash) -> Result<bool, StorageError> {
    let ended = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM ended_sign_ins WHERE token_hash = $1) AS "ended!""#, token.to_string());
    Ok(ended.fetch_one(conn).await?)
}

/// Ends one sign-in; its token ends by itself at `expires_at`. Triggers tell every node.
pub async fn end_sign_in(
    conn: &mut Conn,
    workspace: WorkspaceId,
    token: &TokenHash,
    expires_at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO ended_sign_ins (token_hash, workspace_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT (token_hash) DO NOTHING",
        token.to_string(),
        workspace.0,
        expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends everything that a person came in by until now.
pub async fn end_sign_ins(conn: &mut Conn, workspace: WorkspaceId, id: UserId, now: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO sign_ins_ended_until (user_id, workspace_id, issued_until) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET issued_until = EXCLUDED.issued_until",
        id.0,
        workspace.0,
        now.timestamp()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets sign-ins whose tokens ended by themselves; returns how many.
pub async fn prune_sign_ins(conn: &mut Conn, now: DateTime<Utc>) -> Result<u64, StorageError> {
    Ok(sqlx::query!("DELETE FROM ended_sign_ins WHERE expires_at < $1", now).execute(conn).await?.rows_affected())
}

/// The role of an account that is neither deleted nor deactivated, in whatever workspace.
pub async fn active_role(conn: &mut Conn, id: UserId) -> Result<Option<Role>, StorageError> {
    let role = sqlx::query_scalar!("SELECT role FROM users WHERE id = $1 AND deleted_at IS NULL AND deactivated_at IS NULL", id.0)
        .fetch_optional(conn)
        .await?;
    Ok(role.map(|role| Role::from_column(role.as_deref())))
}

/// What signing in needs of an account.
pub struct Credentials {
    pub id: UserId,
    pub email: String,
    pub password_hash: Option<String>,
    pub role: Role,
}

/// Finds an account that may sign in by its e-mail address, in whatever case.
pub async fn credentials(conn: &mut Conn, workspace: WorkspaceId, email: &str) -> Result<Option<Credentials>, StorageError> {
    let row = sqlx::query!(
        "SELECT id, email, password, role FROM users
         WHERE workspace_id = $1 AND lower(email) = lower($2) AND deleted_at IS NULL AND deactivated_at IS NULL",
        workspace.0,
        email
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Credentials {
        id: UserId(row.id),
        email: row.email,
        password_hash: row.password,
        role: Role::from_column(row.role.as_deref()),
    }))
}

pub async fn touch_login(conn: &mut Conn, id: UserId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE users SET last_login_at = $2 WHERE id = $1", id.0, at).execute(conn).await?;
    Ok(())
}

/// Adds a person. The e-mail address is kept in lower case.
pub async fn insert(
    conn: &mut Conn,
    workspace: WorkspaceId,
    id: UserId,
    name: &str,
    email: &str,
    password_hash: &str,
    role: Role,
) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO users (id, workspace_id, name, email, password, role, email_verified_at, locale)
         VALUES ($1, $2, $3, lower($4), $5, $6, now(), 'en-US')",
        id.0,
        workspace.0,
        name,
        email,
        password_hash,
        role.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds an account to the workspace's default group, if there is one.
pub async fn join_default_group(conn: &mut Conn, workspace: WorkspaceId, id: UserId) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO group_users (user_id, group_id)
         SELECT $2, id FROM groups WHERE workspace_id = $1 AND is_default AND deleted_at IS NULL
         ON CONFLICT DO NOTHING",
        workspace.0,
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The account that stands for an agent, made on first need (REST contract §4.5). Its e-mail address
/// comes from its own id, so that no two agents' addresses can meet (D-44).
pub async fn of_agent(conn: &mut Conn, agent: &Agent) -> Result<UserId, StorageError> {
    let id = UserId::generate();
    let inserted = sqlx::query_scalar!(
        "INSERT INTO users (id, workspace_id, name, email, role, email_verified_at, locale, avatar_url, agent_id)
         VALUES ($1, $2, $3, $4, 'agent', now(), 'en-US', $5, $6)
         ON CONFLICT (workspace_id, agent_id) WHERE agent_id IS NOT NULL AND deleted_at IS NULL
         DO UPDATE SET name = excluded.name, avatar_url = excluded.avatar_url, deactivated_at = NULL, updated_at = now()
         RETURNING id",
        id.0,
        agent.workspace.0,
        agent.profile.name,
        format!("{id}@agents.internal"),
        agent.profile.avatar_url,
        agent.id.as_str()
    )
    .fetch_one(&mut *conn)
    .await?;
    let user = UserId(inserted);
    join_default_group(conn, agent.workspace, user).await?;
    Ok(user)
}

/// The account that stands for an agent.
pub async fn account_of(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Option<UserId>, StorageError> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM users WHERE workspace_id = $1 AND agent_id = $2 AND deleted_at IS NULL AND deactivated_at IS NULL",
        workspace.0,
        agent.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(id.map(UserId))
}

/// Removes the account of an agent that never came to be.
pub async fn delete_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM users WHERE workspace_id = $1 AND agent_id = $2", workspace.0, agent.as_str()).execute(conn).await?;
    Ok(())
}

/// People of the workspace by name, agents' accounts left out (D-08). One more than the page holds, if
/// there is more.
pub async fn people(conn: &mut Conn, workspace: WorkspaceId, page: &PageRequest) -> Result<Vec<User>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, workspace_id AS "workspace_id!", name, email, email_verified_at, avatar_url, role, locale, timezone, settings, agent_id,
                  last_login_at, deactivated_at, created_at, updated_at
           FROM users
           WHERE workspace_id = $1 AND deleted_at IS NULL AND role IS DISTINCT FROM 'agent'
             AND ($2::text IS NULL OR position(lower($2) in lower(coalesce(name, '') || ' ' || email)) > 0)
           ORDER BY name, id LIMIT $3 OFFSET $4"#,
        workspace.0,
        page.query,
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// People who belong to a space, by name, with what they may do there; agents' accounts left out (D-08). One more than
/// the page holds, if there is more.
pub async fn of_space(
    conn: &mut Conn,
    workspace: WorkspaceId,
    space: SpaceId,
    page: &PageRequest,
) -> Result<Vec<SpaceMember>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT u.id, u.workspace_id AS "workspace_id!", u.name, u.email, u.email_verified_at, u.avatar_url, u.role, u.locale, u.timezone,
                  u.settings, u.agent_id, u.last_login_at, u.deactivated_at, u.created_at, u.updated_at, a.role AS "space_role!"
           FROM users u CROSS JOIN LATERAL account_spaces(u.id) a
           WHERE u.workspace_id = $1 AND u.deleted_at IS NULL AND u.role IS DISTINCT FROM 'agent' AND a.space_id = $2
             AND ($3::text IS NULL OR position(lower($3) in lower(coalesce(u.name, ''))) > 0)
           ORDER BY u.name, u.id LIMIT $4 OFFSET $5"#,
        workspace.0,
        space.0,
        page.query,
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    let members = rows.into_iter().map(|row| SpaceMember {
        role: SpaceRole::from_column(&row.space_role),
        user: Row {
            id: row.id,
            workspace_id: row.workspace_id,
            name: row.name,
            email: row.email,
            email_verified_at: row.email_verified_at,
            avatar_url: row.avatar_url,
            role: row.role,
            locale: row.locale,
            timezone: row.timezone,
            settings: row.settings,
            agent_id: row.agent_id,
            last_login_at: row.last_login_at,
            deactivated_at: row.deactivated_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
        .into(),
    });
    Ok(members.collect())
}

/// A person, active or not, by e-mail address in whatever case. Keeps everyone else from changing the account.
pub async fn lock_by_email(conn: &mut Conn, workspace: WorkspaceId, email: &str) -> Result<Option<User>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, workspace_id AS "workspace_id!", name, email, email_verified_at, avatar_url, role, locale, timezone, settings, agent_id,
                  last_login_at, deactivated_at, created_at, updated_at
           FROM users WHERE workspace_id = $1 AND lower(email) = lower($2) AND deleted_at IS NULL FOR UPDATE"#,
        workspace.0,
        email
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// Keeps everyone else from counting what hangs on this account until the transaction ends.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: UserId) -> Result<(), StorageError> {
    sqlx::query!("SELECT id FROM users WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE", workspace.0, id.0)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Writes role, password hash and deactivation of an account.
pub async fn set_standing(
    conn: &mut Conn,
    id: UserId,
    role: Option<Role>,
    password_hash: Option<&str>,
    deactivated: Option<bool>,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE users SET role = coalesce($2, role), password = coalesce($3, password), updated_at = $5,
                deactivated_at = CASE WHEN $4::boolean IS NULL THEN deactivated_at WHEN $4 THEN coalesce(deactivated_at, $5) END
         WHERE id = $1",
        id.0,
        role.map(Role::as_str),
        password_hash,
        deactivated,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The number of owners who may sign in.
pub async fn count_active_owners(conn: &mut Conn, workspace: WorkspaceId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM users
           WHERE workspace_id = $1 AND role = 'owner' AND deleted_at IS NULL AND deactivated_at IS NULL"#,
        workspace.0
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}
