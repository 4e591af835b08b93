//! Follows a runtime's event stream for ever, and looks at all its agents after every connect and
//! every so often, so that what the stream missed is found (runtime contract §7).
//!
//! The stream is always read, however fast it is: what the service cannot take in at once is dropped, and
//! the list of all agents is compared instead. So neither side's memory grows with the other's pace.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture};
use runtime_protocol::{AgentHandle, EventFrame, EventName, StreamFrame};
use tokio::{
    net::TcpStream,
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, error::ProtocolError, protocol::WebSocketConfig},
};

use super::{Backoff, CONNECT_TIMEOUT, RuntimeClient, RuntimeError};

/// How often the whole list is compared, whatever the stream says.
const RECONCILE_EVERY: Duration = Duration::from_secs(30);
/// A quiet stream is probed this often.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A stream without a sign of life for this long is dead.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How long a probe may take to leave this host.
const PING_WITHIN: Duration = Duration::from_secs(10);
/// After events were dropped, how often it is looked whether there is room for a list again.
const CATCH_UP_EVERY: Duration = Duration::from_millis(250);
/// Events that may come while a list is on its way; beyond it they are dropped, and another list is asked for.
const HELD_MAX: usize = 1024;
/// One event is at most this long, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// How long a runtime that refused the event stream is asked for its general socket at once.
const GENERAL_KEPT: Duration = Duration::from_mins(10);

/// What is heard of a runtime.
#[derive(Debug)]
pub enum LinkNews {
    /// Every agent that the runtime knows now.
    Agents(Vec<AgentHandle>),
    Event(Box<EventFrame>),
    /// The runtime cannot be reached: it takes no socket, and does not list its agents either. A break that the next
    /// attempt mends is not told.
    Lost,
    /// It can be reached again, after [`Self::Lost`].
    Regained,
}

/// Why the stream ended, for the log.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("event stream: {0}")]
    Socket(#[from] tungstenite::Error),
    #[error("event stream: no sign of life in time")]
    Silent,
    #[error("event stream: closed by the runtime")]
    Closed,
}

/// Runs until nobody takes the news any more.
pub async fn follow(runtime: RuntimeClient, news: mpsc::Sender<LinkNews>) {
    let mut link = Link { runtime, news, position: Position::default(), general_since: None, is_lost: false };
    let mut backoff = Backoff::default();
    while !link.news.is_closed() {
        let Err(error) = link.connection(&mut backoff).await;
        let delay = backoff.next_delay();
        tracing::info!(
            runtime = link.runtime.endpoint(),
            error = &error as &dyn std::error::Error,
            retry_ms = delay.as_millis(),
            "runtime link lost"
        );
        sleep(delay).await;
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One runtime and what is remembered of it between connections.
struct Link {
    runtime: RuntimeClient,
    news: mpsc::Sender<LinkNews>,
    position: Position,
    /// When the runtime last had only its general socket to offer.
    general_since: Option<Instant>,
    /// Whether the loss was told.
    is_lost: bool,
}

/// The last event seen, to ask for what follows it.
#[derive(Default)]
struct Position {
    boot_id: Option<String>,
    seq: Option<u64>,
}

/// How an event stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Next,
    /// Others are missing before it, or it is the first of another process.
    AfterGap,
    /// It was seen already.
    Repeat,
}

impl Position {
    /// Notes an event.
    fn advance(&mut self, event: &EventFrame) -> Place {
        let Some(seq) = event.seq else { return Place::Next };
        let is_new_boot = self.boot_id != event.boot_id;
        if is_new_boot {
            self.boot_id.clone_from(&event.boot_id);
        }
        match self.seq.replace(seq) {
            Some(_) if is_new_boot => Place::AfterGap,
            Some(last) if seq <= last => {
                self.seq = Some(last);
                Place::Repeat
            }
            Some(last) if seq > last + 1 => Place::AfterGap,
            Some(_) | None => Place::Next,
        }
    }
}

/// What is on its way from one connection to the service.
struct Intake<'a> {
    news: &'a mpsc::Sender<LinkNews>,
    /// The list that was asked for, with the events that came since: they are newer.
    listing: Option<BoxFuture<'a, Result<Vec<AgentHandle>, RuntimeError>>>,
    held: VecDeque<EventFrame>,
    /// Whether something was dropped that only a list can make up for.
    is_behind: bool,
}

impl<'a> Intake<'a> {
    fn ask_for_list(&mut self, runtime: &'a RuntimeClient) {
        if self.listing.is_none() {
            self.is_behind = false;
            self.listing = Some(Box::pin(runtime.agents()));
        }
    }

    fn take(&mut self, event: EventFrame) {
        if !concerns_life(&event) || self.is_behind {
            return;
        }
        if self.listing.is_none() {
            self.offer(LinkNews::Event(Box::new(event)));
        } else if self.held.len() < HELD_MAX {
            self.held.push_back(event);
        } else {
            self.is_behind = true;
        }
    }

