//! What a viewer is at a terminal beside their eyes: who else is there, who controls it, and what they may do now.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use socketioxide::{
    SendError, SocketError,
    extract::{AckSender, SocketRef, TryData},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    app::{App, StorageError},
    domain::{
        control::{self, ControlError, ControlFailure, HOLDER_AWAITED, Pass, Room, Seat, Silenced},
        terminals::{self, Granted, WriteError},
    },
    model::{actor::Person, ids::SessionId, secret::Secret, terminal_control::ViewerId, terminal_rights::TerminalRights},
    wire::{
        control::{ControlAnswer, ControlProblem, RightsChange, TerminalController, TerminalViewer},
        terminals::TerminalProblem,
    },
};

/// Viewers are told at most once in this time: a crowd that comes or goes is one piece of news.
const VIEWERS_EVERY: Duration = Duration::from_millis(250);
/// Changes of control that one place may ask for in [`CHANGES_WINDOW`]: each leaves a row in the activity feed.
const CHANGES_MAX: u32 = 30;
const CHANGES_WINDOW: Duration = Duration::from_mins(1);
/// How long to wait before rights that could not be checked are checked again.
const CHECK_RETRY: Duration = Duration::from_secs(1);
/// Characters of a share's token; ours have 54.
const SHARE_CHARS_MAX: usize = 128;

/// What a client says with `attach` beside the session that it wants.
#[derive(Default)]
pub(super) struct Wish {
    /// The token of a share, by which the viewer comes in place of their membership.
    pub(super) share: Option<Secret>,
    /// Whether to tell `viewers` and `controller`.
    presence: bool,
}

impl Wish {
    /// Errors: `INVALID_ATTACH` where a share is not a text, `SESSION_NOT_FOUND` where it cannot be one.
    pub(super) fn read(payload: &Value) -> Result<Self, TerminalProblem> {
        let presence = payload.get("presence").and_then(Value::as_bool).unwrap_or(false);
        let share = match payload.get("share") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) if token.len() <= SHARE_CHARS_MAX => Some(Secret::presented(token)),
            Some(Value::String(_)) => return Err(TerminalProblem::SESSION_NOT_FOUND),
            Some(_) => return Err(TerminalProblem::INVALID_ATTACH),
        };
        Ok(Self { share, presence })
    }
}

/// How control is to change.
enum Change {
    Take {
        force: bool,
    },
    HandOver(ViewerId),
    /// Has the holder be shown that this viewer would like control.
    Ask,
    Release,
}

/// A request for a change of control, with the answer that its client may wait for.
pub(super) struct Request {
    /// `None` where it cannot be understood.
    change: Option<Change>,
    answer: AckSender,
}

impl Request {
    /// Tells the client why nothing changed, or that it did.
    pub(super) fn end(self, socket: &SocketRef, outcome: Result<(), ControlProblem>) {
        if let Err(problem) = &outcome {
            tell_problem(socket, problem);
        }
        if self.answer.send(&ControlAnswer::from(outcome)).is_err() {
            tracing::debug!("a socket without room missed the answer about control");
        }
    }

    /// As [`Self::end`], for a socket that is attached nowhere.
    pub(super) fn refuse(self, socket: &SocketRef, problem: TerminalProblem) {
        self.end(socket, Err(ControlProblem { message: problem.message.to_owned(), code: problem.code }));
    }
}

