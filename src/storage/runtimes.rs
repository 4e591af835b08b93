//! Rows of `agent_runtimes` and `agent_runtime_health`, and the news of changes to which runtimes there are.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgListener};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{RuntimeId, SessionId, WorkspaceId},
    runtime::{NamedRuntime, RuntimeHealth, RuntimeName, RuntimeState},
};

/// Channel of `NOTIFY`; the triggers of the migration `agent_runtimes` use it.
const CHANNEL: &str = "raven_runtimes";

/// Hears of every change of which runtimes there are.
pub struct RuntimeListener(PgListener);

impl RuntimeListener {
    /// Hears of what is committed from now on.
    pub async fn listen(pool: &PgPool) -> Result<Self, StorageError> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next change. A lost connection is an error, since news may be lost with it.
    pub async fn changed(&mut self) -> Result<(), StorageError> {
        self.0.try_recv().await?.ok_or(sqlx::Error::PoolClosed)?;
        Ok(())
    }
}

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
    endpoint: String,
    token_enc: Option<Vec<u8>>,
    kinds: Vec<String>,
    agents_max: Option<i32>,
    enabled: bool,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for NamedRuntime {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "agent_runtimes", column, id: row.id.to_string() };
        Ok(Self {
            id: RuntimeId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            name: row.name.parse().map_err(|_| corrupt("name"))?,
            agents_max: row.agents_max.map(u32::try_from).transpose().map_err(|_| corrupt("agents_max"))?,
            endpoint: row.endpoint,
            token_enc: row.token_enc,
            kinds: row.kinds,
            enabled: row.enabled,
            created_at: row.created_at,
        })
    }
}

/// The columns of a [`Row`], for each checked query.
macro_rules! select_runtimes {
    ($rest:literal, $($arg:expr),*) => {
        sqlx::query_as!(
            Row,
            "SELECT n.id, n.workspace_id, n.name, n.endpoint, n.token_enc, n.kinds, n.agents_max, n.enabled, n.created_at FROM agent_runtimes n " + $rest,
            $($arg),*
        )
    };
}

/// The runtimes that a workspace's admins named, by name.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<NamedRuntime>, StorageError> {
    let rows = select_runtimes!("WHERE n.workspace_id = $1 ORDER BY n.name", workspace.0).fetch_all(conn).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

pub async fn get(conn: &mut Conn, workspace: WorkspaceId, name: &RuntimeName) -> Result<Option<NamedRuntime>, StorageError> {
    let row = select_runtimes!("WHERE n.workspace_id = $1 AND n.name = $2", workspace.0, name.as_str()).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// The named runtimes of all workspaces that there are, oldest first.
pub async fn all(conn: &mut Conn, limit: i64) -> Result<Vec<NamedRuntime>, StorageError> {
    let rows = select_runtimes!(
        "JOIN workspaces w ON w.id = n.workspace_id WHERE w.deleted_at IS NULL ORDER BY n.created_at, n.id LIMIT $1",
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The settings of workspaces that choose a runtime of their own.
pub async fn settings_with_custom(conn: &mut Conn, limit: i64) -> Result<Vec<(WorkspaceId, Value)>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT id, settings AS "settings!" FROM workspaces
           WHERE deleted_at IS NULL AND settings #>> '{agent,hostingMode}' = 'custom' ORDER BY created_at, id LIMIT $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (WorkspaceId(row.id), row.settings)).collect())
}

pub async fn insert(conn: &mut Conn, runtime: &NamedRuntime) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_runtimes (id, workspace_id, name, endpoint, token_enc, kinds, agents_max, enabled, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        runtime.id.0,
        runtime.workspace.0,
        runtime.name.as_str(),
        runtime.endpoint,
        runtime.token_enc,
        &runtime.kinds,
        runtime.agents_max.map(|max| i32::try_from(max).unwrap_or(i32::MAX)),
        runtime.enabled,
        runtime.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn save(conn: &mut Conn, runtime: &NamedRuntime, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE agent_runtimes SET endpoint = $2, token_enc = $3, kinds = $4, agents_max = $5, enabled = $6, updated_at = $7 WHERE id = $1",
        runtime.id.0,
        runtime.endpoint,
        runtime.token_enc,
        &runtime.kinds,
        runtime.agents_max.map(|max| i32::try_from(max).unwrap_or(i32::MAX)),
        runtime.enabled,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn delete(conn: &mut Conn, id: RuntimeId) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM agent_runtimes WHERE id = $1", id.0).execute(conn).await?;
    Ok(())
}

/// Runs that have not ended, by the name of their runtime: of one workspace, and for `default` of all.
pub async fn live_runs(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<(String, u32)>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT runtime, count(*) AS "count!" FROM agent_runs
           WHERE stopped_at IS NULL AND (workspace_id = $1 OR runtime = 'default') GROUP BY runtime"#,
        workspace.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.runtime, u32::try_from(row.count).unwrap_or(u32::MAX))).collect())
}

