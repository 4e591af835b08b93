//! The terminal gateway (realtime contract §5), as `docs/realtime.md` describes it.
//!
//! Events of one socket go through a queue to one task, so they happen in the order they were sent.
//! A second task shows the terminal: it reads only when the socket has room, so a slow socket
//! costs nobody anything.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use socketioxide::extract::{SocketRef, TryData};
use tokio::task::JoinHandle;

use super::{
    control::{self, Refusal},
    display::{self, Acknowledged, emit},
    inbox::{self, Inbox},
    payload::Payload,
};
use crate::{
    app::{App, StorageError},
    domain::{
        runtimes,
        terminals::{self, Attachment, Start, TerminalError, Wanted, WriteError, Writer},
    },
    model::{
        actor::Person,
        ids::SessionId,
        secret::Secret,
        terminal::{SessionStatus, Size},
        terminal_control::ViewerId,
    },
    wire::terminals::{Attached, StatusChange, TerminalProblem, Terms},
};

/// One piece of input is at most this long, in bytes (RT-30).
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Bounds of what may be on its way to a client that acknowledges, and what is unless it says so, in bytes.
const WINDOW_BYTES_MIN: u32 = 16 * 1024;
const WINDOW_BYTES_MAX: u32 = 1024 * 1024;
const WINDOW_BYTES: u32 = 256 * 1024;

/// To attach asks the database and has a screen drawn: it counts as this many keys.
const ATTACH_EVENTS: u32 = 20;

/// How many sockets are attached to each session.
#[derive(Default)]
pub(super) struct Audience(Mutex<HashMap<SessionId, u32>>);

/// Registers the events of a proven socket and starts its task, which ends with the socket.
pub(super) fn register(socket: &SocketRef, app: App, audience: Arc<Audience>, person: Person) {
    let inbox = Inbox::new(app.settings.rate_limits.as_ref().map(|limits| limits.events_by_socket));
    let acknowledged = Arc::<Acknowledged>::default();
    inbox.on(socket, "attach", |payload| attach_command(&payload));
    inbox.on(socket, "detach", |_| Command::Detach);
    inbox.on(socket, "input", |payload| match payload {
        Payload::Text(input) if input.len() > INPUT_BYTES_MAX => Command::Refuse(TerminalProblem::INPUT_TOO_LARGE),
        Payload::Text(input) => Command::Input(input),
        Payload::Object(_) | Payload::Other => Command::Refuse(TerminalProblem::INVALID_INPUT),
    });
    inbox.on(socket, "resize", |payload| {
        let size = payload.whole("cols").zip(payload.whole("rows")).and_then(|(cols, rows)| Size::new(cols, rows));
        size.map_or(Command::Refuse(TerminalProblem::INVALID_RESIZE), Command::Resize)
    });
    for event in control::EVENTS {
        inbox.on(socket, event, move |payload| Command::Control(control::Change::read(event, &payload)));
    }
    on_acknowledge(socket, &inbox, &acknowledged);
    inbox.count_others(socket);
    let socket = socket.clone();
    let tasks = app.tasks.clone();
    let shutdown = app.shutdown.clone();
    tasks.spawn(async move {
        let mut seat = Seat { socket, app, audience, person, acknowledged, inbox: Arc::clone(&inbox), place: None };
        let gone = seat.socket.extensions.get::<super::Gone>().map_or_else(Default::default, |gone| gone.0.clone());
        tokio::select! {
            () = seat.run(&inbox) => {}
            () = gone.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
        inbox.close();
        seat.leave().await;
    });
}

/// What a client has drawn is taken in at once: it must not wait behind input for a slow runtime.
fn on_acknowledge(socket: &SocketRef, inbox: &Arc<Inbox<Command>>, acknowledged: &Arc<Acknowledged>) {
    let (inbox, acknowledged) = (Arc::clone(inbox), Arc::clone(acknowledged));
    socket.on("acknowledge", move |socket: SocketRef, TryData::<Payload>(payload)| {
        let position = payload.ok().and_then(|payload| payload.whole("offset")).and_then(|offset| u64::try_from(offset).ok());
        // One that moves on within what was sent is paid for by the output that it is for.
        if !position.is_some_and(|position| acknowledged.advance(position)) {
            inbox.charge(&socket);
        }
        std::future::ready(())
    });
}

/// What a client asks for, in its order.
enum Command {
    Attach(Wanted, Terms, control::Wish),
    /// `None` where it cannot be understood.
    Control(Option<control::Change>),
    /// The viewer of this place may not even watch any more.
    Cut(ViewerId),
    Detach,
    Input(String),
    Resize(Size),
    Refuse(TerminalProblem),
}

impl inbox::Command for Command {
    fn input_bytes(&self) -> usize {
        if let Self::Input(input) = self { input.len() } else { 0 }
    }

    fn events(&self) -> u32 {
        if let Self::Attach(..) = self { ATTACH_EVENTS } else { 1 }
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Input(piece), Self::Input(input)) if piece.len() + input.len() <= INPUT_BYTES_MAX => {
                piece.push_str(&input);
                None
            }
            (_, next) => Some(next),
        }
    }
}

