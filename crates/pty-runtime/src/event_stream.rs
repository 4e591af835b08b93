//! What happened to agents, in order, for whoever listens on `/ws/events`.
//!
//! Events are kept in a ring with their sequence numbers, and every listener pulls with a cursor
//! of its own: nobody's slowness costs memory or holds an agent up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use chrono::{SecondsFormat, Utc};
use futures_util::{SinkExt, StreamExt};
use runtime_protocol::{EventFrame, EventName};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    agents::Agent,
    lock::lock,
    socket::{self, Goodbye, Incoming, Sink, Socket, Stream},
};

/// Events kept for listeners that come back, about 1 KiB each: hours of a busy host, 10 MiB.
const EVENTS_KEPT: usize = 10_000;
/// Events handed to a listener at once, so that the lock is never held for long.
const BATCH: usize = 64;

pub(crate) struct EventLog {
    boot_id: String,
    kept: Mutex<VecDeque<Arc<Recorded>>>,
    latest: watch::Sender<u64>,
}

struct Recorded {
    seq: u64,
    agent_id: String,
    workspace_id: Option<String>,
    text: Utf8Bytes,
}

/// The events after a cursor are no longer kept.
#[derive(Debug)]
struct Missed;

impl EventLog {
    pub(crate) fn new() -> Self {
        Self {
            boot_id: Uuid::new_v4().to_string(),
            kept: Mutex::default(),
            latest: watch::Sender::new(0),
        }
    }

    pub(crate) fn record(&self, event: EventName, agent: &Agent, data: Value) {
        let mut kept = lock(&self.kept);
        let seq = *self.latest.borrow() + 1;
        let frame = EventFrame {
            event,
            data,
            timestamp: Some(Utc::now()),
            seq: Some(seq),
            boot_id: Some(self.boot_id.clone()),
            workspace_id: agent.workspace_id.clone(),
            runtime_session_id: Some(agent.runtime_session_id.clone()),
        };
        let text = json!(frame).to_string().into();
        if kept.len() == EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::new(Recorded {
            seq,
            agent_id: agent.id.clone(),
            workspace_id: agent.workspace_id.clone(),
            text,
        }));
        self.latest.send_replace(seq);
    }

    /// Where a listener starts that has seen everything up to `since`. What is no longer kept is
    /// skipped; a number from the future is one of an earlier boot, of which nothing is left.
    fn cursor(&self, since: Option<u64>) -> u64 {
        let kept = lock(&self.kept);
        let latest = *self.latest.borrow();
        let oldest = kept.front().map_or(latest, |event| event.seq - 1);
        match since {
            None => latest,
            Some(since) if since > latest => oldest,
            Some(since) => since.max(oldest),
        }
    }

    fn after(&self, cursor: u64) -> Result<Vec<Arc<Recorded>>, Missed> {
        let kept = lock(&self.kept);
        let Some(oldest) = kept.front().map(|event| event.seq) else {
            return Ok(Vec::new());
        };
        let skip = (cursor + 1).checked_sub(oldest).ok_or(Missed)?;
        Ok(kept
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(BATCH)
            .cloned()
            .collect())
    }
}

/// Which events a listener gets.
pub(crate) struct Filter {
    pub(crate) agent_id: Option<String>,
    /// Hard: events of agents without a workspace are withheld too.
    pub(crate) workspace_id: Option<String>,
    pub(crate) since: Option<u64>,
}

impl Filter {
    fn admits(&self, event: &Recorded) -> bool {
        let agent = self.agent_id.as_ref().is_none_or(|id| *id == event.agent_id);
        agent && (self.workspace_id.is_none() || self.workspace_id == event.workspace_id)
    }
}

/// Serves one listener until either side has enough, or the runtime is `closing`.
pub(crate) async fn serve(socket: Socket, log: Arc<EventLog>, filter: Filter, closing: CancellationToken) {
    let (mut sink, mut stream) = socket.split();
    let (ask_pong, pong_asked) = mpsc::channel(1);
    let goodbye = tokio::select! {
        // What happened before the end is told before the end.
        biased;
        goodbye = tell(&mut sink, &log, &filter, pong_asked) => goodbye,
        goodbye = listen(&mut stream, ask_pong) => goodbye,
        () = closing.cancelled() => Goodbye::SHUTDOWN,
    };
    socket::farewell(sink, stream, goodbye).await;
}

async fn tell(sink: &mut Sink, log: &EventLog, filter: &Filter, mut pong_asked: mpsc::Receiver<()>) -> Goodbye {
    let mut latest = log.latest.subscribe();
    let mut cursor = log.cursor(filter.since);
    let mut pings = socket::ping_interval();
    let mut outgoing = Message::text(greeting(log, filter, cursor));
    let mut batch = VecDeque::new();
    loop {
        if let Err(goodbye) = sink.send(outgoing).await.map_err(|error| Goodbye::broken(&error)) {
            return goodbye;
        }
        outgoing = loop {
            let next = async {
                while batch.is_empty() {
                    batch.extend(log.after(cursor)?);
                    if batch.is_empty() && latest.changed().await.is_err() {
                        return Err(Missed);
                    }
                }
                Ok(batch.pop_front())
            };
            tokio::select! {
                biased;
                _ = pings.tick() => break Message::Ping(bytes::Bytes::new()),
                Some(()) = pong_asked.recv() => break Message::text(json!({ "type": "pong", "timestamp": now() }).to_string()),
                event = next => match event {
                    Ok(Some(event)) => {
                        cursor = event.seq;
                        if filter.admits(&event) {
                            break Message::Text(event.text.clone());
                        }
                    }
                    Ok(None) => {}
                    Err(Missed) => return Goodbye::TOO_SLOW,
                },
            }
        };
    }
}

async fn listen(stream: &mut Stream, ask_pong: mpsc::Sender<()>) -> Goodbye {
    loop {
        let text = match socket::receive(stream).await {
            Incoming::Text(text) => text,
            Incoming::Binary(_) => continue,
            Incoming::Ended(goodbye) => return goodbye,
        };
        let ping = serde_json::from_str::<Value>(&text).is_ok_and(|value| value["type"] == "ping");
        if ping && ask_pong.try_send(()).is_err() {
            tracing::trace!("a pong is already on its way");
        }
    }
}

fn greeting(log: &EventLog, filter: &Filter, cursor: u64) -> String {
    let filtered = filter.agent_id.as_ref().map(|id| json!({ "agentId": id }));
    // `seq` is the number that the first event after this greeting comes next to.
    json!({ "type": "connected", "filter": filtered, "timestamp": now(), "bootId": log.boot_id, "seq": cursor }).to_string()
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
