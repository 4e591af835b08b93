//! Socket.io: the workspace's events on `/`, terminals on `/terminal`, agents on `/mcp`.
//!
//! Sockets prove who they are before they are connected (RT-01). One that cannot is let in with no
//! handler at all, told so in the way that the web UI knows, and disconnected. So is one whose access
//! ends while it is open. When the service ends, sockets lose their transport only, so that their
//! clients come back (RT-32).

mod agents;
mod control;
mod display;
mod door;
mod events;
mod inbox;
mod legacy;
mod payload;
mod seat;
mod terminal;

use std::{sync::Arc, time::Duration};

use axum::http::HeaderMap;
use http_listener::Outlet;
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
        connections::{Connection, Holder},
    },
    domain::{
        auth,
        credentials::{self, Credential},
        keys, workspaces,
    },
    model::{secret::Secret, workspace::Role},
    wire::{input, terminals::TerminalProblem},
};

pub use door::{Door, guard};
pub use events::Broadcaster;

/// Packets that may wait for one socket. A terminal waits for room, so this bounds memory, not output.
const PACKETS_BUFFERED: usize = 128;
/// One message from a client is at most this long, in bytes; terminal input is bounded below it.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// A socket that was opened with an API key is first looked at again after this: it may be about to expire.
const FIRST_CHECK_OF_KEY: Duration = Duration::from_secs(1);

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
    let audience = Arc::<terminal::Audience>::default();
    io.ns(
        "/terminal",
        (async move |socket: SocketRef| refuse_strangers(&socket)).with(async move |socket: SocketRef, auth: TryData<Handshake>| {
            // Before CONNECT is sent, so that nothing sent right after it is lost.
            if let Some(claim) = legacy::Claim::of(&socket) {
                let secret = auth.0.ok().and_then(|handshake| handshake.secret);
                legacy::admit(&auth_app, &socket, claim, secret.as_deref()).await;
            } else if let Some(Holder::Person(person)) = admit(&auth_app, &socket, auth, Doors::People).await {
                terminal::register(&socket, App::clone(&auth_app), Arc::clone(&audience), person);
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
    /// The webhook secret, of a runtime that dials in.
    secret: Option<String>,
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

impl Gone {
    /// Has the end of a socket noted, which ends with its connection at the latest: one that was connected twice to a
    /// namespace is not told of.
    fn watch(socket: &SocketRef) -> Self {
        let connection = socket.req_parts().extensions.get::<Outlet>();
        let gone = Self(connection.map_or_else(CancellationToken::new, |outlet| outlet.ended().child_token()));
        socket.extensions.insert(gone.clone());
        let left = gone.0.clone();
        socket.on_disconnect(async move || left.cancel());
        gone
    }
}

/// Marks a socket that was told to leave, which may be before it is connected.
#[derive(Clone)]
struct ShownOut;

/// Marks a socket whose holder has too many.
#[derive(Clone)]
struct OneTooMany;

/// Finds out who is behind a socket, keeps it there, and goes on checking it. A cookie counts only
/// from our own pages (RT-08).
async fn admit(app: &App, socket: &SocketRef, TryData(handshake): TryData<Handshake>, doors: Doors) -> Option<Holder> {
    let headers = &socket.req_parts().headers;
    let handshake = handshake.ok();
    let given = handshake.as_ref().and_then(|handshake| handshake.token.as_deref());
    let api_key = handshake.as_ref().and_then(|handshake| handshake.api_key.as_deref()).filter(|_| doors == Doors::PeopleAndKeys);
    let credential = match api_key {
        Some(key) => Credential::Key(Secret::presented(key)),
        None => Credential::Token(given.or_else(|| input::bearer(headers)).or_else(|| own_cookie(headers, app))?.to_owned()),
    };
    let ticket = app.access_cache.ticket();
    match check(app, &credential, input::host_label(headers).unwrap_or_default()).await {
        Ok(holder) => {
            let (holder, again) = holder?;
            let Some(connection) = app.connections.enter_socket(holder.clone(), sockets_max(app, &holder)) else {
                socket.extensions.insert(OneTooMany);
                return None;
            };
            let gone = Gone::watch(socket);
            // Whoever changed rights before this was entered could not close it.
            if app.access_cache.changed_since(ticket) && !still_admits(app, &credential, &holder).await {
                return None;
            }
            socket.extensions.insert(holder.clone());
            keep_checking(app, socket.clone(), credential, (holder.role(), again), connection, gone);
            Some(holder)
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be authenticated");
            None
        }
    }
}

/// How many sockets a holder may have.
fn sockets_max(app: &App, holder: &Holder) -> u32 {
    app.settings.rate_limits.as_ref().map_or(u32::MAX, |limits| match holder {
        Holder::Person(_) => limits.sockets_by_person,
        Holder::Key(_) => limits.sockets_by_key,
    })
}

/// Who is behind a credential, as deep as REST checks it, and how soon to look at it again.
async fn check(app: &App, credential: &Credential, host_label: &str) -> Result<Option<(Holder, Duration)>, StorageError> {
    let every = app.settings.socket_check_every;
    match credential {
        Credential::Token(token) => {
            let person = auth::person(&app.pool, &app.clock, &app.access_cache, &app.tokens, token).await?;
            let asked = match &person {
                Some(_) if app.settings.cloud => workspaces::resolve(&mut *app.read().await?, Some(host_label)).await?,
                Some(person) => Some(person.workspace),
                None => None,
            };
            Ok(person.filter(|person| Some(person.workspace) == asked).map(|person| {
                let again = credentials::look_at_token_again(&person, every);
                (Holder::Person(person), again)
            }))
        }
        Credential::Key(key) => {
            let holder = keys::verify(&app.pool, &app.clock, &app.access_cache, &app.policy, key).await?;
            Ok(holder.map(|holder| (Holder::Key(holder), FIRST_CHECK_OF_KEY.min(every))))
        }
    }
}

/// As [`check`], asking the database whatever is remembered.
async fn check_now(app: &App, credential: &Credential) -> Result<Option<(Holder, Duration)>, StorageError> {
    credential.check_now(&mut *app.read().await?, app.judges()).await
}

/// Whether the one who was just let in may stay. While the database is away nobody is let in.
async fn still_admits(app: &App, credential: &Credential, holder: &Holder) -> bool {
    let asked = async { credential.still_admits(&mut *app.read().await?, app.judges(), holder).await };
    matches!(asked.await, Ok::<bool, StorageError>(true))
}

/// Disconnects a socket once its access has ended: at once when the database tells so, when its credential
/// expires, and by asking every so often (RT-09). While the database is away nobody is thrown out. When the
/// service ends, its transport is closed.
fn keep_checking(
    app: &App,
    socket: SocketRef,
    credential: Credential,
    (admitted, mut again): (Option<Role>, Duration),
    connection: Connection,
    gone: Gone,
) {
    let app = app.clone();
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    let transport = socket.clone();
    let checking = async move {
        loop {
            tokio::select! {
                () = connection.ended() => return refuse(&socket),
                () = gone.0.cancelled() => return,
                () = tokio::time::sleep(again) => {}
            }
            again = app.settings.socket_check_every;
            match check_now(&app, &credential).await {
                Ok(Some((holder, next))) if holder.role() == admitted => again = next,
                Ok(Some(_) | None) => return refuse(&socket),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be checked"),
            }
        }
    };
    tasks.spawn(async move {
        tokio::select! {
            () = checking => {}
            () = shutdown.cancelled() => close_transport(&transport),
        }
    });
}

/// Closes a socket's connection without a word, as a network does that breaks: clients come back then.
fn close_transport(socket: &SocketRef) {
    if let Some(outlet) = socket.req_parts().extensions.get::<Outlet>() {
        outlet.close();
    }
}

fn own_cookie<'a>(headers: &'a HeaderMap, app: &App) -> Option<&'a str> {
    let own = input::is_own_origin(headers, &app.settings.app_url, &app.settings.cors_origins);
    own.then(|| input::cookie(headers, input::SESSION_COOKIE)).flatten()
}

/// Whether a socket was told to leave while it was let in: it is connected all the same, and told again.
fn was_shown_out(socket: &SocketRef) -> bool {
    socket.extensions.get::<ShownOut>().is_some()
}

/// Disconnects a socket that came in as nobody.
fn refuse_strangers(socket: &SocketRef) {
    if was_shown_out(socket) || socket.extensions.get::<Holder>().is_none() && socket.extensions.get::<legacy::Runtime>().is_none() {
        refuse(socket);
    }
}

/// Tells a socket of the terminal gateway what went wrong.
fn tell(socket: &SocketRef, problem: TerminalProblem) {
    if socket.emit("error", &problem).is_err() {
        tracing::debug!(code = problem.code, "a socket without room missed an error");
    }
}

/// Tells a socket that it may not be here, by the event that its namespace uses, and disconnects it.
fn refuse(socket: &SocketRef) {
    socket.extensions.insert(ShownOut);
    let one_too_many = socket.extensions.get::<OneTooMany>().is_some();
    let told_why = socket.extensions.get::<legacy::Refused>();
    let told = match (socket.ns(), one_too_many) {
        ("/terminal", false) => socket.emit("error", &told_why.map_or(TerminalProblem::UNAUTHORIZED, |refused| refused.0)),
        ("/terminal", true) => socket.emit("error", &TerminalProblem::TOO_MANY_SOCKETS),
        ("/mcp", false) => socket.emit("mcp:error", &serde_json::json!({"message": "Authentication failed"})),
        ("/mcp", true) => socket.emit("mcp:error", &serde_json::json!({"message": "Too many sockets", "code": "RATE_LIMITED"})),
        (_, false) => socket.emit("Unauthorized", &()),
        // The web UI has no event for it here.
        (_, true) => Ok(()),
    };
    if told.is_err() || socket.clone().disconnect().is_err() {
        tracing::debug!("a stranger left by itself");
    }
}
