//! What a recorder reads of a terminal: its output with the times at which it came, and what changed in between.
//!
//! A tape holds a position and nothing else. Times and turning points are in the terminal's journal, which is
//! bounded: a recorder that comes late for them finds coarser times, and loses only what the ring lost.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::pty::Terminal;
use crate::model::terminal::Size;

/// Output that comes within this long of the last time that was noted has the same time.
const TIME_EVERY: TimeDelta = TimeDelta::milliseconds(10);
/// Entries kept per terminal: five seconds of uninterrupted output, some 30 KiB. A recorder reads several times a second.
const ENTRIES_MAX: usize = 512;
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
    /// A journal that begins with the terminal's size.
    pub(super) fn new(position: u64, at: DateTime<Utc>, size: Size) -> Self {
        Self { entries: VecDeque::from([Entry { position, at, what: What::Resized(size) }]), first: 0, earliest: at }
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
        if self.entries.len() == ENTRIES_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            self.first += 1;
            self.earliest = oldest.at;
        }
        self.entries.push_back(Entry { position, at, what });
    }

    fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
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
}

impl Tape {
    /// A tape that begins at `from`; the first event is the terminal's size.
    pub(super) fn new(terminal: &Arc<Terminal>, from: u64) -> Self {
        let at = terminal.lock().journal.earliest;
        Self { changed: terminal.changes(), terminal: Arc::clone(terminal), position: from, entry: 0, at }
    }

    /// Where the next output is taken from.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What happened since the last call, up to `max_bytes` of output. Empty when nothing did.
    pub fn take(&mut self, max_bytes: usize) -> Vec<TapeEvent> {
        self.changed.mark_unchanged();
        let mut state = self.terminal.lock();
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
            let (start, end) = (state.ring.start(), state.ring.end());
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
            let bytes = state.ring.read_raw(self.position, wanted);
            events.push(TapeEvent::Output { offset: self.position, at: self.at, bytes: bytes.clone() });
            self.position += bytes.len() as u64;
            left -= bytes.len();
        }
    }

    /// Waits until something happens that [`Self::take`] has not told.
    pub async fn changed(&mut self) {
        if self.is_over() {
            return;
        }
        // Fails only when the terminal is gone, and we hold it.
        drop(self.changed.changed().await);
    }

    /// Whether all was taken and nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.terminal.lock();
        !state.open && self.position >= state.ring.end() && state.journal.get(self.entry).is_none()
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
        tape.changed().await;
        let events = tape.take(1024);
        assert!(matches!(events[..], [TapeEvent::Gap { from: 11, to: 20, .. }, TapeEvent::Output { offset: 20, .. }]), "{events:?}");
        terminal.finish();
        tape.changed().await;
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
}