/// What is known of the health of a workspace's runtimes, the operator's included.
pub async fn health(conn: &mut Conn, workspace: WorkspaceId) -> Result<Vec<(String, RuntimeHealth)>, StorageError> {
    let rows = sqlx::query!(
        "SELECT name, state, last_contact_at, last_heartbeat_at, version, active_agents FROM agent_runtime_health
         WHERE (workspace_id = $1 AND name <> 'default') OR (workspace_id IS NULL AND name = 'default')",
        workspace.0
    )
    .fetch_all(conn)
    .await?;
    let read = |name: String, state: &str| {
        RuntimeState::parse(state).ok_or(StorageError::Corrupt { table: "agent_runtime_health", column: "state", id: name })
    };
    rows.into_iter()
        .map(|row| {
            let health = RuntimeHealth {
                state: read(row.name.clone(), &row.state)?,
                last_contact_at: row.last_contact_at,
                last_heartbeat_at: row.last_heartbeat_at,
                version: row.version,
                active_agents: row.active_agents.and_then(|count| u32::try_from(count).ok()),
            };
            Ok((row.name, health))
        })
        .collect()
}

/// A sign of life of a runtime.
pub struct Sign<'a> {
    pub at: DateTime<Utc>,
    /// Whether the runtime reached us; we reached it otherwise.
    pub heartbeat: bool,
    pub version: Option<&'a str>,
    pub active_agents: Option<u32>,
}

/// Which of these are offline, kept from being changed by anybody else until the transaction ends.
pub async fn lock_offline(
    conn: &mut Conn,
    workspaces: &[Option<Uuid>],
    names: &[String],
) -> Result<Vec<(Option<WorkspaceId>, String)>, StorageError> {
    let rows = sqlx::query!(
        "SELECT workspace_id, name FROM agent_runtime_health h
         WHERE h.state = 'offline' AND EXISTS (SELECT FROM unnest($1::uuid[], $2::varchar[]) AS u (workspace_id, name)
                                               WHERE u.workspace_id IS NOT DISTINCT FROM h.workspace_id AND u.name = h.name)
         ORDER BY workspace_id, name FOR UPDATE",
        workspaces as &[Option<Uuid>],
        names
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.workspace_id.map(WorkspaceId), row.name)).collect())
}

