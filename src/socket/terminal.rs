//! The terminal gateway (realtime contract §5).
//!
//! Events of one socket go through a queue to one task, so they happen in the order they were sent.
//! A second task shows the terminal: it reads only when the socket has room, so a slow socket
//! costs nobody anything.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use socketioxide::{
    SendError, SocketError,
    extract::{SocketRef, TryData},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    app::{App, StorageError},
    domain::{
        runtimes,
        terminals::{self, Attachment, TerminalError, View, Viewer, Wanted, Writer},
    },
    model::{
        actor::Person,
        ids::SessionId,
        terminal::{SessionStatus, Size},
    },
    wire::terminals::{Attached, StatusChange, TerminalProblem},
};

/// One piece of input is at most this long, in bytes (RT-30).
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Input of one socket that may wait while the runtime is slow, in bytes: sixteen of the largest pieces.
const WAITING_INPUT_BYTES_MAX: usize = 1024 * 1024;
/// Commands of one socket that may wait. Input joins, and nobody attaches or resizes this often.
const WAITING_COMMANDS_MAX: usize = 256;
/// Output of a busy terminal is gathered for this long before it is sent (§5.7). Output after a
/// quiet moment, such as the echo of a key, is sent at once.
const GATHER: Duration = Duration::from_millis(8);
/// A piece of output of at least this many bytes is worth a message of its own: nothing is gained by
/// waiting for more.
const PIECE_BYTES_FULL: usize = 16 * 1024;
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
    let inbox = Arc::new(Inbox::default());
    on(socket, "attach", &inbox, attach_command);
    on(socket, "detach", &inbox, |_| Command::Detach);
    on(socket, "input", &inbox, |payload| match payload {
        Value::String(input) if input.len() > INPUT_BYTES_MAX => Command::Refuse(TerminalProblem::INPUT_TOO_LARGE),
        Value::String(input) => Command::Input(input),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Command::Refuse(TerminalProblem::INVALID_INPUT)
        }
    });
    on(socket, "resize", &inbox, |payload| {
        let number = |name| payload.get(name).and_then(Value::as_i64);
        let size = number("cols").zip(number("rows")).and_then(|(cols, rows)| Size::new(cols, rows));
        size.map_or(Command::Refuse(TerminalProblem::INVALID_RESIZE), Command::Resize)
    });
    let socket = socket.clone();
    let tasks = app.tasks.clone();
    let shutdown = app.shutdown.clone();
    tasks.spawn(async move {
        let mut seat = Seat { socket, app, person, place: None };
        let gone = seat.socket.extensions.get::<super::Gone>().map_or_else(Default::default, |gone| gone.0.clone());
        tokio::select! {
            () = seat.run(&inbox) => {}
            () = gone.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
        seat.leave().await;
    });
}

