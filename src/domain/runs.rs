//! Runs of spawned agents: what is heard of them, and asking for their end.
//!
//! News arrive from the spawn reply, the event stream, the callback and the reconciler. All of them
//! go through [`hear`], where each transition happens once, with one broadcast and one activity row.

use std::time::Duration;

use chrono::TimeDelta;
use runtime_protocol::{AgentHandle, AgentStatus, EventFrame, EventName};
use serde_json::Value;

use super::{events, keys, settings, terminals, tool_approvals};
use crate::{
    model::{
        actor::Admin,
        display_name,
        event::{AgentBrief, Event, EventKind},
        ids::{AgentId, RunId, SessionId, UserId, WorkspaceId},
        login::{Login, LoginHint},
        policy::Policy,
        run::{Run, RunNews, RunStatus, StopReport},
        runtime::Reach,
        terminal::{SessionNews, TerminalSession},
        terminal_rights::Viewers,
        told,
    },
    runtime::{LiveTerminals, RuntimeError, host, pty::Heard},
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::runtime::{RuntimeClient, link::LinkNews};

/// A run that nothing is heard of for this long after it was asked for has come to nothing: longer
/// than the runtime may take to answer the spawn.
const SPAWN_DEADLINE: TimeDelta = TimeDelta::seconds(90);

/// How long output may be on its way that was printed before a reported end: it comes on another socket.
const OUTPUT_ON_ITS_WAY: Duration = Duration::from_millis(500);
/// How long a terminal has to be silent after a reported end before that is believed (runtime contract §6.3, rule 5).
const SILENCE_CONFIRMS: Duration = Duration::from_secs(3);
/// A reported end that is undecided for this long is looked into again: whoever did is gone, or could not tell.
const REPORT_FORGOTTEN: TimeDelta = TimeDelta::seconds(10);

/// A question is told of at most this often for one agent: a runtime that repeats itself fills nobody's stream.
const QUESTIONS_EVERY: TimeDelta = TimeDelta::seconds(1);

/// An error that ends nothing is told of at most this often for one agent, as a question is.
const TROUBLE_EVERY: TimeDelta = TimeDelta::seconds(1);
/// Said where a runtime does not say what went wrong.
const UNKNOWN_ERROR: &str = "unknown error";

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

impl Report {
    /// The same with texts that are fit to be kept. What cannot be a session's name is left out.
    fn readable(self) -> Self {
        Self {
            news: self.news.readable(),
            runtime_session_id: self.runtime_session_id.filter(|name| told::is_name(name)),
            mcp_endpoint: self.mcp_endpoint.and_then(|said| told::readable(&said, told::TEXT_CHARS_MAX)),
        }
    }
}

/// What has to be found out or done, with no transaction open, after news were taken in.
#[derive(Debug, Default)]
pub struct FollowUp {
    /// Over for us, while their processes live: these are to be ended.
    pub outlived: Vec<Run>,
    /// Alive for us, or waited for in vain, while the runtime's list does not have them; see [`is_gone`].
    pub missing: Vec<Run>,
    /// Reported as ended by a runtime that cannot tell; see [`investigate`].
    pub doubtful: Vec<Run>,
}

/// What became of looking into a reported end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ended,
    /// The process lives: the report was false.
    Alive,
    /// Nothing speaks for either; it stays undecided.
    Unknown,
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

/// Takes in news of an agent of a workspace, from the spawn callback. `false` when it has no live run.
pub async fn hear_by_agent(
    tx: &mut Tx,
    policy: &Policy,
    workspace: WorkspaceId,
    agent: &AgentId,
    report: Report,
) -> Result<bool, StorageError> {
    let Some(run) = storage::runs::lock_live_of_agent(tx.conn(), workspace, agent).await? else { return Ok(false) };
    hear(tx, &policy.login_hosts, run, report).await?;
    Ok(true)
}

/// Takes in that one run has started or ended; of a login, only an address that is known for the agent's type counts.
pub async fn hear_by_id(tx: &mut Tx, id: RunId, report: Report) -> Result<(), StorageError> {
    if let Some(run) = storage::runs::lock(tx.conn(), id).await? {
        hear(tx, &[], run, report).await?;
    }
    Ok(())
}

/// Moves a locked run as the report says, if it still says something new: its session, its key and
/// the events of the transition move with it. Returns the run when its end was reported that is to be
/// looked into.
async fn hear(tx: &mut Tx, login_hosts: &[String], run: Run, report: Report) -> Result<Option<Run>, StorageError> {
    let news = report.news.clone().or_stopped_on_request(&run);
    take_in(tx, login_hosts, run, Report { news, ..report }).await
}

/// As [`hear`], with the news as they are even where an end was asked for.
async fn take_in(tx: &mut Tx, login_hosts: &[String], mut run: Run, report: Report) -> Result<Option<Run>, StorageError> {
    let report = report.readable();
    let news = report.news;
    if let RunNews::StopReported { reason } = news {
        return note_reported_stop(tx, run, reason).await;
    }
    let Some(status) = run.status.after(&news) else {
        if let RunNews::LoginRequired { hint } = &news {
            complete_login(tx, login_hosts, run, hint).await?;
        }
        return Ok(None);
    };
    let unheard_of = run.status == RunStatus::Spawning;
    run.status = status;
    if run.terminal_session.is_none() && !status.is_final() {
        let runtime_session_id = report.runtime_session_id.unwrap_or_else(|| run.runtime_agent_id.clone());
        let (session, name) = terminals::create(tx, &run, &runtime_session_id).await?;
        run.terminal_session = Some(session);
        run.runtime_session_id = Some(name);
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
            run.login = Login::default();
            kinds.push(EventKind::RunReady { agent, runtime_session_id, mcp_endpoint: report.mcp_endpoint });
            Some(SessionNews::AgentReady)
        }
        RunNews::LoginRequired { hint } => {
            run.login = Login::of(&hint, &run.agent_type, login_hosts);
            let viewers = viewers(tx, &run).await?;
            kinds.push(EventKind::RunLoginRequired { agent, login: run.login.clone(), runtime_session_id, viewers });
            Some(SessionNews::LoginRequired)
        }
        RunNews::StopReported { .. } => None,
        RunNews::Stopped { reason, exit_code } => {
            run.reason.clone_from(&reason);
            run.exit_code = exit_code;
            kinds.push(EventKind::RunStopped { agent, reason, exit_code });
            Some(SessionNews::Ended)
        }
        RunNews::Failed { error } => {
            run.reason = Some(error.clone());
            let viewers = viewers(tx, &run).await?;
            kinds.push(EventKind::RunFailed { agent, error, viewers });
            Some(SessionNews::Ended)
        }
    };
    if status.is_final() {
        run.stopped_at = Some(tx.now());
        run.login = Login::default();
        run.stop_report = None;
        // What the process asked people for, or was granted, was for it alone (decision 0038).
        tool_approvals::end_all(tx, run.workspace, &run.agent).await?;
        // The key was handed to the process; nobody else has it, so it ends with the process.
        keys::revoke_all(tx, run.workspace, &run.agent).await?;
    }
    storage::runs::save(tx.conn(), &run).await?;
    if status == RunStatus::Ready {
        let now = tx.now();
        storage::runs::note_ready(tx.conn(), run.id, now).await?;
    }
    // The workspace hears of it before whoever watches the session does (realtime contract §6).
    for kind in kinds {
        events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    }
    if let (Some(session), Some(news)) = (run.terminal_session, session_news) {
        terminals::hear(tx, session, news, Some(&run.login)).await?;
    }
    Ok(None)
}