/// Notes a sign of life of these runtimes, which makes them online.
pub async fn note_sign(conn: &mut Conn, workspaces: &[Option<Uuid>], names: &[String], sign: &Sign<'_>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_runtime_health AS h (workspace_id, name, state, since, last_contact_at, last_heartbeat_at, version, active_agents)
         SELECT u.workspace_id, u.name, 'online', $3::timestamptz, CASE WHEN $4 THEN NULL ELSE $3::timestamptz END,
                CASE WHEN $4 THEN $3::timestamptz END, $5, $6
         FROM unnest($1::uuid[], $2::varchar[]) AS u (workspace_id, name)
         -- One that was removed meanwhile is not to be remembered.
         WHERE u.workspace_id IS NULL OR u.name = 'custom'
            OR EXISTS (SELECT FROM agent_runtimes n WHERE n.workspace_id = u.workspace_id AND n.name = u.name)
         ORDER BY u.workspace_id, u.name
         ON CONFLICT ((coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)), name) DO UPDATE
         SET since = CASE WHEN h.state = 'online' THEN h.since ELSE excluded.since END, state = 'online',
             last_contact_at = coalesce(excluded.last_contact_at, h.last_contact_at),
             last_heartbeat_at = coalesce(excluded.last_heartbeat_at, h.last_heartbeat_at),
             version = coalesce(excluded.version, h.version), active_agents = coalesce(excluded.active_agents, h.active_agents)",
        workspaces as &[Option<Uuid>],
        names,
        sign.at,
        sign.heartbeat,
        sign.version,
        sign.active_agents.map(|count| i32::try_from(count).unwrap_or(i32::MAX))
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes known that these runtimes are there, of which nothing was heard yet.
pub async fn expect(conn: &mut Conn, workspaces: &[Option<Uuid>], names: &[String], at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_runtime_health (workspace_id, name, since)
         SELECT u.workspace_id, u.name, $3 FROM unnest($1::uuid[], $2::varchar[]) AS u (workspace_id, name)
         ORDER BY u.workspace_id, u.name
         ON CONFLICT ((coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)), name) DO NOTHING",
        workspaces as &[Option<Uuid>],
        names,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves those of these runtimes to offline that were not heard of since `before`, and says which.
pub async fn silence(
    conn: &mut Conn,
    workspaces: &[Option<Uuid>],
    names: &[String],
    before: DateTime<Utc>,
    at: DateTime<Utc>,
) -> Result<Vec<(Option<WorkspaceId>, String)>, StorageError> {
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT h.workspace_id, h.name FROM agent_runtime_health h
             WHERE h.state <> 'offline' AND greatest(h.since, h.last_contact_at, h.last_heartbeat_at) < $3
               AND EXISTS (SELECT FROM unnest($1::uuid[], $2::varchar[]) AS u (workspace_id, name)
                           WHERE u.workspace_id IS NOT DISTINCT FROM h.workspace_id AND u.name = h.name)
             -- In the order in which signs of life lock them.
             ORDER BY h.workspace_id, h.name FOR UPDATE
         )
         UPDATE agent_runtime_health h SET state = 'offline', since = $4 FROM due
         WHERE due.workspace_id IS NOT DISTINCT FROM h.workspace_id AND due.name = h.name
         RETURNING h.workspace_id, h.name",
        workspaces as &[Option<Uuid>],
        names,
        before,
        at
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.workspace_id.map(WorkspaceId), row.name)).collect())
}

/// Runtimes that are online and were not heard of since `before` are to be heard of anew.
pub async fn doubt(conn: &mut Conn, before: DateTime<Utc>, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE agent_runtime_health SET state = 'unknown', since = $2
         WHERE state = 'online' AND greatest(since, last_contact_at, last_heartbeat_at) < $1",
        before,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn forget_health(conn: &mut Conn, workspace: WorkspaceId, name: &RuntimeName) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM agent_runtime_health WHERE workspace_id = $1 AND name = $2", workspace.0, name.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Workspaces with runs on the operator's runtime that have not ended.
pub async fn workspaces_on_environment(conn: &mut Conn) -> Result<Vec<WorkspaceId>, StorageError> {
    let ids = sqlx::query_scalar!("SELECT DISTINCT workspace_id FROM agent_runs WHERE runtime = 'default' AND stopped_at IS NULL")
        .fetch_all(conn)
        .await?;
    Ok(ids.into_iter().map(WorkspaceId).collect())
}

/// Sessions on one of a workspace's runtimes that are not terminated.
pub async fn live_sessions(conn: &mut Conn, workspace: WorkspaceId, name: &RuntimeName) -> Result<Vec<SessionId>, StorageError> {
    let ids = sqlx::query_scalar!(
        "SELECT s.id FROM terminal_sessions s JOIN agent_runs r ON r.terminal_session_id = s.id
         WHERE r.workspace_id = $1 AND r.runtime = $2 AND s.terminated_at IS NULL ORDER BY s.id",
        workspace.0,
        name.as_str()
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}