fn attach_command(payload: &Payload) -> Command {
    let wanted = match (payload.text("sessionId"), payload.text("agentId")) {
        (Some(id), _) => id.parse().map(Wanted::Session).ok(),
        (None, Some(id)) => id.parse().map(Wanted::Agent).ok(),
        (None, None) => return Command::Refuse(TerminalProblem::INVALID_ATTACH),
    };
    let (Some(wanted), Ok(wish)) = (wanted, control::Wish::read(payload)) else {
        return Command::Refuse(TerminalProblem::SESSION_NOT_FOUND);
    };
    Command::Attach(wanted, terms(payload), wish)
}

/// What a client asks for beside the session. What is no use is left out, as by a client that does not know of it.
fn terms(payload: &Payload) -> Terms {
    let window = || {
        let asked = payload.whole("window").and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(WINDOW_BYTES);
        asked.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
    };
    Terms {
        binary: payload.flag("binary"),
        offset: payload.whole("offset").and_then(|offset| u64::try_from(offset).ok()),
        stream: payload.whole("stream").and_then(|stream| u64::try_from(stream).ok()),
        window: payload.flag("acknowledge").then(window),
    }
}

/// A socket's place at a terminal.
struct Place {
    session: SessionId,
    writer: Option<Writer>,
    presence: control::Place,
    show: JoinHandle<()>,
    _ticket: Ticket,
}

/// One socket and where it is attached.
struct Seat {
    socket: SocketRef,
    app: App,
    audience: Arc<Audience>,
    person: Person,
    acknowledged: Arc<Acknowledged>,
    inbox: Arc<Inbox<Command>>,
    place: Option<Place>,
}

impl Seat {
    async fn run(&mut self, inbox: &Inbox<Command>) {
        loop {
            let (command, asked) = inbox.take().await;
            let outcome: Result<(), Refusal> = match command {
                Command::Attach(wanted, terms, wish) => self.attach(&wanted, terms, wish).await.map_err(Into::into),
                Command::Control(change) => self.control(change.as_ref()).await,
                Command::Cut(viewer) => self.cut(viewer).await.map_err(Into::into),
                Command::Detach => {
                    // A client that was not attached hears nothing: an answer would make the web UI attach again.
                    if self.leave().await {
                        emit(&self.socket, "detached", &()).await;
                    }
                    Ok(())
                }
                Command::Input(input) => self.input(input).await,
                Command::Resize(size) => {
                    self.resize(size).await;
                    Ok(())
                }
                Command::Refuse(problem) => Err(problem.into()),
            };
            if let Err(refusal) = &outcome {
                refusal.tell(&self.socket);
            }
            asked.answer(outcome.map_err(Into::into));
        }
    }