/// Notes an end that is not confirmed. Nothing else changes: the terminal stays, and so does the key (RUN-05).
/// Returns the run if it is to be looked into from now on.
///
/// Records [`EventKind::RunStopUnconfirmed`], once in the life of a run.
async fn note_reported_stop(tx: &mut Tx, mut run: Run, reason: Option<String>) -> Result<Option<Run>, StorageError> {
    // Where an end was asked for, the stopper finds out by itself.
    if run.status.is_final() || run.stop_report.is_some() || run.stop_requested_at.is_some() {
        return Ok(None);
    }
    let is_first = run.stop_refuted_at.is_none();
    run.stop_report = Some(StopReport { at: tx.now(), reason: reason.clone() });
    storage::runs::save(tx.conn(), &run).await?;
    if is_first {
        let kind = EventKind::RunStopUnconfirmed { agent: brief(&run, run.status), reason };
        events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    }
    Ok(Some(run))
}

/// What is known of a run's login once the hint was heard, if that is more or other than before it.
fn better_login(run: &Run, login_hosts: &[String], hint: &LoginHint) -> Option<Login> {
    let login = run.login.completed_by(Login::of(hint, &run.agent_type, login_hosts));
    (run.status == RunStatus::LoginRequired && login != run.login).then_some(login)
}

