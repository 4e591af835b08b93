//! The workspace's events on the default namespace.

use futures_util::future::BoxFuture;
use socketioxide::{SocketIo, extract::SocketRef};

use crate::{
    app::connections::Holder,
    domain::events::{Delivered, EventSink},
    model::ids::WorkspaceId,
    wire::events,
};

/// Room of everyone who sees a workspace's events (realtime contract §3.1).
fn room(workspace: WorkspaceId) -> String {
    format!("workspace-{workspace}")
}

/// Puts a socket into its workspace's room, or shows a stranger out.
pub(super) fn connected(socket: &SocketRef) {
    match socket.extensions.get::<Holder>() {
        Some(Holder::Person(person)) => socket.join(room(person.workspace)),
        Some(Holder::Key(_)) | None => super::refuse(socket),
    }
}

/// Sends committed events to the sockets of their workspace, once each.
pub struct Broadcaster(pub SocketIo);

impl EventSink for Broadcaster {
    fn deliver<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let Some((name, payload)) = events::broadcast(event.entry.id, &event.entry.kind) else { return };
            // A socket without room misses it: it is told by the next one that something changed.
            if let Err(error) = self.0.to(room(event.entry.workspace)).emit(name, &payload).await {
                tracing::debug!(%error, name, "an event did not reach every socket");
            }
        })
    }
}
