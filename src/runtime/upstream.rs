//! The one connection between a live terminal and its runtime (runtime contract §6.3).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use runtime_protocol::{Control, TERMINAL_PROTOCOL, default_framing};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, interval, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message,
        error::{ProtocolError, SubProtocolError},
        protocol::WebSocketConfig,
    },
};

use super::{
    Backoff, CONNECT_TIMEOUT, RuntimeClient, TerminalNews,
    pty::{self, Input, Inputs, Line, Terminal},
};
use crate::model::terminal::{SessionNews, Size};

/// A quiet connection is probed this often, and given up after [`SILENCE_MAX`].
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// One message from a runtime is at most this long; ours sends 32 KiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is read of a connection at once, in bytes. The library keeps this much per connection and clears it before each
/// read; its 128 KiB would be most of an idle terminal's memory and of the way of a key's echo. Longer messages get room
/// of their length.
const READ_BYTES: usize = 16 * 1024;

/// How long a runtime without our framing may take to greet. One that never does has no terminal behind the
/// path: the container runtimes take any path for their general socket (RUN-12).
const GREETING_WITHIN: Duration = Duration::from_secs(5);
/// A runtime that is only slow may miss its greeting this often in a row.
const GREETINGS_MISSED_MAX: u32 = 3;
/// How long a runtime without terminals is left alone before it is asked again: it may have been replaced.
const UNSUPPORTED_RETRY: Duration = Duration::from_mins(10);
/// After this many bytes of output without a pause others get their turn: who reads along must not lose an eighth of what the
/// ring holds because of a runtime that sends faster than tasks are scheduled.
const TURN_BYTES: usize = 64 * 1024;

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
    /// The runtime has no terminals: what came were events, or the greeting of another socket.
    Unsupported,
    /// Nothing came, not even a greeting.
    NotGreeted,
    /// It broke, or the other side went silent.
    Lost,
}

/// Keeps the terminal connected; returns when the process has ended.
pub(super) async fn run(terminal: &Arc<Terminal>, news: &mpsc::Sender<TerminalNews>) {
    let mut backoff = Backoff::default();
    let mut framing = Framing::Negotiated;
    let mut runtimes = terminal.runtime();
    let mut greetings_missed = 0;
    loop {
        // A runtime may have dialed in meanwhile.
        terminal.without_line().await;
        let Some(runtime) = runtimes.borrow_and_update().clone() else { return };
        let Some(line) = terminal.line() else { return };
        let reporter = Reporter { line: &line, news };
        reporter.report(SessionNews::Dialing).await;
        let ended = connect(&line, &runtime, &reporter, &mut backoff, &mut framing).await;
        greetings_missed = if matches!(ended, Ok(Ended::NotGreeted)) { greetings_missed + 1 } else { 0 };
        let delay = match ended {
            // The event stream and the reconciler tell how it ended; here there is nothing left to read.
            Ok(Ended::Exited) => return line.set_exited(),
            Ok(Ended::NotGreeted) if greetings_missed <= GREETINGS_MISSED_MAX => backoff.next_delay(),
            Ok(Ended::Unsupported | Ended::NotGreeted) => {
                tracing::info!(session.id = %terminal.session(), runtime = runtime.endpoint(), "the runtime has no terminals");
                line.set_unsupported(true);
                UNSUPPORTED_RETRY
            }
            // Whether the agent is gone is the domain's to say; until then its session is only not connected.
            Ok(Ended::UnknownAgent | Ended::Lost) => backoff.next_delay(),
            Err(error) => {
                tracing::debug!(session.id = %terminal.session(), %error, "terminal connection failed");
                backoff.next_delay()
            }
        };
        reporter.report(SessionNews::Lost).await;
        drop(line);
        // Another token may be the right one.
        drop(timeout(delay, runtimes.changed()).await);
    }
}

/// Tells what becomes of one line.
struct Reporter<'a> {
    line: &'a Line,
    news: &'a mpsc::Sender<TerminalNews>,
}