/// Takes in more of how to log in, where it was known already that a login is needed.
///
/// Records [`EventKind::RunLoginRequired`] again, if anything is new about it.
async fn complete_login(tx: &mut Tx, login_hosts: &[String], mut run: Run, hint: &LoginHint) -> Result<(), StorageError> {
    let Some(login) = better_login(&run, login_hosts, hint) else { return Ok(()) };
    run.login = login;
    storage::runs::save(tx.conn(), &run).await?;
    let kind = EventKind::RunLoginRequired {
        agent: brief(&run, run.status),
        login: run.login.clone(),
        runtime_session_id: run.runtime_session_id.clone(),
        viewers: viewers(tx, &run).await?,
    };
    events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    if let Some(session) = run.terminal_session {
        terminals::tell_login(tx, session, &run.login).await?;
    }
    Ok(())
}

/// Decides a reported end; whether the run is over by that. One that was decided meanwhile, or whose run is over,
/// stays as it is.
pub async fn judge(tx: &mut Tx, id: RunId, verdict: Verdict) -> Result<bool, StorageError> {
    let Some(mut run) = storage::runs::lock(tx.conn(), id).await? else { return Ok(false) };
    let Some(report) = run.stop_report.clone().filter(|_| !run.status.is_final()) else { return Ok(false) };
    match verdict {
        Verdict::Ended => {
            let exit_code = report.exit_code();
            hear(tx, &[], run, RunNews::Stopped { reason: report.reason, exit_code }.into()).await?;
        }
        Verdict::Alive => {
            run.stop_report = None;
            run.stop_refuted_at = Some(tx.now());
            storage::runs::save(tx.conn(), &run).await?;
        }
        Verdict::Unknown => {}
    }
    Ok(verdict == Verdict::Ended)
}

/// Looks into a reported end: output after it shows that the process lives, and so does the process itself where
/// it can be seen; that the agent is gone, or three seconds of silence, confirm it. No transaction is open meanwhile.
pub async fn investigate(terminals: &LiveTerminals, runtime: &RuntimeClient, run: &Run) -> Verdict {
    let terminal = run.terminal_session.and_then(|session| terminals.get(session));
    let heard = match terminal {
        Some(terminal) => terminal.listen(OUTPUT_ON_ITS_WAY, SILENCE_CONFIRMS).await,
        None => Heard::Nothing,
    };
    if heard == Heard::Output {
        return Verdict::Alive;
    }
    let handle = match runtime.agent(run.workspace, &run.runtime_agent_id).await {
        Ok(Some(handle)) => handle,
        Ok(None) => return Verdict::Ended,
        Err(error) => {
            tracing::debug!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a reported end cannot be looked into");
            return Verdict::Unknown;
        }
    };
    let lives = if handle.status.is_final() { host::process_lives(runtime.endpoint(), handle.pid) } else { Some(true) };
    match (lives, heard) {
        (Some(true), _) => Verdict::Alive,
        (Some(false), _) | (None, Heard::Silence) => Verdict::Ended,
        (None, Heard::Nothing | Heard::Output) => Verdict::Unknown,
    }
}

