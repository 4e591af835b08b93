//! Who is at a live terminal, and who controls it.
//!
//! Nobody controls a terminal at first, and everybody who may write types. Once somebody takes control, only the
//! holder's socket types and resizes. All of it is in memory: a keystroke asks two atomics of its own terminal, and
//! neither the database nor a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time::Instant};

use crate::model::{
    ids::{SessionId, UserId, WorkspaceId},
    terminal_control::{Controller, ViewerId, Watcher, Watchers},
};

/// How long control waits for a holder whose socket is gone: enough for a reload of the page, or a restart of the service.
pub const HOLDER_AWAITED: Duration = Duration::from_secs(30);

/// Viewers that are named to others; of the rest only the number is told.
const LISTED_MAX: usize = 100;

/// No viewer has this id: everybody who may write types.
const NOBODY: u64 = 0;
/// No viewer has this id: the holder is awaited, and nobody types.
const AWAITED: u64 = u64::MAX;

/// Why somebody may not type now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silenced {
    /// They may only watch.
    ReadOnly,
    /// Somebody else controls the terminal.
    Held { by: String },
}

/// Why control stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("you may watch this terminal, not control it")]
    ReadOnly,
    #[error("{by} controls this terminal")]
    Held { by: String },
    /// Only owners, admins and whoever spawned the agent take control from somebody.
    #[error("{by} controls this terminal, and you may not take it from them")]
    MayNotForce { by: String },
    #[error("you do not control this terminal")]
    NotHolder,
    #[error("this viewer is not here any more, or may not write")]
    NoSuchViewer,
    #[error("session has been terminated")]
    Terminated,
}

/// From whom control was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nobody had it.
    Free,
    /// The same person had it, maybe at another socket.
    Own,
    /// Another person had it.
    From(UserId),
}

/// Control that waits for a holder who is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    number: u64,
}

#[derive(Clone)]
struct Lease {
    controller: Controller,
    /// When the holder went, if nobody with their name is here.
    gone_at: Option<Instant>,
}

#[derive(Default)]
struct State {
    /// Without who of them controls, which `lease` says.
    present: Vec<Watcher>,
    lease: Option<Lease>,
    /// Counts the times that a holder went, so that only the latest wait ends control.
    waits: u64,
    /// Counts the times that control was taken, handed over or given up.
    turns: u64,
    ended: bool,
}

/// One terminal's viewers and their rights.
pub struct Room {
    session: SessionId,
    workspace: WorkspaceId,
    state: Mutex<State>,
    /// The viewer who alone may type, or [`NOBODY`], or [`AWAITED`]. Changes under the lock of `state`.
    holder: AtomicU64,
    /// Wakes those who show viewers and controller; the value means nothing.
    changed: watch::Sender<()>,
    /// Wakes those who let viewers in: what these may do is to be asked again.
    doubted: watch::Sender<()>,
}

impl Room {
    fn new(session: SessionId, workspace: WorkspaceId, earlier: Option<Controller>) -> Self {
        let mut state = State::default();
        let holder = AtomicU64::new(if earlier.is_some() { AWAITED } else { NOBODY });
        state.lease = earlier.map(|earlier| Lease { controller: Controller { viewer: None, ..earlier }, gone_at: Some(Instant::now()) });
        Self { session, workspace, state: Mutex::new(state), holder, changed: watch::Sender::new(()), doubted: watch::Sender::new(()) }
    }

    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Hears of every change of viewers and controller.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Hears that somebody's rights may have changed. To miss nothing, it is had before the rights are asked.
    #[must_use]
    pub fn doubts(&self) -> watch::Receiver<()> {
        self.doubted.subscribe()
    }

    /// Lets a viewer in. One whose control waits for them has it again.
    #[must_use]
    pub fn enter(self: &Arc<Self>, user: UserId, name: String, can_write: bool) -> Seat {
        let id = ViewerId::generate();
        {
            let mut state = self.lock();
            state.present.push(Watcher { id, user, name, can_write, controls: false, wants_control: false });
            self.free_if_overdue(&mut state);
            if let Some(lease) = &mut state.lease
                && can_write
                && lease.controller.user == user
                && lease.controller.viewer.is_none()
            {
                lease.controller.viewer = Some(id);
                lease.gone_at = None;
            }
            self.settle(&state);
        }
        self.changed.send_replace(());
        Seat(Arc::new(Pass { room: Arc::clone(self), id, user, can_write: AtomicBool::new(can_write) }))
    }