/// Registers the events by which control changes; `put` takes each in the order of the packets.
pub(super) fn register(socket: &SocketRef, put: impl Fn(&SocketRef, Request) + Send + Sync + Clone + 'static) {
    let events: [(&'static str, fn(&Value) -> Option<Change>); 4] = [
        ("control:take", |payload| Some(Change::Take { force: payload.get("force").and_then(Value::as_bool).unwrap_or(false) })),
        ("control:hand_over", |payload| payload.get("viewerId")?.as_str()?.parse().ok().map(Change::HandOver)),
        ("control:request", |_| Some(Change::Ask)),
        ("control:release", |_| Some(Change::Release)),
    ];
    for (event, read) in events {
        let put = put.clone();
        socket.on(event, move |socket: SocketRef, TryData::<Value>(payload), answer: AckSender| {
            put(&socket, Request { change: read(&payload.unwrap_or_default()), answer });
            std::future::ready(())
        });
    }
}

/// Tells a socket why what it typed went nowhere. `None` where the runtime is not connected, which is not said here.
pub(super) fn refuse_input(socket: &SocketRef, error: WriteError) -> Option<Result<(), TerminalProblem>> {
    match error {
        WriteError::NotConnected => None,
        WriteError::Silenced(Silenced::ReadOnly) => Some(Err(TerminalProblem::FORBIDDEN)),
        WriteError::Silenced(Silenced::Held { by }) => {
            tell_problem(socket, &held(&by));
            Some(Ok(()))
        }
    }
}

/// Who is at which terminal, and how they came.
pub(super) struct Presence {
    pub(super) socket: SocketRef,
    pub(super) app: App,
    pub(super) person: Person,
    pub(super) session: SessionId,
    pub(super) wish: Wish,
}

/// A viewer's place in the room of a terminal. To be left with [`Place::leave`].
pub(super) struct Place {
    seat: Seat,
    follow: JoinHandle<()>,
    /// Changes that were asked for since the time.
    changes: (Instant, u32),
}

impl Place {
    /// Follows what concerns the viewer. `cut` is called once they may not even watch any more.
    pub(super) fn new(
        presence: Presence,
        seat: Seat,
        granted: Granted,
        doubts: watch::Receiver<()>,
        cut: impl FnOnce(ViewerId) + Send + 'static,
    ) -> Self {
        let pass = Arc::clone(seat.pass());
        let app = presence.app.clone();
        // Of the service before this one, maybe.
        await_holder(&app, pass.room());
        let follow = app.spawn(async move {
            follow(&presence, &pass, granted, doubts).await;
            cut(pass.id());
        });
        Self { seat, follow, changes: (Instant::now(), 0) }
    }

    pub(super) fn viewer(&self) -> ViewerId {
        self.seat.pass().id()
    }

    /// Carries a request out and answers it.
    pub(super) async fn change(&mut self, socket: &SocketRef, app: &App, person: &Person, request: Request) {
        let outcome = self.try_change(app, person, request.change.as_ref()).await;
        request.end(socket, outcome);
    }

    async fn try_change(&mut self, app: &App, person: &Person, change: Option<&Change>) -> Result<(), ControlProblem> {
        let change = change.ok_or_else(|| problem("control:hand_over needs viewerId", "INVALID_PAYLOAD"))?;
        let (since, count) = &mut self.changes;
        if since.elapsed() > CHANGES_WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > CHANGES_MAX {
            let TerminalProblem { message, code } = TerminalProblem::RATE_LIMITED;
            return Err(problem(message, code));
        }
        let pass = self.seat.pass();
        let carried_out = async {
            let mut tx = app.begin().await?;
            match change {
                Change::Take { force } => control::take(&mut tx, person, pass, *force).await?,
                Change::HandOver(to) => control::hand_over(&mut tx, person, pass, *to).await?,
                Change::Ask => pass.ask()?,
                Change::Release => control::release(&mut tx, pass).await?,
            }
            tx.commit().await?;
            Ok(())
        };
        carried_out.await.map_err(problem_of)
    }

    /// Gives the place up. Control waits for a holder who may come back.
    pub(super) fn leave(self, app: &App) {
        self.follow.abort();
        let room = Arc::clone(self.seat.pass().room());
        drop(self.seat);
        await_holder(app, &room);
    }
}

/// Frees the terminal once its holder has been away for too long, if one is.
fn await_holder(app: &App, room: &Arc<Room>) {
    let Some(awaited) = room.awaited() else { return };
    let (app, room) = (app.clone(), Arc::clone(room));
    app.clone().spawn(async move {
        tokio::select! {
            () = sleep(HOLDER_AWAITED) => {}
            () = app.shutdown.cancelled() => return,
        }
        let freed = async {
            let mut tx = app.begin().await?;
            control::give_up(&mut tx, &room, awaited).await?;
            tx.commit().await
        };
        if let Err(error) = freed.await {
            let error: StorageError = error;
            tracing::warn!(error = &error as &dyn std::error::Error, "who controlled a terminal is still noted");
        }
    });
}

/// What a viewer was told. `None`: nothing yet.
struct Told {
    rights: TerminalRights,
    controller: Option<Option<TerminalController>>,
    viewers: Option<Value>,
    /// When the next list of viewers may be told, and anything else to a socket that had no room for it.
    next_at: Instant,
}

/// Tells a viewer who is there and what they may do, until they may not even watch any more.
async fn follow(presence: &Presence, pass: &Pass, granted: Granted, mut doubts: watch::Receiver<()>) {
    let Presence { socket, wish, .. } = presence;
    let mut changes = pass.room().changes();
    let mut rights = granted.rights;
    let mut told = Told { rights, controller: None, viewers: None, next_at: Instant::now() };
    let ends_at = granted.lasts.map(|lasts| Instant::now() + lasts);
    let every = presence.app.settings.socket_check_every;
    let mut check_at = next_check(every, ends_at);
    loop {
        changes.mark_unchanged();
        // Whatever else there is to do does not wait for a socket that is slow to read.
        let up_to_date = tell_rights(socket, rights, &mut told) && (!wish.presence || tell_presence(socket, pass.room(), &mut told));
        tokio::select! {
            // Fails only when the room is gone, and we hold it.
            _ = changes.changed(), if wish.presence => continue,
            () = sleep_until(told.next_at), if !up_to_date => continue,
            _ = doubts.changed() => {}
            () = sleep_until(check_at) => {}
        }
        check_at = next_check(every, ends_at);
        match ask_again(presence).await {
            Ok(now) if !now.read => return pass.set_can_write(false),
            Ok(now) => {
                // One who came to watch types only after attaching again, which they are told they may.
                pass.set_can_write(now.write && granted.rights.write);
                rights = now;
            }
            // While the database is away nobody is thrown out, unless it is clear that their time is over.
            Err(_) if ends_at.is_some_and(|at| at <= Instant::now()) => return pass.set_can_write(false),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the rights of a viewer could not be checked");
                check_at = check_at.min(Instant::now() + CHECK_RETRY);
            }
        }
    }
}

