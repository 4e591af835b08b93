//! A runtime that has one agent and says of it whatever a test wants, as fast as it wants.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role},
    },
};

use super::answering::Answering;

/// Events kept for a listener that is behind: as our runtime does.
const EVENTS_KEPT: usize = 10_000;

/// Ends with its value.
pub(crate) struct FakeRuntime {
    answering: Answering,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    agents: Mutex<Vec<Value>>,
    events: Mutex<Events>,
    latest: watch::Sender<u64>,
    /// What every new agent's session is called, in place of the agent's id.
    session: Mutex<Option<String>>,
    /// Whether a server in between gives up on every spawn, which goes on.
    times_out: AtomicBool,
}

#[derive(Default)]
struct Events {
    /// The number of the oldest that is kept.
    oldest: u64,
    kept: VecDeque<String>,
}

impl FakeRuntime {
    pub(crate) async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let all = Arc::clone(&shared);
        let answering = Answering::start(move |stream| answer(stream, Arc::clone(&all))).await;
        Self { answering, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.answering.endpoint()
    }

    /// The runtime's name of its only agent, once it was asked for one.
    pub(crate) fn agent(&self) -> Option<String> {
        self.shared.agents.lock().unwrap().first().map(|agent| agent["id"].as_str().unwrap().to_owned())
    }

    /// Changes what the list says of every agent.
    pub(crate) fn be(&self, status: &str) {
        self.shared.agents.lock().unwrap().iter_mut().for_each(|agent| agent["status"] = status.into());
    }

    /// Calls the sessions of all new agents by this name.
    pub(crate) fn name_sessions(&self, name: &str) {
        *self.shared.session.lock().unwrap() = Some(name.to_owned());
    }

    /// Answers every spawn as a server in between does that has waited for too long, after it was carried out.
    pub(crate) fn time_out(&self) {
        self.shared.times_out.store(true, Ordering::Relaxed);
    }

    /// Tells every listener; one that is too far behind is closed.
    pub(crate) fn tell(&self, event: &str, data: &Value) {
        self.shared.tell(event, data);
    }
}

impl Shared {
    fn tell(&self, event: &str, data: &Value) {
        let mut events = self.events.lock().unwrap();
        let seq = events.oldest + events.kept.len() as u64;
        events.kept.push_back(json!({"event": event, "data": data, "seq": seq + 1, "bootId": "fake"}).to_string());
        if events.kept.len() > EVENTS_KEPT {
            events.kept.pop_front();
            events.oldest += 1;
        }
        self.latest.send_replace(seq + 1);
    }
}

/// Answers one request: a connection carries no second one.
async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let Ok(1..) = stream.read_buf(&mut request).await else { return };
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let header = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let mut words = text.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    if let Some(key) = header("sec-websocket-key") {
        let accept = derive_accept_key(key.as_bytes());
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        if stream.write_all(switch.as_bytes()).await.is_err() {
            return;
        }
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        if path.ends_with("/terminal") {
            quiet(socket).await;
        } else {
            listen(socket, &shared).await;
        }
        return;
    }
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    while request.len() < head + length {
        let Ok(1..) = stream.read_buf(&mut request).await else { return };
    }
    let body: Value = serde_json::from_slice(&request[head..]).unwrap_or_default();
    let (status, reply) = reply(&shared, method, path, &body);
    let reply = reply.to_string();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
        reply.len()
    );
    stream.write_all(answer.as_bytes()).await.ok();
}

fn reply(shared: &Shared, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut agents = shared.agents.lock().unwrap();
    match (method, path) {
        ("GET", "/api/health") => (200, json!({"healthy": true, "version": "0", "activeAgents": agents.len()})),
        ("GET", "/") => (200, json!({"service": "Fake"})),
        ("GET", "/api/agents") => (200, json!({"agents": *agents, "count": agents.len()})),
        ("POST", "/api/spawn") => {
            let id = body["id"].as_str().map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
            let session = shared.session.lock().unwrap().clone().unwrap_or_else(|| id.clone());
            let agent = json!({"id": id, "name": body["name"], "type": body["agentType"], "status": "ready", "runtimeSessionId": session});
            agents.push(agent.clone());
            shared.tell("agent_started", &json!({"agent": agent}));
            shared.tell("agent_ready", &json!({"agent": agent}));
            if shared.times_out.load(Ordering::Relaxed) {
                return (504, json!({"error": "gateway timeout"}));
            }
            (201, json!({"success": true, "agents": [agent]}))
        }
        ("GET", _) => match agents.iter().find(|agent| path.ends_with(agent["id"].as_str().unwrap())) {
            Some(agent) => (200, agent.clone()),
            None => (404, json!({"error": "not found", "code": "AGENT_NOT_FOUND"})),
        },
        _ => (404, json!({"error": "no such route", "code": "NOT_FOUND"})),
    }
}

/// A terminal of which nothing comes.
async fn quiet(mut socket: WebSocketStream<TcpStream>) {
    socket.send(Message::text(json!({"type": "connected"}).to_string())).await.ok();
    while let Some(Ok(_)) = socket.next().await {}
}

async fn listen(socket: WebSocketStream<TcpStream>, shared: &Shared) {
    let (mut sink, mut stream) = socket.split();
    let telling = async {
        let mut latest = shared.latest.subscribe();
        let mut cursor = *latest.borrow();
        sink.send(Message::text(json!({"type": "connected", "filter": null}).to_string())).await?;
        loop {
            if latest.wait_for(|latest| *latest > cursor).await.is_err() {
                return Ok(());
            }
            let batch: Vec<String> = {
                let events = shared.events.lock().unwrap();
                if cursor < events.oldest {
                    break;
                }
                events.kept.iter().skip(usize::try_from(cursor - events.oldest).unwrap()).take(64).cloned().collect()
            };
            for event in batch {
                sink.feed(Message::text(event)).await?;
                cursor += 1;
            }
            sink.flush().await?;
        }
        let too_slow = CloseFrame { code: 4408.into(), reason: "Reader is too slow".into() };
        sink.send(Message::Close(Some(too_slow))).await
    };
    tokio::select! {
        told = telling => drop(told),
        // Reading lets the library answer pings.
        () = async { while let Some(Ok(_)) = stream.next().await {} } => {}
    }
}