    #[must_use]
    pub fn controller(&self) -> Option<Controller> {
        let mut state = self.lock();
        self.free_if_overdue(&mut state);
        state.lease.as_ref().map(|lease| lease.controller.clone())
    }

    /// The name of who controls the terminal, if that is somebody else than this person.
    #[must_use]
    pub fn held_by_other(&self, user: UserId) -> Option<String> {
        self.controller().filter(|controller| controller.user != user).map(|controller| controller.name)
    }

    #[must_use]
    pub fn watchers(&self) -> Watchers {
        let state = self.lock();
        let holder = state.lease.as_ref().and_then(|lease| lease.controller.viewer);
        let told = |watcher: &Watcher| Watcher { controls: holder == Some(watcher.id), ..watcher.clone() };
        Watchers { listed: state.present.iter().take(LISTED_MAX).map(told).collect(), count: state.present.len() }
    }

    /// The wait for a holder who is gone, if there is one.
    #[must_use]
    pub fn awaited(&self) -> Option<Awaited> {
        let state = self.lock();
        state.lease.as_ref().filter(|lease| lease.gone_at.is_some()).map(|_| Awaited { number: state.waits })
    }

    /// Frees the terminal if its holder is awaited still; whether it was.
    pub fn give_up(&self, awaited: Awaited) -> bool {
        let freed = {
            let mut state = self.lock();
            let is_same = state.waits == awaited.number && state.lease.as_ref().is_some_and(|lease| lease.gone_at.is_some());
            if is_same {
                state.lease = None;
                self.settle(&state);
            }
            is_same
        };
        if freed {
            self.changed.send_replace(());
        }
        freed
    }

    /// Begins a change of control, which is taken back unless it is kept.
    #[must_use]
    pub fn changing(self: &Arc<Self>) -> Changing {
        let state = self.lock();
        Changing { room: Arc::clone(self), before: state.lease.clone(), turns: state.turns, kept: false }
    }

    /// Gives control back to whoever had it, if there was but one turn since.
    fn undo(&self, before: Option<Lease>, turns: u64) {
        let mut state = self.lock();
        if state.ended || state.turns != turns + 1 {
            return;
        }
        state.lease = before;
        let State { present, lease, waits, .. } = &mut *state;
        if let Some(Lease { controller, gone_at }) = lease
            && let Some(holder) = controller.viewer
            && !present.iter().any(|watcher| watcher.id == holder && watcher.can_write)
        {
            (controller.viewer, *gone_at) = (None, Some(Instant::now()));
            *waits += 1;
        }
        self.settle(&state);
        drop(state);
        self.changed.send_replace(());
    }

    /// See [`Pass::take`].
    fn take(&self, pass: &Pass, force: bool, may_force: bool, at: DateTime<Utc>) -> Result<Taken, ControlError> {
        let mut state = self.lock();
        self.free_if_overdue(&mut state);
        let taker = state.taker(pass.id, at)?;
        let (taken, since) = match state.lease.as_ref().map(|lease| &lease.controller) {
            None => (Taken::Free, at),
            Some(held) if held.user == pass.user => (Taken::Own, held.since),
            Some(held) if !force => return Err(ControlError::Held { by: held.name.clone() }),
            Some(held) if !may_force => return Err(ControlError::MayNotForce { by: held.name.clone() }),
            Some(held) => (Taken::From(held.user), at),
        };
        state.lease = Some(Lease { controller: Controller { since, ..taker }, gone_at: None });
        state.turn();
        self.settle(&state);
        drop(state);
        self.changed.send_replace(());
        Ok(taken)
    }

    fn hand_over(&self, pass: &Pass, to: ViewerId, at: DateTime<Utc>) -> Result<UserId, ControlError> {
        let mut state = self.lock();
        state.require_holder(pass.id)?;
        let taker = state.taker(to, at).map_err(|_| ControlError::NoSuchViewer)?;
        let user = taker.user;
        state.lease = Some(Lease { controller: taker, gone_at: None });
        state.turn();
        self.settle(&state);
        drop(state);
        self.changed.send_replace(());
        Ok(user)
    }