    fn take_list(&mut self, agents: Vec<AgentHandle>) {
        self.listing = None;
        self.offer(LinkNews::Agents(agents));
        while let Some(event) = self.held.pop_front() {
            self.offer(LinkNews::Event(Box::new(event)));
        }
    }

    /// Whether there is room for a list that makes up for what was dropped.
    fn may_catch_up(&self) -> bool {
        self.is_behind && self.listing.is_none() && self.news.capacity() > self.news.max_capacity() / 2
    }

    fn offer(&mut self, news: LinkNews) {
        match self.news.try_send(news) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.is_behind = true,
            Err(TrySendError::Closed(_)) => tracing::debug!("shutting down, nobody takes runtime news"),
        }
    }
}

/// Whether an event moves a run. What agents say to each other is of no use here, and there may be much of it.
fn concerns_life(event: &EventFrame) -> bool {
    match event.event {
        EventName::AgentStarted | EventName::AgentReady | EventName::AgentStopped | EventName::AgentError | EventName::LoginRequired => {
            true
        }
        EventName::Message | EventName::Question | EventName::ThreadEvent | EventName::BlockingPrompt | EventName::Unknown(_) => false,
    }
}

impl Link {
    async fn connection(&mut self, backoff: &mut Backoff) -> Result<Infallible, LinkError> {
        let mut socket = match self.open().await {
            Ok(socket) => socket,
            Err(error) => {
                self.list_without_stream().await;
                return Err(error);
            }
        };
        backoff.connected();
        let Self { runtime, news, position, is_lost, .. } = self;
        let mut intake = Intake { news, listing: None, held: VecDeque::new(), is_behind: false };
        // Asked for once the stream is open: whatever changes from now on comes as an event.
        intake.ask_for_list(runtime);
        let mut heard_at = Instant::now();
        let mut ping = interval_at(heard_at + PING_EVERY, PING_EVERY);
        let mut reconcile = interval_at(heard_at + RECONCILE_EVERY, RECONCILE_EVERY);
        let mut catch_up = interval_at(heard_at + CATCH_UP_EVERY, CATCH_UP_EVERY);
        loop {
            tokio::select! {
                message = socket.next() => {
                    heard_at = Instant::now();
                    match message.transpose()? {
                        Some(Message::Text(text)) => {
                            let Ok(StreamFrame::Event(event)) = serde_json::from_str(text.as_str()) else { continue };
                            match position.advance(&event) {
                                Place::Next => intake.take(event),
                                Place::AfterGap => {
                                    intake.ask_for_list(runtime);
                                    intake.take(event);
                                }
                                Place::Repeat => {}
                            }
                        }
                        Some(Message::Close(_)) | None => return Err(LinkError::Closed),
                        Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                    }
                }
                listed = listed(&mut intake.listing) => {
                    let agents = listed.inspect_err(|_| intake.listing = None)?;
                    if std::mem::take(is_lost) {
                        report(news, LinkNews::Regained).await;
                    }
                    tracing::debug!(runtime = runtime.endpoint(), agents = agents.len(), "runtime listed");
                    intake.take_list(agents);
                }
                _ = catch_up.tick(), if intake.is_behind => {
                    if intake.may_catch_up() {
                        tracing::warn!(runtime = runtime.endpoint(), "events came faster than they can be taken in; comparing lists instead");
                        intake.ask_for_list(runtime);
                    }
                }
                _ = reconcile.tick() => intake.ask_for_list(runtime),
                _ = ping.tick() => {
                    if heard_at.elapsed() > SILENCE_MAX {
                        return Err(LinkError::Silent);
                    }
                    let ping = socket.send(Message::Ping(bytes::Bytes::new()));
                    timeout(PING_WITHIN, ping).await.map_err(|_| LinkError::Silent)??;
                }
            }
        }
    }

    /// Lists the agents of a runtime whose stream could not be opened: it may have none and answer requests all the
    /// same. Attempts to open it go on, at most half a minute apart, and so do the lists.
    async fn list_without_stream(&mut self) {
        match self.runtime.agents().await {
            Ok(agents) => {
                if std::mem::take(&mut self.is_lost) {
                    report(&self.news, LinkNews::Regained).await;
                }
                tracing::debug!(runtime = self.runtime.endpoint(), agents = agents.len(), "runtime listed without its events");
                report(&self.news, LinkNews::Agents(agents)).await;
            }
            Err(error) => {
                tracing::debug!(runtime = self.runtime.endpoint(), error = &error as &dyn std::error::Error, "no list of agents either");
                if !std::mem::replace(&mut self.is_lost, true) {
                    report(&self.news, LinkNews::Lost).await;
                }
            }
        }
    }

