//! What a recorder reads of a terminal: its output with the times at which it came, and what changed in between.
//!
//! A tape holds a position and nothing else. Times and turning points are in the terminal's journal, which is
//! bounded: a recorder that comes late for them finds coarser times. What the ring is about to forget before the recorder has
//! taken it is put aside, in the ring's own memory and from the terminal's first byte on, so that a burst is recorded whole
//! however late the recorder comes; it loses only what goes beyond the bound of that.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::watch, time::Instant};

use super::{
    pty::{State, Terminal},
    ring::Ring,
};
use crate::model::terminal::Size;

/// Output that comes within this long of the last time that was noted has the same time.
const TIME_EVERY: TimeDelta = TimeDelta::milliseconds(10);
/// Entries kept per terminal: five seconds of uninterrupted output, some 30 KiB.
const ENTRIES_MAX: usize = 512;
/// Entries kept while a recorder follows or is awaited, which has them forgotten as it goes: forty seconds of a flood that it is behind.
const FOLLOWED_ENTRIES_MAX: usize = 8 * ENTRIES_MAX;
/// Bytes that are put aside for a recorder, of one terminal and of all: a burst comes faster than it is packed and written
/// for as long as this lasts. No more of all than a small machine can spare.
const ASIDE_BYTES_MAX: usize = 32 * 1024 * 1024;
const ALL_ASIDE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of one piece of input this many bytes are noted: more than people type at once, and the journal stays small.
const INPUT_BYTES_MAX: usize = 1024;
/// The text of a marker is cut at this many characters.
const MARKER_CHARS_MAX: usize = 200;

/// One thing that happened on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapeEvent {
    /// The terminal printed `bytes`, which begin at `offset`.
    Output { offset: u64, at: DateTime<Utc>, bytes: Bytes },
    /// The terminal has this size from here on.
    Resized { at: DateTime<Utc>, size: Size },
    /// Output from `from` up to `to` is lost.
    Gap { from: u64, to: u64, at: DateTime<Utc> },
    /// Something that a person who reads the recording may want to know.
    Marker { at: DateTime<Utc>, text: String },
    /// Somebody typed this, where that is recorded.
    Input { at: DateTime<Utc>, bytes: Bytes },
}

/// Times and turning points of the output that the ring holds, in their order.
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    /// The number of the first entry, counted from the terminal's first.
    first: u64,
    /// When the oldest output that has no entry any more came at the latest.
    earliest: DateTime<Utc>,
    entries_max: usize,
}

struct Entry {
    /// The position in the output from which on it holds.
    position: u64,
    at: DateTime<Utc>,
    what: What,
}

enum What {
    /// Output came.
    Output,
    Resized(Size),
    Marker(String),
    Input(Bytes),
}

impl Journal {
    /// A journal that begins with the terminal's size, and awaits its recorder.
    pub(super) fn new(position: u64, at: DateTime<Utc>, size: Size) -> Self {
        Self {
            entries: VecDeque::from([Entry { position, at, what: What::Resized(size) }]),
            first: 0,
            earliest: at,
            entries_max: FOLLOWED_ENTRIES_MAX,
        }
    }

    /// Notes when the output from `position` on came.
    pub(super) fn came(&mut self, position: u64, at: DateTime<Utc>) {
        let last = self.entries.iter().next_back();
        if last.is_none_or(|last| !matches!(last.what, What::Output) || at - last.at >= TIME_EVERY || at < last.at) {
            self.note(position, at, What::Output);
        }
    }

    pub(super) fn resized(&mut self, position: u64, at: DateTime<Utc>, size: Size) {
        self.note(position, at, What::Resized(size));
    }

    pub(super) fn marked(&mut self, position: u64, at: DateTime<Utc>, text: &str) {
        self.note(position, at, What::Marker(text.chars().take(MARKER_CHARS_MAX).collect()));
    }

    pub(super) fn typed(&mut self, position: u64, at: DateTime<Utc>, input: &[u8]) {
        let (noted, left_out) = input.split_at(input.len().min(INPUT_BYTES_MAX));
        self.note(position, at, What::Input(Bytes::copy_from_slice(noted)));
        if !left_out.is_empty() {
            self.marked(position, at, &format!("{} more bytes were typed", left_out.len()));
        }
    }

    fn note(&mut self, position: u64, at: DateTime<Utc>, what: What) {
        self.forget(self.entries.len().saturating_sub(self.entries_max - 1));
        self.entries.push_back(Entry { position, at, what });
    }

