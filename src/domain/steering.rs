//! Steering a running agent beside its terminal: messages, keys, its output, and taking it over.
//!
//! Whatever goes to the runtime goes with no transaction open, and is on record afterwards: who it was and
//! how much, never what, since it may be a password (RT-17).

use bytes::Bytes;
use runtime_protocol::keys::{self, BadKeys};
use tokio::time::sleep;

use super::{events, runs};
use crate::{
    model::{
        actor::Admin,
        event::{Event, EventKind},
        ids::AgentId,
        run::{Run, RunStatus},
    },
    runtime::{LiveTerminals, RuntimeError},
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::runtime::RuntimeClient;

/// Lines that stand for an agent's output where a runtime holds lines only.
const OUTPUT_LINES: u32 = 1_000;

/// Why an agent could not be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// No such agent here, or none of its processes is alive.
    #[error("the agent has no running process")]
    NotRunning,
    /// The agent waits for a login and takes nothing else.
    #[error("the agent waits for a login")]
    LoginRequired,
    #[error("the runtime did not do it")]
    Runtime(#[source] RuntimeError),
    #[error("keys {0}")]
    BadKeys(#[from] BadKeys),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<RuntimeError> for SteerError {
    fn from(error: RuntimeError) -> Self {
        match &error {
            RuntimeError::Refused { code: Some(code), .. } if code == "AUTH_REQUIRED" => Self::LoginRequired,
            RuntimeError::Refused { code: Some(code), .. } if code == "AGENT_STOPPED" => Self::NotRunning,
            _ if error.is_not_found() => Self::NotRunning,
            RuntimeError::Refused { .. }
            | RuntimeError::NotServed
            | RuntimeError::Unreachable(_)
            | RuntimeError::Late
            | RuntimeError::BadReply(_) => Self::Runtime(error),
        }
    }
}

/// The run of an agent whose process is alive.
///
/// Errors: `NotRunning` (also for another workspace's agent), `Storage`.
pub async fn running(conn: &mut Conn, admin: &Admin, agent: &AgentId) -> Result<Run, SteerError> {
    let run = storage::runs::live_of_agent(conn, admin.workspace(), agent).await?;
    run.filter(|run| run.status != RunStatus::Spawning).ok_or(SteerError::NotRunning)
}

/// Types a message and presses Enter, as the runtime does it for the agent's type.
///
/// Errors: `NotRunning`, `LoginRequired`, `Runtime`.
pub async fn send(runtime: &RuntimeClient, run: &Run, message: &str) -> Result<(), SteerError> {
    Ok(runtime.send(run.workspace, &run.runtime_agent_id, message).await?)
}

/// Presses keys by their names: on the agent's terminal, or through the runtime where that is not connected.
///
/// Errors: `NotRunning`, `BadKeys`, `Runtime`.
pub async fn press(terminals: &LiveTerminals, runtime: &RuntimeClient, run: &Run, names: &[String]) -> Result<(), SteerError> {
    let pieces = keys::encode(names, false)?;
    let Some(terminal) = run.terminal_session.and_then(|session| terminals.get(session)).filter(|terminal| terminal.is_connected()) else {
        return Ok(runtime.keys(run.workspace, &run.runtime_agent_id, names).await?);
    };
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            sleep(keys::AFTER_ESCAPE).await;
        }
        // What was pressed before is not pressed twice.
        terminal.write(Bytes::from(piece)).await.map_err(|_| RuntimeError::Late)?;
    }
    Ok(())
}

/// The last lines that the agent printed.
///
/// Errors: `NotRunning`, `Runtime`.
pub async fn logs(runtime: &RuntimeClient, run: &Run, tail: u32) -> Result<Vec<String>, SteerError> {
    Ok(runtime.logs(run.workspace, &run.runtime_agent_id, tail).await?)
}

/// The agent's output as it is held here, or else by the runtime, or else the last lines that it logged.
///
/// Errors: `NotRunning`, `Runtime`.
pub async fn output(terminals: &LiveTerminals, runtime: &RuntimeClient, run: &Run) -> Result<String, SteerError> {
    let terminal = run.terminal_session.and_then(|session| terminals.get(session));
    let held = terminal.map(|terminal| terminal.history()).filter(|held| !held.is_empty());
    if let Some(held) = held {
        return Ok(held);
    }
    match runtime.output(run.workspace, &run.runtime_agent_id).await {
        Err(RuntimeError::NotServed) => Ok(logs(runtime, run, OUTPUT_LINES).await?.join("\n")),
        output => Ok(output?),
    }
}

/// Tells the runtime whether a person has the agent to themselves. One that types nothing by itself has no such
/// route, and needs none. The process goes on in either case.
///
/// Errors: `NotRunning`, `Runtime`.
pub async fn tell_takeover(runtime: &RuntimeClient, run: &Run, takeover: Takeover) -> Result<(), SteerError> {
    let told = match takeover {
        Takeover::Pause => runtime.pause(run.workspace, &run.runtime_agent_id).await,
        Takeover::Resume => runtime.resume(run.workspace, &run.runtime_agent_id).await,
    };
    match told {
        Ok(()) | Err(RuntimeError::NotServed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Who has the keyboard from now on: a person alone, or automation too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    Pause,
    Resume,
}

/// Notes that a person has taken over, or handed back. Doing it again changes nothing.
///
/// Records [`EventKind::RunPaused`] or [`EventKind::RunResumed`]. Errors: `NotRunning`, `Storage`.
pub async fn note_takeover(tx: &mut Tx, admin: &Admin, agent: &AgentId, takeover: Takeover) -> Result<Run, SteerError> {
    let run = storage::runs::lock_live_of_agent(tx.conn(), admin.workspace(), agent).await?;
    let mut run = run.ok_or(SteerError::NotRunning)?;
    if run.paused_at.is_some() != (takeover == Takeover::Pause) {
        run.paused_at = (takeover == Takeover::Pause).then(|| tx.now());
        storage::runs::save(tx.conn(), &run).await?;
        let mut brief = runs::brief(&run, run.status);
        if takeover == Takeover::Pause {
            "paused".clone_into(&mut brief.status);
        }
        let kind = match takeover {
            Takeover::Pause => EventKind::RunPaused { agent: brief },
            Takeover::Resume => EventKind::RunResumed { agent: brief },
        };
        record(tx, admin, &run, kind).await?;
    }
    Ok(run)
}

/// Puts on record that a person sent a message. Records [`EventKind::RunMessageSent`].
pub async fn note_message(tx: &mut Tx, admin: &Admin, run: &Run, message: &str) -> Result<(), StorageError> {
    let kind = EventKind::RunMessageSent { agent: runs::brief(run, run.status), characters: message.chars().count() };
    record(tx, admin, run, kind).await
}

/// Puts on record that a person pressed keys. Records [`EventKind::RunKeysSent`].
pub async fn note_keys(tx: &mut Tx, admin: &Admin, run: &Run, keys: usize) -> Result<(), StorageError> {
    record(tx, admin, run, EventKind::RunKeysSent { agent: runs::brief(run, run.status), keys }).await
}

async fn record(tx: &mut Tx, admin: &Admin, run: &Run, kind: EventKind) -> Result<(), StorageError> {
    events::record(tx, Event { workspace: run.workspace, agent: Some(run.agent.clone()), actor: Some(admin.user()), kind }).await?;
    Ok(())
}
