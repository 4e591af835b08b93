//! The replica's sockets (runtime contract §6): no pings, no authentication, terminals that are
//! live only and stay open after the end.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role},
    },
};

use super::{
    Event, Shared,
    http::{Destroyed, values},
    timestamp,
};

/// Close code for an agent that is not known (§6.2).
const CLOSE_UNKNOWN_AGENT: u16 = 4404;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Which socket a path is.
enum Kind {
    Events { agent: Option<String> },
    General { agent: Option<String> },
    Terminal { agent: String },
}

/// Answers the handshake; a path that is none of the three destroys the connection.
pub(super) fn open(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Destroyed> {
    let kind = kind_of(shared, request.uri().path(), request.uri().query().unwrap_or_default()).ok_or(Destroyed)?;
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or(Destroyed)?;
    let accept = derive_accept_key(key.as_bytes()).parse().map_err(|_| Destroyed)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let (of, dropped) = (Arc::clone(shared), shared.sockets());
    shared.tasks.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        tokio::select! {
            ended = serve(&of, socket, kind) => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "socket ended");
                }
            }
            () = dropped.cancelled() => {}
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn kind_of(shared: &Shared, path: &str, query: &str) -> Option<Kind> {
    let agent = || values(query, "agentId").next().map(str::to_owned);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        _ if shared.options.headless => Some(Kind::General { agent: agent() }),
        ["ws", "events"] => Some(Kind::Events { agent: agent() }),
        ["ws", "agents", id, "terminal"] => Some(Kind::Terminal { agent: (*id).to_owned() }),
        [] | ["ws"] => Some(Kind::General { agent: agent() }),
        _ => None,
    }
}

async fn serve(shared: &Arc<Shared>, socket: Socket, kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::Events { agent } => {
            let filter = agent.as_ref().map(|agent| json!({"agentId": agent}));
            let greeting = json!({"type": "connected", "filter": filter, "timestamp": timestamp()});
            events(shared, socket, Some(greeting), &Names::Stream { agent }).await
        }
        Kind::General { agent } => events(shared, socket, None, &Names::General { agent }).await,
        Kind::Terminal { agent } => terminal(shared, socket, &agent).await,
    }
}

/// Which names a socket has for events, and whom it wants to hear of.
enum Names {
    Stream { agent: Option<String> },
    General { agent: Option<String> },
}

impl Names {
    /// The frame of an event, or `None` for one that is withheld: one that carries another agent's id.
    fn frame(&self, event: &Event) -> Option<Value> {
        let (Self::Stream { agent } | Self::General { agent }) = self;
        if agent.is_some() && event.agent.is_some() && event.agent != *agent {
            return None;
        }
        let (name, data) = match (self, event.name.as_str()) {
            (Self::General { agent: Some(_) }, name) => (name.trim_start_matches("agent_"), event.data.clone()),
            (Self::General { agent: None }, "login_required") => {
                ("login_required", json!({"agent": event.data["agent"], "url": event.data["loginUrl"]}))
            }
            (_, name) => (name, event.data.clone()),
        };
        Some(json!({"event": name, "data": data, "timestamp": timestamp()}))
    }
}

async fn events(shared: &Arc<Shared>, mut socket: Socket, greeting: Option<Value>, names: &Names) -> Result<(), Error> {
    let mut queue = shared.events.subscribe();
    if let Some(greeting) = greeting {
        socket.send(Message::text(greeting.to_string())).await?;
    }
    loop {
        thaw(shared).await;
        let mut frozen = shared.frozen.subscribe();
        tokio::select! {
            event = next(&mut queue) => {
                let Some(event) = event else { return Ok(()) };
                if let Some(frame) = names.frame(&event) {
                    socket.send(Message::text(frame.to_string())).await?;
                }
            }
            message = socket.next() => {
                let Some(message) = message.transpose()? else { return Ok(()) };
                let command: Value = message.to_text().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
                match (command["type"].as_str(), names) {
                    (Some("ping"), _) => {
                        socket.send(Message::text(json!({"type": "pong", "timestamp": timestamp()}).to_string())).await?;
                    }
                    (Some("send"), Names::General { .. }) => {
                        let agent = command["agentId"].as_str().and_then(|id| shared.agent(id));
                        if let (Some(agent), Some(message)) = (agent, command["message"].as_str()) {
                            agent.send(message);
                        }
                    }
                    _ => {}
                }
            }
            // Whether it fails or not, the next round looks again.
            _ = frozen.changed() => {}
        }
    }
}

async fn terminal(shared: &Arc<Shared>, mut socket: Socket, id: &str) -> Result<(), Error> {
    let Some(agent) = shared.agent(id) else {
        let frame = CloseFrame { code: CLOSE_UNKNOWN_AGENT.into(), reason: "Agent not found".into() };
        return socket.close(Some(frame)).await;
    };
    let mut output = agent.watch();
    let greeting = json!({"type": "connected", "agentId": id, "timestamp": timestamp()});
    socket.send(Message::text(greeting.to_string())).await?;
    loop {
        thaw(shared).await;
        let mut frozen = shared.frozen.subscribe();
        tokio::select! {
            text = next(&mut output) => {
                // Nothing closes the socket when the agent has ended.
                let Some(text) = text else { return Ok(()) };
                socket.send(Message::text(&*text)).await?;
            }
            message = socket.next() => {
                let Some(message) = message.transpose()? else { return Ok(()) };
                if let (Ok(text), true) = (message.to_text(), message.is_text() || message.is_binary()) {
                    typed(&agent, text);
                }
            }
            // Whether it fails or not, the next round looks again.
            _ = frozen.changed() => {}
        }
    }
}

/// What a client's frame does: JSON is control and swallowed, but for a resize that is no good, which is
/// typed; everything else is keystrokes.
fn typed(agent: &super::agents::Agent, text: &str) {
    let control = text.starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let Some(control) = control else { return agent.type_keys(text) };
    if control["type"] == "resize" {
        let dimension = |name: &str| control[name].as_u64().and_then(|value| u16::try_from(value).ok()).filter(|value| *value > 0);
        match dimension("cols").zip(dimension("rows")) {
            Some((cols, rows)) if agent.is_alive() => agent.resize(cols, rows),
            Some(_) | None => agent.type_keys(text),
        }
    }
}

/// The next value of a queue, beyond what was lost to its bound.
async fn next<T: Clone>(queue: &mut Receiver<T>) -> Option<T> {
    loop {
        match queue.recv().await {
            Ok(value) => return Some(value),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn thaw(shared: &Shared) {
    if shared.frozen.subscribe().wait_for(|frozen| !frozen).await.is_err() {
        tracing::trace!("the replica is gone");
    }
}