    /// Opens the event stream, or the general socket of a runtime that has no other (§16.1).
    async fn open(&mut self) -> Result<Socket, LinkError> {
        let since = self.position.seq.map(|seq| format!("since={seq}")).unwrap_or_default();
        if self.general_since.is_none_or(|since| since.elapsed() >= GENERAL_KEPT) {
            match self.dial(&["ws", "events"], &since).await {
                Err(LinkError::Socket(error)) if is_refusal(&error) => {
                    tracing::info!(runtime = self.runtime.endpoint(), %error, "no event stream there, trying the general socket");
                }
                opened => {
                    self.general_since = None;
                    return opened;
                }
            }
        }
        let opened = self.dial(&["ws"], "").await;
        self.general_since = opened.is_ok().then(Instant::now);
        opened
    }

    async fn dial(&self, segments: &[&str], query: &str) -> Result<Socket, LinkError> {
        let request = self.runtime.websocket(segments, query, None)?;
        let config = WebSocketConfig::default().max_message_size(Some(EVENT_BYTES_MAX)).max_frame_size(Some(EVENT_BYTES_MAX));
        let dialing = connect_async_with_config(request, Some(config), true);
        let (socket, _) = timeout(CONNECT_TIMEOUT, dialing).await.map_err(|_| LinkError::Silent)??;
        tracing::info!(runtime = self.runtime.endpoint(), path = segments.join("/"), "runtime link up");
        Ok(socket)
    }
}

/// Whether a runtime that can be reached does not take this socket: it says so, or destroys the connection as the
/// original does. A wrong token is no such refusal, nor is a runtime that is busy.
fn is_refusal(error: &tungstenite::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        tungstenite::Error::Http(response) => {
            let status = response.status();
            status.is_success() || status.is_redirection() || matches!(status.as_u16(), 400 | 404 | 405 | 406 | 410 | 426 | 501)
        }
        tungstenite::Error::Protocol(problem) => matches!(problem, ProtocolError::HandshakeIncomplete),
        tungstenite::Error::Io(error) => matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Tls(_)
        | tungstenite::Error::Capacity(_)
        | tungstenite::Error::WriteBufferFull(_)
        | tungstenite::Error::Utf8(_)
        | tungstenite::Error::AttackAttempt
        | tungstenite::Error::Url(_)
        | tungstenite::Error::HttpFormat(_) => false,
    }
}

/// Waits for the list that was asked for; for ever if none was.
async fn listed(listing: &mut Option<BoxFuture<'_, Result<Vec<AgentHandle>, RuntimeError>>>) -> Result<Vec<AgentHandle>, RuntimeError> {
    match listing {
        Some(listing) => listing.await,
        None => std::future::pending().await,
    }
}

async fn report(news: &mpsc::Sender<LinkNews>, what: LinkNews) {
    if news.send(what).await.is_err() {
        tracing::debug!("shutting down, nobody takes runtime news");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: Option<u64>, boot: &str, name: &str) -> EventFrame {
        serde_json::from_value(json!({"event": name, "data": {"agent": {"id": "a"}}, "seq": seq, "bootId": boot})).unwrap()
    }

    #[test]
    fn gaps_repeats_and_new_processes_are_told_by_the_numbers() {
        let mut position = Position::default();
        for (seq, boot, place) in [
            (Some(7), "x", Place::Next),
            (Some(8), "x", Place::Next),
            (Some(8), "x", Place::Repeat),
            (Some(3), "x", Place::Repeat),
            (Some(11), "x", Place::AfterGap),
            (None, "x", Place::Next),
            (Some(1), "y", Place::AfterGap),
            (Some(2), "y", Place::Next),
        ] {
            assert_eq!(position.advance(&event(seq, boot, "agent_ready")), place, "{seq:?} of {boot}");
        }
        assert_eq!(position.seq, Some(2));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_made_up_for_by_a_list() {
        let runtime = RuntimeClient::new("http://127.0.0.1:9", None).unwrap();
        let (news, mut reports) = mpsc::channel(8);
        let mut intake = Intake { news: &news, listing: None, held: VecDeque::new(), is_behind: false };
        for seq in 0..100_000 {
            intake.take(event(Some(seq), "x", "message"));
        }
        assert!(reports.try_recv().is_err() && !intake.is_behind, "talk moves no run");
        for seq in 0..100_000 {
            intake.take(event(Some(seq), "x", "agent_ready"));
        }
        assert!(intake.is_behind && !intake.may_catch_up(), "no list is asked for while there is no room for it");
        while reports.try_recv().is_ok() {}
        assert!(intake.may_catch_up());

        intake.ask_for_list(&runtime);
        for seq in 0..10 {
            intake.take(event(Some(seq), "x", "agent_stopped"));
        }
        assert!(reports.try_recv().is_err(), "what comes after the list was asked for is told after it");
        intake.take_list(Vec::new());
        assert!(matches!(reports.try_recv(), Ok(LinkNews::Agents(_))));
        assert!(matches!(reports.try_recv(), Ok(LinkNews::Event(_))));

        while reports.try_recv().is_ok() {}
        intake.ask_for_list(&runtime);
        for seq in 0..100_000 {
            intake.take(event(Some(seq), "x", "agent_stopped"));
        }
        assert_eq!((intake.held.len(), intake.is_behind), (HELD_MAX, true));
    }
}
