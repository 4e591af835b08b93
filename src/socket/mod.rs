//! Socket.io: the workspace's events on `/`, terminals on `/terminal`.
//!
//! Sockets prove who they are before they are connected (RT-01). One that cannot is let in with no
//! handler at all, told so in the way that the web UI knows, and disconnected.

mod events;
mod terminal;

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;
use socketioxide::{
    SocketIo, TransportType,
    extract::{SocketRef, TryData},
    handler::ConnectHandler as _,
    layer::SocketIoLayer,
};

use crate::{
    app::{App, StorageError},
    domain::{auth, workspaces},
    model::actor::Person,
    wire::{input, terminals::TerminalProblem},
};

pub use events::Broadcaster;

/// Packets that may wait for one socket. A terminal waits for room, so this bounds memory, not output.
const PACKETS_BUFFERED: usize = 128;
/// One message from a client is at most this long, in bytes; terminal input is bounded below it.
const MESSAGE_BYTES_MAX: usize = 1_000_000;

/// Sets the namespaces up. The layer serves `/socket.io/`.
#[must_use]
pub fn layer(app: App) -> (SocketIoLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(PACKETS_BUFFERED)
        .max_payload(MESSAGE_BYTES_MAX as u64)
        .ws_max_message_size(MESSAGE_BYTES_MAX)
        .ws_max_frame_size(MESSAGE_BYTES_MAX)
        .transports([TransportType::Websocket])
        .build_layer();
    let app = Arc::new(app);
    let auth_app = Arc::clone(&app);
    io.ns(
        "/",
        (async move |socket: SocketRef| events::connected(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            admit(&auth_app, &socket, auth).await;
            Ok::<(), std::convert::Infallible>(())
        }),
    );
    let auth_app = Arc::clone(&app);
    io.ns(
        "/terminal",
        (async move |socket: SocketRef| refuse_strangers(&socket, "error", Some(TerminalProblem::UNAUTHORIZED))).with(
            async move |socket: SocketRef, auth: TryData<Handshake>| {
                if let Some(person) = admit(&auth_app, &socket, auth).await {
                    // Before CONNECT is sent, so that nothing sent right after it is lost.
                    terminal::register(&socket, App::clone(&auth_app), person);
                }
                Ok::<(), std::convert::Infallible>(())
            },
        ),
    );
    (layer, io)
}

/// What a client may send with its connection.
#[derive(Deserialize)]
struct Handshake {
    token: Option<String>,
}

/// Finds out who is behind a socket and keeps it there. A cookie counts only from our own pages (RT-08).
async fn admit(app: &App, socket: &SocketRef, TryData(handshake): TryData<Handshake>) -> Option<Person> {
    let headers = &socket.req_parts().headers;
    let given = handshake.ok().and_then(|handshake| handshake.token);
    let token = given.as_deref().or_else(|| input::bearer(headers)).or_else(|| own_cookie(headers, app))?;
    let person = async {
        let mut conn = app.read().await?;
        let person = auth::person(&mut conn, &app.tokens, token).await?;
        if !app.settings.cloud {
            return Ok::<_, StorageError>(person);
        }
        let asked = workspaces::resolve(&mut conn, Some(input::host_label(headers).unwrap_or_default())).await?;
        Ok(person.filter(|person| Some(person.workspace) == asked))
    };
    match person.await {
        Ok(person) => {
            let person = person?;
            socket.extensions.insert(person.clone());
            Some(person)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be authenticated");
            None
        }
    }
}

fn own_cookie<'a>(headers: &'a HeaderMap, app: &App) -> Option<&'a str> {
    input::is_own_origin(headers, &app.settings.app_url).then(|| input::cookie(headers, input::SESSION_COOKIE)).flatten()
}

/// Tells a socket without a principal so, by the event that its namespace uses, and disconnects it.
fn refuse_strangers<T: serde::Serialize>(socket: &SocketRef, event: &'static str, payload: Option<T>) {
    if socket.extensions.get::<Person>().is_some() {
        return;
    }
    let sent = match payload {
        Some(payload) => socket.emit(event, &payload),
        None => socket.emit(event, &()),
    };
    if sent.is_err() {
        tracing::debug!("a stranger left before it was told why");
    }
    if SocketRef::clone(socket).disconnect().is_err() {
        tracing::debug!("a stranger left by itself");
    }
}
