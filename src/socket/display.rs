//! Shows a terminal on a socket, as fast as the socket takes it.
//!
//! The viewer is asked for more only when there is room for it, so that what waits stays at the viewer's
//! position and not in a queue. Room is what the kernel has taken of what was sent before (and, where the
//! client agreed to tell, what it has drawn): the socket's own queue never fills, the heartbeat always has
//! a place in it, and a slow client is neither disconnected nor lied to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_listener::Outlet;
use serde::Serialize;
use socketioxide::{SendError, SocketError, extract::SocketRef};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    domain::terminals::{View, Viewer},
    wire::terminals::{Drawn, Resized, StatusChange, Stretch, TerminalProblem, Terms},
};

/// Output of a busy terminal is gathered for this long before it is sent (realtime contract §5.7), unless a full piece is
/// there before.
const GATHER: Duration = Duration::from_millis(8);
/// After a quiet moment this many pieces are sent at once: the echo of a key comes in one or two.
const PIECES_AT_ONCE: u32 = 4;
/// A piece of output of at least this many bytes is worth a message of its own: nothing is gained by
/// waiting for more.
const PIECE_BYTES_FULL: usize = 16 * 1024;
/// A message of text is at most this long, in bytes (§5.7).
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Bytes that were sent over a connection and that the kernel has not taken yet. With the next piece that is less than
/// a tenth of a second of a line of 2 MB/s.
const WAITING_BYTES_MAX: u64 = 128 * 1024;
/// Messages that were sent and not taken, of the 128 that the socket's queue holds: the rest is for other events.
const WAITING_MESSAGES_MAX: usize = 64;
/// A client that acknowledges is sent no smaller piece than this, but for the last: room of a few bytes is none.
const PIECE_BYTES_MIN: u64 = 4 * 1024;
/// How long to wait before a socket whose queue is full of other events is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// How far a client has drawn, as it says.
#[derive(Default)]
pub(super) struct Acknowledged {
    progress: Mutex<Progress>,
    moved: Notify,
}

/// Positions of the output of one terminal.
#[derive(Default)]
struct Progress {
    drawn: u64,
    /// Nobody has drawn what was not sent.
    sent: u64,
}

impl Acknowledged {
    /// Takes in what the client says, as far as it can be; whether that is news, and no more than was sent.
    pub(super) fn advance(&self, position: u64) -> bool {
        let mut progress = self.lock();
        let (before, sent) = (progress.drawn, progress.sent);
        progress.drawn = before.max(position.min(sent));
        drop(progress);
        self.moved.notify_waiters();
        before < position && position <= sent
    }

    /// Notes that output up to `position` is about to be sent.
    fn send(&self, position: u64) {
        let mut progress = self.lock();
        progress.sent = progress.sent.max(position);
    }

    /// What was sent until `position` needs no acknowledgement, and what was acknowledged beyond was for another terminal.
    fn start(&self, position: u64) {
        *self.lock() = Progress { drawn: position, sent: position };
    }

