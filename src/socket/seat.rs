//! A socket's place among those who hear events: what it may hear, what it asked for, and what waits for it.
//!
//! Events are written into the socket's own buffer at once. Where that has no room they wait in a bounded queue, and
//! where that is full too they are left out and the socket is told so, once it can be told anything: `events:gap` with
//! the last event that it got. No socket keeps another waiting.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{json, value::RawValue};
use socketioxide::{SendError, SocketError, SocketIo, extract::SocketRef};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, sleep, sleep_until},
};

use crate::{
    app::{App, StorageError, connections::Holder},
    domain::listeners,
    model::{
        actor::Subject,
        ids::{EventId, SpaceId, WorkspaceId},
        limit::Limiter,
        listener::{Listener, Published, Room, Subscriptions, Told, Who},
    },
};

/// Packets of one socket that wait beside its own buffer: two batches of the outbox in both forms. Their text is there
/// once for all sockets.
const WAITING_PACKETS_MAX: usize = 2_048;
/// How long to wait before a socket without room is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Packets that are written before others have their turn. The socket's ping needs room in the same buffer.
const PACKETS_PER_ROUND: usize = 64;
/// How long a socket may take nothing before it is given up. The library has closed it by then.
const STALLED_MAX: Duration = Duration::from_mins(1);
/// How long a socket may take to be connected after it was let in, and how soon what the database could not say is
/// asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much one account may send on sockets that carry events.
pub(super) struct Budgets {
    /// Subscriptions and the like: a page sends a dozen when it opens, and one with each page that is read.
    commands: Limiter,
    /// Presence and relayed messages: someone who types.
    relays: Limiter,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { commands: Limiter::new(400, 1_200), relays: Limiter::new(100, 1_200) }
    }
}

impl Budgets {
    pub(super) fn takes_command(&self, listener: &Listener) -> bool {
        self.commands.take(listener.user(), std::time::Instant::now()).is_ok()
    }