/// Registers one event. The closure's body runs in the order of the packets; its future would not.
fn on(socket: &SocketRef, event: &'static str, inbox: &Arc<Inbox>, command: impl Fn(Value) -> Command + Send + Sync + Clone + 'static) {
    let inbox = Arc::clone(inbox);
    socket.on(event, move |socket: SocketRef, TryData::<Value>(payload)| {
        // An event without a payload, such as `detach`, has none to read.
        if inbox.put(command(payload.unwrap_or_default())) == Put::Full {
            // To leave one piece out and type the next would be worse than to type neither.
            emit_problem(&socket, TerminalProblem::RATE_LIMITED);
            if socket.disconnect().is_err() {
                tracing::debug!("a socket that sent too much left by itself");
            }
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

/// What a client asked for and was not done yet, in its order.
#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// Of all input in `commands`.
    input_bytes: usize,
    /// Nothing is taken any more.
    closed: bool,
}

/// Whether a command could be taken.
#[derive(PartialEq, Eq)]
enum Put {
    Taken,
    /// Too much waits: the command was not taken, and none will be after it.
    Full,
    Closed,
}

impl Inbox {
    /// Adds a command. Input joins the piece before it, so that keys cost bytes and not commands.
    fn put(&self, command: Command) -> Put {
        let mut waiting = self.lock();
        if waiting.closed {
            return Put::Closed;
        }
        let bytes = if let Command::Input(input) = &command { input.len() } else { 0 };
        if waiting.input_bytes + bytes > WAITING_INPUT_BYTES_MAX || waiting.commands.len() >= WAITING_COMMANDS_MAX {
            waiting.closed = true;
            return Put::Full;
        }
        waiting.input_bytes += bytes;
        match (waiting.commands.back_mut(), command) {
            (Some(Command::Input(piece)), Command::Input(input)) if piece.len() + input.len() <= INPUT_BYTES_MAX => piece.push_str(&input),
            (_, command) => waiting.commands.push_back(command),
        }
        drop(waiting);
        self.filled.notify_one();
        Put::Taken
    }

    /// Waits for the next command.
    async fn take(&self) -> Command {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(command) = waiting.commands.pop_front() {
                    if let Command::Input(input) = &command {
                        waiting.input_bytes -= input.len();
                    }
                    return command;
                }
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn run(&mut self, inbox: &Inbox) {
        loop {
            let command = inbox.take().await;
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
        let socket = self.socket.clone();
        let login = (session.status == SessionStatus::LoginRequired).then(|| StatusChange::new(session.status, session.login));
        let show = self.app.tasks.spawn(async move {
            show(&socket, &mut viewer, login).await;
        });
        self.place = Some(Place { session: session.id, writer, show });
        Ok(())
    }

    async fn open(&self, wanted: &Wanted) -> Result<Attachment, TerminalError> {
        let mut tx = self.app.begin().await?;
        let session = terminals::wanted(&mut tx, &self.person, wanted).await?;
        let runtime = runtimes::client_of_session(tx.conn(), &self.app.runtimes, &session).await?;
        let attachment = terminals::attach(&mut tx, &self.app.terminals, runtime.as_ref(), &self.person, session).await?;
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
        match self.place.as_ref().and_then(|place| self.app.terminals.get(place.session)) {
            Some(terminal) if terminal.is_unsupported() => TerminalProblem::TERMINAL_UNSUPPORTED,
            Some(_) => TerminalProblem::RUNTIME_NOT_CONNECTED,
            None => TerminalProblem::SESSION_TERMINATED,
        }
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
            Some(Some(View::Output { bytes, .. })) => {
                let gathered = bytes.len() >= PIECE_BYTES_FULL;
                emit(socket, "data", &Viewer::text(&bytes)).await;
                let now = Instant::now();
                if now - last < GATHER && !gathered {
                    sleep_until(now + GATHER).await;
                }
                last = Instant::now();
            }
            Some(Some(View::Screen { drawing, .. })) => {
                emit(socket, "clear", &()).await;
                emit(socket, "data", &Viewer::text(&drawing)).await;
            }
            // The web UI has no event for the size that another viewer chose.
            Some(Some(View::Resized(_))) => {}
            Some(Some(View::Status { status, login })) => emit(socket, "status", &StatusChange::new(status, login)).await,
            Some(Some(View::Unsupported)) => emit(socket, "error", &TerminalProblem::TERMINAL_UNSUPPORTED).await,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Command {
        Command::Input(text.to_owned())
    }

    async fn typed(inbox: &Inbox) -> String {
        match inbox.take().await {
            Command::Input(text) => text,
            Command::Attach(_) | Command::Detach | Command::Resize(_) | Command::Refuse(_) => panic!("not input"),
        }
    }

    #[tokio::test]
    async fn keys_join_in_their_order_and_never_across_another_command() {
        let inbox = Inbox::default();
        for key in ["l", "s"] {
            assert!(inbox.put(input(key)) == Put::Taken);
        }
        assert!(inbox.put(Command::Detach) == Put::Taken);
        assert!(inbox.put(input("x")) == Put::Taken);
        assert_eq!(typed(&inbox).await, "ls");
        assert!(matches!(inbox.take().await, Command::Detach));
        assert_eq!(typed(&inbox).await, "x");
    }

    #[tokio::test]
    async fn once_too_much_waits_nothing_behind_it_is_taken() {
        let inbox = Inbox::default();
        let piece = "x".repeat(INPUT_BYTES_MAX);
        for _ in 0..WAITING_INPUT_BYTES_MAX / INPUT_BYTES_MAX {
            assert!(inbox.put(input(&piece)) == Put::Taken);
        }
        assert!(inbox.put(input("y")) == Put::Full);
        assert_eq!(typed(&inbox).await.len(), INPUT_BYTES_MAX);
        assert!(inbox.put(input("z")) == Put::Closed, "a hole in what is typed is worse than nothing typed");
    }
}