    /// Forgets this many of the oldest entries.
    fn forget(&mut self, count: usize) {
        if let Some(newest) = self.entries.drain(..count.min(self.entries.len())).next_back() {
            self.earliest = newest.at;
        }
        self.first += count as u64;
    }

    /// Forgets what comes before an entry, which a recorder has: all but the newest, whose time the next output may have.
    fn taken_before(&mut self, number: u64) {
        let taken = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.forget(taken.min(self.entries.len().saturating_sub(1)));
    }

    /// Keeps as much as a recorder that follows may be behind, or no more than without one.
    fn set_followed(&mut self, followed: bool) {
        self.entries_max = if followed { FOLLOWED_ENTRIES_MAX } else { ENTRIES_MAX };
        self.forget(self.entries.len().saturating_sub(self.entries_max));
    }

    fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// What the ring has forgotten of one terminal's output and its recorder has not taken.
pub(super) struct Aside {
    /// Pieces with the positions of their first bytes, in their order.
    pieces: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Bytes that are put aside of all terminals.
    all: Arc<AtomicUsize>,
    /// Everything before this position was taken, put aside or lost; `None` while nobody records the terminal.
    settled: Option<u64>,
}

impl Aside {
    /// Awaits the recorder of a terminal whose output goes on at `from`. `all` counts the bytes of all terminals.
    pub(super) fn new(all: Arc<AtomicUsize>, from: u64) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, all, settled: Some(from) }
    }

    /// Puts aside what the ring has of the output before `until`, as far as it is not taken yet and there is room.
    pub(super) fn put(&mut self, ring: &mut Ring, until: u64) {
        while let Some(settled) = self.settled
            && settled < until.min(ring.end())
        {
            let from = settled.max(ring.start());
            let bytes = ring.read_raw(from, usize::MAX);
            self.settled = Some(from + bytes.len() as u64);
            let all = self.all.load(Ordering::Relaxed);
            if self.bytes + bytes.len() <= ASIDE_BYTES_MAX && all + bytes.len() <= ALL_ASIDE_BYTES_MAX {
                self.bytes += bytes.len();
                self.all.fetch_add(bytes.len(), Ordering::Relaxed);
                self.pieces.push_back((from, bytes));
            }
        }
    }

    /// Where the oldest byte is that is here.
    fn start(&self) -> Option<u64> {
        self.pieces.front().map(|(offset, _)| *offset)
    }

    /// Up to `max` bytes from `position` on; empty where they are not here.
    fn read(&self, position: u64, max: usize) -> Bytes {
        let Some((offset, piece)) = self.pieces.front() else { return Bytes::new() };
        let from = usize::try_from(position.saturating_sub(*offset)).unwrap_or(usize::MAX).min(piece.len());
        piece.slice(from..piece.len().min(from.saturating_add(max)))
    }

    /// Lets go of what comes before `position`.
    fn taken(&mut self, position: u64) {
        while let Some((_, piece)) = self.pieces.pop_front_if(|(offset, piece)| *offset + piece.len() as u64 <= position) {
            self.bytes -= piece.len();
            self.all.fetch_sub(piece.len(), Ordering::Relaxed);
        }
        self.settled = self.settled.map(|settled| settled.max(position));
    }

    /// Puts aside what follows `from`. What is here of that stays.
    fn follow(&mut self, from: u64) {
        self.taken(from);
        if self.pieces.is_empty() {
            self.settled = Some(from);
        }
    }

    /// Lets go of everything, and puts nothing aside any more.
    fn let_go(&mut self) {
        self.taken(u64::MAX);
        self.settled = None;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A recorder's place in the output of one terminal.
pub struct Tape {
    terminal: Arc<Terminal>,
    changed: watch::Receiver<()>,
    position: u64,
    /// The number of the journal's next entry.
    entry: u64,
    /// When the output at `position` came.
    at: DateTime<Utc>,
    /// Whether what was not taken yet is put aside for it.
    follows: bool,
}

impl Tape {
    /// A tape that begins at `from`; the first event is the terminal's size.
    pub(super) fn new(terminal: &Arc<Terminal>, from: u64) -> Self {
        let at = terminal.lock().journal.earliest;
        Self { changed: terminal.changes(), terminal: Arc::clone(terminal), position: from, entry: 0, at, follows: false }
    }

    /// As [`Self::new`], for the recorder of the terminal, from what is put aside for it: what it has not taken is put aside for
    /// as long as this tape is there. A terminal has one such tape at a time.
    pub(super) fn following(terminal: &Arc<Terminal>) -> Self {
        let from = {
            let state = terminal.lock();
            state.aside.start().or(state.aside.settled).unwrap_or(state.ring.end())
        };
        let mut tape = Self::new(terminal, from);
        tape.follows = true;
        tape.go_on_at(from);
        tape
    }

    /// Goes on at `position`. What happened there and was told is not told again; output is, as far as it is held.
    pub fn go_on_at(&mut self, position: u64) {
        let mut state = self.terminal.lock();
        if self.follows {
            state.aside.follow(position);
            state.journal.set_followed(true);
        }
        drop(state);
        self.position = position;
    }

    /// Has nothing put aside until it goes on at a position: the terminal is not recorded for now.
    pub fn let_go(&self) {
        if self.follows {
            let mut state = self.terminal.lock();
            state.aside.let_go();
            state.journal.set_followed(false);
        }
    }

    /// Where the next output is taken from.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where the output ends now.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.terminal.end()
    }

    /// What happened since the last call, up to `max_bytes` of output. Empty when nothing did.
    pub fn take(&mut self, max_bytes: usize) -> Vec<TapeEvent> {
        self.changed.mark_unchanged();
        let terminal = Arc::clone(&self.terminal);
        let mut state = terminal.lock();
        let events = self.read(&mut state, max_bytes);
        if self.follows {
            state.aside.taken(self.position);
            state.journal.taken_before(self.entry);
        }
        events
    }

    fn read(&mut self, state: &mut State, max_bytes: usize) -> Vec<TapeEvent> {
        let mut events = Vec::new();
        let mut left = max_bytes;
        if self.entry < state.journal.first {
            self.entry = state.journal.first;
            self.at = state.journal.earliest;
        }
        loop {
            let next = state.journal.get(self.entry).map(|entry| entry.position);
            if next.is_some_and(|position| position <= self.position)
                && let Some(entry) = state.journal.get(self.entry)
            {
                self.entry += 1;
                self.at = entry.at;
                match &entry.what {
                    What::Output => {}
                    What::Resized(size) => events.push(TapeEvent::Resized { at: entry.at, size: *size }),
                    What::Marker(text) => events.push(TapeEvent::Marker { at: entry.at, text: text.clone() }),
                    What::Input(bytes) => events.push(TapeEvent::Input { at: entry.at, bytes: bytes.clone() }),
                }
                continue;
            }
            let (ring_start, end) = (state.ring.start(), state.ring.end());
            if self.follows {
                state.aside.taken(self.position);
            }
            let aside = state.aside.start().filter(|_| self.follows);
            let start = aside.unwrap_or(ring_start).min(ring_start);
            if self.position < start {
                // What happened in the gap is told before its end.
                let to = next.map_or(start, |position| position.min(start));
                events.push(TapeEvent::Gap { from: self.position, to, at: self.at });
                self.position = to;
                continue;
            }
            let until = next.unwrap_or(end).min(end);
            let wanted = usize::try_from(until.saturating_sub(self.position)).unwrap_or(usize::MAX).min(left);
            if wanted == 0 {
                return events;
            }
            let is_aside = aside.is_some_and(|aside| aside <= self.position);
            let bytes = if is_aside { state.aside.read(self.position, wanted) } else { state.ring.read_raw(self.position, wanted) };
            events.push(TapeEvent::Output { offset: self.position, at: self.at, bytes: bytes.clone() });
            self.position += bytes.len() as u64;
            left -= bytes.len();
        }
    }

    /// Waits until something happens that [`Self::take`] has not told, and then for more of it: for up to `bytes` of output,
    /// and at most this long.
    pub async fn gathered(&mut self, bytes: usize, within: Duration) {
        if self.is_over() {
            return;
        }
        // Fails only when the terminal is gone, and we hold it.
        drop(self.changed.changed().await);
        self.terminal.until_printed(self.position + bytes as u64, Instant::now() + within).await;
    }

    /// Whether nothing more will come, though what came may not have been taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !self.terminal.lock().open
    }

    /// Whether all was taken and nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.terminal.lock();
        !state.open && self.position >= state.ring.end() && state.journal.get(self.entry).is_none()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        pty::tests::{terminal, terminal_at},
        ring::RING_BYTES,
    };

    fn bytes_of(events: &[TapeEvent]) -> Vec<u8> {
        let mut all = Vec::new();
        for event in events {
            if let TapeEvent::Output { bytes, .. } = event {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    #[tokio::test]
    async fn a_tape_has_sizes_and_remarks_where_they_happened() {
        let (terminal, clock) = terminal_at();
        let line = terminal.line().unwrap();
        line.output(0, Bytes::from_static(b"before"));
        let wide = Size::new(120, 40).unwrap();
        terminal.resize(wide).await;
        terminal.mark("taken over");
        clock.advance(TimeDelta::seconds(3));
        line.output(6, Bytes::from_static(b"after"));
        let mut tape = terminal.tape(0);
        let events = tape.take(1024);
        let [
            TapeEvent::Resized { at: began, size: Size::DEFAULT },
            TapeEvent::Output { offset: 0, bytes: before, .. },
            TapeEvent::Resized { size, .. },
            TapeEvent::Marker { text, .. },
            TapeEvent::Output { offset: 6, at, bytes: after },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((&before[..], &after[..], *size, text.as_str()), (&b"before"[..], &b"after"[..], wide, "taken over"));
        assert!(*at - *began >= TimeDelta::seconds(3));
        assert_eq!((tape.take(1024), tape.is_over(), tape.position()), (vec![], false, 11));
        line.output(20, Bytes::from_static(b"later"));
        tape.gathered(1, Duration::ZERO).await;
        let events = tape.take(1024);
        assert!(matches!(events[..], [TapeEvent::Gap { from: 11, to: 20, .. }, TapeEvent::Output { offset: 20, .. }]), "{events:?}");
        terminal.finish();
        tape.gathered(1, Duration::ZERO).await;
        assert!(tape.is_over());
    }

    #[tokio::test]
    async fn a_tape_gives_every_byte_once_in_pieces_of_the_size_that_is_asked_for() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let (mut tape, mut seen, mut printed) = (terminal.tape(0), Vec::new(), Vec::new());
        for round in 0..200_u8 {
            let chunk = vec![b' ' + round % 90; 7000];
            line.output(printed.len() as u64, Bytes::from(chunk.clone()));
            printed.extend(chunk);
            let events = tape.take(6000);
            assert!(bytes_of(&events).len() <= 6000);
            seen.extend(bytes_of(&events));
        }
        seen.extend(bytes_of(&tape.take(usize::MAX)));
        assert!(seen == printed);
    }

    #[tokio::test]
    async fn a_tape_that_comes_too_late_says_what_is_missing() {
        let (terminal, clock) = terminal_at();
        let line = terminal.line().unwrap();
        drop(terminal.follow());
        let mut tape = terminal.tape(0);
        for round in 0..2 * ENTRIES_MAX as u64 {
            clock.advance(TIME_EVERY);
            line.output(round * 1024, Bytes::from(vec![b'x'; 1024]));
        }
        let end = 2 * ENTRIES_MAX as u64 * 1024;
        let events = tape.take(usize::MAX);
        let missing: u64 = events.iter().map(|event| if let TapeEvent::Gap { from, to, .. } = event { to - from } else { 0 }).sum();
        assert_eq!((missing, bytes_of(&events).len()), (end - RING_BYTES as u64, RING_BYTES));
        assert!(terminal.lock().journal.entries.len() <= ENTRIES_MAX);
    }

    /// RT-16: a burst that the recorder comes to see only when it is over, with a size and a remark in the middle of it.
    #[tokio::test]
    async fn what_the_ring_forgets_before_the_recorder_comes_is_put_aside() {
        let (terminal, clock) = terminal_at();
        let line = terminal.line().unwrap();
        let mut tape = terminal.follow();
        let (mut printed, wide) = (Vec::new(), Size::new(120, 40).unwrap());
        for round in 0..3 * ENTRIES_MAX {
            clock.advance(TIME_EVERY);
            let chunk = vec![b' ' + u8::try_from(round % 90).unwrap(); 7000];
            line.output(printed.len() as u64, Bytes::from(chunk.clone()));
            printed.extend(chunk);
            if round == 5 {
                terminal.resize(wide).await;
                terminal.mark("in the middle");
            }
        }
        assert!(terminal.lock().aside.bytes > printed.len() - 2 * RING_BYTES);
        let mut events = Vec::new();
        loop {
            let more = tape.take(64 * 1024);
            if more.is_empty() {
                break;
            }
            events.extend(more);
        }
        assert!(bytes_of(&events) == printed, "every byte, once and in its order");
        let turned = |event: &TapeEvent| matches!(event, TapeEvent::Resized { size, .. } if *size == wide);
        let before: usize = events.iter().take_while(|event| !turned(event)).map(|event| bytes_of(std::slice::from_ref(event)).len()).sum();
        assert_eq!(before, 6 * 7000, "the size is where it changed");
        let times = events.iter().filter(|event| matches!(event, TapeEvent::Output { .. })).count();
        assert!(times >= 3 * ENTRIES_MAX, "each output has its time");
        let state = terminal.lock();
        assert_eq!((state.aside.bytes, state.aside.all.load(Ordering::Relaxed), state.journal.entries.len()), (0, 0, 1));
        drop(state);

        line.output(printed.len() as u64, Bytes::from(vec![b'x'; 3 * RING_BYTES]));
        line.output((printed.len() + 4 * RING_BYTES) as u64, Bytes::from_static(b"later"));
        let events = tape.take(usize::MAX);
        assert_eq!(bytes_of(&events).len(), 3 * RING_BYTES + 5, "nor is any lost of one large piece, or before a gap");
        let gaps: Vec<_> = events.iter().filter(|event| matches!(event, TapeEvent::Gap { .. })).collect();
        assert!(matches!(gaps[..], [TapeEvent::Gap { from, to, .. }] if to - from == RING_BYTES as u64), "{gaps:?}");
    }

    #[tokio::test]
    async fn what_is_put_aside_is_bounded_and_ends_with_the_recorder() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut tape = terminal.follow();
        let piece = Bytes::from(vec![b'x'; RING_BYTES]);
        let length = (ASIDE_BYTES_MAX + 8 * RING_BYTES) as u64;
        while terminal.end() < length {
            line.output(terminal.end(), piece.clone());
        }
        assert!(terminal.lock().aside.bytes <= ASIDE_BYTES_MAX);
        let mut missing = 0;
        let mut seen = 0;
        loop {
            let events = tape.take(1024 * 1024);
            if events.is_empty() {
                break;
            }
            seen += bytes_of(&events).len() as u64;
            missing += events.iter().map(|event| if let TapeEvent::Gap { from, to, .. } = event { to - from } else { 0 }).sum::<u64>();
        }
        assert_eq!(seen + missing, length);
        assert!(seen >= (ASIDE_BYTES_MAX + RING_BYTES / 2) as u64, "{seen} of {length}");
        for _ in 0..4 {
            line.output(terminal.end(), piece.clone());
        }
        let all = Arc::clone(&terminal.lock().aside.all);
        assert!(all.load(Ordering::Relaxed) > 0);
        drop(tape);
        assert_eq!(all.load(Ordering::Relaxed), 0);
        line.output(terminal.end(), piece);
        assert_eq!(all.load(Ordering::Relaxed), 0, "nothing is put aside for nobody");
    }

    /// RT-16: a recorder that waits for the database before it can begin, or begin again.
    #[tokio::test]
    async fn what_is_printed_before_the_recorder_can_begin_is_put_aside() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let printed: Vec<u8> = (0..4 * RING_BYTES).map(|place| b' ' + u8::try_from(place / 1000 % 90).unwrap()).collect();
        let (early, late) = printed.split_at(2 * RING_BYTES);
        line.output(0, Bytes::copy_from_slice(early));

        let mut tape = terminal.follow();
        tape.go_on_at(0);
        let mut seen = bytes_of(&tape.take(RING_BYTES));
        line.output(early.len() as u64, Bytes::copy_from_slice(late));
        tape.go_on_at(seen.len() as u64);
        seen.extend(bytes_of(&tape.take(usize::MAX)));
        assert!(seen == printed, "every byte, once and in its order");

        tape.let_go();
        line.output(printed.len() as u64, Bytes::copy_from_slice(late));
        assert_eq!(terminal.lock().aside.all.load(Ordering::Relaxed), 0, "nothing is put aside of what is not recorded");
        tape.go_on_at(terminal.end());
        line.output(terminal.end(), Bytes::copy_from_slice(early));
        assert_eq!(bytes_of(&tape.take(usize::MAX)).len(), early.len());
    }
}