    fn succeed(&self, pass: &Pass, earlier: ViewerId) {
        let mut state = self.lock();
        if pass.can_write()
            && let Some(lease) = &mut state.lease
            && lease.controller.viewer == Some(earlier)
        {
            lease.controller.viewer = Some(pass.id);
            self.settle(&state);
        }
        drop(state);
        self.changed.send_replace(());
    }

    fn release(&self, pass: &Pass) -> Result<(), ControlError> {
        let mut state = self.lock();
        state.require_holder(pass.id)?;
        state.lease = None;
        state.turn();
        self.settle(&state);
        drop(state);
        self.changed.send_replace(());
        Ok(())
    }

    fn ask(&self, pass: &Pass) -> Result<(), ControlError> {
        let mut state = self.lock();
        if state.ended {
            return Err(ControlError::Terminated);
        }
        let asking = state.present.iter_mut().find(|watcher| watcher.id == pass.id && watcher.can_write);
        asking.ok_or(ControlError::ReadOnly)?.wants_control = true;
        drop(state);
        self.changed.send_replace(());
        Ok(())
    }

    fn set_can_write(&self, pass: &Pass, can_write: bool) {
        {
            let mut state = self.lock();
            pass.can_write.store(can_write, Ordering::Release);
            if let Some(watcher) = state.present.iter_mut().find(|watcher| watcher.id == pass.id) {
                watcher.can_write = can_write;
            }
            if !can_write && state.require_holder(pass.id).is_ok() {
                state.lease = None;
            }
            self.settle(&state);
        }
        self.changed.send_replace(());
    }

    fn leave(&self, viewer: ViewerId) {
        {
            let mut state = self.lock();
            state.present.retain(|watcher| watcher.id != viewer);
            if let Some(lease) = &mut state.lease
                && lease.controller.viewer == Some(viewer)
            {
                lease.controller.viewer = None;
                lease.gone_at = Some(Instant::now());
                state.waits += 1;
            }
            self.settle(&state);
        }
        self.changed.send_replace(());
    }

    fn end(&self) {
        {
            let mut state = self.lock();
            state.ended = true;
            state.lease = None;
            self.settle(&state);
        }
        self.changed.send_replace(());
    }

    /// Frees a terminal whose holder stayed away, should the one who waits not have come to it yet.
    fn free_if_overdue(&self, state: &mut State) {
        let gone_at = state.lease.as_ref().and_then(|lease| lease.gone_at);
        if gone_at.is_some_and(|gone_at| gone_at.elapsed() > HOLDER_AWAITED) {
            state.lease = None;
            self.settle(state);
            self.changed.send_replace(());
        }
    }

    /// Has keystrokes judged by what the state says now.
    fn settle(&self, state: &State) {
        let holder = match &state.lease {
            None => NOBODY,
            Some(lease) => lease.controller.viewer.map_or(AWAITED, ViewerId::number),
        };
        self.holder.store(holder, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The one who would control the terminal, if that viewer may.
    fn taker(&self, viewer: ViewerId, at: DateTime<Utc>) -> Result<Controller, ControlError> {
        if self.ended {
            return Err(ControlError::Terminated);
        }
        let found = self.present.iter().find(|watcher| watcher.id == viewer && watcher.can_write);
        let Watcher { user, name, .. } = found.ok_or(ControlError::ReadOnly)?;
        Ok(Controller { viewer: Some(viewer), user: *user, name: name.clone(), since: at })
    }

    /// Control has changed: whoever asked the earlier holder asks again.
    fn turn(&mut self) {
        self.turns += 1;
        for watcher in &mut self.present {
            watcher.wants_control = false;
        }
    }

    fn require_holder(&self, viewer: ViewerId) -> Result<(), ControlError> {
        let holds = self.lease.as_ref().is_some_and(|lease| lease.controller.viewer == Some(viewer));
        if holds { Ok(()) } else { Err(ControlError::NotHolder) }
    }
}

/// A change of control that is not written down yet.
pub struct Changing {
    room: Arc<Room>,
    before: Option<Lease>,
    turns: u64,
    kept: bool,
}

impl Changing {
    /// Control stays as it was changed.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        if !self.kept {
            self.room.undo(self.before.take(), self.turns);
        }
    }
}

