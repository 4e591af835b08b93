//! Runs of spawned agents: what is heard of them, and asking for their end.
//!
//! News arrive from the spawn reply, the event stream, the callback and the reconciler. All of them
//! go through [`hear`], where each transition happens once, with one broadcast and one activity row.

use chrono::TimeDelta;
use runtime_protocol::{AgentHandle, AgentStatus, EventFrame, EventName};
use serde_json::Value;

use super::{events, keys, terminals};
use crate::{
    model::{
        actor::Admin,
        event::{AgentBrief, Event, EventKind},
        ids::{AgentId, RunId, UserId, WorkspaceId},
        run::{Run, RunNews, RunStatus, safe_login_url},
        runtime::Reach,
        terminal::{SessionNews, TerminalSession},
    },
    runtime::RuntimeError,
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::runtime::{RuntimeClient, link::LinkNews};

/// A run that nothing is heard of for this long after it was asked for has come to nothing: longer
/// than the runtime may take to answer the spawn.
const SPAWN_DEADLINE: TimeDelta = TimeDelta::seconds(90);

/// Runs that one round of the stopper takes at the most.
const STOPPING_MAX: i64 = 50;

/// News of a run, with what may come along.
#[derive(Clone, Debug)]
pub struct Report {
    pub news: RunNews,
    pub runtime_session_id: Option<String>,
    pub mcp_endpoint: Option<String>,
}

impl From<RunNews> for Report {
    fn from(news: RunNews) -> Self {
        Self { news, runtime_session_id: None, mcp_endpoint: None }
    }
}

/// Why a run could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// No such agent here, or none of its processes is alive.
    #[error("the agent has no running process")]
    NotRunning,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Takes in news of the agent that the runtime behind a link calls `runtime_agent_id`.
/// `false` when no run of ours is meant: other agents' news are dropped (RT-27).
async fn hear_by_runtime_agent(tx: &mut Tx, reach: &Reach, runtime_agent_id: &str, report: Report) -> Result<bool, StorageError> {
    let Some(run) = storage::runs::lock_by_runtime_agent(tx.conn(), reach, runtime_agent_id).await? else { return Ok(false) };
    hear(tx, run, report).await?;
    Ok(true)
}

/// Takes in news of an agent of a workspace, from the spawn callback. `false` when it has no live run.
pub async fn hear_by_agent(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId, report: Report) -> Result<bool, StorageError> {
    let Some(run) = storage::runs::lock_live_of_agent(tx.conn(), workspace, agent).await? else { return Ok(false) };
    hear(tx, run, report).await?;
    Ok(true)
}

/// Takes in news of one run.
pub async fn hear_by_id(tx: &mut Tx, id: RunId, report: Report) -> Result<(), StorageError> {
    match storage::runs::lock(tx.conn(), id).await? {
        Some(run) => hear(tx, run, report).await,
        None => Ok(()),
    }
}

/// Moves a locked run as the report says, if it still says something new: its session, its key and
/// the events of the transition move with it.
async fn hear(tx: &mut Tx, mut run: Run, report: Report) -> Result<(), StorageError> {
    let news = report.news.or_stopped_on_request(&run);
    let Some(status) = run.status.after(&news) else { return Ok(()) };
    let unheard_of = run.status == RunStatus::Spawning;
    run.status = status;
    if run.terminal_session.is_none() && !status.is_final() {
        let runtime_session_id = report.runtime_session_id.unwrap_or_else(|| run.runtime_agent_id.clone());
        run.terminal_session = Some(terminals::create(tx, &run, &runtime_session_id).await?);
        run.runtime_session_id = Some(runtime_session_id);
    }
    let mut kinds = Vec::new();
    if unheard_of && !matches!(news, RunNews::Started) && !status.is_final() {
        // Whatever came first: an agent that is ready or waits for a login has also started.
        kinds.push(EventKind::RunStarted { agent: brief(&run, RunStatus::Starting), runtime_session_id: run.runtime_session_id.clone() });
    }
    let agent = brief(&run, status);
    let runtime_session_id = run.runtime_session_id.clone();
    let session_news = match news {
        RunNews::Started => {
            kinds.push(EventKind::RunStarted { agent, runtime_session_id });
            None
        }
        RunNews::Ready => {
            run.login_url = None;
            kinds.push(EventKind::RunReady { agent, runtime_session_id, mcp_endpoint: report.mcp_endpoint });
            Some(SessionNews::AgentReady)
        }
        RunNews::LoginRequired { url } => {
            run.login_url.clone_from(&url);
            kinds.push(EventKind::RunLoginRequired { agent, login_url: url, runtime_session_id });
            Some(SessionNews::LoginRequired)
        }
        RunNews::Stopped { reason, exit_code } => {
            run.reason.clone_from(&reason);
            run.exit_code = exit_code;
            kinds.push(EventKind::RunStopped { agent, reason, exit_code });
            Some(SessionNews::Ended)
        }
        RunNews::Failed { error } => {
            run.reason = Some(error.clone());
            kinds.push(EventKind::RunFailed { agent, error });
            Some(SessionNews::Ended)
        }
    };
    if status.is_final() {
        run.stopped_at = Some(tx.now());
        // The key was handed to the process; nobody else has it, so it ends with the process.
        keys::revoke_all(tx, run.workspace, &run.agent).await?;
    }
    storage::runs::save(tx.conn(), &run).await?;
    if let (Some(session), Some(news)) = (run.terminal_session, session_news) {
        terminals::hear(tx, session, news, run.login_url.as_deref()).await?;
    }
    for kind in kinds {
        events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    }
    Ok(())
}

/// Compares what the runtime behind a link says it runs with what we think, and takes the difference
/// as news: what the event stream told while nobody listened is made up for. Returns runs that are
/// over for us while their process lives, such as one that was stopped while it was being spawned.
async fn reconcile(tx: &mut Tx, reach: &Reach, handles: &[AgentHandle]) -> Result<Vec<Run>, StorageError> {
    for run in storage::runs::live_on(tx.conn(), reach).await? {
        let found = handles.iter().find(|handle| handle.id == run.runtime_agent_id);
        let report = match found {
            Some(handle) => report_of_handle(handle),
            // The spawn may be on its way to the runtime right now.
            None if run.status == RunStatus::Spawning && tx.now() - run.started_at < SPAWN_DEADLINE => continue,
            None if run.status == RunStatus::Spawning => {
                undo_spawn(tx, run.id, "the runtime never had the agent").await?;
                continue;
            }
            None => RunNews::Stopped { reason: Some("the runtime no longer has the agent".to_owned()), exit_code: None }.into(),
        };
        // Most runs are where the runtime says: they need no lock.
        if run.status.after(&report.news).is_some() {
            hear_by_id(tx, run.id, report).await?;
        }
    }
    let alive: Vec<String> = handles.iter().filter(|handle| !handle.status.is_final()).map(|handle| handle.id.clone()).collect();
    storage::runs::ended_among(tx.conn(), reach, &alive).await
}

/// What a handle says, as news.
fn report_of_handle(handle: &AgentHandle) -> Report {
    let news = match handle.status {
        AgentStatus::Pending | AgentStatus::Starting | AgentStatus::Stopping => RunNews::Started,
        AgentStatus::Authenticating => RunNews::LoginRequired { url: None },
        AgentStatus::Ready | AgentStatus::Busy => RunNews::Ready,
        AgentStatus::Stopped => RunNews::Stopped { reason: handle.signal.clone(), exit_code: handle.exit_code },
        AgentStatus::Error => RunNews::Failed { error: handle.error.clone().unwrap_or_else(|| "the runtime reports an error".to_owned()) },
    };
    Report { news, runtime_session_id: handle.runtime_session_id.clone(), mcp_endpoint: None }
}

/// Takes in what the link to a runtime reports of runs within its reach. Returns runs whose process lives
/// on although they are over: it is to be ended.
pub async fn hear_link(tx: &mut Tx, reach: &Reach, news: &LinkNews) -> Result<Vec<Run>, StorageError> {
    match news {
        LinkNews::Agents(handles) => reconcile(tx, reach, handles).await,
        LinkNews::Event(event) => hear_event(tx, reach, event).await.map(|()| Vec::new()),
    }
}

/// Takes in one event of a runtime's stream. What concerns no run of ours is dropped.
async fn hear_event(tx: &mut Tx, reach: &Reach, event: &EventFrame) -> Result<(), StorageError> {
    let data = &event.data;
    let agent = data.get("agent").unwrap_or(data);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(id) = text(agent, "id").or_else(|| text(data, "agentId")) else { return Ok(()) };
    let gone = matches!(text(agent, "status").as_deref(), Some("stopped" | "error"));
    let news = match &event.event {
        EventName::AgentStarted => RunNews::Started,
        EventName::AgentReady => RunNews::Ready,
        EventName::AgentStopped => {
            let exit_code = data.get("exitCode").or_else(|| agent.get("exitCode")).and_then(Value::as_i64);
            RunNews::Stopped { reason: text(data, "reason"), exit_code: exit_code.and_then(|code| i32::try_from(code).ok()) }
        }
        EventName::AgentError if gone => {
            RunNews::Failed { error: text(data, "error").or_else(|| text(data, "message")).unwrap_or_else(|| "unknown error".to_owned()) }
        }
        EventName::LoginRequired => {
            let url = text(data, "loginUrl").or_else(|| text(data, "url"));
            RunNews::LoginRequired { url: url.as_deref().and_then(safe_login_url) }
        }
        EventName::AgentError
        | EventName::Message
        | EventName::Question
        | EventName::ThreadEvent
        | EventName::BlockingPrompt
        | EventName::Unknown(_) => return Ok(()),
    };
    let session = text(data, "runtimeSessionId").or_else(|| event.runtime_session_id.clone());
    let report = Report { news, runtime_session_id: session, mcp_endpoint: text(data, "mcpEndpoint") };
    if !hear_by_runtime_agent(tx, reach, &id, report).await? {
        tracing::debug!(runtime.agent = id, "event of an agent that is not ours");
    }
    Ok(())
}

/// Leaves nothing of an agent whose process never came to be: no row, key, account or session.
///
/// Records [`EventKind::RunFailed`], unless the runtime's own news of it did already.
pub(super) async fn undo_spawn(tx: &mut Tx, id: RunId, error: &str) -> Result<(), StorageError> {
    // The run first, as everywhere: news of it may arrive at this moment.
    let Some(run) = storage::runs::lock(tx.conn(), id).await? else { return Ok(()) };
    if !run.status.is_final() {
        let kind = EventKind::RunFailed { agent: brief(&run, RunStatus::Failed), error: error.to_owned() };
        let event = Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: run.requested_by, kind };
        events::record(tx, event).await?;
    }
    terminals::cut_of_agent(tx, run.workspace, &run.agent).await?;
    storage::agents::delete(tx.conn(), run.workspace, &run.agent).await?;
    storage::users::delete_of_agent(tx.conn(), run.workspace, &run.agent).await
}

