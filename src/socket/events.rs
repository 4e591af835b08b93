//! The workspace's events on the default namespace (realtime contract §3), and their delivery on this one and the
//! agents'.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use socketioxide::{
    SocketIo,
    extract::{SocketRef, TryData},
};
use tokio::sync::mpsc;

use super::seat::{self, Budgets, Seat};
use crate::{
    app::{App, connections::Holder},
    domain::events::{Delivered, EventSink},
    model::ids::SpaceId,
    wire::events,
};

/// Relayed messages of one socket that may wait.
const RELAYS_WAITING_MAX: usize = 64;
/// Bytes of a relayed message at the most; those of the web UI have a few hundred.
const RELAY_BYTES_MAX: usize = 64 * 1024;
/// What a message may tell the others in its space; anything else goes to nobody (RT-07).
const RELAYED: [&str; 4] = ["updateOne", "addTreeNode", "moveTreeNode", "deleteTreeNode"];

/// Gives a proven socket its seat and starts its task, which ends with the socket.
pub(super) async fn register(socket: &SocketRef, app: &App, budgets: Arc<Budgets>, holder: Holder) {
    let Some((seat, changes)) = seat::take(socket, app, &holder).await else { return };
    let (relay, mut relays) = mpsc::channel(RELAYS_WAITING_MAX);
    socket.on("message", move |TryData::<Value>(payload)| {
        // A message beyond what may wait is lost, as it would be on a connection that breaks: it only hurries others.
        if relay.try_send(payload.unwrap_or_default()).is_err() {
            tracing::debug!("a message was not relayed: its sender sends too many");
        }
        std::future::ready(())
    });
    // To leave a room would be to miss what the workspace is told; nobody needs to join one either.
    for ignored in ["join-room", "leave-room"] {
        socket.on(ignored, || std::future::ready(()));
    }
    let (app, socket, gone) = (app.clone(), socket.clone(), seat::gone(socket));
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    let serving = async move {
        if !seat.is_greeted().await {
            return;
        }
        let relaying = async {
            while let Some(message) = relays.recv().await {
                relay_to_space(&socket, &seat, &budgets, &message);
            }
        };
        tokio::select! {
            () = relaying => {}
            () = seat.follow_rights(&app, &socket, &holder, changes) => {}
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

/// Lets a proven socket's task begin, or shows a stranger out.
pub(super) fn connected(socket: &SocketRef) {
    match socket.extensions.get::<Seat>() {
        Some(seat) if !super::was_shown_out(socket) => seat.greeted(),
        Some(_) | None => super::refuse(socket),
    }
}

/// Passes a message on to the others in a space of the sender's.
fn relay_to_space(socket: &SocketRef, seat: &Seat, budgets: &Budgets, message: &Value) {
    let sender = seat.listener();
    let text = |name| message.get(name).and_then(Value::as_str);
    let Some(space) = text("spaceId").and_then(|id| id.parse::<SpaceId>().ok()) else { return };
    let is_relayed = text("operation").is_some_and(|operation| RELAYED.contains(&operation));
    if !is_relayed || !sender.spaces.contains(&space) || !budgets.takes_relay(&sender) || message.to_string().len() > RELAY_BYTES_MAX {
        return;
    }
    for (other, seat) in seat::neighbours(socket, sender.workspace) {
        if other.id != socket.id && seat.is_in(space) && other.emit("message", message).is_err() {
            tracing::debug!("a message did not reach a socket without room");
        }
    }
}

/// Sends committed events to the sockets and streams of their workspace, once each.
pub struct Broadcaster {
    app: App,
    io: SocketIo,
}

impl Broadcaster {
    #[must_use]
    pub fn new(app: App, io: SocketIo) -> Self {
        Self { app, io }
    }
}

impl EventSink for Broadcaster {
    fn deliver<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let [people, watchers] = ["/", "/mcp"].map(|namespace| seat::all(&self.io, namespace, event.entry.workspace));
            // A busy agent's calls are many, and often nobody is there to hear of them.
            if people.is_empty() && watchers.is_empty() && !self.app.live_events.is_heard() {
                return;
            }
            let Some(published) = events::publish(event.seq, &event.entry) else { return };
            for (socket, seat) in people {
                seat.broadcast(&self.app, &socket, &published);
            }
            for (socket, seat) in watchers {
                seat.tell(&self.app, &socket, &published);
            }
            self.app.live_events.publish(Arc::new(published));
            // A burst of events leaves sockets and streams the time to take them.
            tokio::task::yield_now().await;
        })
    }
}