/// Whether the runtime really does not have an agent that its list did not have: the list may be older than the agent.
pub async fn is_gone(runtime: &RuntimeClient, run: &Run) -> Result<bool, RuntimeError> {
    Ok(runtime.agent(run.workspace, &run.runtime_agent_id).await?.is_none())
}

/// Takes in that the runtime does not have the agent: it is over, or it never was if nothing was heard of it to this moment.
pub async fn hear_gone(tx: &mut Tx, id: RunId) -> Result<(), StorageError> {
    let Some(run) = storage::runs::lock(tx.conn(), id).await? else { return Ok(()) };
    if run.status == RunStatus::Spawning {
        return undo_spawn(tx, id, "the runtime never had the agent").await;
    }
    let news = RunNews::Stopped { reason: Some("the runtime no longer has the agent".to_owned()), exit_code: None };
    hear(tx, &[], run, news.into()).await.map(drop)
}

/// Takes in that nobody can be asked about the process any more. The reason is kept even where an end was asked for:
/// nothing confirms that one.
pub async fn give_up(tx: &mut Tx, id: RunId, reason: &str) -> Result<(), StorageError> {
    let Some(run) = storage::runs::lock(tx.conn(), id).await? else { return Ok(()) };
    let news = RunNews::Stopped { reason: Some(reason.to_owned()), exit_code: None };
    take_in(tx, &[], run, news.into()).await.map(drop)
}

/// Compares what the runtime behind a link says it runs with what we think, and takes the difference
/// as news: what the event stream told while nobody listened is made up for.
async fn reconcile(tx: &mut Tx, policy: &Policy, reach: &Reach, handles: &[AgentHandle]) -> Result<FollowUp, StorageError> {
    let mut follow_up = FollowUp::default();
    for run in storage::runs::live_on(tx.conn(), reach).await? {
        let found = handles.iter().find(|handle| handle.id == run.runtime_agent_id && is_of(handle.workspace_id.as_deref(), &run));
        let Some(handle) = found else {
            // The spawn may be on its way to the runtime right now.
            if run.status != RunStatus::Spawning || tx.now() - run.started_at >= SPAWN_DEADLINE {
                follow_up.missing.push(run);
            }
            continue;
        };
        if run.stop_report.as_ref().is_some_and(|report| tx.now() - report.at >= REPORT_FORGOTTEN) {
            follow_up.doubtful.push(run);
            continue;
        }
        let report = report_of_handle(handle);
        // Most runs are where the runtime says: they need no lock.
        if is_worth_hearing(&run, &policy.login_hosts, &report.news)
            && let Some(run) = storage::runs::lock(tx.conn(), run.id).await?
        {
            follow_up.doubtful.extend(hear(tx, &policy.login_hosts, run, report).await?);
        }
    }
    let alive = handles.iter().filter(|handle| !handle.status.is_final() && told::is_name(&handle.id));
    let alive: Vec<String> = alive.map(|handle| handle.id.clone()).collect();
    follow_up.outlived = storage::runs::ended_among(tx.conn(), reach, &alive).await?;
    Ok(follow_up)
}

/// Whether what a handle says of a run is news.
fn is_worth_hearing(run: &Run, login_hosts: &[String], news: &RunNews) -> bool {
    match news {
        // A handle that was wrong about the end once goes on being wrong; where the process can be seen, it is looked at.
        RunNews::StopReported { .. } => run.stop_refuted_at.is_none() || host::is_this(&run.runtime_endpoint),
        RunNews::LoginRequired { hint } if run.status == RunStatus::LoginRequired => better_login(run, login_hosts, hint).is_some(),
        RunNews::Started | RunNews::Ready | RunNews::LoginRequired { .. } | RunNews::Stopped { .. } | RunNews::Failed { .. } => {
            run.status.after(news).is_some()
        }
    }
}

