//! Follows a runtime's event stream for ever, and looks at all its agents after every connect and
//! every so often, so that what the stream missed is found (runtime contract §7).

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use runtime_protocol::{AgentHandle, EventFrame, StreamFrame};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{Backoff, CONNECT_TIMEOUT, RuntimeClient, RuntimeError};

/// How often the whole list is compared, whatever the stream says.
const RECONCILE_EVERY: Duration = Duration::from_secs(30);
/// A stream without a sign of life for this long is dead.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// One event is at most this long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What is heard of a runtime.
#[derive(Debug)]
pub enum LinkNews {
    /// Every agent that the runtime knows now.
    Agents(Vec<AgentHandle>),
    Event(Box<EventFrame>),
}

/// Why the stream ended, for the log.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("event stream: {0}")]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("event stream: no sign of life in time")]
    Silent,
    #[error("event stream: closed by the runtime")]
    Closed,
}

/// Runs until nobody takes the news any more.
pub async fn follow(runtime: RuntimeClient, news: mpsc::Sender<LinkNews>) {
    let mut backoff = Backoff::default();
    let mut position = Position::default();
    while !news.is_closed() {
        if let Err(error) = connection(&runtime, &news, &mut position, &mut backoff).await {
            let delay = backoff.next_delay();
            tracing::info!(
                runtime = runtime.endpoint(),
                error = &error as &dyn std::error::Error,
                retry_ms = delay.as_millis(),
                "runtime link lost"
            );
            sleep(delay).await;
        }
    }
}

/// The last event seen, to ask for what follows it.
#[derive(Default)]
struct Position {
    boot_id: Option<String>,
    seq: Option<u64>,
}

impl Position {
    /// Notes an event; `false` when it was seen already.
    fn advance(&mut self, event: &EventFrame) -> bool {
        let Some(seq) = event.seq else { return true };
        if self.boot_id != event.boot_id {
            self.boot_id.clone_from(&event.boot_id);
            self.seq = None;
        }
        if self.seq.is_some_and(|last| seq <= last) {
            return false;
        }
        self.seq = Some(seq);
        true
    }
}

async fn connection(
    runtime: &RuntimeClient,
    news: &mpsc::Sender<LinkNews>,
    position: &mut Position,
    backoff: &mut Backoff,
) -> Result<(), LinkError> {
    let query = position.seq.map(|seq| format!("since={seq}")).unwrap_or_default();
    let request = runtime.websocket(&["ws", "events"], &query, None)?;
    let config = WebSocketConfig::default().max_message_size(Some(EVENT_BYTES_MAX)).max_frame_size(Some(EVENT_BYTES_MAX));
    let (mut socket, _) =
        timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(config), true)).await.map_err(|_| LinkError::Silent)??;
    // Listed after the stream is open: whatever changes from now on comes as an event.
    report(news, LinkNews::Agents(runtime.agents().await?)).await;
    tracing::info!(runtime = runtime.endpoint(), "runtime link up");
    backoff.reset();
    let mut heard_at = Instant::now();
    let mut reconcile = interval_at(Instant::now() + RECONCILE_EVERY, RECONCILE_EVERY);
    loop {
        tokio::select! {
            message = socket.next() => {
                heard_at = Instant::now();
                match message.transpose()? {
                    Some(Message::Text(text)) => {
                        if let Ok(StreamFrame::Event(event)) = serde_json::from_str(text.as_str()) && position.advance(&event) {
                            report(news, LinkNews::Event(Box::new(event))).await;
                        }
                    }
                    Some(Message::Close(_)) | None => return Err(LinkError::Closed),
                    Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                }
            }
            _ = reconcile.tick() => {
                if heard_at.elapsed() > SILENCE_MAX {
                    return Err(LinkError::Silent);
                }
                socket.send(Message::Ping(bytes::Bytes::new())).await?;
                report(news, LinkNews::Agents(runtime.agents().await?)).await;
            }
        }
    }
}

async fn report(news: &mpsc::Sender<LinkNews>, what: LinkNews) {
    if news.send(what).await.is_err() {
        tracing::debug!("shutting down, nobody takes runtime news");
    }
}
