//! What happened to agents, in order, for whoever listens on `/ws/events` or `/ws`.
//!
//! Events are kept in a ring with their sequence numbers, and every listener pulls with a cursor
//! of its own: nobody's slowness costs memory or holds an agent up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use futures_util::{SinkExt, StreamExt};
use runtime_protocol::{EventFrame, EventName};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    agents::{Agent, Agents},
    extract::{Workspace, invalid_member},
    lock::lock,
    problem::Problem,
    server::App,
    socket::{self, Goodbye, Incoming, Sink, Socket, Stream},
};

/// Events kept for listeners that come back: hours of a busy host.
const EVENTS_KEPT: usize = 10_000;
/// Bytes of events kept: most have about 1 KiB; one with a message of a structured agent can have 2 MiB by itself.
const EVENT_BYTES_KEPT: usize = 32 * 1024 * 1024;
/// Events handed to a listener at once, so that the lock is never held for long.
const BATCH: usize = 64;

/// Commands of one listener that may wait for their answers to be sent.
const ANSWERS_WAITING_MAX: usize = 16;
/// How long a message may wait for the agent to take it.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

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

/// Whom an event concerns, each by its id.
pub(crate) struct Concerned<'a> {
    pub(crate) agent: &'a str,
    pub(crate) thread: Option<&'a str>,
    pub(crate) workspace: Option<&'a str>,
    pub(crate) runtime_session: Option<&'a str>,
}

/// One event as it is kept.
pub(crate) struct Recorded {
    pub(crate) event: EventName,
    /// The whole frame.
    pub(crate) text: Utf8Bytes,
    seq: u64,
    agent_id: String,
    thread_id: Option<String>,
    workspace_id: Option<String>,
}

/// The events after a cursor are no longer kept.
#[derive(Debug)]
pub(crate) struct Missed;

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { boot_id: Uuid::new_v4().to_string(), kept: Mutex::default(), latest: watch::Sender::new(0) }
    }

    pub(crate) fn record(&self, event: EventName, agent: &Agent, data: Value) {
        let concerned = Concerned {
            agent: &agent.id,
            thread: agent.thread_id(),
            workspace: agent.workspace_id.as_deref(),
            runtime_session: Some(&agent.runtime_session_id),
        };
        self.record_for(event, &concerned, data);
    }

    pub(crate) fn record_for(&self, event: EventName, concerned: &Concerned<'_>, data: Value) {
        let mut kept = lock(&self.kept);
        let seq = *self.latest.borrow() + 1;
        let frame = EventFrame {
            event: event.clone(),
            data,
            timestamp: Some(Utc::now()),
            seq: Some(seq),
            boot_id: Some(self.boot_id.clone()),
            workspace_id: concerned.workspace.map(Into::into),
            runtime_session_id: concerned.runtime_session.map(Into::into),
        };
        kept.push(Recorded {
            event,
            text: json!(frame).to_string().into(),
            seq,
            agent_id: concerned.agent.into(),
            thread_id: concerned.thread.map(Into::into),
            workspace_id: concerned.workspace.map(Into::into),
        });
        self.latest.send_replace(seq);
    }

    /// Follows the log from here on.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        self.follow_since(None)
    }

    /// Follows the log from its first event on.
    pub(crate) fn follow_from_the_start(self: &Arc<Self>) -> Follower {
        self.follow_since(Some(0))
    }

    fn follow_since(self: &Arc<Self>, since: Option<u64>) -> Follower {
        // Subscribed before the cursor is set, so that what comes in between wakes the follower.
        let latest = self.latest.subscribe();
        Follower { cursor: self.cursor(since), log: Arc::clone(self), latest, batch: VecDeque::new() }
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

/// Reads the log with a cursor of its own.
pub(crate) struct Follower {
    log: Arc<EventLog>,
    cursor: u64,
    latest: watch::Receiver<u64>,
    batch: VecDeque<Arc<Recorded>>,
}

impl Follower {
    /// What comes next, if it is there already.
    ///
    /// Errors: [`Missed`]; the next call goes on with the oldest event that is left.
    fn ready(&mut self) -> Result<Option<Arc<Recorded>>, Missed> {
        if self.batch.is_empty() {
            self.latest.mark_unchanged();
            match self.log.after(self.cursor) {
                Ok(events) => self.batch.extend(events),
                Err(missed) => {
                    self.cursor = self.log.cursor(Some(0));
                    return Err(missed);
                }
            }
        }
        let event = self.batch.pop_front();
        if let Some(event) = &event {
            self.cursor = event.seq;
        }
        Ok(event)
    }

    /// Waits for the next event about `agent_id`; may be dropped and called again without losing any.
    ///
    /// Errors: as [`Follower::ready`].
    pub(crate) async fn next_about(&mut self, agent_id: &str) -> Result<Arc<Recorded>, Missed> {
        loop {
            match self.ready()? {
                Some(event) if event.agent_id == agent_id => return Ok(event),
                Some(_) => {}
                // It fails only where the log is gone, which lives in this follower.
                None => self.latest.changed().await.map_err(|_| Missed)?,
            }
        }
    }
}

/// How much of a socket's door a listener came through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/ws/events`: events only.
    Events,
    /// `/ws`: takes commands too, and tells listeners of one agent some events by short names again.
    General,
}