    /// Waits until at most `distance` bytes before `position` are not acknowledged; how many are.
    async fn until_within(&self, position: u64, distance: u64) -> u64 {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            let waiting = position.saturating_sub(self.lock().drawn);
            if waiting <= distance {
                return waiting;
            }
            moved.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows what `viewer` sees until the terminal ends or the future is dropped. `login` is told behind what stands on the
/// screen: the web UI learns the address from it.
pub(super) async fn show(
    socket: SocketRef,
    mut viewer: Viewer,
    terms: Terms,
    acknowledged: Arc<Acknowledged>,
    mut login: Option<StatusChange>,
) {
    if let Some(position) = viewer.position() {
        acknowledged.start(position);
    }
    if terms.binary {
        viewer = viewer.of_bytes();
    }
    let room = Room::of(&socket);
    let mut display = Display { socket, terms, acknowledged, room, pieces: 0, last: Instant::now() };
    loop {
        display.until_room().await;
        // What is there now stood on the screen before; the first wait behind it means that it was shown.
        let next = if login.is_some() && viewer.position().is_some() { viewer.next().now_or_never() } else { Some(viewer.next().await) };
        match next {
            None => {
                if let Some(status) = login.take() {
                    display.emit("status", &status).await;
                }
            }
            Some(None) => return,
            Some(Some(View::Screen { drawing, offset, size })) => display.screen(&drawing, offset, size.into()).await,
            Some(Some(View::Output { offset, bytes })) => {
                let length = bytes.len();
                display.output(&viewer, offset, bytes).await;
                display.gather(length, &viewer).await;
            }
            Some(Some(View::Status { status, login: news })) => {
                // It is newer than what was to be told.
                login = None;
                display.emit("status", &StatusChange::new(status, news)).await;
            }
            Some(Some(View::Resized(size))) => {
                // The web UI has no event for the size that another viewer chose.
                if terms.are_negotiated() {
                    display.emit("resized", &Resized::from(size)).await;
                }
            }
            Some(Some(View::Unsupported)) => display.emit("error", &TerminalProblem::TERMINAL_UNSUPPORTED).await,
        }
    }
}

/// Sends an event, waiting while the socket's queue has no room for it.
pub(super) async fn emit<T: Serialize>(socket: &SocketRef, event: &'static str, payload: &T) {
    loop {
        match socket.emit(event, payload) {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(RETRY).await,
            // Closed: the socket is gone and its task about to end.
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => return,
            Err(error) => {
                tracing::warn!(%error, event, "an event could not be sent");
                return;
            }
        }
    }
}

struct Display {
    socket: SocketRef,
    terms: Terms,
    acknowledged: Arc<Acknowledged>,
    room: Option<Room>,
    /// Pieces since the last quiet moment.
    pieces: u32,
    last: Instant,
}

impl Display {
    async fn screen(&mut self, drawing: &Bytes, offset: u64, size: Resized) {
        let Resized { cols, rows } = size;
        if self.terms.are_negotiated() {
            let drawn = Drawn { offset, cols, rows };
            // A drawing has no positions; what follows it does.
            self.acknowledged.start(offset);
            if self.terms.binary {
                self.send("screen", &(drawing, drawn), drawing.len()).await;
            } else {
                self.send("screen", &(Viewer::text(drawing), drawn), drawing.len()).await;
            }
        } else {
            self.emit("clear", &()).await;
            let text = Viewer::text(drawing);
            let mut rest = text.as_ref();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.floor_char_boundary(TEXT_BYTES_MAX));
                self.until_room().await;
                self.send("data", piece, in_json(piece)).await;
                rest = after;
            }
        }
        self.pieces = 0;
    }

    async fn output(&mut self, viewer: &Viewer, mut offset: u64, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let allowed = self.allowed(offset, bytes.len()).await;
            let piece = bytes.split_to(if self.terms.binary { allowed } else { whole_characters(&bytes, allowed) });
            let stretch = Stretch { offset, end: offset + piece.len() as u64 };
            self.acknowledged.send(stretch.end);
            if self.terms.binary {
                self.send("data", &(&piece, stretch), piece.len()).await;
            } else {
                let text = viewer.json(offset, &piece);
                let size = text.get().len();
                if self.terms.are_negotiated() {
                    self.send("data", &(&*text, stretch), size).await;
                } else {
                    self.send("data", &*text, size).await;
                }
            }
            offset = stretch.end;
        }
    }

    /// How many of `wanted` bytes at `offset` may be sent now; waits until that is worth a message.
    async fn allowed(&self, offset: u64, wanted: usize) -> usize {
        let Some(window) = self.terms.window.map(u64::from) else { return wanted };
        let least = (wanted as u64).min(PIECE_BYTES_MIN);
        let waiting = self.acknowledged.until_within(offset, window - least).await;
        usize::try_from(window - waiting).unwrap_or(usize::MAX).min(wanted)
    }

    /// Lets a busy terminal print more before it is asked again, after it was shown so many bytes.
    async fn gather(&mut self, shown: usize, viewer: &Viewer) {
        let now = Instant::now();
        self.pieces = if now - self.last > 2 * GATHER { 1 } else { self.pieces.saturating_add(1) };
        self.last = now;
        if self.pieces > PIECES_AT_ONCE && shown < PIECE_BYTES_FULL {
            viewer.gathered(PIECE_BYTES_FULL, now + GATHER).await;
            self.last = Instant::now();
        }
    }

    async fn until_room(&mut self) {
        if let Some(room) = &mut self.room {
            room.wait().await;
        }
    }

    /// Sends what takes at least `size` bytes on the wire.
    async fn send<T: Serialize + ?Sized>(&mut self, event: &'static str, payload: &T, size: usize) {
        emit(&self.socket, event, &payload).await;
        if let Some(room) = &mut self.room {
            room.sent(size as u64);
        }
    }

    async fn emit<T: Serialize>(&self, event: &'static str, payload: &T) {
        emit(&self.socket, event, payload).await;
    }
}

