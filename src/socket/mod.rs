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
    model::{actor::Person, workspace::Role},
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
        (async move |socket: SocketRef| refuse_strangers(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            if let Some(person) = admit(&auth_app, &socket, auth).await {
                // Before CONNECT is sent, so that nothing sent right after it is lost.
                terminal::register(&socket, App::clone(&auth_app), person);
            }
            Ok::<(), std::convert::Infallible>(())
        }),
    );
    (layer, io)
}

/// What a client may send with its connection.
#[derive(Deserialize)]
struct Handshake {
    token: Option<String>,
}

/// Finds out who is behind a socket, keeps it there, and goes on checking it. A cookie counts only
/// from our own pages (RT-08).
async fn admit(app: &App, socket: &SocketRef, TryData(handshake): TryData<Handshake>) -> Option<Person> {
    let headers = &socket.req_parts().headers;
    let given = handshake.ok().and_then(|handshake| handshake.token);
    let token = given.as_deref().or_else(|| input::bearer(headers)).or_else(|| own_cookie(headers, app))?;
    let credential = Credential { token: token.to_owned(), host_label: input::host_label(headers).unwrap_or_default().to_owned() };
    match credential.check(app).await {
        Ok(person) => {
            let person = person?;
            socket.extensions.insert(person.clone());
            keep_checking(app, socket.clone(), credential, person.role);
            Some(person)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be authenticated");
            None
        }
    }
}

/// What a socket was opened with.
struct Credential {
    token: String,
    host_label: String,
}

impl Credential {
    /// The person behind it now, as deep as REST checks it.
    async fn check(&self, app: &App) -> Result<Option<Person>, StorageError> {
        let mut conn = app.read().await?;
        let person = auth::person(&mut conn, &app.tokens, &self.token).await?;
        if !app.settings.cloud {
            return Ok(person);
        }
        let asked = workspaces::resolve(&mut conn, Some(&self.host_label)).await?;
        Ok(person.filter(|person| Some(person.workspace) == asked))
    }
}

/// Disconnects a socket once its credential has expired, its person is gone, or their role is another
/// (RT-09). While the database is away nobody is thrown out.
fn keep_checking(app: &App, socket: SocketRef, credential: Credential, admitted: Role) {
    let (app, every) = (app.clone(), app.settings.socket_check_every);
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    let checking = async move {
        loop {
            tokio::time::sleep(every).await;
            if !socket.connected() {
                return;
            }
            match credential.check(&app).await {
                Ok(Some(person)) if person.role == admitted => {}
                Ok(Some(_) | None) => return refuse(&socket),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be checked"),
            }
        }
    };
    tasks.spawn(async move {
        tokio::select! {
            () = checking => {}
            () = shutdown.cancelled() => {}
        }
    });
}

fn own_cookie<'a>(headers: &'a HeaderMap, app: &App) -> Option<&'a str> {
    let own = input::is_own_origin(headers, &app.settings.app_url, &app.settings.cors_origins);
    own.then(|| input::cookie(headers, input::SESSION_COOKIE)).flatten()
}

/// Disconnects a socket that came in without a person.
fn refuse_strangers(socket: &SocketRef) {
    if socket.extensions.get::<Person>().is_none() {
        refuse(socket);
    }
}

/// Tells a socket that it may not be here, by the event that its namespace uses, and disconnects it.
fn refuse(socket: &SocketRef) {
    let told = match socket.ns() {
        "/terminal" => socket.emit("error", &TerminalProblem::UNAUTHORIZED),
        _ => socket.emit("Unauthorized", &()),
    };
    if told.is_err() || socket.clone().disconnect().is_err() {
        tracing::debug!("a stranger left by itself");
    }
}
