//! Rows of `agent_runs`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{AgentId, RunId, SessionId, UserId, WorkspaceId},
    login::Login,
    run::{Run, RunStatus, StopReport},
    runtime::{Reach, RuntimeName},
    terminal::Size,
};

struct Row {
    id: Uuid,
    workspace_id: Uuid,
    agent_id: String,
    agent_name: String,
    agent_type: String,
    runtime: String,
    runtime_endpoint: String,
    runtime_agent_id: String,
    runtime_session_id: Option<String>,
    terminal_session_id: Option<Uuid>,
    status: String,
    cols: i32,
    rows: i32,
    login_url: Option<String>,
    login_instructions: Option<String>,
    login_device_code: Option<String>,
    login_verified: bool,
    stop_reported_at: Option<DateTime<Utc>>,
    stop_reported_reason: Option<String>,
    stop_refuted_at: Option<DateTime<Utc>>,
    paused_at: Option<DateTime<Utc>>,
    exit_code: Option<i32>,
    reason: Option<String>,
    requested_by: Option<Uuid>,
    started_at: DateTime<Utc>,
    stop_requested_at: Option<DateTime<Utc>>,
    stopped_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Run {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "agent_runs", column, id: row.id.to_string() };
        Ok(Self {
            id: RunId(row.id),
            workspace: WorkspaceId(row.workspace_id),
            agent: row.agent_id.parse().map_err(|_| corrupt("agent_id"))?,
            status: RunStatus::parse(&row.status).ok_or_else(|| corrupt("status"))?,
            size: Size::new(row.cols.into(), row.rows.into()).ok_or_else(|| corrupt("cols"))?,
            agent_name: row.agent_name,
            agent_type: row.agent_type,
            runtime: row.runtime.parse().map_err(|_| corrupt("runtime"))?,
            runtime_endpoint: row.runtime_endpoint,
            runtime_agent_id: row.runtime_agent_id,
            runtime_session_id: row.runtime_session_id,
            terminal_session: row.terminal_session_id.map(SessionId),
            login: Login {
                url: row.login_url,
                instructions: row.login_instructions,
                device_code: row.login_device_code,
                verified: row.login_verified,
            },
            stop_report: row.stop_reported_at.map(|at| StopReport { at, reason: row.stop_reported_reason }),
            stop_refuted_at: row.stop_refuted_at,
            paused_at: row.paused_at,
            exit_code: row.exit_code,
            reason: row.reason,
            requested_by: row.requested_by.map(UserId),
            started_at: row.started_at,
            stop_requested_at: row.stop_requested_at,
            stopped_at: row.stopped_at,
        })
    }
}

/// The columns of a [`Row`], for each checked query.
macro_rules! select_runs {
    ($rest:literal, $($arg:expr),*) => {
        sqlx::query_as!(
            Row,
            "SELECT r.id, r.workspace_id, r.agent_id, a.name AS agent_name, r.agent_type, r.runtime, r.runtime_endpoint, r.runtime_agent_id,
                    r.runtime_session_id, r.terminal_session_id, r.status, r.cols, r.rows, r.login_url, r.exit_code, r.reason, r.requested_by, r.started_at,
                    r.stop_requested_at, r.stopped_at, r.login_instructions, r.login_device_code, r.login_verified, r.stop_reported_at,
                    r.stop_reported_reason, r.stop_refuted_at, r.paused_at
             FROM agent_runs r JOIN parallax_agents a ON a.workspace_id = r.workspace_id AND a.id = r.agent_id " + $rest,
            $($arg),*
        )
    };
}

fn runs(rows: Vec<Row>) -> Result<Vec<Run>, StorageError> {
    rows.into_iter().map(TryInto::try_into).collect()
}

pub async fn insert(conn: &mut Conn, run: &Run) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_runs (id, workspace_id, agent_id, agent_type, runtime_endpoint, runtime_agent_id, status, requested_by, started_at, cols, rows, runtime)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        run.id.0,
        run.workspace.0,
        run.agent.as_str(),
        run.agent_type,
        run.runtime_endpoint,
        run.runtime_agent_id,
        run.status.as_str(),
        run.requested_by.map(|user| user.0),
        run.started_at,
        i32::from(run.size.cols()),
        i32::from(run.size.rows()),
        run.runtime.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds a run by what its runtime calls the agent, and keeps others from changing it.
