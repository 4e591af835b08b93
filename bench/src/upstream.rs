//! A stand-in for a runtime: its terminals print what a scenario says, as fast as it says, and give every key back at once.
//!
//! It speaks both framings of the runtime contract over real `WebSocket`s, so that what stands between it and a viewer is
//! nothing but the service, or its peer.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes, handshake::derive_accept_key, protocol::Role},
};

use crate::script::{self, SCRIPT_BYTES, Script};

/// The framing with positions (runtime contract §6.3).
const PROTOCOL: &str = "raven.terminal.v1";
/// How long a server may take to connect to a terminal.
const PATIENCE: Duration = Duration::from_secs(20);
/// Head and body of a request are at most this long, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Output that is handed to the system at once, in bytes: a program that prints fast is read in such pieces.
const FLUSH_BYTES: usize = 32 * 1024;
/// How far the output may be ahead of the slowest viewer when it is printed in step, in bytes. The service lets nobody be
/// more than 256 KiB behind, and shows them the screen instead.
const AHEAD_BYTES_MAX: u64 = 192 * 1024;

type Sink = SplitSink<WebSocketStream<TcpStream>, Message>;

/// See the module; ends with its value.
pub(crate) struct Upstream {
    address: SocketAddr,
    lines: Arc<Lines>,
    accepting: JoinHandle<()>,
}

