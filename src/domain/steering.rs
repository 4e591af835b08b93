//! Steering a running agent beside its terminal: messages, keys, its output, and taking it over.
//!
//! Whatever goes to the runtime goes with no transaction open, and is on record afterwards: who it was and
//! how much, never what, since it may be a password (RT-17).

use std::sync::Arc;

use bytes::Bytes;
use runtime_protocol::keys::{self, BadKeys};
use tokio::time::sleep;

use super::{events, runs, terminals};
use crate::{
    model::{
        actor::Admin,
        event::{Event, EventKind},
        ids::{AgentId, UserId},
        run::{Run, RunStatus},
    },
    runtime::{Controls, LiveTerminals, RuntimeError, control::Room, pty::NotConnected},
    storage::{self, StorageError, Tx},
};

pub use crate::{runtime::RuntimeClient, storage::Conn};

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
    /// Somebody else has the agent's terminal to themselves.
    #[error("{by} controls the agent's terminal")]
    Held { by: String },
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

impl From<NotConnected> for SteerError {
    fn from(NotConnected: NotConnected) -> Self {
        Self::Runtime(RuntimeError::Late)
    }
}

/// The right to send something to the terminal of a run, beside its viewers. Only [`keyboard`] makes it. It rests while
/// somebody else controls the terminal.
pub struct Keyboard {
    run: Run,
    user: UserId,
    /// `None` while the run has no terminal, which nobody controls then.
    room: Option<Arc<Room>>,
}

impl Keyboard {
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Errors: `Held`.
    fn may_send(&self) -> Result<(), SteerError> {
        match self.room.as_ref().and_then(|room| room.held_by_other(self.user)) {
            Some(by) => Err(SteerError::Held { by }),
            None => Ok(()),
        }
    }
}

/// The right of an admin to send to an agent whose process is alive: like a viewer's, it is nobody's but the controller's
/// while the terminal has one.
///
/// Errors: `NotRunning` (also for another workspace's agent), `Held`, `Storage`.
pub async fn keyboard(tx: &mut Tx, controls: &Controls, admin: &Admin, agent: &AgentId) -> Result<Keyboard, SteerError> {
    let run = running(tx.conn(), admin, agent).await?;
    let room = match run.terminal_session {
        Some(session) => terminals::room_of(tx, controls, session).await?,
        None => None,
    };
    let keyboard = Keyboard { run, user: admin.user(), room };
    keyboard.may_send()?;
    Ok(keyboard)
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
/// Errors: `NotRunning`, `LoginRequired`, `Held`, `Runtime`.
pub async fn send(runtime: &RuntimeClient, keyboard: &Keyboard, message: &str) -> Result<(), SteerError> {
    keyboard.may_send()?;
    let run = &keyboard.run;
    Ok(runtime.send(run.workspace, &run.runtime_agent_id, message).await?)
}

/// Presses keys by their names: on the agent's terminal, or through the runtime where that is not connected.
///
/// Errors: `NotRunning`, `BadKeys`, `Held`, `Runtime`.
pub async fn press(terminals: &LiveTerminals, runtime: &RuntimeClient, keyboard: &Keyboard, names: &[String]) -> Result<(), SteerError> {
    keyboard.may_send()?;
    let run = &keyboard.run;
    let pieces = keys::encode(names, false)?;
    let Some(terminal) = run.terminal_session.and_then(|session| terminals.get(session)).filter(|terminal| terminal.is_connected()) else {
        return Ok(runtime.keys(run.workspace, &run.runtime_agent_id, names).await?);
    };
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            sleep(keys::AFTER_ESCAPE).await;
        }
        // What was pressed before is not pressed twice; it may have waited for a slow runtime.
        terminal.write_if(Bytes::from(piece), || keyboard.may_send()).await?;
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