impl Reporter<'_> {
    async fn report(&self, news: SessionNews) {
        let session = self.line.terminal().session();
        pty::report(self.news, TerminalNews { session, generation: self.line.generation(), news }).await;
    }
}

async fn connect(
    line: &Line,
    runtime: &RuntimeClient,
    reporter: &Reporter<'_>,
    backoff: &mut Backoff,
    framing: &mut Framing,
) -> Result<Ended, tungstenite::Error> {
    let terminal = line.terminal();
    let socket = match dial(terminal, runtime, *framing).await {
        // It does not know our framing, and will not as long as the agent lives.
        Err(tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol))) => {
            *framing = Framing::Default;
            dial(terminal, runtime, *framing).await?
        }
        dialed => dialed?,
    };
    let framing = *framing;
    let (sink, mut stream) = socket.split();
    backoff.connected();
    let first = match framing {
        Framing::Negotiated => None,
        Framing::Default => match greeting(&mut stream).await? {
            Greeting::Greeted => None,
            Greeting::Output(output) => Some(output),
            Greeting::Ended(ended) => return Ok(ended),
        },
    };
    // Input typed while nothing was connected was refused; what waited for the lost connection is lost with it.
    let Some(inputs) = line.connect() else { return Ok(Ended::Lost) };
    if framing == Framing::Default {
        line.tell_gap();
    }
    if let Some(output) = first {
        line.append(output);
    }
    reporter.report(SessionNews::Connected).await;
    // Either side may stall without stopping the other: a full input must not keep output from being read.
    tokio::select! {
        ended = read(line, stream, framing) => ended,
        ended = write(terminal, sink, inputs, framing) => ended,
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens the terminal's socket; offering our framing to a runtime that does not answer the offer is an error.
async fn dial(terminal: &Terminal, runtime: &RuntimeClient, framing: Framing) -> Result<Socket, tungstenite::Error> {
    let spec = terminal.spec();
    let (query, protocol) = match framing {
        Framing::Negotiated => (format!("since={}", terminal.end()), Some(TERMINAL_PROTOCOL)),
        Framing::Default => (String::new(), None),
    };
    let request = runtime
        .websocket(&["ws", "agents", &spec.runtime_agent_id, "terminal"], &query, protocol)?
        .with_header("x-workspace-id", spec.workspace.to_string());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connecting = connect_async_with_config(request, Some(config), true);
    let (socket, _) = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    Ok(socket)
}

/// What the first frame of a connection without our framing is.
enum Greeting {
    Greeted,
    /// There was none, and this is output already.
    Output(Bytes),
    Ended(Ended),
}

/// Reads the first frame: the greeting is control as nothing after it is, whatever it looks like.
async fn greeting(stream: &mut (impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin)) -> Result<Greeting, tungstenite::Error> {
    let deadline = Instant::now() + GREETING_WITHIN;
    loop {
        let Ok(message) = timeout_at(deadline, stream.next()).await else { return Ok(Greeting::Ended(Ended::NotGreeted)) };
        return Ok(match message.transpose()? {
            Some(Message::Text(text)) => match serde_json::from_str::<Value>(text.as_str()) {
                Ok(Value::Object(frame)) if frame.get("type").is_some_and(|name| name == "connected") => {
                    // The general socket greets too, but no agent's terminal.
                    if frame.contains_key("agentId") { Greeting::Greeted } else { Greeting::Ended(Ended::Unsupported) }
                }
                Ok(Value::Object(frame)) if frame.contains_key("event") && frame.contains_key("data") => {
                    Greeting::Ended(Ended::Unsupported)
                }
                Ok(_) | Err(_) => Greeting::Output(text.into()),
            },
            Some(Message::Binary(bytes)) => Greeting::Output(bytes),
            Some(Message::Close(frame)) => Greeting::Ended(farewell(frame.map(|frame| frame.code.into()))),
            None => Greeting::Ended(Ended::Lost),
            Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
        });
    }
}

/// What a close frame means.
fn farewell(code: Option<u16>) -> Ended {
    match code {
        Some(CLOSE_EXITED) => Ended::Exited,
        Some(CLOSE_UNKNOWN_AGENT) => Ended::UnknownAgent,
        Some(_) | None => Ended::Lost,
    }
}

async fn read(
    line: &Line,
    mut stream: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    framing: Framing,
) -> Result<Ended, tungstenite::Error> {
    let mut position = line.terminal().end();
    let mut turn = 0;
    loop {
        if turn >= TURN_BYTES {
            tokio::task::yield_now().await;
            turn = 0;
        }
        let Ok(message) = timeout(SILENCE_MAX, stream.next()).await else { return Ok(Ended::Lost) };
        let output: Bytes = match message.transpose()? {
            Some(Message::Binary(bytes)) => bytes,
            Some(Message::Text(text)) if framing == Framing::Default => text.into(),
            Some(Message::Text(text)) => {
                match serde_json::from_str(text.as_str()) {
                    Ok(Control::Connected { offset, live, .. }) => {
                        position = offset.unwrap_or(position);
                        line.repeats_until(live.unwrap_or_default());
                    }
                    Ok(Control::Lagged { offset }) => {
                        line.skip_to(offset);
                        position = offset;
                    }
                    Ok(Control::Exited { .. }) => return Ok(Ended::Exited),
                    Ok(_) | Err(_) => {}
                }
                continue;
            }
            Some(Message::Close(frame)) => return Ok(farewell(frame.map(|frame| frame.code.into()))),
            Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            None => return Ok(Ended::Lost),
        };
        turn += output.len();
        // Without positions everything follows what is there, our own notices included.
        if framing == Framing::Default {
            line.append(output);
        } else {
            let end = position + output.len() as u64;
            line.output(position, output);
            position = end;
        }
    }
}

async fn write(
    terminal: &Terminal,
    mut sink: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    mut inputs: Inputs,
    framing: Framing,
) -> Result<Ended, tungstenite::Error> {
    // A runtime without our framing starts with a size of its own.
    sink.send(resize(terminal.size())).await?;
    let mut ping = interval(PING_EVERY);
    ping.reset_at(Instant::now() + PING_EVERY);
    // Once the terminal is about to end, nothing is typed any more, while its last output is still read.
    let mut typing = true;
    loop {
        tokio::select! {
            input = inputs.recv(), if typing => match input {
                Some(Input::Bytes(bytes)) => send_bytes(&mut sink, bytes, framing).await?,
                Some(Input::Resize) => sink.send(resize(terminal.size())).await?,
                None => typing = false,
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

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};
    use tokio::net::TcpListener;
    use tokio_tungstenite::{
        accept_hdr_async,
        tungstenite::{
            handshake::server::{ErrorResponse, Request, Response},
            protocol::CloseFrame,
        },
    };
    use tokio_util::{sync::CancellationToken, task::TaskTracker};

    use SessionNews::{Connected, Dialing, Lost};

    use super::*;
    use crate::{
        model::clock::Clock,
        runtime::{LiveTerminals, Start, View, pty::tests::spec},
    };

    /// Serves one stream to one connection after the other: each breaks at its cut, and the last one stays.
    async fn serve(listener: TcpListener, stream: Bytes, cuts: [usize; 4]) {
        for cut in cuts {
            let (socket, _) = listener.accept().await.unwrap();
            let mut since = 0;
            #[expect(clippy::result_large_err, reason = "the signature is the library's")]
            let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                since = request.uri().query().unwrap().trim_start_matches("since=").parse().unwrap();
                response.headers_mut().insert("sec-websocket-protocol", TERMINAL_PROTOCOL.parse().unwrap());
                Ok(response)
            };
            let mut socket = accept_hdr_async(socket, greet).await.unwrap();
            // It repeats some of what the service has, as a runtime may.
            let mut position = since / 2;
            let greeting =
                serde_json::json!({"type": "connected", "agentId": "a", "timestamp": "2026-01-01T00:00:00Z", "offset": position});
            socket.send(Message::text(greeting.to_string())).await.unwrap();
            let mut length = 1;
            while position < cut {
                let end = (position + length).min(cut);
                socket.send(Message::Binary(stream.slice(position..end))).await.unwrap();
                position = end;
                length = length * 3 % 7919 + 1;
            }
            if cut == stream.len() {
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
            }
        }
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_know_the_agent_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let runtime = RuntimeClient::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let (news, mut told) = mpsc::channel(64);
        let terminals = LiveTerminals::new(news, Clock::default(), TaskTracker::new(), CancellationToken::new());
        terminals.open(&runtime, spec());
        for _ in 0..2 {
            let (socket, _) = timeout(Duration::from_secs(20), listener.accept()).await.unwrap().unwrap();
            #[expect(clippy::result_large_err, reason = "the signature is the library's")]
            let greet = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                response.headers_mut().insert("sec-websocket-protocol", TERMINAL_PROTOCOL.parse().unwrap());
                Ok(response)
            };
            let mut socket = accept_hdr_async(socket, greet).await.unwrap();
            let frame = CloseFrame { code: CLOSE_UNKNOWN_AGENT.into(), reason: "".into() };
            socket.close(Some(frame)).await.unwrap();
            for expected in [Dialing, Connected, Lost] {
                assert_eq!(told.recv().await.unwrap().news, expected);
            }
        }
    }

    /// RT-22: whatever happens to the connection, every byte is shown once, to who stayed and to who came back.
    #[tokio::test]
    async fn a_connection_that_breaks_again_and_again_loses_and_repeats_nothing() {
        let stream: Vec<u8> = std::iter::successors(Some(1u32), |seed| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
            .map(|seed| seed.to_be_bytes()[0])
            .filter(|byte| !matches!(byte, 0x05 | 0x1b | 0xc2))
            .take(200_000)
            .chain(*b"end.")
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let runtime = RuntimeClient::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let serving = tokio::spawn(serve(listener, Bytes::from(stream.clone()), [1000, 60_001, 60_002, stream.len()]));
        let (news, mut told) = mpsc::channel(64);
        let terminals = LiveTerminals::new(news, Clock::default(), TaskTracker::new(), CancellationToken::new());
        let spec = spec();
        terminals.open(&runtime, spec.clone());
        let terminal = terminals.get(spec.session).unwrap();

        let watch = async |leaves: bool| {
            let (mut viewer, mut seen) = (terminal.view(Start::From(0)), Vec::new());
            while seen.len() < stream.len() {
                match viewer.next().await {
                    Some(View::Output { offset, bytes }) => {
                        assert_eq!(offset, seen.len() as u64);
                        seen.extend_from_slice(&bytes);
                        if leaves {
                            viewer = terminal.view(Start::From(viewer.position().unwrap()));
                        }
                    }
                    Some(View::Status { .. } | View::Resized(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
            Sha256::digest(&seen)
        };
        let watching = async { tokio::join!(watch(false), watch(true)) };
        let (stayed, came_back) = timeout(Duration::from_mins(1), watching).await.unwrap();
        assert_eq!((stayed, came_back), (Sha256::digest(&stream), Sha256::digest(&stream)));

        let mut heard = Vec::new();
        while let Ok(news) = told.try_recv() {
            heard.push((news.generation, news.news));
        }
        let of = |generation: u64| heard.iter().filter(|(of, _)| *of == generation).map(|(_, news)| *news).collect::<Vec<_>>();
        assert_eq!((of(1), of(4)), (vec![Dialing, Connected, Lost], vec![Dialing, Connected]));
        serving.abort();
    }
}