/// Asks for the end of an agent's process. `None` when it has none alive.
///
/// Records [`EventKind::RunStopRequested`] the first time; the stopper does the rest after the commit.
pub(super) async fn request_stop(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: &AgentId,
    by: Option<UserId>,
    reason: &str,
) -> Result<Option<Run>, StorageError> {
    let Some(mut run) = storage::runs::lock_live_of_agent(tx.conn(), workspace, agent).await? else { return Ok(None) };
    if run.stop_requested_at.is_none() {
        run.stop_requested_at = Some(tx.now());
        run.reason = Some(reason.to_owned());
        storage::runs::save(tx.conn(), &run).await?;
        let kind = EventKind::RunStopRequested { reason: reason.to_owned() };
        events::record(tx, Event { workspace, agent: Some(agent.clone()), actor: by, kind }).await?;
    }
    Ok(Some(run))
}

/// Ends an agent's process for an admin. Asking again changes nothing.
///
/// Errors: `NotRunning` (also for another workspace's agent), `Storage`.
pub async fn stop(tx: &mut Tx, admin: &Admin, agent: &AgentId) -> Result<Run, StopError> {
    let run = request_stop(tx, admin.workspace(), agent, Some(admin.user()), "stopped by an admin").await?;
    run.ok_or(StopError::NotRunning)
}