/// What of the sent messages waits for the kernel. Sizes are counted without what frames them and others' events come in
/// between, so a message may count as taken a little early; it never counts as waiting for ever.
struct Room {
    outlet: Outlet,
    /// What the kernel had taken when nothing waited.
    base: u64,
    /// What was sent since, and behind which of it each message that waits ends.
    sent: u64,
    messages: VecDeque<u64>,
}

impl Room {
    fn of(socket: &SocketRef) -> Option<Self> {
        let outlet = socket.req_parts().extensions.get::<Outlet>()?.clone();
        Some(Self { base: outlet.taken(), outlet, sent: 0, messages: VecDeque::new() })
    }

    fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.messages.push_back(self.sent);
    }

    /// Waits until another message may be sent.
    async fn wait(&mut self) {
        loop {
            let taken = self.outlet.taken().saturating_sub(self.base);
            while self.messages.front().is_some_and(|end| *end <= taken) {
                self.messages.pop_front();
            }
            if self.messages.is_empty() {
                self.base = self.outlet.taken();
                self.sent = 0;
                return;
            }
            let over = self.sent.saturating_sub(WAITING_BYTES_MAX);
            let first = if self.messages.len() >= WAITING_MESSAGES_MAX { self.messages[0] } else { 0 };
            if taken >= over.max(first) {
                return;
            }
            self.outlet.until_taken(self.base + over.max(first)).await;
        }
    }
}

/// Bytes that a text takes in JSON at least: what must be escaped takes another.
fn in_json(text: &str) -> usize {
    let escaped = |byte: &u8| u8::from(*byte < b' ') + u8::from(matches!(byte, b'"' | b'\\'));
    // So few at a time that a byte counts them, which is far faster.
    text.len() + text.as_bytes().chunks(255).map(|few| usize::from(few.iter().map(escaped).sum::<u8>())).sum::<usize>()
}

/// How many bytes, at most `max`, are whole characters, as far as they are ones.
fn whole_characters(bytes: &[u8], max: usize) -> usize {
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (max.saturating_sub(3)..=max).rev().find(|end| !is_inside(*end));
    end.filter(|end| *end > 0).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_cut_off_whole() {
        let text = "aé€🦀".as_bytes();
        let cuts: Vec<usize> = (1..=text.len()).map(|max| whole_characters(text, max)).collect();
        assert_eq!(cuts, [1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(whole_characters(&[0x80; 9], 5), 5, "these are none");
    }

    #[test]
    fn escapes_count() {
        for text in ["plain", "\u{1b}[0m\r\n", "\"\\\"", "é🦀\u{7f}"] {
            assert!(in_json(text) + 2 <= serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_client_is_not_sent_more_than_it_has_room_for() {
        let acknowledged = Acknowledged::default();
        acknowledged.start(1000);
        assert_eq!(acknowledged.until_within(1100, 100).await, 100);
        assert!(acknowledged.until_within(1101, 100).now_or_never().is_none());
        assert!(!acknowledged.advance(1050), "it was not sent");
        acknowledged.send(1101);
        assert!(acknowledged.advance(1050) && !acknowledged.advance(1020));
        assert_eq!(acknowledged.until_within(1101, 100).await, 51);
        // More than was sent is no credit for what comes.
        assert!(!acknowledged.advance(u64::MAX));
        acknowledged.send(2000);
        assert_eq!(acknowledged.until_within(2000, 899).await, 899);
    }
}