/// The connection of each terminal that somebody connected to.
#[derive(Default)]
struct Lines {
    open: Mutex<HashMap<String, Arc<Line>>>,
    changed: watch::Sender<()>,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("loopback has no free port")?;
        let (address, lines) = (listener.local_addr()?, Arc::<Lines>::default());
        let all = Arc::clone(&lines);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &all).await {
                        eprintln!("bench: the stand-in for a runtime: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, lines, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The connection of the terminal of this name, once somebody is connected to it.
    pub(crate) async fn line(&self, name: &str) -> Result<Arc<Line>> {
        let mut changed = self.lines.changed.subscribe();
        let connecting = async {
            loop {
                if let Some(line) = self.lines.lock().get(name) {
                    return Arc::clone(line);
                }
                // Fails only when there are no lines any more, and we hold them.
                drop(changed.changed().await);
            }
        };
        timeout(PATIENCE, connecting).await.with_context(|| format!("nobody connected to the terminal {name}"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// How output is printed.
pub(crate) struct Manner {
    /// Bytes of one message.
    pub(crate) piece: usize,
    /// Whether it waits for the slowest viewer.
    pub(crate) in_step: bool,
    pub(crate) amount: Amount,
}

/// How much is printed.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    Bytes(u64),
    For(Duration),
}

/// What was printed.
#[derive(Clone, Copy)]
pub(crate) struct Printed {
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
}

/// How far each viewer has come.
pub(crate) struct Progress {
    positions: Vec<AtomicU64>,
    moved: Notify,
}

impl Progress {
    pub(crate) fn new(viewers: usize) -> Self {
        Self { positions: (0..viewers).map(|_| AtomicU64::new(0)).collect(), moved: Notify::new() }
    }

    pub(crate) fn note(&self, viewer: usize, position: u64) {
        self.positions[viewer].store(position, Ordering::Release);
        self.moved.notify_one();
    }

    fn least(&self) -> u64 {
        self.positions.iter().map(|position| position.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }

    async fn until(&self, position: u64) -> Result<()> {
        let waiting = async {
            while self.least() < position {
                self.moved.notified().await;
            }
        };
        timeout(PATIENCE, waiting).await.with_context(|| format!("a viewer stands still at {} of {position}", self.least()))
    }
}

/// One connection to one terminal.
pub(crate) struct Line {
    sink: tokio::sync::Mutex<Sink>,
    is_binary: bool,
}

impl Line {
    /// Prints something.
    pub(crate) async fn print(&self, text: &str) -> Result<()> {
        let message = self.message(Bytes::copy_from_slice(text.as_bytes()))?;
        Ok(self.sink.lock().await.send(message).await?)
    }

    /// Prints a run of the script, between its beginning and its end.
    pub(crate) async fn play(&self, script: &Script, run: u32, manner: &Manner, progress: &Progress) -> Result<Printed> {
        let mut printed = Printed { bytes: 0, messages: 0 };
        let began = Instant::now();
        let mut sink = self.sink.lock().await;
        sink.send(self.message(script::beginning(run).into())?).await?;
        let mut unflushed = 0;
        loop {
            let left = match manner.amount {
                Amount::Bytes(bytes) => bytes - printed.bytes,
                Amount::For(time) if began.elapsed() >= time => 0,
                Amount::For(_) => u64::MAX,
            };
            if left == 0 {
                break;
            }
            let piece = script.piece(printed.bytes, manner.piece.min(usize::try_from(left).unwrap_or(usize::MAX)));
            if manner.in_step && printed.bytes + piece.len() as u64 > progress.least() + AHEAD_BYTES_MAX {
                sink.flush().await?;
                unflushed = 0;
                progress.until((printed.bytes + piece.len() as u64).saturating_sub(AHEAD_BYTES_MAX)).await?;
            }
            let length = piece.len();
            sink.feed(self.message(piece)?).await?;
            printed.bytes += length as u64;
            printed.messages += 1;
            unflushed += length;
            if unflushed >= FLUSH_BYTES {
                sink.flush().await?;
                unflushed = 0;
            }
        }
        sink.send(self.message(script::end(run).into())?).await?;
        Ok(printed)
    }

    fn message(&self, bytes: Bytes) -> Result<Message> {
        if self.is_binary {
            return Ok(Message::Binary(bytes));
        }
        Ok(Message::Text(Utf8Bytes::try_from(bytes).context("the default framing carries text only")?))
    }
}

/// The pieces must fill the script evenly, or a message would be cut where it repeats itself.
pub(crate) const fn fills_evenly(piece: usize) -> bool {
    SCRIPT_BYTES.is_multiple_of(piece)
}

/// Answers one request: a connection carries no second one.
async fn answer(mut stream: TcpStream, lines: &Arc<Lines>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if request.len() > REQUEST_BYTES_MAX {
            bail!("a request is longer than {REQUEST_BYTES_MAX} bytes");
        }
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let header = |name: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let Some(key) = header("sec-websocket-key") else {
        let body = json!({"healthy": true, "version": "0", "activeAgents": 0, "agents": [], "count": 0}).to_string();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        return Ok(stream.write_all(answer.as_bytes()).await?);
    };
    let is_binary = header("sec-websocket-protocol").is_some_and(|offered| offered.contains(PROTOCOL));
    let protocol = if is_binary { format!("Sec-WebSocket-Protocol: {PROTOCOL}\r\n") } else { String::new() };
    let accept = derive_accept_key(key.as_bytes());
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    stream.write_all(switch.as_bytes()).await?;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    match path.strip_prefix("/ws/agents/").and_then(|rest| rest.strip_suffix("/terminal")) {
        Some(name) => terminal(socket, name, query, is_binary, lines).await,
        None => events(socket).await,
    }
}

/// A stream of events of which none comes.
async fn events(mut socket: WebSocketStream<TcpStream>) -> Result<()> {
    socket.send(Message::text(json!({"type": "connected", "filter": null}).to_string())).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

async fn terminal(socket: WebSocketStream<TcpStream>, name: &str, query: &str, is_binary: bool, lines: &Arc<Lines>) -> Result<()> {
    let (mut sink, mut stream) = socket.split();
    let since: u64 = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse().ok()).unwrap_or_default();
    let mut greeting = json!({"type": "connected", "agentId": name, "timestamp": "2026-01-01T00:00:00Z"});
    if is_binary {
        greeting["offset"] = since.into();
    }
    sink.send(Message::text(greeting.to_string())).await?;
    let line = Arc::new(Line { sink: tokio::sync::Mutex::new(sink), is_binary });
    lines.lock().insert(name.to_owned(), Arc::clone(&line));
    lines.changed.send_replace(());
    while let Some(Ok(message)) = stream.next().await {
        let echo = match message {
            Message::Binary(_) => message,
            // What begins so is a change of the size: no scenario types a brace.
            Message::Text(text) if !is_binary && !text.starts_with('{') => Message::Text(text),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        line.sink.lock().await.send(echo).await?;
    }
    let mut open = lines.lock();
    if open.get(name).is_some_and(|newest| Arc::ptr_eq(newest, &line)) {
        open.remove(name);
    }
    Ok(())
}