/// Whether what a runtime says of an agent can be about this run: a runtime that names a workspace must name its own (RT-27).
fn is_of(workspace: Option<&str>, run: &Run) -> bool {
    workspace.is_none_or(|workspace| workspace.parse() == Ok(run.workspace))
}

/// What a handle says, as news.
fn report_of_handle(handle: &AgentHandle) -> Report {
    let news = match handle.status {
        AgentStatus::Pending | AgentStatus::Starting | AgentStatus::Stopping => RunNews::Started,
        AgentStatus::Authenticating => RunNews::LoginRequired { hint: handle.login.as_ref().map(hint_of_handle).unwrap_or_default() },
        AgentStatus::Ready | AgentStatus::Busy => RunNews::Ready,
        // Only the operating system knows how a process ended; without that it may be read off the screen.
        AgentStatus::Stopped if handle.exit_code.is_none() && handle.signal.is_none() => {
            RunNews::StopReported { reason: handle.error.clone() }
        }
        AgentStatus::Stopped => RunNews::Stopped { reason: handle.signal.clone(), exit_code: handle.exit_code },
        AgentStatus::Error => RunNews::Failed { error: handle.error.clone().unwrap_or_else(|| "the runtime reports an error".to_owned()) },
    };
    Report { news, runtime_session_id: handle.runtime_session_id.clone(), mcp_endpoint: None }
}

fn hint_of_handle(login: &runtime_protocol::Login) -> LoginHint {
    LoginHint { url: login.login_url.clone(), instructions: login.instructions.clone(), device_code: login.device_code.clone() }
}

/// How to log in, as the data of an event says it.
fn hint_of(said: &Value) -> LoginHint {
    let text = |key: &str| said.get(key).and_then(Value::as_str).map(str::to_owned);
    LoginHint { url: text("loginUrl").or_else(|| text("url")), instructions: text("instructions"), device_code: text("deviceCode") }
}

/// Takes in what the link to the runtime behind a link reports; `is_connected` tells whether a session's terminal is.
pub async fn hear_link(
    tx: &mut Tx,
    policy: &Policy,
    reach: &Reach,
    news: &LinkNews,
    is_connected: impl Fn(SessionId) -> bool,
) -> Result<FollowUp, StorageError> {
    match news {
        LinkNews::Agents(handles) => {
            let follow_up = reconcile(tx, policy, reach, handles).await?;
            // Another node's connection may have broken since ours was told of.
            for session in storage::terminals::not_open_on(tx.conn(), reach).await? {
                if is_connected(session) {
                    terminals::hear(tx, session, SessionNews::Connected, None).await?;
                }
            }
            Ok(follow_up)
        }
        LinkNews::Event(event) => {
            let doubtful = hear_event(tx, policy, reach, event).await?;
            Ok(FollowUp { doubtful: doubtful.into_iter().collect(), ..FollowUp::default() })
        }
        LinkNews::Lost => {
            move_sessions(tx, reach, SessionNews::Lost, |_| true).await?;
            Ok(FollowUp::default())
        }
        LinkNews::Regained => {
            move_sessions(tx, reach, SessionNews::Connected, is_connected).await?;
            Ok(FollowUp::default())
        }
    }
}

/// Moves the sessions of a runtime with its link: while nothing is heard of it, what they show may be over.
async fn move_sessions(tx: &mut Tx, reach: &Reach, news: SessionNews, which: impl Fn(SessionId) -> bool) -> Result<(), StorageError> {
    for run in storage::runs::live_on(tx.conn(), reach).await? {
        if let Some(session) = run.terminal_session.filter(|session| which(*session)) {
            terminals::hear(tx, session, news, None).await?;
        }
    }
    Ok(())
}

