//! One reader of a terminal: what it is to show next, at its own pace.
//!
//! A viewer holds a position and no queue. One that is far behind gets the screen as it stands in place
//! of what led to it, so a slow one delays nobody and a stalled one costs nothing.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    pty::{State, Terminal},
    ring::PIECE_BYTES,
};
use crate::model::{
    login::Login,
    terminal::{SessionStatus, Size},
};

/// A viewer that is this many bytes behind gets the screen in place of them: a browser that draws them all, at
/// some 5 MiB a second, would show the answer to a key 50 ms late.
const BEHIND_MAX: u64 = 256 * 1024;
/// A viewer gets a screen in place of output at most this often: more of them than ten a second nobody sees.
const SCREEN_EVERY: Duration = Duration::from_millis(100);

/// Pieces that are kept as text for the next viewer: as many as the slowest who reads along is behind.
const TEXTS_MAX: usize = 8;

/// A character is at most this long, in bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// Where a viewer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the screen as it stands.
    Screen,
    /// With the output from this position on; with the screen, where that is not held any more.
    From(u64),
    /// As [`Self::From`], for a position that was told of this stream, or of one that may have been another: that counts only
    /// where positions are the runtime's, or stand before what this life of the service heard.
    Again { offset: u64, stream: Option<u64> },
}

/// What a viewer is to show next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The whole screen: `drawing` clears what was shown, and draws scrollback, screen, modes and cursor on a terminal of
    /// this size. Output goes on at `offset`.
    Screen {
        drawing: Bytes,
        offset: u64,
        size: Size,
    },
    /// Output that begins at `offset`: at most 32 KiB, and only whole characters, as far as they are ones, but for a viewer
    /// of bytes.
    Output {
        offset: u64,
        bytes: Bytes,
    },
    Status {
        status: SessionStatus,
        login: Login,
    },
    Resized(Size),
    /// The runtime has no terminals: there will be nothing to see.
    Unsupported,
}

/// One reader of a terminal.
pub struct Viewer {
    terminal: Arc<Terminal>,
    changed: watch::Receiver<()>,
    /// Where the next output is read; a screen comes first while there is none.
    position: Option<u64>,
    /// It gets characters that are cut as they are, at once.
    of_bytes: bool,
    /// It asked for what it missed, and does not have all of it yet.
    catches_up: bool,
    /// When it got its last screen.
    screen_at: Option<Instant>,
    size: Size,
    status_seen: u64,
    told_unsupported: bool,
}

/// The last pieces of output as JSON strings, with their offsets and lengths: fifty viewers of a terminal send what is made
/// once.
#[derive(Default)]
pub(super) struct Texts(Mutex<VecDeque<(u64, usize, Arc<RawValue>)>>);

impl Texts {
    fn get(&self, offset: u64, length: usize) -> Option<Arc<RawValue>> {
        self.lock().iter().find(|(at, bytes, _)| (*at, *bytes) == (offset, length)).map(|(.., text)| Arc::clone(text))
    }

