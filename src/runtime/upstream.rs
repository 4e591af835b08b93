//! The one connection between a live terminal and its runtime (runtime contract §6.3).

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use runtime_protocol::{Control, TERMINAL_PROTOCOL, default_framing};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{self, Message, http::header::SEC_WEBSOCKET_PROTOCOL, protocol::WebSocketConfig},
};

use super::{
    Backoff, CONNECT_TIMEOUT, RuntimeClient, TerminalNews,
    pty::{DRAIN, Input, Terminal},
};
use crate::model::{
    ids::SessionId,
    terminal::{SessionNews, Size},
};

/// A quiet connection is probed this often, and given up after [`SILENCE_MAX`].
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// One message from a runtime is at most this long; ours sends 32 KiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Close codes of the contract (§6.2).
const CLOSE_EXITED: u16 = 4410;
const CLOSE_UNKNOWN_AGENT: u16 = 4404;

/// How frames are to be read, as the runtime agreed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `raven.terminal.v1`: bytes are binary frames, control is JSON.
    Negotiated,
    /// Text frames, where only the greeting is control.
    Default,
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The process ended and all its output has arrived.
    Exited,
    /// The runtime does not know the agent (any more).
    UnknownAgent,
    /// It broke, or the other side went silent.
    Lost,
}

/// Tells what becomes of one terminal's connection.
struct Reporter<'a> {
    session: SessionId,
    news: &'a mpsc::Sender<TerminalNews>,
}

impl Reporter<'_> {
    async fn report(&self, news: SessionNews) {
        if self.news.send(TerminalNews { session: self.session, news }).await.is_err() {
            tracing::debug!(session.id = %self.session, "shutting down, nobody takes terminal news");
        }
    }
}

/// Keeps the terminal connected until the process ends, the terminal is cut, or its input closes.
pub(super) async fn run(
    terminal: &Terminal,
    runtime: &RuntimeClient,
    mut inputs: mpsc::Receiver<Input>,
    news: &mpsc::Sender<TerminalNews>,
) {
    let reporter = Reporter { session: terminal.spec().session, news };
    let draining = async {
        terminal.draining().cancelled().await;
        sleep(DRAIN).await;
    };
    let connecting = async {
        let mut backoff = Backoff::default();
        loop {
            reporter.report(SessionNews::Dialing).await;
            match connect(terminal, runtime, &mut inputs, &reporter, &mut backoff).await {
                // The event stream and the reconciler tell how it ended; here there is nothing left to read.
                Ok(Ended::Exited | Ended::UnknownAgent) => return,
                Ok(Ended::Lost) => {}
                Err(error) => tracing::debug!(session.id = %terminal.spec().session, %error, "terminal connection failed"),
            }
            terminal.set_connected(false);
            reporter.report(SessionNews::Lost).await;
            sleep(backoff.next_delay()).await;
        }
    };
    tokio::select! {
        () = connecting => {
            terminal.set_connected(false);
            // The last status comes from the domain; wait for it, so that viewers see the end after all output.
            tokio::select! {
                () = terminal.draining().cancelled() => {}
                () = terminal.cut().cancelled() => {}
            }
        }
        () = draining => {}
        () = terminal.cut().cancelled() => {}
    }
}