/// Takes in one event of a runtime's stream. What concerns no run of ours is dropped.
async fn hear_event(tx: &mut Tx, policy: &Policy, reach: &Reach, event: &EventFrame) -> Result<Option<Run>, StorageError> {
    let data = &event.data;
    let agent = data.get("agent").unwrap_or(data);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let id = text(agent, "id").or_else(|| text(data, "agentId"));
    let Some(id) = id.filter(|id| told::is_name(id)) else { return Ok(None) };
    let is_told = matches!(event.event, EventName::Question | EventName::BlockingPrompt | EventName::AgentError);
    let news = news_of_event(event);
    if news.is_none() && !is_told {
        return Ok(None);
    }
    let session = text(data, "runtimeSessionId").or_else(|| event.runtime_session_id.clone());
    let workspace = event.workspace_id.clone().or_else(|| text(agent, "workspaceId"));
    let run = storage::runs::lock_by_runtime_agent(tx.conn(), reach, &id).await?;
    let Some(run) = run.filter(|run| is_of(workspace.as_deref(), run)) else {
        tracing::debug!(runtime.agent = id, "event of an agent that is not ours");
        return Ok(None);
    };
    let Some(news) = news else {
        let noted =
            if event.event == EventName::AgentError { note_trouble(tx, &run, data).await } else { note_question(tx, &run, data).await };
        return noted.map(|()| None);
    };
    let report = Report { news, runtime_session_id: session, mcp_endpoint: text(data, "mcpEndpoint") };
    hear(tx, &policy.login_hosts, run, report).await
}

/// Tells that the agent waits for an answer, unless that was told a moment ago.
///
/// Records [`EventKind::RunWaiting`].
async fn note_question(tx: &mut Tx, run: &Run, said: &Value) -> Result<(), StorageError> {
    // A prompt that the runtime has answered by itself keeps nobody waiting.
    if run.status.is_final() || said.get("autoResponded").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let question = said.pointer("/prompt/prompt").or_else(|| said.get("question")).or_else(|| said.get("text")).and_then(Value::as_str);
    let mut agent = brief(run, run.status);
    "waiting".clone_into(&mut agent.status);
    let prompt = question.and_then(|text| told::readable(text, told::TEXT_CHARS_MAX));
    let kind = EventKind::RunWaiting { agent, prompt, viewers: viewers(tx, run).await? };
    if events::was_recent(tx, run.workspace, &run.agent, kind.name(), QUESTIONS_EVERY).await? {
        return Ok(());
    }
    events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    Ok(())
}

/// Tells of an error that the agent outlives, unless one was told a moment ago.
///
/// Records [`EventKind::RunTroubled`]. Source: realtime contract §6.
async fn note_trouble(tx: &mut Tx, run: &Run, said: &Value) -> Result<(), StorageError> {
    if run.status.is_final() {
        return Ok(());
    }
    let kind = EventKind::RunTroubled {
        agent: brief(run, run.status),
        error: told::text(&error_of(said).unwrap_or_else(|| UNKNOWN_ERROR.to_owned())),
        viewers: viewers(tx, run).await?,
    };
    if events::was_recent(tx, run.workspace, &run.agent, kind.name(), TROUBLE_EVERY).await? {
        return Ok(());
    }
    events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: None, kind }).await?;
    Ok(())
}

/// What went wrong, as the data of an event says it.
fn error_of(said: &Value) -> Option<String> {
    let text = |value: &Value| ["error", "message"].iter().find_map(|key| value.get(*key)?.as_str().map(str::to_owned));
    text(said).or_else(|| text(said.get("agent")?))
}