    pub(super) fn takes_relay(&self, listener: &Listener) -> bool {
        self.relays.take(listener.user(), std::time::Instant::now()).is_ok()
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Seat(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// The socket is connected and was greeted.
    greeted: Notify,
    /// Held while what the listener may is looked up and acted upon.
    rights: tokio::sync::Mutex<()>,
}

struct State {
    listener: Listener,
    subscriptions: Subscriptions,
    /// The rights have changed, and not every room was looked at since.
    is_unchecked: bool,
    waiting: VecDeque<Packet>,
    /// Something was left out, and the socket has not been told so.
    has_gap: bool,
    /// Somebody writes what waits.
    is_draining: bool,
    /// The last event that the socket got.
    last: Option<EventId>,
}

struct Packet {
    name: &'static str,
    text: Arc<RawValue>,
    event: EventId,
}

/// What became of a packet.
#[derive(PartialEq, Eq)]
enum Sent {
    Taken,
    NoRoom,
    NotConnected,
}

/// What became of what waits for a socket.
enum Drained {
    /// Nothing waits any more.
    All,
    /// The socket may take more.
    Some,
    NoRoom,
}

/// The room of all sockets of a workspace. No client names rooms of the library.
fn room(workspace: WorkspaceId) -> String {
    format!("workspace {workspace}")
}

/// Gives a socket that was let in its seat, before it is connected: nothing that is committed from then on is missed.
/// Returns it with the news of changed rights since then. `None` when the database cannot say what it may hear; then the
/// socket is let out again.
pub(super) async fn take(socket: &SocketRef, app: &App, holder: &Holder) -> Option<(Seat, broadcast::Receiver<Subject>)> {
    let changes = app.live_events.changes();
    let found = async { listeners::refreshed(&mut *app.read().await?, &holder.listener()).await };
    match found.await {
        Ok(listener) => {
            let workspace = listener.workspace;
            let seat = Seat::new(listener);
            socket.extensions.insert(seat.clone());
            socket.join(room(workspace));
            Some((seat, changes))
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a socket's spaces could not be looked up");
            socket.extensions.remove::<Holder>();
            None
        }
    }
}

/// Every socket of a workspace in a namespace, with its seat.
pub(super) fn all(io: &SocketIo, namespace: &str, workspace: WorkspaceId) -> Vec<(SocketRef, Seat)> {
    seated(io.of(namespace).map(|all| all.within(room(workspace)).sockets()).unwrap_or_default())
}

/// As [`all`], in the namespace of a socket.
pub(super) fn neighbours(socket: &SocketRef, workspace: WorkspaceId) -> Vec<(SocketRef, Seat)> {
    seated(socket.within(room(workspace)).sockets())
}

fn seated(sockets: Vec<SocketRef>) -> Vec<(SocketRef, Seat)> {
    sockets.into_iter().filter_map(|socket| socket.extensions.get::<Seat>().map(|seat| (socket, seat))).collect()
}

impl Seat {
    fn new(listener: Listener) -> Self {
        let subscriptions = Subscriptions::of(&listener);
        let waiting = VecDeque::new();
        let state = State { listener, subscriptions, is_unchecked: false, waiting, has_gap: false, is_draining: false, last: None };
        Self(Arc::new(Inner { state: Mutex::new(state), greeted: Notify::new(), rights: tokio::sync::Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single step, so a panic elsewhere leaves it whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listener(&self) -> Listener {
        self.state().listener.clone()
    }

    /// Whether the listener belongs to a space now.
    pub(super) fn is_in(&self, space: SpaceId) -> bool {
        self.state().listener.spaces.contains(&space)
    }

    /// Reads or changes what the socket asked for.
    pub(super) fn subscriptions<T>(&self, change: impl FnOnce(&mut Subscriptions) -> T) -> T {
        change(&mut self.state().subscriptions)
    }

    /// Keeps what the listener may as it is, for as long as this is held.
    pub(super) async fn rights(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.rights.lock().await
    }

    /// Says that the socket is connected.
    pub(super) fn greeted(&self) {
        self.0.greeted.notify_one();
    }

    /// Waits until the socket is connected; `false` when it never is.
    pub(super) async fn is_greeted(&self) -> bool {
        tokio::time::timeout(PATIENCE * 30, self.0.greeted.notified()).await.is_ok()
    }

    /// Hands the broadcast of an event to a socket of the default namespace.
    pub(super) fn broadcast(&self, app: &App, socket: &SocketRef, event: &Published) {
        let mut state = self.state();
        let Some(told) = state.listener.hears(event).and_then(|event| event.broadcast.as_ref()) else { return };
        self.send(&mut state, app, socket, [Packet::of(told.name, told, event)]);
    }

    /// Hands an event to a socket of the agents' namespace, if it was asked for: each form of it once, by however many
    /// rooms it comes (RT-26).
    pub(super) fn tell(&self, app: &App, socket: &SocketRef, event: &Published) {
        let mut state = self.state();
        let Some(event) = state.listener.hears(event) else { return };
        let (wanted, watched) = (state.subscriptions.wants(event), state.subscriptions.watches(event));
        let resource = event.resource.as_ref();
        let agent_event = event.agent_event.as_ref().filter(|told| wanted && state.subscriptions.wants_type(event, told.name));
        let packets = [
            resource.filter(|_| wanted).map(|told| Packet::of("mcp:event", told, event)),
            agent_event.map(|told| Packet::of("agent:event", told, event)),
            resource.filter(|_| watched).map(|told| Packet::of("mcp:activity", told, event)),
        ];
        self.send(&mut state, app, socket, packets.into_iter().flatten());
    }

    fn send(&self, state: &mut State, app: &App, socket: &SocketRef, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            if !state.is_draining {
                if packet.emit(socket) == Sent::Taken {
                    state.last = Some(packet.event);
                    continue;
                }
                state.is_draining = true;
                self.clone().drain(app, socket.clone());
            }
            if !state.has_gap && state.waiting.len() < WAITING_PACKETS_MAX {
                state.waiting.push_back(packet);
            } else {
                state.has_gap = true;
            }
        }
    }

    /// Writes what waits, as the socket takes it.
    fn drain(self, app: &App, socket: SocketRef) {
        let (gone, shutdown) = (gone(&socket), app.shutdown.clone());
        let draining = async move {
            let mut left = self.waiting();
            let mut give_up_at = Instant::now() + STALLED_MAX;
            while Instant::now() < give_up_at {
                match self.drain_once(&socket) {
                    Drained::All => return,
                    Drained::Some => tokio::task::yield_now().await,
                    Drained::NoRoom => sleep(RETRY).await,
                }
                if self.waiting() != left {
                    left = self.waiting();
                    give_up_at = Instant::now() + STALLED_MAX;
                }
            }
        };
        app.tasks.spawn(async move {
            tokio::select! {
                () = draining => {}
                () = gone.cancelled() => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Writes some of what waits.
    fn drain_once(&self, socket: &SocketRef) -> Drained {
        let mut state = self.state();
        for _ in 0..PACKETS_PER_ROUND {
            let Some(packet) = state.waiting.front() else { break };
            if packet.emit(socket) != Sent::Taken {
                return Drained::NoRoom;
            }
            state.last = Some(packet.event);
            state.waiting.pop_front();
        }
        if !state.waiting.is_empty() {
            return Drained::Some;
        }
        if state.has_gap && sent(socket.emit("events:gap", &json!({"lastEventId": state.last}))) != Sent::Taken {
            return Drained::NoRoom;
        }
        state.has_gap = false;
        state.is_draining = false;
        Drained::All
    }

    /// Looks up what the listener may hear now, and takes them out of rooms where they may not be any more.
    async fn refresh(&self, app: &App) -> Result<(), StorageError> {
        let _acting = self.rights().await;
        let before = self.listener();
        let mut conn = app.read().await?;
        let now = listeners::refreshed(&mut conn, &before).await?;
        let as_before = now.spaces.is_superset(&before.spaces) && same_permissions(&before, &now);
        {
            let mut state = self.state();
            state.listener = now.clone();
            state.is_unchecked |= !as_before;
            if !state.is_unchecked {
                return Ok(());
            }
        }
        let rooms: Vec<Room> = self.subscriptions(|mine| mine.in_spaces());
        for room in rooms {
            if !listeners::may_enter(&mut conn, &now, &room).await? {
                self.subscriptions(|mine| mine.leave(&room));
            }
        }
        self.state().is_unchecked = false;
        Ok(())
    }

    /// Follows the listener's rights as long as the socket is there: upon news of them, and every so often.
    pub(super) async fn follow_rights(&self, app: &App, socket: &SocketRef, holder: &Holder, mut changes: broadcast::Receiver<Subject>) {
        let every = app.settings.socket_check_every;
        let mut check_at = Instant::now() + every;
        while socket.connected() {
            let concerned = tokio::select! {
                change = changes.recv() => match change {
                    Ok(subject) => holder.is_concerned(&subject),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(check_at) => true,
            };
            if !concerned {
                continue;
            }
            check_at = Instant::now() + every;
            if let Err(error) = self.refresh(app).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "what a socket may hear could not be looked up");
                check_at = Instant::now() + PATIENCE;
            }
        }
    }
}

/// Whether the permissions of an agent are what they were.
fn same_permissions(before: &Listener, now: &Listener) -> bool {
    match (&before.who, &now.who) {
        (Who::Agent { permissions: before, .. }, Who::Agent { permissions: now, .. }) => before.without(now).is_empty(),
        (Who::Person { .. }, _) | (_, Who::Person { .. }) => true,
    }
}

/// Resolves when the socket is gone.
pub(super) fn gone(socket: &SocketRef) -> tokio_util::sync::CancellationToken {
    socket.extensions.get::<super::Gone>().map_or_else(Default::default, |gone| gone.0)
}

impl Packet {
    fn of(name: &'static str, told: &Told, event: &Published) -> Self {
        Self { name, text: Arc::clone(&told.text), event: event.id }
    }

    fn emit(&self, socket: &SocketRef) -> Sent {
        sent(socket.emit(self.name, &*self.text))
    }
}

fn sent(result: Result<(), SendError>) -> Sent {
    match result {
        Ok(()) => Sent::Taken,
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Sent::NoRoom,
        Err(SendError::Socket(SocketError::Closed)) => Sent::NotConnected,
        Err(SendError::Serialize(error)) => {
            tracing::error!(%error, "an event cannot be written");
            Sent::Taken
        }
    }
}