async fn connect(
    terminal: &Terminal,
    runtime: &RuntimeClient,
    inputs: &mut mpsc::Receiver<Input>,
    reporter: &Reporter<'_>,
    backoff: &mut Backoff,
) -> Result<Ended, tungstenite::Error> {
    let spec = terminal.spec();
    let request = runtime
        .websocket(&["ws", "agents", &spec.runtime_agent_id, "terminal"], &format!("since={}", terminal.end()), Some(TERMINAL_PROTOCOL))?
        .with_header("x-workspace-id", spec.workspace.to_string());
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connecting = connect_async_with_config(request, Some(config), true);
    let (socket, response) =
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let agreed = response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_some_and(|protocol| protocol == TERMINAL_PROTOCOL);
    let framing = if agreed { Framing::Negotiated } else { Framing::Default };
    let (sink, stream) = socket.split();
    backoff.reset();
    // Input typed while nothing was connected was refused; what is still queued belongs to the lost connection.
    while inputs.try_recv().is_ok() {}
    terminal.set_connected(true);
    reporter.report(SessionNews::Connected).await;
    // Either side may stall without stopping the other: a full input must not keep output from being read.
    tokio::select! {
        ended = read(terminal, stream, framing) => ended,
        ended = write(terminal, sink, inputs, framing) => ended,
    }
}

async fn read(
    terminal: &Terminal,
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    framing: Framing,
) -> Result<Ended, tungstenite::Error> {
    let mut position = terminal.end();
    let mut greeted = false;
    loop {
        let Ok(message) = timeout(SILENCE_MAX, stream.next()).await else { return Ok(Ended::Lost) };
        let first = !std::mem::replace(&mut greeted, true);
        let output: Bytes = match message.transpose()? {
            Some(Message::Binary(bytes)) => bytes,
            Some(Message::Text(text)) => {
                if framing == Framing::Negotiated || first {
                    match serde_json::from_str(text.as_str()) {
                        Ok(Control::Connected { offset, .. }) => position = offset.unwrap_or(position),
                        Ok(Control::Lagged { offset }) if framing == Framing::Negotiated => {
                            terminal.skip_to(offset);
                            position = offset;
                        }
                        Ok(Control::Exited { .. }) if framing == Framing::Negotiated => return Ok(Ended::Exited),
                        Ok(_) | Err(_) if framing == Framing::Negotiated => {}
                        Ok(_) | Err(_) => position = accept(terminal, position, text.into()),
                    }
                    continue;
                }
                text.into()
            }
            Some(Message::Close(frame)) => {
                return Ok(match frame.map(|frame| frame.code.into()) {
                    Some(CLOSE_EXITED) => Ended::Exited,
                    Some(CLOSE_UNKNOWN_AGENT) => Ended::UnknownAgent,
                    Some(_) | None => Ended::Lost,
                });
            }
            Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            None => return Ok(Ended::Lost),
        };
        position = accept(terminal, position, output);
    }
}

fn accept(terminal: &Terminal, position: u64, output: Bytes) -> u64 {
    let end = position + output.len() as u64;
    terminal.output(position, output);
    end
}

async fn write(
    terminal: &Terminal,
    mut sink: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    inputs: &mut mpsc::Receiver<Input>,
    framing: Framing,
) -> Result<Ended, tungstenite::Error> {
    sink.send(resize(terminal.size())).await?;
    let mut ping = interval(PING_EVERY);
    ping.reset_at(Instant::now() + PING_EVERY);
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                Some(Input::Bytes(bytes)) => send_bytes(&mut sink, bytes, framing).await?,
                Some(Input::Resize(size)) => sink.send(resize(size)).await?,
                // The terminal holds the sender for as long as this runs.
                None => return Ok(Ended::Lost),
            },
            _ = ping.tick() => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
}

async fn send_bytes(
    sink: &mut (impl Sink<Message, Error = tungstenite::Error> + Unpin),
    bytes: Bytes,
    framing: Framing,
) -> Result<(), tungstenite::Error> {
    match framing {
        Framing::Negotiated => sink.send(Message::Binary(bytes)).await,
        Framing::Default => {
            for frame in default_framing::input_frames(&String::from_utf8_lossy(&bytes)) {
                sink.feed(Message::text(frame)).await?;
            }
            sink.flush().await
        }
    }
}

fn resize(size: Size) -> Message {
    let control = Control::Resize { cols: size.cols(), rows: size.rows() };
    Message::text(serde_json::to_string(&control).expect("two numbers always serialise"))
}