/// Ends a terminal session at once and the process behind it soon.
pub async fn end_session(tx: &mut Tx, session: &TerminalSession, by: UserId) -> Result<(), StorageError> {
    let run = request_stop(tx, session.workspace, &session.agent, Some(by), "terminal session ended").await?;
    if run.is_none() {
        // A session that a runtime offered by itself has no run whose end would be on record.
        let kind = EventKind::TerminalEnded { session_id: session.id };
        events::record(tx, Event { workspace: session.workspace, agent: Some(session.agent.clone()), actor: Some(by), kind }).await?;
    }
    terminals::cut_of_agent(tx, session.workspace, &session.agent).await?;
    Ok(())
}

/// Runs whose end was asked for and is not confirmed, longest waiting first.
pub async fn stopping(conn: &mut Conn) -> Result<Vec<Run>, StorageError> {
    storage::runs::stopping(conn, STOPPING_MAX).await
}

/// Has the runtime end the process, and says how it ended. No transaction is open meanwhile.
pub async fn end_process(runtime: &RuntimeClient, run: &Run) -> Result<Report, RuntimeError> {
    runtime.stop(run.workspace, &run.runtime_agent_id).await?;
    let handle = runtime.agent(run.workspace, &run.runtime_agent_id).await?;
    Ok(match handle {
        Some(handle) if handle.status.is_final() => report_of_handle(&handle),
        Some(_) | None => RunNews::Stopped { reason: Some("stopped".to_owned()), exit_code: None }.into(),
    })
}

/// What events say of the agent of a run.
pub(super) fn brief(run: &Run, status: RunStatus) -> AgentBrief {
    AgentBrief {
        id: run.agent.clone(),
        name: run.agent_name.clone(),
        agent_type: Some(runtime_protocol::wire_agent_type(&run.agent_type).to_owned()),
        status: status.as_str().to_owned(),
    }
}