/// What an event says of its agent, if it says anything of its life.
fn news_of_event(event: &EventFrame) -> Option<RunNews> {
    let data = &event.data;
    let agent = data.get("agent").unwrap_or(data);
    let member = |key: &str| data.get(key).or_else(|| agent.get(key));
    let text = |key: &str| member(key).and_then(Value::as_str).map(str::to_owned);
    Some(match &event.event {
        EventName::AgentStarted => RunNews::Started,
        EventName::AgentReady => RunNews::Ready,
        EventName::AgentStopped => {
            let exit_code = member("exitCode").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
            // A runtime that numbers its events is one that has its exits from the operating system.
            let is_trusted = exit_code.is_some() || text("signal").is_some() || event.seq.is_some() || event.boot_id.is_some();
            let reason = text("reason");
            if is_trusted { RunNews::Stopped { reason, exit_code } } else { RunNews::StopReported { reason } }
        }
        EventName::AgentError => {
            let is_gone = matches!(agent.get("status").and_then(Value::as_str), Some("stopped" | "error"));
            let error = error_of(data).unwrap_or_else(|| UNKNOWN_ERROR.to_owned());
            return is_gone.then_some(RunNews::Failed { error });
        }
        EventName::LoginRequired => RunNews::LoginRequired { hint: hint_of(data) },
        EventName::Message | EventName::Question | EventName::ThreadEvent | EventName::BlockingPrompt | EventName::Unknown(_) => {
            return None;
        }
    })
}

/// Leaves nothing of an agent whose process never came to be: no row, key, account or session.
///
/// Records [`EventKind::RunFailed`], unless the runtime's own news of it did already.
pub(super) async fn undo_spawn(tx: &mut Tx, id: RunId, error: &str) -> Result<(), StorageError> {
    // The run first, as everywhere: news of it may arrive at this moment.
    let Some(run) = storage::runs::lock(tx.conn(), id).await? else { return Ok(()) };
    if !run.status.is_final() {
        let viewers = viewers(tx, &run).await?;
        let kind = EventKind::RunFailed { agent: brief(&run, RunStatus::Failed), error: error.to_owned(), viewers };
        let event = Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: run.requested_by, kind };
        events::record(tx, event).await?;
    }
    // The agent before its session, as where a runtime offers one.
    storage::agents::lock(tx.conn(), run.workspace, &run.agent).await?;
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

/// At most `limit` runs whose end was asked for and is not confirmed, without `except`: longest waiting first, and
/// `last` behind all others.
pub async fn stopping(conn: &mut Conn, except: &[RunId], last: &[RunId], limit: usize) -> Result<Vec<Run>, StorageError> {
    storage::runs::stopping(conn, except, last, i64::try_from(limit).unwrap_or(i64::MAX)).await
}

/// Has the runtime end the process, and says how it ended. No transaction is open meanwhile.
pub async fn end_process(runtime: &RuntimeClient, run: &Run) -> Result<Report, RuntimeError> {
    runtime.stop(run.workspace, &run.runtime_agent_id).await?;
    let handle = runtime.agent(run.workspace, &run.runtime_agent_id).await?;
    let stopped = || RunNews::Stopped { reason: Some("stopped".to_owned()), exit_code: None }.into();
    // The runtime waited for the end, so even one that cannot tell ends is believed.
    let told = handle.filter(|handle| handle.status.is_final()).map(|handle| report_of_handle(&handle));
    Ok(told.filter(|report| !matches!(report.news, RunNews::StopReported { .. })).unwrap_or_else(stopped))
}

/// Which members may know what a run's terminal shows, as the workspace has it now.
async fn viewers(tx: &mut Tx, run: &Run) -> Result<Viewers, StorageError> {
    Ok(settings::rules(tx.conn(), run.workspace).await?.terminals.viewers(run.requested_by))
}

/// What events say of the agent of a run.
pub(super) fn brief(run: &Run, status: RunStatus) -> AgentBrief {
    AgentBrief {
        id: run.agent.clone(),
        name: display_name::harmless(&run.agent_name),
        agent_type: Some(runtime_protocol::wire_agent_type(&run.agent_type).to_owned()),
        status: status.as_str().to_owned(),
    }
}
