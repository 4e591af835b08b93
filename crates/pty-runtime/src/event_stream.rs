//! What happened to agents, in order, for whoever listens on `/ws/events`.
//!
//! Events are kept in a ring with their sequence numbers, and every listener pulls with a cursor
//! of its own: nobody's slowness costs memory or holds an agent up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
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
/// Bytes of events kept: an event with a message of a structured agent can have 2 MiB by itself.
const EVENT_BYTES_KEPT: usize = 32 * 1024 * 1024;
/// Events handed to a listener at once, so that the lock is never held for long.
const BATCH: usize = 64;

pub(crate) struct EventLog {
    boot_id: String,
    kept: Mutex<Kept>,
    latest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<Recorded>>,
    /// Of the texts of all of them.
    bytes: usize,
}

impl Kept {
    fn push(&mut self, event: Recorded) {
        self.bytes += event.text.len();
        self.events.push_back(Arc::new(event));
        while self.events.len() > EVENTS_KEPT || (self.bytes > EVENT_BYTES_KEPT && self.events.len() > 1) {
            self.bytes -= self.events.pop_front().map_or(0, |oldest| oldest.text.len());
        }
    }
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
        Self { boot_id: Uuid::new_v4().to_string(), kept: Mutex::default(), latest: watch::Sender::new(0) }
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
        kept.push(Recorded { seq, agent_id: agent.id.clone(), workspace_id: agent.workspace_id.clone(), text });
        self.latest.send_replace(seq);
    }

    /// Where a listener starts that has seen everything up to `since`. What is no longer kept is
    /// skipped; a number from the future is one of an earlier boot, of which nothing is left.
    fn cursor(&self, since: Option<u64>) -> u64 {
        let kept = lock(&self.kept);
        let latest = *self.latest.borrow();
        let oldest = kept.events.front().map_or(latest, |event| event.seq - 1);
        match since {
            None => latest,
            Some(since) if since > latest => oldest,
            Some(since) => since.max(oldest),
        }
    }

    fn after(&self, cursor: u64) -> Result<Vec<Arc<Recorded>>, Missed> {
        let kept = lock(&self.kept);
        let Some(oldest) = kept.events.front().map(|event| event.seq) else {
            return Ok(Vec::new());
        };
        let skip = (cursor + 1).checked_sub(oldest).ok_or(Missed)?;
        Ok(kept.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(BATCH).cloned().collect())
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
        goodbye = tell(&mut sink, Tail::new(&log, &filter, &closing), pong_asked) => goodbye,
        goodbye = listen(&mut stream, ask_pong) => goodbye,
        () = socket::overdue(&closing) => Goodbye::SHUTDOWN,
    };
    socket::farewell(sink, stream, goodbye).await;
}

async fn tell(sink: &mut Sink, mut tail: Tail<'_>, mut pong_asked: mpsc::Receiver<()>) -> Goodbye {
    let mut pings = socket::ping_interval();
    let mut outgoing = tail.greeting();
    loop {
        if let Err(error) = sink.send(outgoing).await {
            return Goodbye::broken(&error);
        }
        outgoing = tokio::select! {
            biased;
            _ = pings.tick() => Message::Ping(Bytes::new()),
            Some(()) = pong_asked.recv() => Message::text(json!({ "type": "pong", "timestamp": now() }).to_string()),
            next = tail.next() => match next {
                Ok(event) => Message::Text(event),
                Err(goodbye) => return goodbye,
            },
        };
    }
}

/// What one listener has heard and what comes next for it.
struct Tail<'a> {
    log: &'a EventLog,
    filter: &'a Filter,
    cursor: u64,
    latest: watch::Receiver<u64>,
    batch: VecDeque<Arc<Recorded>>,
    closing: &'a CancellationToken,
    /// The runtime is closing: what is there now is the last to be told.
    last_look: bool,
}

impl<'a> Tail<'a> {
    fn new(log: &'a EventLog, filter: &'a Filter, closing: &'a CancellationToken) -> Self {
        // Subscribed before the cursor is set, so that what comes in between wakes the listener.
        let latest = log.latest.subscribe();
        Self { cursor: log.cursor(filter.since), log, filter, latest, batch: VecDeque::new(), closing, last_look: false }
    }

    fn greeting(&self) -> Message {
        let filter = self.filter.agent_id.as_ref().map(|id| json!({ "agentId": id }));
        let (boot_id, seq) = (&self.log.boot_id, self.cursor);
        // `seq` is the number after which the events that follow come.
        let greeting = json!({ "type": "connected", "filter": filter, "timestamp": now(), "bootId": boot_id, "seq": seq });
        Message::text(greeting.to_string())
    }

    /// Waits for the next event that is admitted; may be dropped and called again without losing any.
    async fn next(&mut self) -> Result<Utf8Bytes, Goodbye> {
        loop {
            while let Some(event) = self.batch.pop_front() {
                self.cursor = event.seq;
                if self.filter.admits(&event) {
                    return Ok(event.text.clone());
                }
            }
            self.latest.mark_unchanged();
            self.batch.extend(self.log.after(self.cursor).map_err(|Missed| Goodbye::TOO_SLOW)?);
            if self.batch.is_empty() {
                if self.last_look {
                    return Err(Goodbye::SHUTDOWN);
                }
                tokio::select! {
                    changed = self.latest.changed() => changed.map_err(|_| Goodbye::GONE)?,
                    () = self.closing.cancelled() => self.last_look = true,
                }
            }
        }
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

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_many_nor_large_events_take_more_than_their_place() {
        let event = |seq, text: &str| Recorded { seq, agent_id: String::new(), workspace_id: None, text: text.to_owned().into() };
        let mut kept = Kept::default();
        for seq in 0..EVENTS_KEPT as u64 + 10 {
            kept.push(event(seq, "small"));
        }
        assert_eq!((kept.events.len(), kept.bytes), (EVENTS_KEPT, 5 * EVENTS_KEPT));
        let large = "x".repeat(EVENT_BYTES_KEPT / 4);
        for seq in 0..10 {
            kept.push(event(seq, &large));
        }
        assert_eq!((kept.events.len(), kept.bytes), (4, EVENT_BYTES_KEPT));
    }
}
