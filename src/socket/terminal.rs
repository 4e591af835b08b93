//! The terminal gateway (realtime contract §5).
//!
//! Events of one socket go through a queue to one task, so they happen in the order they were sent.
//! A second task shows the terminal: it reads only when the socket has room, so a slow socket
//! costs nobody anything.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use socketioxide::{
    SendError, SocketError,
    extract::{SocketRef, TryData},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    app::{App, StorageError},
    domain::terminals::{self, Attachment, TerminalError, View, Viewer, Wanted, Writer},
    model::{
        actor::Person,
        ids::SessionId,
        terminal::{SessionStatus, Size},
    },
    wire::terminals::{Attached, StatusChange, TerminalProblem},
};

/// Events of one socket that may wait. A paste comes in pieces, a person types one at a time.
const EVENTS_QUEUED: usize = 1024;
/// One piece of input is at most this long, in bytes (RT-30).
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Output of a busy terminal is gathered for this long before it is sent (§5.7). Output after a
/// quiet moment, such as the echo of a key, is sent at once.
const GATHER: Duration = Duration::from_millis(8);
/// How long to wait before a socket without room is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// What a client asks for, in its order.
enum Command {
    Attach(Wanted),
    Detach,
    Input(String),
    Resize(Size),
    Refuse(TerminalProblem),
}

/// Registers the events of a proven socket and starts its task, which ends with the socket.
pub(super) fn register(socket: &SocketRef, app: App, person: Person) {
    let (commands, queue) = mpsc::channel(EVENTS_QUEUED);
    on(socket, "attach", &commands, attach_command);
    on(socket, "detach", &commands, |_| Command::Detach);
    on(socket, "input", &commands, |payload| match payload {
        Value::String(input) if input.len() > INPUT_BYTES_MAX => Command::Refuse(TerminalProblem::INPUT_TOO_LARGE),
        Value::String(input) => Command::Input(input),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Command::Refuse(TerminalProblem::INVALID_INPUT)
        }
    });
    on(socket, "resize", &commands, |payload| {
        let number = |name| payload.get(name).and_then(Value::as_i64);
        let size = number("cols").zip(number("rows")).and_then(|(cols, rows)| Size::new(cols, rows));
        size.map_or(Command::Refuse(TerminalProblem::INVALID_RESIZE), Command::Resize)
    });
    // The senders live in the handlers, which the socket drops when it goes: then the queue ends.
    let socket = socket.clone();
    let tasks = app.tasks.clone();
    let shutdown = app.shutdown.clone();
    tasks.spawn(async move {
        let mut seat = Seat { socket, app, person, place: None };
        let disconnected = tokio_util::sync::CancellationToken::new();
        let ended = disconnected.clone();
        seat.socket.on_disconnect(async move || ended.cancel());
        tokio::select! {
            () = seat.run(queue) => {}
            () = disconnected.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
        seat.leave().await;
    });
}

/// Registers one event. The closure's body runs in the order of the packets; its future would not.
fn on(
    socket: &SocketRef,
    event: &'static str,
    commands: &mpsc::Sender<Command>,
    command: impl Fn(Value) -> Command + Send + Sync + Clone + 'static,
) {
    let commands = commands.clone();
    socket.on(event, move |socket: SocketRef, TryData::<Value>(payload)| {
        // An event without a payload, such as `detach`, has none to read.
        if commands.try_send(command(payload.unwrap_or_default())).is_err() {
            emit_problem(&socket, TerminalProblem::RATE_LIMITED);
        }
        std::future::ready(())
    });
}

#[expect(clippy::needless_pass_by_value, reason = "as every command is made")]
fn attach_command(payload: Value) -> Command {
    let text = |name| payload.get(name).and_then(Value::as_str);
    match (text("sessionId"), text("agentId")) {
        (Some(id), _) => id.parse().map_or(Command::Refuse(TerminalProblem::SESSION_NOT_FOUND), |id| Command::Attach(Wanted::Session(id))),
        (None, Some(id)) => id.parse().map_or(Command::Refuse(TerminalProblem::SESSION_NOT_FOUND), |id| Command::Attach(Wanted::Agent(id))),
        (None, None) => Command::Refuse(TerminalProblem::INVALID_ATTACH),
    }
}

/// A socket's place at a terminal.
struct Place {
    session: SessionId,
    writer: Option<Writer>,
    show: JoinHandle<()>,
}

/// One socket and where it is attached.
struct Seat {
    socket: SocketRef,
    app: App,
    person: Person,
    place: Option<Place>,
}

impl Seat {
    async fn run(&mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.recv().await {
            let outcome = match command {
                Command::Attach(wanted) => self.attach(&wanted).await,
                Command::Detach => {
                    // A client that was not attached hears nothing: an answer would make the web UI attach again.
                    if self.leave().await {
                        emit(&self.socket, "detached", &()).await;
                    }
                    Ok(())
                }
                Command::Input(input) => self.input(input).await,
                Command::Resize(size) => self.resize(size).await,
                Command::Refuse(problem) => Err(problem),
            };
            if let Err(problem) = outcome {
                emit_problem(&self.socket, problem);
            }
        }
    }