/// Which events a listener gets. One is withheld when it carries another id than the one asked for.
pub(crate) struct Filter {
    pub(crate) agent_id: Option<String>,
    pub(crate) thread_id: Option<String>,
    /// Hard: events of agents without a workspace are withheld too.
    pub(crate) workspace_id: Option<String>,
    pub(crate) since: Option<u64>,
}

impl Filter {
    fn admits(&self, event: &Recorded) -> bool {
        let agent = self.agent_id.as_ref().is_none_or(|id| *id == event.agent_id);
        let thread = self.thread_id.is_none() || event.thread_id.is_none() || self.thread_id == event.thread_id;
        agent && thread && (self.workspace_id.is_none() || self.workspace_id == event.workspace_id)
    }

    fn describe(&self) -> Value {
        match (&self.agent_id, &self.thread_id) {
            (None, None) => Value::Null,
            (Some(agent), None) => json!({ "agentId": agent }),
            (None, Some(thread)) => json!({ "threadId": thread }),
            (Some(agent), Some(thread)) => json!({ "agentId": agent, "threadId": thread }),
        }
    }
}

/// Serves one listener until either side has enough, or the runtime is closing.
pub(crate) async fn serve(socket: Socket, app: Arc<App>, form: Form, filter: Filter) {
    let (mut sink, mut stream) = socket.split();
    let (answer, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
    let commands = (form == Form::General).then(|| Commands { agents: &app.agents, workspace: Workspace(filter.workspace_id.clone()) });
    let goodbye = tokio::select! {
        goodbye = tell(&mut sink, Tail::new(&app.events, form, &filter, &app.closing), answers) => goodbye,
        goodbye = listen(&mut stream, commands.as_ref(), answer) => goodbye,
        () = socket::overdue(&app.closing) => Goodbye::SHUTDOWN,
    };
    socket::farewell(sink, stream, goodbye).await;
}

async fn tell(sink: &mut Sink, mut tail: Tail<'_>, mut answers: mpsc::Receiver<Value>) -> Goodbye {
    let mut pings = socket::ping_interval();
    let mut outgoing = tail.greeting();
    loop {
        if let Err(error) = sink.send(outgoing).await {
            return Goodbye::broken(&error);
        }
        outgoing = tokio::select! {
            biased;
            _ = pings.tick() => Message::Ping(Bytes::new()),
            Some(answer) = answers.recv() => Message::text(answer.to_string()),
            next = tail.next() => match next {
                Ok(event) => Message::Text(event),
                Err(goodbye) => return goodbye,
            },
        };
    }
}

/// What one listener has heard and what comes next for it.
struct Tail<'a> {
    follower: Follower,
    form: Form,
    filter: &'a Filter,
    /// The event told last, once more by its short name.
    again: Option<Utf8Bytes>,
    closing: &'a CancellationToken,
    /// The runtime is closing: what is there now is the last to be told.
    last_look: bool,
}

impl<'a> Tail<'a> {
    fn new(log: &Arc<EventLog>, form: Form, filter: &'a Filter, closing: &'a CancellationToken) -> Self {
        Self { follower: log.follow_since(filter.since), form, filter, again: None, closing, last_look: false }
    }

    fn greeting(&self) -> Message {
        let (boot_id, seq) = (&self.follower.log.boot_id, self.follower.cursor);
        // `seq` is the number after which the events that follow come.
        let filter = self.filter.describe();
        let greeting = json!({ "type": "connected", "filter": filter, "timestamp": now(), "bootId": boot_id, "seq": seq });
        Message::text(greeting.to_string())
    }

    /// Waits for the next event that is admitted; may be dropped and called again without losing any.
    async fn next(&mut self) -> Result<Utf8Bytes, Goodbye> {
        if let Some(again) = self.again.take() {
            return Ok(again);
        }
        loop {
            match self.follower.ready().map_err(|Missed| Goodbye::TOO_SLOW)? {
                Some(event) if self.filter.admits(&event) => {
                    if self.form == Form::General && event.event == EventName::LoginRequired {
                        return Ok(with_url(&event));
                    }
                    if self.form == Form::General && self.filter.agent_id.is_some() {
                        self.again = short_form(&event);
                    }
                    return Ok(event.text.clone());
                }
                Some(_) => {}
                None if self.last_look => return Err(Goodbye::SHUTDOWN),
                None => tokio::select! {
                    changed = self.follower.latest.changed() => changed.map_err(|_| Goodbye::GONE)?,
                    () = self.closing.cancelled() => self.last_look = true,
                },
            }
        }
    }
}