/// A viewer's right to be at a terminal, and to type as long as nothing is against it.
pub struct Pass {
    room: Arc<Room>,
    id: ViewerId,
    user: UserId,
    can_write: AtomicBool,
}

impl Pass {
    #[must_use]
    pub fn id(&self) -> ViewerId {
        self.id
    }

    #[must_use]
    pub fn user(&self) -> UserId {
        self.user
    }

    #[must_use]
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    #[must_use]
    pub fn can_write(&self) -> bool {
        self.can_write.load(Ordering::Acquire)
    }

    /// Whether what this viewer types may go to the terminal.
    pub fn may_type(&self) -> Result<(), Silenced> {
        if !self.can_write() {
            return Err(Silenced::ReadOnly);
        }
        let holder = self.room.holder.load(Ordering::Acquire);
        if holder == NOBODY || holder == self.id.number() {
            return Ok(());
        }
        match self.room.controller() {
            Some(controller) if controller.viewer != Some(self.id) => Err(Silenced::Held { by: controller.name }),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes control, from somebody else with `force` where they `may_force`.
    ///
    /// Errors: `ReadOnly`, `Held`, `MayNotForce`, `Terminated`.
    pub fn take(&self, force: bool, may_force: bool, at: DateTime<Utc>) -> Result<Taken, ControlError> {
        self.room.take(self, force, may_force, at)
    }

    /// Gives control to another viewer; returns whose that is.
    ///
    /// Errors: `NotHolder`, `NoSuchViewer`.
    pub fn hand_over(&self, to: ViewerId, at: DateTime<Utc>) -> Result<UserId, ControlError> {
        self.room.hand_over(self, to, at)
    }

    /// Has the control that an earlier place of the same person has, at the same terminal and as far as this one may write.
    pub fn succeed(&self, earlier: &Self) {
        if self.user == earlier.user && Arc::ptr_eq(&self.room, &earlier.room) {
            self.room.succeed(self, earlier.id);
        }
    }

    /// Gives control up. Errors: `NotHolder`.
    pub fn release(&self) -> Result<(), ControlError> {
        self.room.release(self)
    }

    /// Shows the one who controls the terminal that this viewer would like to.
    ///
    /// Errors: `ReadOnly`, `Terminated`.
    pub fn ask(&self) -> Result<(), ControlError> {
        self.room.ask(self)
    }

    /// Changes whether this viewer may write. One who may not any more controls nothing.
    pub fn set_can_write(&self, can_write: bool) {
        if self.can_write() != can_write {
            self.room.set_can_write(self, can_write);
        }
    }
}

/// A viewer's place at a terminal; they leave when this is dropped.
pub struct Seat(Arc<Pass>);

impl Seat {
    #[must_use]
    pub fn pass(&self) -> &Arc<Pass> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // What is typed behind a viewer who left goes nowhere.
        self.0.can_write.store(false, Ordering::Release);
        self.0.room.leave(self.0.id);
    }
}

/// The rooms of all live terminals that somebody has been at.
#[derive(Clone, Default)]
pub struct Controls {
    rooms: Arc<Mutex<HashMap<SessionId, Arc<Room>>>>,
}

impl Controls {
    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<Arc<Room>> {
        self.lock().get(&session).cloned()
    }

    /// The room of a session that is alive. In a new one control waits for whoever had it before the service was started.
    #[must_use]
    pub fn room(&self, session: SessionId, workspace: WorkspaceId, earlier: Option<Controller>) -> Arc<Room> {
        Arc::clone(self.lock().entry(session).or_insert_with(|| Arc::new(Room::new(session, workspace, earlier))))
    }

    /// Has the rights of everybody at the terminals of a workspace be asked again.
    pub fn doubt_workspace(&self, workspace: WorkspaceId) {
        for room in self.lock().values().filter(|room| room.workspace == workspace) {
            room.doubted.send_replace(());
        }
    }

    /// As [`Self::doubt_workspace`], at one terminal.
    pub fn doubt(&self, session: SessionId) {
        if let Some(room) = self.get(session) {
            room.doubted.send_replace(());
        }
    }

