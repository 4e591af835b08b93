//! The namespace where agents connect with their key, and people who watch them (realtime contract §4).
//!
//! What a socket asks for goes through a queue to one task, so it happens in the order in which it was sent, and
//! nothing sent right after CONNECT is lost (RT-01). Every refusal is the namespace's `mcp:error` (RT-36), and is the
//! same whether a thing is not there, another workspace's or not to be seen.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use serde_json::{Value, json};
use socketioxide::{
    SendError, SocketError,
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef, TryData},
    handler::{self, FromMessageParts},
    socket,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::seat::{self, Budgets, Seat};
use crate::{
    app::{App, StorageError, connections::Holder},
    domain::listeners,
    model::{
        ids::AgentId,
        listener::{EVENT_TYPES_MAX, Room, Subscriptions, TooMany, Watched},
    },
    wire::{events, time::Timestamp},
};

/// Commands of one socket that may wait: the web UI sends about a dozen at once.
const COMMANDS_WAITING_MAX: usize = 256;
/// Commands that one socket may have refused because too many waited, beyond those that were taken meanwhile.
const COMMANDS_REFUSED_MAX: u32 = 1_024;
/// Types of resources that clients name.
const RESOURCE_TYPES: [&str; 11] =
    ["page", "space", "workspace", "user", "group", "attachment", "comment", "project", "task", "ui", "agent"];
/// Characters of an event type at the most.
const EVENT_TYPE_CHARS_MAX: usize = 64;
/// How long an answer waits for room in the socket's buffer, and how often that is looked at.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_RETRY: Duration = Duration::from_millis(20);

/// What a client asks for, in its order.
enum Command {
    Subscribe(Value),
    Unsubscribe(Value),
    Watch(Value),
    Unwatch(Value),
    Presence(Value),
    Follow(Value, Ack),
    Unfollow(Value, Ack),
}

/// The acknowledgement of one command, which can be tried again, unlike the library's.
struct Ack {
    socket: Arc<socket::Socket<LocalAdapter>>,
    /// `None` where the client wants none.
    id: Option<i64>,
}

impl FromMessageParts<LocalAdapter> for Ack {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<socket::Socket<LocalAdapter>>,
        _: &mut handler::Value,
        id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self { socket: Arc::clone(socket), id: *id })
    }
}

impl Ack {
    fn send(&self, reply: &Value) -> Result<(), SendError> {
        let Ok(sender) = AckSender::from_message_parts(&self.socket, &mut handler::Value::Bytes(Bytes::new()), &self.id);
        sender.send(reply)
    }
}

/// The way of one socket's commands to its task.
#[derive(Clone)]
struct Inlet {
    commands: mpsc::Sender<Command>,
    refused: Arc<AtomicU32>,
}

impl Inlet {
    /// Hands a command on. Where too many wait `refuse` says so; a client that cannot be told, and one that goes on all the
    /// same, loses its connection, so that none waits for an answer that never comes.
    fn take(&self, socket: &SocketRef, command: Command, refuse: impl FnOnce() -> Result<(), SendError>) {
        if self.commands.try_send(command).is_ok() {
            // Never below none.
            if self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |refused| refused.checked_sub(1)).is_err() {
                tracing::trace!("nothing was refused");
            }
            return;
        }
        let refused = self.refused.fetch_add(1, Ordering::Relaxed);
        if refuse().is_err() || refused >= COMMANDS_REFUSED_MAX {
            tracing::debug!(refused, "a socket that sends too many commands is closed");
            super::close_transport(socket);
        }
    }
}

/// Why something was refused; the text goes to the client.
enum Refused {
    /// Also for what may not be seen.
    NotFound,
    Malformed,
    TooMany,
    Busy,
    Storage(StorageError),
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Refused {
    fn text(&self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Malformed => "malformed",
            Self::TooMany => "too many subscriptions",
            Self::Busy => "too many requests",
            Self::Storage(_) => "try again",
        }
    }
}

