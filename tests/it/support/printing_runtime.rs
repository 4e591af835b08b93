//! A runtime whose terminals print what a test says, byte for byte, and whose connections break where a test says.
//!
//! Everything that was printed is kept, and a connection gets what follows the position that it names. Each input has a
//! terminal print its next portion.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::answering::Answering;

/// Bytes of output in one frame at the most, unless a test says otherwise.
const FRAME_BYTES_MAX: usize = 4096;

/// Ends with its value.
pub(crate) struct PrintingRuntime {
    answering: Answering,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    terminals: Mutex<HashMap<String, Terminal>>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Terminal {
    printed: Vec<u8>,
    portions: VecDeque<Vec<u8>>,
    frame_bytes_max: Option<usize>,
    /// After how many bytes of frames the next connection breaks.
    breaks_after: Option<usize>,
    connections: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Terminal>> {
        self.terminals.lock().unwrap()
    }
}

impl PrintingRuntime {
    pub(crate) async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let all = Arc::clone(&shared);
        let answering = Answering::start(move |stream| answer(stream, Arc::clone(&all))).await;
        Self { answering, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.answering.endpoint()
    }

    /// Adds to what a terminal has printed.
    pub(crate) fn print(&self, name: &str, bytes: &[u8]) {
        self.shared.lock().entry(name.to_owned()).or_default().printed.extend_from_slice(bytes);
        self.shared.changed.send_replace(());
    }

    /// Has a terminal print these one by one, each upon an input.
    pub(crate) fn print_upon_input(&self, name: &str, portions: Vec<Vec<u8>>) {
        self.shared.lock().entry(name.to_owned()).or_default().portions = portions.into();
    }

    /// Sends output of a terminal in frames of at most this many bytes.
    pub(crate) fn cut_frames(&self, name: &str, bytes: usize) {
        self.shared.lock().entry(name.to_owned()).or_default().frame_bytes_max = Some(bytes);
    }

    /// Breaks the terminal's next connection after so many bytes of frames behind the greeting, headers included.
    pub(crate) fn break_after(&self, name: &str, bytes: usize) {
        self.shared.lock().entry(name.to_owned()).or_default().breaks_after = Some(bytes);
    }

    /// How often somebody has connected to a terminal.
    pub(crate) fn connections(&self, name: &str) -> u32 {
        self.shared.lock().get(name).map_or(0, |terminal| terminal.connections)
    }
}

/// Answers one request: a connection carries no second one.
async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let Ok(1..) = stream.read_buf(&mut request).await else { return };
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(key) = header("sec-websocket-key") else {
        let body = json!({"healthy": true, "version": "0", "activeAgents": 0, "agents": [], "count": 0}).to_string();
        let kind = "Content-Type: application/json\r\nConnection: close";
        let answer = format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok();
        return;
    };
    let protocol = header("sec-websocket-protocol").map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket";
    let switch = format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n");
    if stream.write_all(switch.as_bytes()).await.is_err() {
        return;
    }
    let (from, mut to) = stream.into_split();
    if let Some(name) = path.strip_prefix("/ws/agents/").and_then(|rest| rest.strip_suffix("/terminal")) {
        let since = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse().ok()).unwrap_or_default();
        tokio::select! {
            () = print(&mut to, name, since, &shared) => {}
            () = hear(from, name, &shared) => {}
        }
    } else {
        to.write_all(&frame(0x1, br#"{"type":"connected","filter":null}"#)).await.ok();
        hear(from, "", &shared).await;
    }
}

/// Sends what a terminal prints until the connection ends, or is to break.
async fn print(to: &mut OwnedWriteHalf, name: &str, since: usize, shared: &Shared) {
    let (mut position, mut left, frame_bytes) = {
        let mut terminals = shared.lock();
        let terminal = terminals.entry(name.to_owned()).or_default();
        terminal.connections += 1;
        (since.min(terminal.printed.len()), terminal.breaks_after.take(), terminal.frame_bytes_max.unwrap_or(FRAME_BYTES_MAX))
    };
    let greeting = json!({"type": "connected", "agentId": name, "timestamp": "2026-01-01T00:00:00Z", "offset": position}).to_string();
    if to.write_all(&frame(0x1, greeting.as_bytes())).await.is_err() {
        return;
    }
    let mut changed = shared.changed.subscribe();
    loop {
        let piece = {
            let terminals = shared.lock();
            let printed = &terminals[name].printed;
            printed[position..printed.len().min(position + frame_bytes)].to_vec()
        };
        if left == Some(0) {
            return;
        }
        if piece.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        position += piece.len();
        let mut bytes = frame(0x2, &piece);
        if let Some(left) = &mut left {
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Takes input until the connection ends.
async fn hear(from: OwnedReadHalf, name: &str, shared: &Shared) {
    // What the library answers to pings goes nowhere: the other direction is written by hand.
    let stream = tokio::io::join(from, tokio::io::sink());
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(_) = message {
            let portion = shared.lock().get_mut(name).and_then(|terminal| terminal.portions.pop_front());
            if let Some(portion) = portion {
                shared.lock().entry(name.to_owned()).or_default().printed.extend_from_slice(&portion);
                shared.changed.send_replace(());
            }
        }
    }
}

/// A whole message as a server sends it (RFC 6455, §5.2).
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()).expect("no frame here is longer than 64 KiB") {
        short @ 0..126 => frame.push(u8::try_from(short).expect("it is below 126")),
        long => {
            frame.push(126);
            frame.extend_from_slice(&long.to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