    /// Forgets a session that is over; nobody controls it any more.
    pub fn end(&self, session: SessionId) {
        let room = self.lock().remove(&session);
        if let Some(room) = room {
            room.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Arc<Room> {
        Controls::default().room(SessionId::generate(), WorkspaceId::generate(), None)
    }

    fn at() -> DateTime<Utc> {
        DateTime::default()
    }

    fn come(room: &Arc<Room>, name: &str, can_write: bool) -> Seat {
        room.enter(UserId::generate(), name.to_owned(), can_write)
    }

    fn held(by: &str) -> Silenced {
        Silenced::Held { by: by.to_owned() }
    }

    #[test]
    fn while_nobody_controls_it_every_writer_types_and_no_reader() {
        let room = room();
        let (ada, bob, eve) = (come(&room, "Ada", true), come(&room, "Bob", true), come(&room, "Eve", false));
        assert_eq!((ada.0.may_type(), bob.0.may_type(), eve.0.may_type()), (Ok(()), Ok(()), Err(Silenced::ReadOnly)));
        assert_eq!(eve.0.take(true, true, at()), Err(ControlError::ReadOnly));

        assert_eq!(ada.0.take(false, false, at()), Ok(Taken::Free));
        assert_eq!(ada.0.take(false, false, at()), Ok(Taken::Own));
        assert_eq!((ada.0.may_type(), bob.0.may_type()), (Ok(()), Err(held("Ada"))));
        assert_eq!(bob.0.take(false, true, at()), Err(ControlError::Held { by: "Ada".into() }));
        assert_eq!(bob.0.take(true, false, at()), Err(ControlError::MayNotForce { by: "Ada".into() }));
        assert_eq!((bob.0.release(), bob.0.hand_over(bob.0.id, at())), (Err(ControlError::NotHolder), Err(ControlError::NotHolder)));
        assert_eq!((eve.0.ask(), bob.0.ask()), (Err(ControlError::ReadOnly), Ok(())));
        assert!(room.watchers().listed.iter().any(|watcher| watcher.wants_control));
        assert_eq!(bob.0.take(true, true, at()), Ok(Taken::From(ada.0.user)));
        assert!(!room.watchers().listed.iter().any(|watcher| watcher.wants_control));
        assert_eq!((ada.0.may_type(), bob.0.may_type()), (Err(held("Bob")), Ok(())));

        assert_eq!(bob.0.hand_over(eve.0.id, at()), Err(ControlError::NoSuchViewer), "a reader controls nothing");
        assert_eq!(bob.0.hand_over(ada.0.id, at()), Ok(ada.0.user));
        assert_eq!((ada.0.may_type(), bob.0.may_type()), (Ok(()), Err(held("Ada"))));
        assert_eq!(ada.0.release(), Ok(()));
        assert_eq!((ada.0.may_type(), bob.0.may_type(), room.controller()), (Ok(()), Ok(()), None));
    }

    #[test]
    fn a_change_that_is_not_kept_is_taken_back() {
        let room = room();
        let (ada, bob) = (come(&room, "Ada", true), come(&room, "Bob", true));
        ada.0.take(false, false, at()).unwrap();
        let changing = room.changing();
        bob.0.take(true, true, at()).unwrap();
        drop(changing);
        assert_eq!((ada.0.may_type(), bob.0.may_type()), (Ok(()), Err(held("Ada"))));
        let changing = room.changing();
        ada.0.hand_over(bob.0.id, at()).unwrap();
        changing.keep();
        assert_eq!((ada.0.may_type(), bob.0.may_type()), (Err(held("Bob")), Ok(())));
        let changing = room.changing();
        bob.0.release().unwrap();
        drop(bob);
        drop(changing);
        assert_eq!((ada.0.may_type(), room.awaited().is_some()), (Err(held("Bob")), true), "who has gone is awaited");
        let changing = room.changing();
        assert_eq!(ada.0.release(), Err(ControlError::NotHolder));
        drop(changing);
        assert!(room.awaited().is_some());
    }

    #[test]
    fn control_waits_for_a_holder_who_is_gone_and_is_free_after_that() {
        let room = room();
        let bob = come(&room, "Bob", true);
        let ada = UserId::generate();
        let first = room.enter(ada, "Ada".into(), true);
        first.0.take(false, false, at()).unwrap();
        drop(first);
        assert_eq!((bob.0.may_type(), room.controller().unwrap().viewer), (Err(held("Ada")), None));
        let early = room.awaited().unwrap();

        let reader = room.enter(ada, "Ada".into(), false);
        assert_eq!(reader.0.may_type(), Err(Silenced::ReadOnly), "who comes to watch does not take it up");
        let again = room.enter(ada, "Ada".into(), true);
        assert_eq!((again.0.may_type(), bob.0.may_type()), (Ok(()), Err(held("Ada"))));
        assert!(!room.give_up(early), "she is back");

        drop(again);
        assert!(!room.give_up(early), "that wait was another");
        assert!(room.give_up(room.awaited().unwrap()));
        assert_eq!(bob.0.may_type(), Ok(()));

        let last = room.enter(ada, "Ada".into(), true);
        last.0.take(false, false, at()).unwrap();
        drop(last);
        room.lock().lease.as_mut().unwrap().gone_at = Instant::now().checked_sub(HOLDER_AWAITED + Duration::from_secs(1));
        assert_eq!(bob.0.may_type(), Ok(()), "even where nobody waited");
    }

    #[test]
    fn who_may_no_longer_write_or_has_left_neither_types_nor_controls() {
        let room = room();
        let (ada, bob) = (come(&room, "Ada", true), come(&room, "Bob", true));
        ada.0.take(false, false, at()).unwrap();
        ada.0.set_can_write(false);
        assert_eq!((ada.0.may_type(), bob.0.may_type(), room.controller()), (Err(Silenced::ReadOnly), Ok(()), None));
        let pass = Arc::clone(bob.pass());
        drop(bob);
        assert_eq!(pass.may_type(), Err(Silenced::ReadOnly));
        assert_eq!(room.watchers().listed.iter().map(|watcher| watcher.name.as_str()).collect::<Vec<_>>(), ["Ada"]);
    }

    #[test]
    fn a_later_place_of_the_same_person_has_the_control_of_the_earlier() {
        let (room, ada) = (room(), UserId::generate());
        let (earlier, later) = (room.enter(ada, "Ada".into(), true), room.enter(ada, "Ada".into(), true));
        earlier.0.take(false, false, at()).unwrap();
        assert_eq!(later.0.may_type(), Err(held("Ada")));
        later.0.succeed(&earlier.0);
        drop(earlier);
        assert_eq!((later.0.may_type(), room.awaited()), (Ok(()), None));
        let (reader, bob) = (room.enter(ada, "Ada".into(), false), come(&room, "Bob", true));
        reader.0.succeed(&later.0);
        bob.0.succeed(&later.0);
        assert_eq!((later.0.may_type(), bob.0.may_type()), (Ok(()), Err(held("Ada"))));
    }

    #[test]
    fn of_many_who_take_at_once_one_has_it() {
        let room = room();
        let seats: Vec<Seat> = (0..8).map(|number| come(&room, &number.to_string(), true)).collect();
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = seats.iter().map(|seat| scope.spawn(|| seat.0.take(false, true, at()).is_ok())).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
        assert_eq!(seats.iter().filter(|seat| seat.0.may_type().is_ok()).count(), 1);
    }

    #[test]
    fn the_end_of_a_session_ends_control_and_a_restart_waits_for_the_holder() {
        let controls = Controls::default();
        let (session, workspace, ada) = (SessionId::generate(), WorkspaceId::generate(), UserId::generate());
        let earlier = Controller { viewer: None, user: ada, name: "Ada".into(), since: at() };
        let room = controls.room(session, workspace, Some(earlier));
        let bob = come(&room, "Bob", true);
        assert_eq!(bob.0.may_type(), Err(held("Ada")));
        let back = room.enter(ada, "Ada".into(), true);
        assert_eq!(back.0.may_type(), Ok(()));
        controls.end(session);
        assert!(controls.get(session).is_none() && room.controller().is_none());
        assert_eq!(back.0.take(false, false, at()), Err(ControlError::Terminated));
    }

    #[test]
    fn at_most_a_hundred_viewers_are_listed_and_all_are_counted() {
        let room = room();
        let seats: Vec<Seat> = (0..150).map(|number| come(&room, &number.to_string(), false)).collect();
        let watchers = room.watchers();
        assert_eq!((watchers.listed.len(), watchers.count, seats.len()), (LISTED_MAX, 150, 150));
        assert_eq!(seats[0].0.id.to_string().parse(), Ok(seats[0].0.id));
    }
}