    async fn attach(&mut self, wanted: &Wanted) -> Result<(), TerminalProblem> {
        self.leave().await;
        let Attachment { session, mut viewer, writer } = self.open(wanted).await.map_err(problem_of)?;
        let attached = Attached {
            session_id: session.id,
            agent_id: session.agent.clone(),
            status: session.status,
            cols: session.size.cols(),
            rows: session.size.rows(),
            can_write: writer.is_some(),
        };
        emit(&self.socket, "attached", &attached).await;
        emit(&self.socket, "clear", &()).await;
        let socket = self.socket.clone();
        let login = (session.status == SessionStatus::LoginRequired)
            .then_some(StatusChange { status: session.status, login_url: session.login_url });
        let show = self.app.tasks.spawn(async move {
            show(&socket, &mut viewer, login).await;
        });
        self.place = Some(Place { session: session.id, writer, show });
        Ok(())
    }

    async fn open(&self, wanted: &Wanted) -> Result<Attachment, TerminalError> {
        let mut tx = self.app.begin().await?;
        let attachment = terminals::attach(&mut tx, &self.app.terminals, self.app.runtime.as_ref(), &self.person, wanted).await?;
        tx.commit().await?;
        Ok(attachment)
    }

    /// No database here: the right to write was proven by attaching.
    async fn input(&self, input: String) -> Result<(), TerminalProblem> {
        self.writer()?.write(Bytes::from(input)).await.map_err(|_| self.why_not_connected())
    }

    async fn resize(&self, size: Size) -> Result<(), TerminalProblem> {
        // The web UI resizes by itself after attaching: for somebody who only watches that is no mistake.
        let Ok(writer) = self.writer() else { return Ok(()) };
        // The runtime may be slow to take it: no transaction is open meanwhile.
        if !writer.resize(size).await {
            return Ok(());
        }
        let note = async {
            let mut tx = self.app.begin().await?;
            terminals::note_size(&mut tx, writer, size).await?;
            tx.commit().await
        };
        note.await.map_err(|error: StorageError| problem_of(error.into()))
    }

    fn writer(&self) -> Result<&Writer, TerminalProblem> {
        let place = self.place.as_ref().ok_or(TerminalProblem::NOT_ATTACHED)?;
        place.writer.as_ref().ok_or(TerminalProblem::FORBIDDEN)
    }

    fn why_not_connected(&self) -> TerminalProblem {
        let live = self.place.as_ref().is_some_and(|place| self.app.terminals.get(place.session).is_some());
        if live { TerminalProblem::RUNTIME_NOT_CONNECTED } else { TerminalProblem::SESSION_TERMINATED }
    }

    /// Gives the place up; whether there was one.
    async fn leave(&mut self) -> bool {
        let Some(place) = self.place.take() else { return false };
        place.show.abort();
        let leave = async {
            let mut tx = self.app.begin().await?;
            terminals::detach(&mut tx, &self.person, place.session).await?;
            tx.commit().await
        };
        if let Err(error) = leave.await {
            let error: StorageError = error;
            tracing::warn!(error = &error as &dyn std::error::Error, "a viewer who left is still noted");
        }
        true
    }
}

/// Shows history and then live output until the terminal ends or the task is aborted. `login` is
/// told behind the history: the web UI learns the address from it.
async fn show(socket: &SocketRef, viewer: &mut Viewer, mut login: Option<StatusChange>) {
    let mut last = Instant::now() - GATHER;
    loop {
        // What is there now is history; the first wait means that it was shown.
        let next = if login.is_some() { futures_util::FutureExt::now_or_never(viewer.next()) } else { Some(viewer.next().await) };
        match next {
            None => {
                if let Some(status) = login.take() {
                    emit(socket, "status", &status).await;
                }
            }
            Some(None) => return,
            Some(Some(View::Output(text))) => {
                emit(socket, "data", &text).await;
                let now = Instant::now();
                if now - last < GATHER {
                    sleep_until(now + GATHER).await;
                }
                last = Instant::now();
            }
            Some(Some(View::Resync)) => emit(socket, "clear", &()).await,
            Some(Some(View::Status { status, login_url })) => {
                emit(socket, "status", &StatusChange { status, login_url }).await;
            }
        }
    }
}

/// Sends an event, waiting while the socket has no room for it.
async fn emit<T: serde::Serialize>(socket: &SocketRef, event: &'static str, payload: &T) {
    loop {
        match socket.emit(event, payload) {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(RETRY).await,
            // Closed: the socket is gone and its task about to end.
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => return,
            Err(error) => {
                tracing::warn!(%error, event, "an event could not be sent");
                return;
            }
        }
    }
}

fn emit_problem(socket: &SocketRef, problem: TerminalProblem) {
    if socket.emit("error", &problem).is_err() {
        tracing::debug!(code = problem.code, "a socket without room missed an error");
    }
}

fn problem_of(error: TerminalError) -> TerminalProblem {
    match error {
        TerminalError::NotFound => TerminalProblem::SESSION_NOT_FOUND,
        TerminalError::Terminated => TerminalProblem::SESSION_TERMINATED,
        TerminalError::Forbidden => TerminalProblem::FORBIDDEN,
        TerminalError::NoRuntime => TerminalProblem::RUNTIME_NOT_CONNECTED,
        TerminalError::Storage(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a terminal event failed");
            TerminalProblem::UNAVAILABLE
        }
    }
}
