//! Socket.io: the workspace's events on `/`, terminals on `/terminal`, agents on `/mcp`.
//!
//! Sockets prove who they are before they are connected (RT-01). One that cannot is let in with no
//! handler at all, told so in the way that the web UI knows, and disconnected. So is one whose access
//! ends while it is open.

mod agents;
mod events;
mod seat;
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
use tokio_util::sync::CancellationToken;

use crate::{
    app::{
        App, StorageError,
        connections::{Connection, Holder, Kind},
    },
    domain::{auth, keys, workspaces},
    model::{
        actor::{KeyHolder, Person},
        secret::Secret,
        workspace::Role,
    },
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
    let budgets = Arc::new(seat::Budgets::default());
    let (auth_app, limits) = (Arc::clone(&app), Arc::clone(&budgets));
    io.ns(
        "/",
        (async move |socket: SocketRef| events::connected(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            if let Some(holder) = admit(&auth_app, &socket, auth, Doors::People).await {
                events::register(&socket, &auth_app, Arc::clone(&limits), holder).await;
            }
            Ok::<(), std::convert::Infallible>(())
        }),
    );
    let auth_app = Arc::clone(&app);
    io.ns(
        "/terminal",
        (async move |socket: SocketRef| refuse_strangers(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            if let Some(Holder::Person(person)) = admit(&auth_app, &socket, auth, Doors::People).await {
                // Before CONNECT is sent, so that nothing sent right after it is lost.
                terminal::register(&socket, App::clone(&auth_app), person);
            }
            Ok::<(), std::convert::Infallible>(())
        }),
    );
    let (auth_app, limits) = (Arc::clone(&app), budgets);
    io.ns(
        "/mcp",
        (async move |socket: SocketRef| agents::connected(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            if let Some(holder) = admit(&auth_app, &socket, auth, Doors::PeopleAndKeys).await {
                agents::register(&socket, &auth_app, Arc::clone(&limits), holder).await;
            }
            Ok::<(), std::convert::Infallible>(())
        }),
    );
    (layer, io)
}

/// What a client may send with its connection.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    token: Option<String>,
    api_key: Option<String>,
}

/// Who may come into a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doors {
    People,
    PeopleAndKeys,
}

/// Resolves when a socket has gone, however it went.
#[derive(Clone)]
struct Gone(CancellationToken);

/// Finds out who is behind a socket, keeps it there, and goes on checking it. A cookie counts only
/// from our own pages (RT-08).
async fn admit(app: &App, socket: &SocketRef, TryData(handshake): TryData<Handshake>, doors: Doors) -> Option<Holder> {
    let headers = &socket.req_parts().headers;
    let handshake = handshake.ok();
    let given = handshake.as_ref().and_then(|handshake| handshake.token.as_deref());
    let api_key = handshake.as_ref().and_then(|handshake| handshake.api_key.as_deref()).filter(|_| doors == Doors::PeopleAndKeys);
    let credential = match api_key {
        Some(key) => Credential::Key(Secret::presented(key)),
        None => Credential::Token {
            token: given.or_else(|| input::bearer(headers)).or_else(|| own_cookie(headers, app))?.to_owned(),
            host_label: input::host_label(headers).unwrap_or_default().to_owned(),
        },
    };
    let ticket = app.access_cache.ticket();
    match credential.check(app).await {
        Ok(holder) => {
            let holder = holder?;
            let gone = Gone(CancellationToken::new());
            socket.extensions.insert(gone.clone());
            let left = gone.0.clone();
            socket.on_disconnect(async move || left.cancel());
            let connection = app.connections.enter(Kind::Socket, holder.clone());
            // Whoever changed rights before this was entered could not close it.
            if app.access_cache.changed_since(ticket) && !credential.still_admits(app, &holder).await {
                return None;
            }
            socket.extensions.insert(holder.clone());
            keep_checking(app, socket.clone(), credential, role(&holder), connection, gone);
            Some(holder)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be authenticated");
            None
        }
    }
}

/// The role of the person behind a socket; `None` for an agent.
fn role(holder: &Holder) -> Option<Role> {
    match holder {
        Holder::Person(person) | Holder::Key(KeyHolder::Person { person, .. }) => Some(person.role),
        Holder::Key(KeyHolder::Agent(_)) => None,
    }
}

/// What a socket was opened with.
enum Credential {
    Token { token: String, host_label: String },
    Key(Secret),
}

impl Credential {
    /// Who is behind it now, as deep as REST checks it.
    async fn check(&self, app: &App) -> Result<Option<Holder>, StorageError> {
        match self {
            Self::Token { token, host_label } => Ok(Self::person(app, token, host_label).await?.map(Holder::Person)),
            Self::Key(key) => Ok(keys::verify(&app.pool, &app.clock, &app.access_cache, &app.policy, key).await?.map(Holder::Key)),
        }
    }

    /// As [`Self::check`], asking the database whatever is remembered.
    async fn check_now(&self, app: &App) -> Result<Option<Holder>, StorageError> {
        let mut conn = app.read().await?;
        match self {
            Self::Token { token, .. } => Ok(auth::person_now(&mut conn, &app.tokens, token).await?.map(Holder::Person)),
            Self::Key(key) => Ok(keys::verify_now(&mut conn, &app.clock, key).await?.map(Holder::Key)),
        }
    }

    /// Whether the one who was just let in may stay. While the database is away nobody is let in.
    async fn still_admits(&self, app: &App, holder: &Holder) -> bool {
        matches!(self.check_now(app).await, Ok(Some(now)) if role(&now) == role(holder))
    }

    async fn person(app: &App, token: &str, host_label: &str) -> Result<Option<Person>, StorageError> {
        let person = auth::person(&app.pool, &app.clock, &app.access_cache, &app.tokens, token).await?;
        if !app.settings.cloud {
            return Ok(person);
        }
        let asked = workspaces::resolve(&mut *app.read().await?, Some(host_label)).await?;
        Ok(person.filter(|person| Some(person.workspace) == asked))
    }
}

/// Disconnects a socket once its access has ended: at once when the database tells so, and by asking
/// every so often, since nobody tells that a credential has expired (RT-09). While the database is away
/// nobody is thrown out.
fn keep_checking(app: &App, socket: SocketRef, credential: Credential, admitted: Option<Role>, connection: Connection, gone: Gone) {
    let (app, every) = (app.clone(), app.settings.socket_check_every);
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    let checking = async move {
        loop {
            tokio::select! {
                () = connection.ended() => return refuse(&socket),
                () = gone.0.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            match credential.check_now(&app).await {
                Ok(Some(holder)) if role(&holder) == admitted => {}
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
    if socket.extensions.get::<Holder>().is_none() {
        refuse(socket);
    }
}

/// Tells a socket that it may not be here, by the event that its namespace uses, and disconnects it.
fn refuse(socket: &SocketRef) {
    let told = match socket.ns() {
        "/terminal" => socket.emit("error", &TerminalProblem::UNAUTHORIZED),
        "/mcp" => socket.emit("mcp:error", &serde_json::json!({"message": "Authentication failed"})),
        _ => socket.emit("Unauthorized", &()),
    };
    if told.is_err() || socket.clone().disconnect().is_err() {
        tracing::debug!("a stranger left by itself");
    }
}