    fn put(&self, offset: u64, length: usize, text: &Arc<RawValue>) {
        let mut texts = self.lock();
        if texts.len() == TEXTS_MAX {
            texts.pop_front();
        }
        texts.push_back((offset, length, Arc::clone(text)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Lets go of all.
    pub(super) fn forget(&self) {
        *self.lock() = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, usize, Arc<RawValue>)>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is for a viewer.
enum Found {
    View(View),
    /// A screen is due, now or at this time.
    Screen,
    ScreenAt(Instant),
    Nothing,
    /// Nothing more will come.
    End,
}

impl Viewer {
    pub(super) fn new(terminal: &Arc<Terminal>, start: Start) -> Self {
        let state = terminal.lock();
        let position = match start {
            Start::From(offset) if (state.ring.start()..=state.ring.end()).contains(&offset) => Some(offset),
            Start::Again { offset, stream }
                if (stream == Some(terminal.stream()) || offset <= state.counted_until)
                    && (state.ring.start()..=state.ring.end()).contains(&offset) =>
            {
                Some(offset)
            }
            Start::From(_) | Start::Again { .. } | Start::Screen => None,
        };
        let (size, status_seen) = (state.size, state.status_version);
        drop(state);
        Self {
            changed: terminal.changes(),
            terminal: Arc::clone(terminal),
            position,
            of_bytes: false,
            catches_up: position.is_some(),
            screen_at: None,
            size,
            status_seen,
            told_unsupported: false,
        }
    }

    /// Gets every byte as soon as it is there from now on, wherever that cuts a character.
    #[must_use]
    pub fn of_bytes(self) -> Self {
        Self { of_bytes: true, ..self }
    }

    /// Waits for the next thing to show; `None` once the terminal has ended and all was shown.
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<View> {
        loop {
            self.changed.mark_unchanged();
            match self.take() {
                Found::View(view) => return Some(view),
                Found::Screen => return Some(self.screen().await),
                Found::ScreenAt(due) => sleep_until(due).await,
                // Fails only when the terminal is gone, and we hold it.
                Found::Nothing => self.changed.changed().await.ok()?,
                Found::End => return None,
            }
        }
    }

    /// Waits until there are `bytes` of output to show, at most until `deadline`.
    pub async fn gathered(&self, bytes: usize, deadline: Instant) {
        if let Some(position) = self.position {
            self.terminal.until_printed(position + bytes as u64, deadline).await;
        }
    }

    /// The terminal's size as this viewer was told it.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Where the next output begins; `None` before the first screen.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// What the positions are of; see [`Terminal::stream`].
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.terminal.stream()
    }

    /// Output as text. Since a viewer gets whole characters, pieces become the same text as all of them at once;
    /// invalid bytes become U+FFFD.
    #[must_use]
    pub fn text(bytes: &[u8]) -> Cow<'_, str> {
        // Nearly always valid, which is found out faster than where it is not.
        std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
    }

    /// Output at `offset` as a JSON string, of [`Self::text`]. It is made once for all who are shown the same piece.
    #[must_use]
    pub fn json(&self, offset: u64, bytes: &[u8]) -> Arc<RawValue> {
        // A recorder and one viewer wait for changes where nobody else watches.
        let is_shared = self.terminal.watched_by() > 2;
        if is_shared && let Some(text) = self.terminal.texts.get(offset, bytes.len()) {
            return text;
        }
        // Every text can be written as JSON.
        let text: Arc<RawValue> = to_raw_value(&Self::text(bytes)).unwrap_or_else(|_| RawValue::NULL.to_owned()).into();
        if is_shared {
            self.terminal.texts.put(offset, bytes.len(), &text);
        }
        text
    }

    fn take(&mut self) -> Found {
        let terminal = Arc::clone(&self.terminal);
        let mut state = terminal.lock();
        let Some(position) = self.position.filter(|position| self.may_read_on(*position, &state)) else {
            drop(state);
            return self.due();
        };
        if let Some(view) = self.news(position, &state) {
            return Found::View(view);
        }
        // What was printed at the size before is shown before the new one is told.
        let until_size = if state.size == self.size { usize::MAX } else { to_size(position, &state) };
        let max = PIECE_BYTES.min(until_size);
        let ring = &mut state.ring;
        let mut bytes = if self.of_bytes { ring.read_raw(position, max) } else { ring.read(position, max) };
        if !self.of_bytes && max < CHARACTER_BYTES_MAX && is_cut(&bytes) {
            // The size changed within a character.
            bytes = ring.read(position, CHARACTER_BYTES_MAX);
        }
        // A character that is cut waits for its rest.
        let waits = !self.of_bytes && state.open && state.ring.awaits_rest(position, &bytes);
        if !bytes.is_empty() && !waits {
            self.position = Some(position + bytes.len() as u64);
            return Found::View(View::Output { offset: position, bytes });
        }
        if state.open {
            return Found::Nothing;
        }
        // The end is told last, when nothing can come after it.
        self.status(&state).map_or(Found::End, Found::View)
    }

    fn may_read_on(&mut self, position: u64, state: &State) -> bool {
        let behind = state.ring.end().saturating_sub(position);
        self.catches_up &= behind > BEHIND_MAX;
        position >= state.ring.start() && (behind <= BEHIND_MAX || self.catches_up)
    }

    fn due(&mut self) -> Found {
        self.position = None;
        self.catches_up = false;
        if let Some(due) = self.screen_at.map(|last| last + SCREEN_EVERY)
            && due > Instant::now()
        {
            return Found::ScreenAt(due);
        }
        Found::Screen
    }

    async fn screen(&mut self) -> View {
        let drawn = self.terminal.drawn().await;
        self.screen_at = Some(Instant::now());
        self.position = Some(drawn.offset);
        self.size = drawn.size;
        View::Screen { drawing: drawn.drawing, offset: drawn.offset, size: drawn.size }
    }

    /// What has changed beside the output, but for the end.
    fn news(&mut self, position: u64, state: &State) -> Option<View> {
        if state.size != self.size && position >= state.size_at {
            self.size = state.size;
            return Some(View::Resized(state.size));
        }
        if state.unsupported != self.told_unsupported {
            self.told_unsupported = state.unsupported;
            if state.unsupported {
                return Some(View::Unsupported);
            }
        }
        if state.status == SessionStatus::Terminated { None } else { self.status(state) }
    }

    fn status(&mut self, state: &State) -> Option<View> {
        if state.status_version == self.status_seen {
            return None;
        }
        self.status_seen = state.status_version;
        Some(View::Status { status: state.status, login: state.login.clone() })
    }
}

/// How many bytes there are before those that were printed at the terminal's size.
fn to_size(position: u64, state: &State) -> usize {
    usize::try_from(state.size_at.saturating_sub(position)).unwrap_or(usize::MAX)
}

/// Whether the bytes are the beginning of one character.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;
    use crate::runtime::{pty::tests::terminal, ring::RING_BYTES};

    /// All that is shown until the terminal ends, and where each screen began.
    async fn shown(viewer: &mut Viewer) -> (Vec<u8>, Vec<u64>) {
        let (mut all, mut screens) = (Vec::new(), Vec::new());
        while let Some(view) = viewer.next().await {
            match view {
                View::Output { offset, bytes } => {
                    assert!(bytes.len() <= PIECE_BYTES && offset + bytes.len() as u64 == viewer.position().unwrap());
                    all.extend_from_slice(&bytes);
                }
                View::Screen { offset, .. } => {
                    all.clear();
                    screens.push(offset);
                }
                View::Status { .. } | View::Unsupported | View::Resized(_) => {}
            }
        }
        (all, screens)
    }

    /// The pieces of output until the terminal ends.
    async fn shown_pieces(viewer: &mut Viewer) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while let Some(view) = viewer.next().await {
            if let View::Output { bytes, .. } = view {
                pieces.push(bytes);
            }
        }
        pieces
    }

