//! What a viewer is at a terminal beside their eyes: who else is there, who controls it, and what they may do now.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use socketioxide::{SendError, SocketError, extract::SocketRef};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::payload::Payload;
use crate::{
    app::{App, StorageError},
    domain::{
        control::{self, ControlError, ControlFailure, HOLDER_AWAITED, Pass, Room, Seat, Silenced},
        terminals::{self, Granted},
    },
    model::{actor::Person, ids::SessionId, secret::Secret, terminal_control::ViewerId, terminal_rights::TerminalRights},
    wire::{
        control::{NamedProblem, RightsChange, TerminalController, TerminalViewer},
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
    /// Errors: `SESSION_NOT_FOUND` where the share cannot be one.
    pub(super) fn read(payload: &Payload) -> Result<Self, TerminalProblem> {
        let share = match payload.text("share") {
            None => None,
            Some(token) if token.len() <= SHARE_CHARS_MAX => Some(Secret::presented(token)),
            Some(_) => return Err(TerminalProblem::SESSION_NOT_FOUND),
        };
        Ok(Self { share, presence: payload.flag("presence") })
    }
}

/// The events by which control changes.
pub(super) const EVENTS: [&str; 4] = ["control:take", "control:hand_over", "control:request", "control:release"];

/// How control is to change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Take {
        force: bool,
    },
    HandOver(ViewerId),
    /// Has the holder be shown that this viewer would like control.
    Ask,
    Release,
}

impl Change {
    /// `None` where it cannot be understood.
    pub(super) fn read(event: &str, payload: &Payload) -> Option<Self> {
        match event {
            "control:take" => Some(Self::Take { force: payload.flag("force") }),
            "control:hand_over" => payload.text("viewerId")?.parse().ok().map(Self::HandOver),
            "control:request" => Some(Self::Ask),
            "control:release" => Some(Self::Release),
            _ => None,
        }
    }
}

/// Why something was not done.
pub(super) struct Refusal {
    problem: TerminalProblem,
    /// In other words than the problem's own, where somebody is named.
    message: Option<String>,
}

impl Refusal {
    pub(super) fn tell(&self, socket: &SocketRef) {
        let code = self.problem.code;
        let told = match &self.message {
            Some(message) => socket.emit("error", &NamedProblem { message: message.clone(), code }),
            None => socket.emit("error", &self.problem),
        };
        if told.is_err() {
            tracing::debug!(code, "a socket without room missed an error");
        }
    }

    fn held(by: &str) -> Self {
        Self { problem: TerminalProblem::NOT_CONTROLLER, message: Some(format!("{by} controls this terminal")) }
    }
}

impl From<TerminalProblem> for Refusal {
    fn from(problem: TerminalProblem) -> Self {
        Self { problem, message: None }
    }
}

impl From<Refusal> for TerminalProblem {
    fn from(refusal: Refusal) -> Self {
        refusal.problem
    }
}

impl From<Silenced> for Refusal {
    fn from(silenced: Silenced) -> Self {
        match silenced {
            Silenced::ReadOnly => TerminalProblem::FORBIDDEN.into(),
            Silenced::Held { by } => Self::held(&by),
        }
    }
}

impl From<ControlFailure> for Refusal {
    fn from(failure: ControlFailure) -> Self {
        match failure {
            ControlFailure::Refused(ControlError::Held { by }) => Self::held(&by),
            ControlFailure::Refused(ControlError::MayNotForce { by }) => Self {
                problem: TerminalProblem::MAY_NOT_TAKE,
                message: Some(format!("{by} controls this terminal, and you may not take it from them")),
            },
            ControlFailure::Refused(ControlError::ReadOnly) => TerminalProblem::MAY_NOT_CONTROL.into(),
            ControlFailure::Refused(ControlError::NotHolder) => TerminalProblem::NOT_HOLDER.into(),
            ControlFailure::Refused(ControlError::NoSuchViewer) => TerminalProblem::NO_SUCH_VIEWER.into(),
            ControlFailure::Refused(ControlError::Terminated) => TerminalProblem::SESSION_TERMINATED.into(),
            ControlFailure::Storage(error) => super::terminal::unavailable(error).into(),
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

    /// Changes control, or tells why not.
    pub(super) async fn change(&mut self, app: &App, person: &Person, change: Option<&Change>) -> Result<(), Refusal> {
        let change = change.ok_or(TerminalProblem::INVALID_CONTROL)?;
        let (since, count) = &mut self.changes;
        if since.elapsed() > CHANGES_WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > CHANGES_MAX {
            return Err(TerminalProblem::RATE_LIMITED.into());
        }
        let pass = self.seat.pass();
        let carried_out = async {
            let mut tx = app.begin().await?;
            let changing = match change {
                Change::Take { force } => control::take(&mut tx, person, pass, *force).await?,
                Change::HandOver(to) => control::hand_over(&mut tx, person, pass, *to).await?,
                Change::Ask => return Ok(pass.ask()?),
                Change::Release => control::release(&mut tx, pass).await?,
            };
            tx.commit().await?;
            changing.keep();
            Ok::<(), ControlFailure>(())
        };
        Ok(carried_out.await?)
    }

    /// Gives the control that this place has, if any, to a later one of the same socket at the same terminal.
    pub(super) fn hand_on(&self, later: &Seat) {
        later.pass().succeed(self.seat.pass());
    }

    /// Gives the place up. Control waits for a holder who may come back, and for nobody who was shown out.
    pub(super) fn leave(self, app: &App, was_shown_out: bool) {
        self.follow.abort();
        if was_shown_out {
            self.seat.pass().set_can_write(false);
        }
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
    controller: Option<Value>,
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
    let shown = json!(controller);
    if told.controller.as_ref() != Some(&shown) {
        // In a tuple, so that nobody is told as null.
        if !told.tell(socket, "controller", &(&shown,)) {
            return false;
        }
        told.controller = Some(shown);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: serde_json::Value) -> Payload {
        serde_json::from_value(payload).unwrap()
    }

    #[test]
    fn a_share_is_a_short_text_or_absent() {
        let share = |payload| Wish::read(&read(payload)).map(|wish| wish.share.map(|share| share.expose().to_owned()));
        assert_eq!(share(json!({})), Ok(None));
        assert_eq!(share(json!({"share": null})), Ok(None));
        assert_eq!(share(json!({"share": "term_share_x"})), Ok(Some("term_share_x".into())));
        assert_eq!(share(json!({"share": "x".repeat(SHARE_CHARS_MAX + 1)})), Err(TerminalProblem::SESSION_NOT_FOUND));
    }

    #[test]
    fn every_event_is_understood_and_a_viewer_must_be_named() {
        let viewer = ViewerId::generate();
        for event in EVENTS {
            let payload = read(json!({"viewerId": viewer.to_string(), "force": true}));
            assert!(Change::read(event, &payload).is_some(), "{event}");
        }
        assert_eq!(Change::read("control:hand_over", &read(json!({"viewerId": viewer.to_string()}))), Some(Change::HandOver(viewer)));
        assert_eq!(Change::read("control:hand_over", &read(json!({"viewerId": "somebody"}))), None);
        assert_eq!(Change::read("control:take", &Payload::Other), Some(Change::Take { force: false }));
    }
}