    async fn attach(&mut self, wanted: &Wanted, terms: Terms, wish: control::Wish) -> Result<(), TerminalProblem> {
        let (opened, ticket) = self.open(wanted, terms, wish.share.as_ref()).await?;
        let Attachment { session, viewer, writer, seat, granted, doubts } = opened;
        if let Some(earlier) = &self.place {
            earlier.presence.hand_on(&seat);
        }
        // To attach again to the same session is a plain resync.
        if let Some(left) = self.stop_showing().await.filter(|left| *left != session.id) {
            self.note_leaving(left).await;
        }
        let attached = Attached {
            session_id: session.id,
            agent_id: session.agent.clone(),
            status: session.status,
            cols: viewer.size().cols(),
            rows: viewer.size().rows(),
            can_write: writer.is_some(),
            can_terminate: granted.rights.terminate,
            viewer_id: seat.pass().id().to_string(),
            binary: terms.binary,
            offset: viewer.position(),
            stream: viewer.stream(),
            acknowledge: terms.window.is_some(),
            window: terms.window,
        };
        emit(&self.socket, "attached", &attached).await;
        let login = (session.status == SessionStatus::LoginRequired).then(|| StatusChange::new(session.status, session.login));
        let shown = display::show(self.socket.clone(), viewer, terms, Arc::clone(&self.acknowledged), login);
        let show = self.app.tasks.spawn(shown);
        let (shown, inbox) = (show.abort_handle(), Arc::clone(&self.inbox));
        let cut = move |viewer| {
            shown.abort();
            inbox.insert(Command::Cut(viewer));
        };
        let (socket, app, person) = (self.socket.clone(), self.app.clone(), self.person.clone());
        let presence = control::Presence { socket, app, person, session: session.id, wish };
        let presence = control::Place::new(presence, seat, granted, doubts, cut);
        self.place = Some(Place { session: session.id, writer, presence, show, _ticket: ticket });
        Ok(())
    }

    async fn open(&self, wanted: &Wanted, terms: Terms, share: Option<&Secret>) -> Result<(Attachment, Ticket), TerminalProblem> {
        let mut tx = self.app.begin().await.map_err(unavailable)?;
        let session = terminals::wanted(&mut tx, &self.person, wanted).await.map_err(problem_of)?;
        // Who is there already needs no other place.
        let own = u32::from(self.place.as_ref().is_some_and(|place| place.session == session.id));
        let ticket = self.admit(session.id, own)?;
        let runtime = runtimes::client_of_session(tx.conn(), &self.app.runtimes, &session).await.map_err(unavailable)?;
        let start = terms.offset.map_or(Start::Screen, |offset| Start::Again { offset, stream: terms.stream });
        let live = (&self.app.terminals, &self.app.controls);
        let attachment = terminals::attach(&mut tx, live, runtime.as_ref(), &self.person, session, start, share).await;
        let attachment = attachment.map_err(problem_of)?;
        tx.commit().await.map_err(unavailable)?;
        Ok((attachment, ticket))
    }

    /// A place among those who watch the session.
    fn admit(&self, session: SessionId, own: u32) -> Result<Ticket, TerminalProblem> {
        let viewers_max = self.app.settings.rate_limits.as_ref().map_or(u32::MAX, |limits| limits.viewers_by_session.saturating_add(own));
        self.audience.admit(session, viewers_max).ok_or(TerminalProblem::TOO_MANY_VIEWERS)
    }

    /// No database here: the right to write was proven by attaching.
    async fn input(&self, input: String) -> Result<(), Refusal> {
        self.writer()?.write(Bytes::from(input)).await.map_err(|error| match error {
            WriteError::NotConnected => self.why_not_connected().into(),
            WriteError::Silenced(silenced) => silenced.into(),
        })
    }

    async fn control(&mut self, change: Option<&control::Change>) -> Result<(), Refusal> {
        let place = self.place.as_mut().ok_or(TerminalProblem::NOT_ATTACHED)?;
        place.presence.change(&self.app, &self.person, change).await
    }

