//! The workspace's events on the default namespace.

use socketioxide::{SocketIo, extract::SocketRef};

use crate::{
    app::App,
    domain::events::{Delivered, EventSink},
    model::{actor::Person, ids::WorkspaceId},
    wire::events,
};

/// Room of everyone who sees a workspace's events (realtime contract §3.1).
fn room(workspace: WorkspaceId) -> String {
    format!("workspace-{workspace}")
}

/// Puts a socket into its workspace's room, or shows a stranger out.
pub(super) fn connected(socket: &SocketRef, _app: &App) {
    match socket.extensions.get::<Person>() {
        Some(person) => socket.join(room(person.workspace)),
        None => super::refuse_strangers::<()>(socket, "Unauthorized", None),
    }
}

/// Sends committed events to the sockets of their workspace, once each.
pub struct Broadcaster(pub SocketIo);

impl EventSink for Broadcaster {
    fn deliver(&self, event: &Delivered) {
        let Some((name, payload)) = events::broadcast(event.entry.id, &event.entry.kind) else { return };
        let io = self.0.clone();
        let to = room(event.entry.workspace);
        // The local adapter sends before its future is first awaited; a slow socket does not hold the others.
        futures_util::FutureExt::now_or_never(async move {
            if let Err(error) = io.to(to).emit(name, &payload).await {
                tracing::debug!(%error, name, "an event did not reach every socket");
            }
        });
    }
}