    /// The next view, if it is output.
    async fn output(viewer: &mut Viewer) -> Bytes {
        match viewer.next().await {
            Some(View::Output { bytes, .. }) => bytes,
            other => panic!("no output but {other:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// RT-18: however the characters are cut on their way here.
        #[test]
        fn text_cut_anywhere_is_shown_whole(text in "\\PC{0,2000}", cuts in prop::collection::vec(1usize..9, 1..50)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let terminal = terminal();
                let line = terminal.line().unwrap();
                let mut early = terminal.view(Start::From(0));
                let mut seen = String::new();
                let bytes = Bytes::from(text.clone().into_bytes());
                let mut position = 0;
                for cut in cuts.iter().cycle() {
                    if position == bytes.len() { break }
                    let end = (position + cut).min(bytes.len());
                    line.output(position as u64, bytes.slice(position..end));
                    position = end;
                    if let Found::View(View::Output { bytes, .. }) = early.take() {
                        seen.push_str(std::str::from_utf8(&bytes).unwrap());
                    }
                }
                let mut late = terminal.view(Start::From(0));
                terminal.finish();
                seen.push_str(std::str::from_utf8(&shown(&mut early).await.0).unwrap());
                assert_eq!(seen, text);
                assert_eq!(String::from_utf8(shown(&mut late).await.0).unwrap(), text);
            });
        }

        /// RT-18: whatever is no character becomes the same as where all is read at once.
        #[test]
        fn text_of_anything_is_the_same_however_it_comes(
            soup in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xbfu8, 0xc3..=0xf4u8], 1..300),
            chunks in prop::collection::vec(prop_oneof![1usize..5, 1usize..20_000], 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let terminal = terminal();
                let line = terminal.line().unwrap();
                let mut viewer = terminal.view(Start::From(0));
                let soup: Vec<u8> = soup.into_iter().filter(|byte| !matches!(byte, 0x1b | 0x05 | 0xc2)).chain([b'.']).collect();
                let (mut all, mut seen) = (Vec::new(), String::new());
                for chunk in chunks {
                    let bytes: Vec<u8> = soup.iter().copied().cycle().skip(all.len() % soup.len()).take(chunk).collect();
                    all.extend_from_slice(&bytes);
                    line.append(Bytes::from(bytes));
                    while let Found::View(View::Output { bytes, .. }) = viewer.take() {
                        seen.push_str(&Viewer::text(&bytes));
                    }
                }
                terminal.finish();
                for piece in shown_pieces(&mut viewer).await {
                    seen.push_str(&Viewer::text(&piece));
                }
                assert_eq!(seen, String::from_utf8_lossy(&all));
            });
        }

        #[test]
        fn random_bytes_are_shown_exactly(bytes in prop::collection::vec(any::<u8>(), 0..5000), from in 0u64..5000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let terminal = terminal();
                let line = terminal.line().unwrap();
                let bytes: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, 0x1b | 0x05 | 0xc2)).collect();
                let from = from.min(bytes.len() as u64);
                line.output(0, Bytes::from(bytes.clone()));
                let mut viewer = terminal.view(Start::From(from));
                terminal.finish();
                let (seen, screens) = shown(&mut viewer).await;
                assert!(screens.is_empty());
                assert_eq!(seen, bytes[usize::try_from(from).unwrap()..]);
            });
        }
    }

    #[tokio::test]
    async fn a_character_that_another_one_interrupts_is_not_waited_for_wherever_a_piece_ends() {
        for before in [PIECE_BYTES - 4, PIECE_BYTES - 3, PIECE_BYTES - 2] {
            let terminal = terminal();
            let line = terminal.line().unwrap();
            let mut viewer = terminal.view(Start::From(0));
            let mut text = vec![b'x'; before];
            text.extend_from_slice(b"\xf1\x94");
            line.output(0, Bytes::from(text.clone()));
            let mut seen = output(&mut viewer).await.to_vec();
            assert_eq!(seen.len(), before);
            let more = b"\xf1\x94\xca\xf1\x94y";
            line.output(text.len() as u64, Bytes::from_static(more));
            text.extend_from_slice(more);
            while seen.len() < text.len() {
                let waited = timeout(Duration::from_secs(10), output(&mut viewer)).await;
                seen.extend_from_slice(&waited.unwrap_or_else(|_| panic!("{} of {} bytes came", seen.len(), text.len())));
            }
            assert!(seen == text);
        }
    }

    #[tokio::test]
    async fn who_takes_bytes_gets_them_at_once() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut viewer = terminal.view(Start::From(0)).of_bytes();
        line.output(0, Bytes::from_static(b"a\xe2\x82"));
        assert_eq!(output(&mut viewer).await, &b"a\xe2\x82"[..]);
        line.output(3, Bytes::from_static(b"\xac"));
        assert_eq!(output(&mut viewer).await, &b"\xac"[..]);
    }

    #[tokio::test]
    async fn repeated_output_is_taken_once_and_a_gap_shows_the_screen_anew() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut viewer = terminal.view(Start::From(0));
        line.output(0, Bytes::from_static(b"abc"));
        line.output(1, Bytes::from_static(b"bcd"));
        assert_eq!(output(&mut viewer).await, "abcd");
        line.output(10, Bytes::from_static(b"\nz"));
        assert!(matches!(viewer.next().await, Some(View::Screen { offset: 12, .. })));
    }

    /// RT-14: the screen and what follows it fit together without a gap and without a repetition.
    #[tokio::test]
    async fn a_late_viewer_gets_the_screen_and_then_what_follows_it() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.output(0, Bytes::from_static(b"first\r\n\xe2\x82"));
        let mut viewer = terminal.view(Start::Screen);
        let Some(View::Screen { drawing, offset, size }) = viewer.next().await else { panic!("no screen") };
        assert!(drawing.starts_with(b"\x1bc") && Viewer::text(&drawing).contains("first"));
        assert_eq!((offset, size), (7, Size::DEFAULT), "the cut character comes whole");
        line.output(9, Bytes::from_static(b"\xac."));
        assert_eq!(output(&mut viewer).await, "\u{20ac}.");
    }

    /// RT-22: a runtime without positions, and a viewer who saw more of it than was recorded before the service was killed.
    #[tokio::test]
    async fn a_position_of_another_life_of_the_service_counts_only_where_it_means_the_same() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.output(0, Bytes::from_static(b"recorded"));
        let starts = |offset, stream| terminal.view(Start::Again { offset, stream }).position();
        assert_eq!((starts(5, None), starts(8, Some(1)), starts(9, None)), (Some(5), Some(8), None), "the runtime counts");

        line.tell_gap();
        line.append(Bytes::from_static(b"and on"));
        let (end, own) = (terminal.end(), Some(terminal.stream()));
        assert_eq!((starts(8, None), starts(8, Some(1))), (Some(8), Some(8)), "all before the gap is as it was");
        assert_eq!((starts(9, None), starts(end, Some(1)), starts(end, None)), (None, None, None));
        assert_eq!((starts(9, own), starts(end, own), starts(end + 1, own)), (Some(9), Some(end), None));
        line.tell_gap();
        assert_eq!((starts(end, own), starts(end, None)), (Some(end), None));
    }

    #[tokio::test]
    async fn who_was_here_before_gets_exactly_what_was_missed_even_where_it_is_much() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let bytes: Vec<u8> = (0..RING_BYTES).map(|index| b'a' + u8::try_from(index % 23).unwrap()).collect();
        line.output(0, Bytes::from(bytes.clone()));
        let (mut viewer, mut too_late) = (terminal.view(Start::From(5)), terminal.view(Start::From(1)));
        let mut unknown = terminal.view(Start::From(1 << 40));
        let mut seen = Vec::new();
        while seen.len() < 100_000 {
            seen.extend_from_slice(&output(&mut viewer).await);
        }
        line.output(RING_BYTES as u64, Bytes::from_static(b"xyz"));
        terminal.finish();
        let (rest, screens) = shown(&mut viewer).await;
        seen.extend_from_slice(&rest);
        assert_eq!((seen.len(), screens.len()), (RING_BYTES - 5 + 3, 0));
        assert!(seen.starts_with(&bytes[5..]) && seen.ends_with(b"xyz"));
        assert!(matches!(too_late.next().await, Some(View::Screen { .. })), "two bytes of it are gone");
        assert!(matches!(unknown.next().await, Some(View::Screen { .. })));
    }

    #[tokio::test]
    async fn one_that_is_far_behind_gets_the_screen_and_not_too_often() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut viewer = terminal.view(Start::Screen);
        assert!(matches!(viewer.next().await, Some(View::Screen { offset: 0, .. })));
        let began = Instant::now();
        for round in 1..=3_u64 {
            line.output((round - 1) * 300_000, Bytes::from(vec![b'x'; 300_000]));
            let Some(View::Screen { offset, .. }) = viewer.next().await else { panic!("no screen") };
            assert_eq!(offset, round * 300_000);
        }
        assert!(began.elapsed() + Duration::from_millis(1) >= 3 * SCREEN_EVERY);
    }

    #[tokio::test]
    async fn the_end_is_told_after_the_last_output() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut viewer = terminal.view(Start::From(0));
        terminal.set_status(SessionStatus::Terminated, Login::default());
        line.output(0, Bytes::from_static(b"bye \xe2\x82"));
        assert_eq!(output(&mut viewer).await, "bye ");
        terminal.finish();
        assert_eq!(output(&mut viewer).await, &b"\xe2\x82"[..], "its rest cannot come any more");
        assert_eq!(viewer.next().await, Some(View::Status { status: SessionStatus::Terminated, login: Login::default() }));
        assert_eq!(viewer.next().await, None);
    }

    #[tokio::test]
    async fn that_there_is_nothing_to_see_is_told_once_to_each_viewer() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut early = terminal.view(Start::From(0));
        line.set_unsupported(true);
        line.set_unsupported(true);
        let mut late = terminal.view(Start::From(0));
        assert_eq!((early.next().await, late.next().await), (Some(View::Unsupported), Some(View::Unsupported)));
        terminal.finish();
        assert_eq!((early.next().await, late.next().await), (None, None));
    }

    #[tokio::test]
    async fn another_size_is_told_to_every_viewer() {
        let terminal = terminal();
        let mut viewers = [terminal.view(Start::From(0)), terminal.view(Start::From(0))];
        let size = Size::new(100, 30).unwrap();
        assert!(terminal.resize(size).await);
        assert!(!terminal.resize(size).await);
        for viewer in &mut viewers {
            assert_eq!(viewer.next().await, Some(View::Resized(size)));
            assert!(matches!(viewer.take(), Found::Nothing));
        }
    }

    #[tokio::test]
    async fn another_size_is_told_behind_what_was_printed_before_it() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let (mut text, mut of_bytes) = (terminal.view(Start::From(0)), terminal.view(Start::From(0)).of_bytes());
        let (mut late, size) = (terminal.view(Start::From(0)), Size::new(100, 30).unwrap());
        line.output(0, Bytes::from_static(b"old\xe2"));
        assert_eq!(output(&mut late).await, "old");
        terminal.resize(size).await;
        line.output(4, Bytes::from_static(b"\x82\xacnew"));
        let told = Some(View::Resized(size));
        assert_eq!((output(&mut of_bytes).await, of_bytes.next().await), (Bytes::from_static(b"old\xe2"), told.clone()));
        assert_eq!(output(&mut text).await, "old");
        for viewer in [&mut text, &mut late] {
            assert_eq!((Viewer::text(&output(viewer).await).as_ref(), viewer.next().await), ("\u{20ac}n", told.clone()));
            assert_eq!(output(viewer).await, "ew");
        }
    }

    #[tokio::test]
    async fn a_thousand_viewers_leave_nothing_behind() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.output(0, Bytes::from_static(b"$ "));
        for _ in 0..1000 {
            let mut viewer = terminal.view(Start::Screen);
            assert!(matches!(viewer.next().await, Some(View::Screen { .. })));
        }
        assert_eq!((Arc::strong_count(&terminal), terminal.watchers()), (2, 0), "only the line holds it");
    }
}