/// Gives a proven socket its seat, registers its events and starts its task, which ends with the socket.
pub(super) async fn register(socket: &SocketRef, app: &App, budgets: Arc<Budgets>, holder: Holder) {
    let Some((seat, changes)) = seat::take(socket, app, &holder).await else { return };
    let (commands, mut waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
    let commands = Inlet { commands, refused: Arc::default() };
    on(socket, "mcp:subscribe", &commands, Command::Subscribe);
    on(socket, "mcp:unsubscribe", &commands, Command::Unsubscribe);
    on(socket, "mcp:watch", &commands, Command::Watch);
    on(socket, "mcp:unwatch", &commands, Command::Unwatch);
    on(socket, "mcp:presence", &commands, Command::Presence);
    on_asked(socket, "agent:subscribe", &commands, Command::Follow);
    on_asked(socket, "agent:unsubscribe", &commands, Command::Unfollow);
    // Nobody's events are made by a client (RT-07).
    for ignored in ["mcp:test-event", "mcp:event"] {
        socket.on(ignored, || std::future::ready(()));
    }
    let (socket, gone) = (socket.clone(), seat::gone(socket));
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    let desk = Desk { app: app.clone(), socket, seat, budgets };
    let serving = async move {
        if !desk.seat.is_greeted().await {
            return;
        }
        let commanded = async {
            while let Some(command) = waiting.recv().await {
                desk.carry_out(command).await;
            }
        };
        tokio::select! {
            () = commanded => {}
            () = desk.seat.follow_rights(&desk.app, &desk.socket, &holder, changes) => {}
        }
    };
    tasks.spawn(async move {
        tokio::select! {
            () = serving => {}
            () = gone.cancelled() => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Greets a proven socket, or shows a stranger out.
pub(super) fn connected(socket: &SocketRef) {
    let seat = socket.extensions.get::<Seat>().filter(|_| !super::was_shown_out(socket));
    let Some(seat) = seat else { return super::refuse(socket) };
    let listener = seat.listener();
    if socket.emit("mcp:connected", &json!({"userId": listener.user(), "workspaceId": listener.workspace})).is_err() {
        tracing::debug!("a socket left before it was greeted");
    }
    seat.greeted();
}

/// Registers one event. The closure's body runs in the order of the packets; its future would not.
fn on(socket: &SocketRef, event: &'static str, commands: &Inlet, command: fn(Value) -> Command) {
    let commands = commands.clone();
    socket.on(event, move |socket: SocketRef, TryData::<Value>(payload)| {
        commands.take(&socket, command(payload.unwrap_or_default()), || socket.emit("mcp:error", &problem(event, &Refused::Busy)));
        std::future::ready(())
    });
}

/// As [`on`], for an event that is acknowledged.
fn on_asked(socket: &SocketRef, event: &'static str, commands: &Inlet, command: fn(Value, Ack) -> Command) {
    let commands = commands.clone();
    socket.on(event, move |socket: SocketRef, TryData::<Value>(payload), ack: Ack| {
        let refused = Ack { socket: Arc::clone(&ack.socket), id: ack.id };
        commands.take(&socket, command(payload.unwrap_or_default(), ack), || match refused.id {
            Some(_) => refused.send(&refusal(event, &Refused::Busy)),
            None => socket.emit("mcp:error", &problem(event, &Refused::Busy)),
        });
        std::future::ready(())
    });
}

fn problem(event: &str, why: &Refused) -> Value {
    let message = match event {
        "mcp:unsubscribe" | "agent:unsubscribe" => "Failed to unsubscribe",
        "mcp:watch" => "Failed to watch",
        "mcp:unwatch" => "Failed to unwatch",
        "mcp:presence" => "Failed to update presence",
        _ => "Failed to subscribe",
    };
    json!({"message": message, "error": why.text()})
}

/// The acknowledgement of what was refused.
fn refusal(event: &str, why: &Refused) -> Value {
    let done = if event == "agent:unsubscribe" { "unsubscribed" } else { "subscribed" };
    json!({(done): false, "error": why.text()})
}

/// What carries out the commands of one socket.
struct Desk {
    app: App,
    socket: SocketRef,
    seat: Seat,
    budgets: Arc<Budgets>,
}

impl Desk {
    async fn carry_out(&self, command: Command) {
        let (event, done) = match command {
            Command::Subscribe(payload) => ("mcp:subscribe", self.subscribe(&payload).await),
            Command::Unsubscribe(payload) => ("mcp:unsubscribe", self.unsubscribe(&payload).await),
            Command::Watch(payload) => ("mcp:watch", self.watch(&payload).await),
            Command::Unwatch(payload) => ("mcp:unwatch", self.unwatch(&payload).await),
            Command::Presence(payload) => ("mcp:presence", self.presence(&payload).await),
            Command::Follow(payload, ack) => {
                let done = self.follow(&payload).await;
                return self.acknowledge("agent:subscribe", &ack, done).await;
            }
            Command::Unfollow(payload, ack) => return self.acknowledge("agent:unsubscribe", &ack, self.unfollow(&payload)).await,
        };
        if let Err(why) = done {
            log(&why);
            self.answer("mcp:error", &problem(event, &why)).await;
        }
    }

    /// Emits an answer, waiting for room in the socket's buffer.
    async fn answer(&self, name: &str, payload: &Value) {
        patiently(name, || self.socket.emit(name, payload)).await;
    }

    /// Acknowledges a command, waiting as [`Self::answer`] does. A client that wants no acknowledgement is told of a refusal
    /// only, as of any other.
    async fn acknowledge(&self, event: &str, ack: &Ack, done: Result<Value, Refused>) {
        let reply = match done {
            Ok(reply) => reply,
            Err(why) => {
                log(&why);
                if ack.id.is_none() {
                    return self.answer("mcp:error", &problem(event, &why)).await;
                }
                refusal(event, &why)
            }
        };
        patiently(event, || ack.send(&reply)).await;
    }

    fn may_ask(&self) -> Result<(), Refused> {
        if self.budgets.takes_command(&self.seat.listener()) { Ok(()) } else { Err(Refused::Busy) }
    }

    async fn subscribe(&self, payload: &Value) -> Result<(), Refused> {
        self.may_ask()?;
        let (kind, id) = resource(payload)?;
        // Nothing is ever published to all of a type; the web UI asks for it all the same.
        if id != "all" {
            let room = room(kind, id).ok_or(Refused::NotFound)?;
            if matches!(room, Room::Workspace) && id.parse() != Ok(self.seat.listener().workspace) {
                return Err(Refused::NotFound);
            }
            self.enter(room.clone(), |mine| mine.join(room)).await?;
        }
        self.answer("mcp:subscribed", &json!({"resourceType": kind, "resourceId": id})).await;
        Ok(())
    }

    /// Joins a room, if the listener may be in it. What they may does not change on the way.
    async fn enter(&self, room: Room, join: impl FnOnce(&mut Subscriptions) -> Result<(), TooMany>) -> Result<(), Refused> {
        let _unchanged = self.seat.rights().await;
        if !listeners::may_enter(&mut *self.app.read().await?, &self.seat.listener(), &room).await? {
            return Err(Refused::NotFound);
        }
        self.seat.subscriptions(join).map_err(|_| Refused::TooMany)
    }

    async fn unsubscribe(&self, payload: &Value) -> Result<(), Refused> {
        let (kind, id) = resource(payload)?;
        let own = || kind != "workspace" || id.parse() == Ok(self.seat.listener().workspace);
        if let Some(room) = room(kind, id).filter(|_| own()) {
            self.seat.subscriptions(|mine| mine.leave(&room));
        }
        self.answer("mcp:unsubscribed", &json!({"resourceType": kind, "resourceId": id})).await;
        Ok(())
    }

    async fn watch(&self, payload: &Value) -> Result<(), Refused> {
        self.may_ask()?;
        let id = payload.get("targetUserId").and_then(Value::as_str).ok_or(Refused::Malformed)?;
        let watched = listeners::watchable(&mut *self.app.read().await?, &self.seat.listener(), id).await?;
        let watched = watched.ok_or(Refused::NotFound)?;
        self.seat.subscriptions(|mine| mine.watch(watched)).map_err(|_| Refused::TooMany)?;
        self.answer("mcp:watching", &json!({"targetUserId": id, "message": format!("Now watching {id}")})).await;
        Ok(())
    }

    async fn unwatch(&self, payload: &Value) -> Result<(), Refused> {
        let id = payload.get("targetUserId").and_then(Value::as_str).ok_or(Refused::Malformed)?;
        let user = id.parse().ok().map(Watched::User);
        let agent = id.parse().ok().map(Watched::Agent);
        if user.is_none() && agent.is_none() {
            return Err(Refused::Malformed);
        }
        self.seat.subscriptions(|mine| user.iter().chain(&agent).for_each(|watched| mine.unwatch(watched)));
        self.answer("mcp:unwatched", &json!({"targetUserId": id, "message": format!("Stopped watching {id}")})).await;
        Ok(())
    }

    /// Tells whoever has a page open where somebody is on it (RT-29).
    async fn presence(&self, payload: &Value) -> Result<(), Refused> {
        let listener = self.seat.listener();
        if !self.budgets.takes_relay(&listener) {
            return Err(Refused::Busy);
        }
        let text = |name| payload.get(name).and_then(Value::as_str);
        let page = text("pageId").and_then(|id| id.parse().ok()).ok_or(Refused::NotFound)?;
        let status = text("status").filter(|status| ["online", "offline", "idle"].contains(status)).ok_or(Refused::Malformed)?;
        let coordinate = |name: &str| payload.pointer(&format!("/cursorPosition/{name}")).and_then(Value::as_f64);
        let place = listeners::place_of_page(&mut *self.app.read().await?, listener.workspace, page).await?;
        let place = place.filter(|place| place.is_seen_by(&listener)).ok_or(Refused::NotFound)?;
        #[expect(clippy::disallowed_methods, reason = "where somebody is on a page needs no transaction")]
        let now = Timestamp(self.app.clock.at(Utc::now()));
        let event = events::presence(&listener, page, place.space, status, coordinate("x").zip(coordinate("y")), now);
        for (socket, seat) in seat::neighbours(&self.socket, listener.workspace) {
            // The page may have moved since they asked for it.
            let may = seat.subscriptions(|theirs| theirs.is_in(&Room::Page(page))) && place.is_seen_by(&seat.listener());
            if may && socket.emit("mcp:event", &event).is_err() {
                tracing::debug!("a presence did not reach a socket without room");
            }
        }
        Ok(())
    }

    async fn follow(&self, payload: &Value) -> Result<Value, Refused> {
        self.may_ask()?;
        let agent: AgentId = agent(payload)?;
        let types = event_types(payload)?;
        self.enter(Room::Agent(agent.clone()), |mine| mine.follow(agent.clone(), types)).await?;
        Ok(json!({"subscribed": true, "room": format!("agent:{agent}")}))
    }

    fn unfollow(&self, payload: &Value) -> Result<Value, Refused> {
        let agent = agent(payload)?;
        self.seat.subscriptions(|mine| mine.unfollow(&agent));
        Ok(json!({"unsubscribed": true}))
    }
}

/// Sends an answer as soon as the socket's buffer has room for it, if that is soon.
async fn patiently(name: &str, send: impl Fn() -> Result<(), SendError>) {
    let deadline = Instant::now() + ANSWER_PATIENCE;
    while let Err(SendError::Socket(SocketError::InternalChannelFull)) = send() {
        if Instant::now() >= deadline {
            tracing::debug!(name, "a socket without room was not answered");
            return;
        }
        sleep(ANSWER_RETRY).await;
    }
}

fn log(why: &Refused) {
    if let Refused::Storage(error) = why {
        tracing::warn!(error = error as &dyn std::error::Error, "what a socket asked for could not be looked up");
    }
}

fn agent(payload: &Value) -> Result<AgentId, Refused> {
    let id = payload.get("agentId").and_then(Value::as_str).ok_or(Refused::Malformed)?;
    id.parse().map_err(|_| Refused::NotFound)
}

/// The types that a subscription is narrowed to; `None` for all. None at all is no subscription.
fn event_types(payload: &Value) -> Result<Option<HashSet<String>>, Refused> {
    let types = match payload.get("eventTypes") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(types)) if (1..=EVENT_TYPES_MAX).contains(&types.len()) => types,
        Some(_) => return Err(Refused::Malformed),
    };
    let text = |name: &Value| name.as_str().filter(|text| text.len() <= EVENT_TYPE_CHARS_MAX).map(str::to_owned);
    types.iter().map(text).collect::<Option<HashSet<String>>>().map(Some).ok_or(Refused::Malformed)
}

/// Type and id of the resource that a client names.
fn resource(payload: &Value) -> Result<(&str, &str), Refused> {
    let text = |name| payload.get(name).and_then(Value::as_str);
    let (kind, id) = text("resourceType").zip(text("resourceId")).ok_or(Refused::Malformed)?;
    if RESOURCE_TYPES.contains(&kind) { Ok((kind, id)) } else { Err(Refused::Malformed) }
}

/// The room of a resource; `None` for what nothing is ever published of, and for ids that cannot be.
fn room(kind: &str, id: &str) -> Option<Room> {
    match kind {
        "workspace" => Some(Room::Workspace),
        "user" => id.parse().ok().map(Room::User),
        "agent" => id.parse().ok().map(Room::Agent),
        "space" => id.parse().ok().map(Room::Space),
        "page" => id.parse().ok().map(Room::Page),
        "project" => id.parse().ok().map(Room::Project),
        "task" => id.parse().ok().map(Room::Task),
        _ => None,
    }
}