/// Nobody tells that a share has expired.
fn next_check(every: Duration, ends_at: Option<Instant>) -> Instant {
    let next = Instant::now() + every;
    match ends_at {
        // One that is over already is asked about no more often than any other.
        Some(at) if at > Instant::now() => next.min(at),
        Some(_) | None => next,
    }
}

async fn ask_again(presence: &Presence) -> Result<TerminalRights, StorageError> {
    let mut tx = presence.app.begin().await?;
    let Some(session) = terminals::of_machinery(tx.conn(), presence.session).await? else { return Ok(TerminalRights::default()) };
    Ok(terminals::granted(&mut tx, &presence.person, &session, presence.wish.share.as_ref()).await?.rights)
}

/// Tells what the viewer may do, if that is new; whether they know.
fn tell_rights(socket: &SocketRef, rights: TerminalRights, told: &mut Told) -> bool {
    if told.rights != rights {
        if !told.tell(socket, "rights", &RightsChange::from(rights)) {
            return false;
        }
        told.rights = rights;
    }
    true
}

/// Tells who is there and who controls the terminal, as far as that is new; whether the viewer knows.
fn tell_presence(socket: &SocketRef, room: &Room, told: &mut Told) -> bool {
    let controller = room.controller().map(TerminalController::from);
    if told.controller.as_ref() != Some(&controller) {
        // In a tuple, so that nobody is told as null.
        if !told.tell(socket, "controller", &(&controller,)) {
            return false;
        }
        told.controller = Some(controller);
    }
    if told.next_at > Instant::now() {
        return false;
    }
    let watchers = room.watchers();
    let listed: Vec<TerminalViewer> = watchers.listed.into_iter().map(Into::into).collect();
    let list = json!([listed, {"count": watchers.count}]);
    if told.viewers.as_ref() == Some(&list) {
        return true;
    }
    if !told.tell(socket, "viewers", &(&list[0], &list[1])) {
        return false;
    }
    told.viewers = Some(list);
    told.next_at = Instant::now() + VIEWERS_EVERY;
    true
}

impl Told {
    /// Sends an event. A socket without room for it gets it a little later: `false`.
    fn tell<T: serde::Serialize>(&mut self, socket: &SocketRef, event: &'static str, payload: &T) -> bool {
        let is_full = matches!(socket.emit(event, payload), Err(SendError::Socket(SocketError::InternalChannelFull)));
        if is_full {
            self.next_at = Instant::now() + VIEWERS_EVERY;
        }
        !is_full
    }
}

fn tell_problem(socket: &SocketRef, problem: &ControlProblem) {
    if socket.emit("error", problem).is_err() {
        tracing::debug!(code = problem.code, "a socket without room missed an error");
    }
}

fn problem(message: &str, code: &'static str) -> ControlProblem {
    ControlProblem { message: message.to_owned(), code }
}

fn held(by: &str) -> ControlProblem {
    ControlProblem { message: format!("{by} controls this terminal"), code: "NOT_CONTROLLER" }
}

fn problem_of(failure: ControlFailure) -> ControlProblem {
    let error = match failure {
        ControlFailure::Refused(error) => error,
        ControlFailure::Storage(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "control of a terminal could not be changed");
            let TerminalProblem { message, code } = TerminalProblem::UNAVAILABLE;
            return problem(message, code);
        }
    };
    match &error {
        ControlError::Held { by } => held(by),
        ControlError::ReadOnly => problem("You may watch this terminal, not control it", "FORBIDDEN"),
        ControlError::MayNotForce { by } => {
            problem(&format!("{by} controls this terminal, and you may not take it from them"), "FORBIDDEN")
        }
        ControlError::NotHolder => problem("You do not control this terminal", "NOT_CONTROLLER"),
        ControlError::NoSuchViewer => problem("This viewer is not here any more, or may not type", "INVALID_PAYLOAD"),
        ControlError::Terminated => problem(TerminalProblem::SESSION_TERMINATED.message, TerminalProblem::SESSION_TERMINATED.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_short_text_or_absent() {
        let share = |payload: Value| Wish::read(&payload).map(|wish| wish.share.map(|share| share.expose().to_owned()));
        assert_eq!(share(json!({})), Ok(None));
        assert_eq!(share(json!({"share": null})), Ok(None));
        assert_eq!(share(json!({"share": "term_share_x"})), Ok(Some("term_share_x".into())));
        assert_eq!(share(json!({"share": 1})), Err(TerminalProblem::INVALID_ATTACH));
        assert_eq!(share(json!({"share": "x".repeat(SHARE_CHARS_MAX + 1)})), Err(TerminalProblem::SESSION_NOT_FOUND));
    }
}