/// A login as `/ws` tells it: with its address under the name `url` too.
fn with_url(event: &Recorded) -> Utf8Bytes {
    let Ok(mut frame) = serde_json::from_str::<Value>(&event.text) else {
        return event.text.clone();
    };
    frame["data"]["url"] = frame["data"]["loginUrl"].clone();
    frame.to_string().into()
}

/// The same event by the name that listeners of one agent know it by; `None` where there is no such name.
fn short_form(event: &Recorded) -> Option<Utf8Bytes> {
    let name = match event.event {
        EventName::AgentReady => "ready",
        EventName::AgentStopped => "stopped",
        EventName::AgentError => "error",
        EventName::AgentStarted
        | EventName::LoginRequired
        | EventName::Message
        | EventName::Question
        | EventName::ThreadEvent
        | EventName::BlockingPrompt
        | EventName::Unknown(_) => return None,
    };
    let mut frame: Value = serde_json::from_str(&event.text).ok()?;
    frame["event"] = json!(name);
    Some(frame.to_string().into())
}

async fn listen(stream: &mut Stream, commands: Option<&Commands<'_>>, answer: mpsc::Sender<Value>) -> Goodbye {
    loop {
        let text = match socket::receive(stream).await {
            Incoming::Text(text) => text,
            Incoming::Binary(_) => continue,
            Incoming::Ended(goodbye) => return goodbye,
        };
        let said = match serde_json::from_str::<Value>(&text) {
            Ok(said) if said["type"] == "ping" => json!({ "type": "pong", "timestamp": now() }),
            Ok(said) => match commands {
                Some(commands) => commands.carry_out(&said).await,
                None => continue,
            },
            Err(error) => match commands {
                Some(_) => refusal(&Value::Null, &Problem::invalid("command", error)),
                None => continue,
            },
        };
        // A listener that does not read its answers is not read from any further either.
        if answer.send(said).await.is_err() {
            return Goodbye::GONE;
        }
    }
}

/// What a listener on `/ws` may do: talk to the agents that it sees.
struct Commands<'a> {
    agents: &'a Agents,
    workspace: Workspace,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendCommand {
    agent_id: String,
    message: String,
}

impl Commands<'_> {
    /// Carries out `said` and gives the answer to it.
    async fn carry_out(&self, said: &Value) -> Value {
        let agent_id = &said["agentId"];
        match self.send(said).await {
            Ok(()) => json!({ "type": "sent", "agentId": agent_id, "timestamp": now() }),
            Err(problem) => refusal(agent_id, &problem),
        }
    }

    async fn send(&self, said: &Value) -> Result<(), Problem> {
        if said["type"] != "send" {
            return Err(Problem::invalid("type", "must be send or ping"));
        }
        let command: SendCommand = serde_path_to_error::deserialize(said).map_err(|error| invalid_member("", &error))?;
        let agent = self.agents.find(&command.agent_id)?;
        if !self.workspace.sees(&agent) {
            return Err(Problem::Forbidden(format!("agent {:?} belongs to another workspace", command.agent_id)));
        }
        timeout(TAKEN_WITHIN, agent.send(&command.message)).await.map_err(|_| Problem::InputTimeout(command.agent_id))?
    }
}

fn refusal(agent_id: &Value, problem: &Problem) -> Value {
    json!({ "type": "error", "agentId": agent_id, "error": problem.to_string(), "code": problem.code(), "timestamp": now() })
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concerned(agent: &str) -> Concerned<'_> {
        Concerned { agent, thread: None, workspace: None, runtime_session: None }
    }

    #[tokio::test]
    async fn events_are_bounded_in_bytes_too_and_a_follower_hears_that_it_missed_some() {
        let log = Arc::new(EventLog::new());
        let mut follower = log.follow();
        let large = "x".repeat(EVENT_BYTES_KEPT / 4);
        for _ in 0..8 {
            log.record_for(EventName::Message, &concerned("a"), json!(large));
        }
        assert!(lock(&log.kept).bytes <= EVENT_BYTES_KEPT);
        assert!(follower.next_about("a").await.is_err());
        assert_eq!(follower.next_about("a").await.unwrap().seq, 6);
    }

    #[test]
    fn a_login_has_its_address_under_the_general_name_too() {
        let log = EventLog::new();
        log.record_for(EventName::LoginRequired, &concerned("a"), json!({ "loginUrl": "https://example.com/" }));
        let event = Arc::clone(lock(&log.kept).events.front().unwrap());
        let told: Value = serde_json::from_str(&with_url(&event)).unwrap();
        assert_eq!((&told["event"], &told["data"]["url"]), (&json!("login_required"), &json!("https://example.com/")));
    }
}