    /// Shows a viewer out who may not even watch any more.
    async fn cut(&mut self, viewer: ViewerId) -> Result<(), TerminalProblem> {
        if self.place.as_ref().is_none_or(|place| place.presence.viewer() != viewer) {
            return Ok(());
        }
        self.leave().await;
        emit(&self.socket, "detached", &()).await;
        Err(TerminalProblem::ACCESS_ENDED)
    }

    /// No database here either: keys wait behind a size.
    async fn resize(&self, size: Size) {
        // The web UI resizes by itself after attaching: for somebody who only watches that is no mistake.
        if let Ok(writer) = self.writer() {
            writer.resize(size).await;
        }
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
        let Some(session) = self.stop_showing().await else { return false };
        self.note_leaving(session).await;
        true
    }

    /// Shows nothing any more: what comes next is behind all that was shown. The session that was left.
    async fn stop_showing(&mut self) -> Option<SessionId> {
        let place = self.place.take()?;
        place.show.abort();
        place.presence.leave(&self.app, super::was_shown_out(&self.socket));
        if place.show.await.is_err_and(|error| error.is_panic()) {
            tracing::error!(session.id = %place.session, "a terminal could not be shown to its end");
        }
        Some(place.session)
    }

    async fn note_leaving(&self, session: SessionId) {
        let leave = async {
            let mut tx = self.app.begin().await?;
            terminals::detach(&mut tx, &self.person, session).await?;
            tx.commit().await
        };
        if let Err(error) = leave.await {
            let error: StorageError = error;
            tracing::warn!(error = &error as &dyn std::error::Error, "a viewer who left is still noted");
        }
    }
}

/// A place among those who watch a session; free again when this is dropped.
struct Ticket {
    session: SessionId,
    audience: Arc<Audience>,
}

impl Audience {
    fn admit(self: &Arc<Self>, session: SessionId, viewers_max: u32) -> Option<Ticket> {
        let mut all = self.lock();
        let viewers = all.entry(session).or_default();
        if *viewers >= viewers_max {
            return None;
        }
        *viewers += 1;
        drop(all);
        Some(Ticket { session, audience: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, u32>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut all = self.audience.lock();
        if let Some(viewers) = all.get_mut(&self.session) {
            *viewers -= 1;
            if *viewers == 0 {
                all.remove(&self.session);
            }
        }
    }
}

pub(super) fn unavailable(error: StorageError) -> TerminalProblem {
    problem_of(error.into())
}

pub(super) fn problem_of(error: TerminalError) -> TerminalProblem {
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

    fn read(json: &serde_json::Value) -> Payload {
        serde_json::from_value(json.clone()).unwrap()
    }

    #[test]
    fn what_is_no_use_in_an_attach_is_as_if_it_was_not_there() {
        let agreed = |json| terms(&read(&json));
        assert_eq!(agreed(serde_json::json!({"binary": "yes", "offset": -1, "acknowledge": 1, "window": 5})), Terms::default());
        let all = serde_json::json!({"binary": true, "offset": 7, "stream": 9, "acknowledge": true, "window": 1});
        assert_eq!(agreed(all), Terms { binary: true, offset: Some(7), stream: Some(9), window: Some(WINDOW_BYTES_MIN) });
        let window = |window: i64| agreed(serde_json::json!({"acknowledge": true, "window": window})).window;
        assert_eq!((window(100_000), window(i64::MAX), window(-1)), (Some(100_000), Some(WINDOW_BYTES), Some(WINDOW_BYTES)));
        assert_eq!(window(2_000_000), Some(WINDOW_BYTES_MAX));
    }

    #[test]
    fn a_session_has_no_more_viewers_than_it_may() {
        let audience = Arc::<Audience>::default();
        let session = SessionId::generate();
        let first = audience.admit(session, 1);
        assert!(first.is_some() && audience.admit(session, 1).is_none() && audience.admit(SessionId::generate(), 1).is_some());
        drop(first);
        assert!(audience.lock().is_empty() && audience.admit(session, 1).is_some());
    }
}
