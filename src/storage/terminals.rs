//! Rows of `terminal_sessions`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{AgentId, SessionId, UserId, WorkspaceId},
    login::Login,
    run::RunStatus,
    runtime::Reach,
    terminal::{NewSession, SessionLog, SessionStatus, Size, TerminalSession},
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    agent_id: String,
    runtime_session_id: String,
    status: String,
    title: Option<String>,
    cols: i32,
    rows: i32,
    runtime: Option<String>,
    runtime_endpoint: Option<String>,
    runtime_agent_id: Option<String>,
    agent_type: Option<String>,
    login_url: Option<String>,
    login_instructions: Option<String>,
    login_device_code: Option<String>,
    last_activity_at: Option<DateTime<Utc>>,
    connected_user_id: Option<Uuid>,
    spawned_by: Option<Uuid>,
    run_status: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    terminated_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for TerminalSession {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "terminal_sessions", column, id: row.id.to_string() };
        Ok(Self {
            id: SessionId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            agent: row.agent_id.parse().map_err(|_| corrupt("agent_id"))?,
            status: SessionStatus::parse(&row.status).ok_or_else(|| corrupt("status"))?,
            size: Size::new(row.cols.into(), row.rows.into()).ok_or_else(|| corrupt("cols"))?,
            runtime_session_id: row.runtime_session_id,
            title: row.title,
            runtime: row.runtime.map(|name| name.parse()).transpose().map_err(|_| corrupt("runtime"))?,
            runtime_endpoint: row.runtime_endpoint,
            runtime_agent_id: row.runtime_agent_id,
            agent_type: row.agent_type,
            login: Login {
                verified: row.login_url.is_some(),
                url: row.login_url,
                instructions: row.login_instructions,
                device_code: row.login_device_code,
            },
            last_activity_at: row.last_activity_at,
            connected_user: row.connected_user_id.map(UserId),
            spawned_by: row.spawned_by.map(UserId),
            login_pending: row.run_status.as_deref() == Some(RunStatus::LoginRequired.as_str()),
            created_at: row.created_at,
            updated_at: row.updated_at,
            terminated_at: row.terminated_at,
        })
    }
}

/// The columns of a [`Row`], for each checked query.
macro_rules! select_sessions {
    ($rest:literal, $($arg:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT s.id AS "id!", s.workspace_id AS "workspace_id!", s.agent_id AS "agent_id!", s.runtime_session_id AS "runtime_session_id!",
                      s.status AS "status!", s.title, s.cols AS "cols!", s.rows AS "rows!", r.runtime AS "runtime?", s.runtime_endpoint,
                      r.runtime_agent_id AS "runtime_agent_id?", r.agent_type AS "agent_type?", coalesce(s.login_url, r.login_url) AS login_url,
                      r.login_instructions AS "login_instructions?", r.login_device_code AS "login_device_code?", s.last_activity_at, s.connected_user_id,
                      r.requested_by AS "spawned_by?", r.status AS "run_status?", s.created_at AS "created_at!", s.updated_at AS "updated_at!", s.terminated_at
               FROM terminal_sessions s LEFT JOIN agent_runs r ON r.terminal_session_id = s.id "# + $rest,
            $($arg),*
        )
    };
}

pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: SessionId) -> Result<Option<TerminalSession>, StorageError> {
    let row = select_sessions!("WHERE s.workspace_id = $1 AND s.id = $2", workspace.0, id.0).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// As [`get`] for the machinery, which knows sessions by id alone.
pub async fn lock(conn: &mut Conn, id: SessionId) -> Result<Option<TerminalSession>, StorageError> {
    let row = select_sessions!("WHERE s.id = $1 FOR UPDATE OF s", id.0).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// As [`lock`], without keeping anyone from changing it.
pub async fn find(conn: &mut Conn, id: SessionId) -> Result<Option<TerminalSession>, StorageError> {
    let row = select_sessions!("WHERE s.id = $1", id.0).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// The agent's session that is not terminated.
pub async fn live_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Option<TerminalSession>, StorageError> {
    let row = select_sessions!("WHERE s.workspace_id = $1 AND s.agent_id = $2 AND s.terminated_at IS NULL", workspace.0, agent.as_str())
        .fetch_optional(conn)
        .await?;
    row.map(TryInto::try_into).transpose()
}

/// Sessions of a workspace, newest first; only of agents that one person spawned, if given.
pub async fn list(
    conn: &mut Conn,
    workspace: WorkspaceId,
    spawned_by: Option<UserId>,
    with_terminated: bool,
    limit: i64,
) -> Result<Vec<TerminalSession>, StorageError> {
    let rows = select_sessions!(
        "WHERE s.workspace_id = $1 AND ($2 OR s.terminated_at IS NULL) AND ($4::uuid IS NULL OR r.requested_by = $4)
         ORDER BY s.created_at DESC, s.id DESC LIMIT $3",
        workspace.0,
        with_terminated,
        limit,
        spawned_by.map(|user| user.0)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Every session that is not terminated, of all workspaces: what this service has to connect.
pub async fn all_live(conn: &mut Conn) -> Result<Vec<TerminalSession>, StorageError> {
    let rows = select_sessions!("WHERE s.terminated_at IS NULL ORDER BY s.created_at LIMIT $1", i64::MAX).fetch_all(conn).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Adds a session, or finds the one of its name that is there; the flag says which.
pub async fn upsert(conn: &mut Conn, session: &NewSession, at: DateTime<Utc>) -> Result<(SessionId, bool), StorageError> {
    let inserted = sqlx::query_scalar!(
        "INSERT INTO terminal_sessions (workspace_id, agent_id, runtime_session_id, title, runtime_endpoint, cols, rows, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (workspace_id, runtime_session_id) DO NOTHING RETURNING id",
        session.workspace.0,
        session.agent.as_str(),
        session.runtime_session_id,
        session.title,
        session.runtime_endpoint,
        i32::from(session.size.cols()),
        i32::from(session.size.rows()),
        at
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(id) = inserted {
        return Ok((SessionId(id), true));
    }
    let found = sqlx::query_scalar!(
        "SELECT id FROM terminal_sessions WHERE workspace_id = $1 AND runtime_session_id = $2",
        session.workspace.0,
        session.runtime_session_id
    )
    .fetch_one(conn)
    .await?;
    Ok((SessionId(found), false))
}

/// Sessions of live runs within reach of a link whose terminals count as not connected.
pub async fn not_open_on(conn: &mut Conn, reach: &Reach) -> Result<Vec<SessionId>, StorageError> {
    let (workspaces, names) = reach.columns();
    let ids = sqlx::query_scalar!(
        "SELECT s.id FROM agent_runs r JOIN terminal_sessions s ON s.id = r.terminal_session_id
         WHERE r.runtime_endpoint = $1 AND r.stopped_at IS NULL AND s.status IN ('pending', 'connecting', 'disconnected')
           AND ((r.runtime = 'default' AND $2) OR (r.workspace_id, r.runtime) IN (SELECT * FROM unnest($3::uuid[], $4::varchar[])))
         ORDER BY s.id",
        reach.endpoint,
        reach.includes_environment(),
        &workspaces as &[Option<Uuid>],
        &names
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}

/// Moves a session, unless it is terminated. `false` when it is.
pub async fn set_status(
    conn: &mut Conn,
    id: SessionId,
    status: SessionStatus,
    login_url: Option<&str>,
    at: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let updated = sqlx::query!(
        "UPDATE terminal_sessions
         SET status = $2::varchar, login_url = $3, updated_at = $4::timestamptz,
             terminated_at = CASE WHEN $2::varchar = 'terminated' THEN $4::timestamptz END,
             connected_user_id = CASE WHEN $2::varchar = 'terminated' THEN NULL ELSE connected_user_id END
         WHERE id = $1 AND terminated_at IS NULL",
        id.0,
        status.as_str(),
        login_url,
        at
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Notes who looks at the session; `false` when it is terminated.
pub async fn set_viewer(conn: &mut Conn, id: SessionId, user: UserId, at: DateTime<Utc>) -> Result<bool, StorageError> {
    let updated = sqlx::query!(
        "UPDATE terminal_sessions SET connected_user_id = $2, last_activity_at = $3 WHERE id = $1 AND terminated_at IS NULL",
        id.0,
        user.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Forgets a viewer who left, if nobody came after.
pub async fn clear_viewer(conn: &mut Conn, id: SessionId, user: UserId) -> Result<(), StorageError> {
    sqlx::query!("UPDATE terminal_sessions SET connected_user_id = NULL WHERE id = $1 AND connected_user_id = $2", id.0, user.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub async fn set_size(conn: &mut Conn, id: SessionId, size: Size) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE terminal_sessions SET cols = $2, rows = $3, updated_at = now() WHERE id = $1 AND terminated_at IS NULL",
        id.0,
        i32::from(size.cols()),
        i32::from(size.rows())
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sessions that runtimes call by this name: of one workspace, or two at the most of all.
pub async fn named(conn: &mut Conn, workspace: Option<WorkspaceId>, runtime_session_id: &str) -> Result<Vec<SessionId>, StorageError> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM terminal_sessions WHERE runtime_session_id = $1 AND ($2::uuid IS NULL OR workspace_id = $2) LIMIT 2",
        runtime_session_id,
        workspace.map(|workspace| workspace.0)
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}

/// What was logged of a session, oldest first.
pub async fn logs(conn: &mut Conn, id: SessionId, limit: u64, offset: u64) -> Result<Vec<SessionLog>, StorageError> {
    let rows = sqlx::query!(
        "SELECT id, session_id, log_type, content, created_at FROM terminal_session_logs WHERE session_id = $1
         ORDER BY created_at, id LIMIT $2 OFFSET $3",
        id.0,
        i64::try_from(limit).unwrap_or(i64::MAX),
        i64::try_from(offset).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SessionLog {
            id: row.id,
            session: SessionId(row.session_id),
            log_type: row.log_type,
            content: row.content,
            created_at: row.created_at,
        })
        .collect())
}
