//! The namespace where agents connect with their key, and people who watch them (realtime contract §4).

use serde_json::json;
use socketioxide::extract::SocketRef;

use crate::{
    app::connections::Holder,
    model::actor::{AgentCaller, KeyHolder, Person},
};

/// Greets a socket and puts it into the rooms of its workspace and account, or shows a stranger out.
pub(super) fn connected(socket: &SocketRef) {
    let Some(holder) = socket.extensions.get::<Holder>() else { return super::refuse(socket) };
    let (user, workspace) = match &holder {
        Holder::Person(Person { user, workspace, .. })
        | Holder::Key(
            KeyHolder::Person { person: Person { user, workspace, .. }, .. } | KeyHolder::Agent(AgentCaller { user, workspace, .. }),
        ) => (*user, *workspace),
    };
    socket.join(format!("workspace:{workspace}"));
    socket.join(format!("user:{user}"));
    if socket.emit("mcp:connected", &json!({"userId": user, "workspaceId": workspace})).is_err() {
        tracing::debug!("a socket left before it was greeted");
    }
}