pub async fn lock_by_runtime_agent(conn: &mut Conn, reach: &Reach, runtime_agent_id: &str) -> Result<Option<Run>, StorageError> {
    let (workspaces, names) = reach.columns();
    let row = select_runs!(
        "WHERE r.runtime_endpoint = $1 AND r.runtime_agent_id = $2
           AND ((r.runtime = 'default' AND $3) OR (r.workspace_id, r.runtime) IN (SELECT * FROM unnest($4::uuid[], $5::varchar[])))
         ORDER BY r.stopped_at IS NOT NULL LIMIT 1 FOR UPDATE OF r",
        reach.endpoint,
        runtime_agent_id,
        reach.includes_environment(),
        &workspaces as &[Option<Uuid>],
        &names
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

pub async fn lock(conn: &mut Conn, id: RunId) -> Result<Option<Run>, StorageError> {
    let row = select_runs!("WHERE r.id = $1 FOR UPDATE OF r", id.0).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// The agent's run that has not ended.
pub async fn lock_live_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Option<Run>, StorageError> {
    let row =
        select_runs!("WHERE r.workspace_id = $1 AND r.agent_id = $2 AND r.stopped_at IS NULL FOR UPDATE OF r", workspace.0, agent.as_str())
            .fetch_optional(conn)
            .await?;
    row.map(TryInto::try_into).transpose()
}

/// As [`lock_live_of_agent`], without keeping others from changing it.
pub async fn live_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Option<Run>, StorageError> {
    let row = select_runs!("WHERE r.workspace_id = $1 AND r.agent_id = $2 AND r.stopped_at IS NULL", workspace.0, agent.as_str())
        .fetch_optional(conn)
        .await?;
    row.map(TryInto::try_into).transpose()
}

/// Every run within reach of a link that has not ended, oldest first.
pub async fn live_on(conn: &mut Conn, reach: &Reach) -> Result<Vec<Run>, StorageError> {
    let (workspaces, names) = reach.columns();
    let rows = select_runs!(
        "WHERE r.runtime_endpoint = $1 AND r.stopped_at IS NULL
           AND ((r.runtime = 'default' AND $2) OR (r.workspace_id, r.runtime) IN (SELECT * FROM unnest($3::uuid[], $4::varchar[])))
         ORDER BY r.started_at",
        reach.endpoint,
        reach.includes_environment(),
        &workspaces as &[Option<Uuid>],
        &names
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// Every run on one of a workspace's runtimes that has not ended, oldest first.
pub async fn live_of_runtime(conn: &mut Conn, workspace: WorkspaceId, runtime: &RuntimeName) -> Result<Vec<Run>, StorageError> {
    let rows = select_runs!(
        "WHERE r.workspace_id = $1 AND r.runtime = $2 AND r.stopped_at IS NULL ORDER BY r.started_at",
        workspace.0,
        runtime.as_str()
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// Runs within reach of a link that are over, of those that its runtime calls by these names.
pub async fn ended_among(conn: &mut Conn, reach: &Reach, runtime_agent_ids: &[String]) -> Result<Vec<Run>, StorageError> {
    let (workspaces, names) = reach.columns();
    let rows = select_runs!(
        "WHERE r.runtime_endpoint = $1 AND r.runtime_agent_id = ANY($2) AND r.stopped_at IS NOT NULL
           AND ((r.runtime = 'default' AND $3) OR (r.workspace_id, r.runtime) IN (SELECT * FROM unnest($4::uuid[], $5::varchar[])))",
        reach.endpoint,
        runtime_agent_ids,
        reach.includes_environment(),
        &workspaces as &[Option<Uuid>],
        &names
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// Runs whose end was asked for and not yet confirmed, without `except`: longest waiting first, and `last` behind all others.
pub async fn stopping(conn: &mut Conn, except: &[RunId], last: &[RunId], limit: i64) -> Result<Vec<Run>, StorageError> {
    let ids = |runs: &[RunId]| runs.iter().map(|run| run.0).collect::<Vec<Uuid>>();
    let rows = select_runs!(
        "WHERE r.stop_requested_at IS NOT NULL AND r.stopped_at IS NULL AND r.id <> ALL($1)
         ORDER BY r.id = ANY($2), r.stop_requested_at LIMIT $3",
        &ids(except),
        &ids(last),
        limit
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// The newest run of each of these agents.
pub async fn latest_of(conn: &mut Conn, workspace: WorkspaceId, agents: &[AgentId]) -> Result<Vec<Run>, StorageError> {
    let ids: Vec<String> = agents.iter().map(|agent| agent.as_str().to_owned()).collect();
    let rows = select_runs!(
        "WHERE r.workspace_id = $1 AND r.agent_id = ANY($2)
           AND r.started_at = (SELECT max(n.started_at) FROM agent_runs n WHERE n.workspace_id = r.workspace_id AND n.agent_id = r.agent_id)",
        workspace.0,
        &ids
    )
    .fetch_all(conn)
    .await?;
    runs(rows)
}

/// Writes what changes in the life of a run. A session belongs to the run that took it last.
pub async fn save(conn: &mut Conn, run: &Run) -> Result<(), StorageError> {
    if let Some(session) = run.terminal_session {
        sqlx::query!("UPDATE agent_runs SET terminal_session_id = NULL WHERE terminal_session_id = $1 AND id <> $2", session.0, run.id.0)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query!(
        "UPDATE agent_runs SET runtime_agent_id = $2, runtime_session_id = $3, terminal_session_id = $4, status = $5, login_url = $6, exit_code = $7,
                reason = $8, stop_requested_at = $9, stopped_at = $10, login_instructions = $11, login_device_code = $12, login_verified = $13,
                stop_reported_at = $14, stop_reported_reason = $15, stop_refuted_at = $16, paused_at = $17
         WHERE id = $1",
        run.id.0,
        run.runtime_agent_id,
        run.runtime_session_id,
        run.terminal_session.map(|id| id.0),
        run.status.as_str(),
        run.login.url,
        run.exit_code,
        run.reason,
        run.stop_requested_at,
        run.stopped_at,
        run.login.instructions,
        run.login.device_code,
        run.login.verified,
        run.stop_report.as_ref().map(|report| report.at),
        run.stop_report.as_ref().and_then(|report| report.reason.as_deref()),
        run.stop_refuted_at,
        run.paused_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes when a run was ready for the first time.
pub async fn note_ready(conn: &mut Conn, id: RunId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE agent_runs SET ready_at = $2 WHERE id = $1 AND ready_at IS NULL", id.0, at).execute(conn).await?;
    Ok(())
}
