//! The last bytes that one agent printed, at their absolute offsets.
//!
//! The terminal's reader appends and never waits for anyone. Each viewer keeps a cursor of its
//! own and pulls; one that falls behind loses bytes, and is told so, but slows nobody down.

use std::{collections::VecDeque, sync::Mutex};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::lock::lock;

/// Output kept per agent for late and slow viewers, in bytes: 1 MiB is about 500 full plain
/// screens of 80 by 24, and the default ten agents together cost 10 MiB.
pub(crate) const RING_BYTES: usize = 1024 * 1024;

/// Lines whose time of arrival is kept per agent: as many as one request for logs can ask for, at
/// 16 bytes each.
pub(crate) const LINES_TIMED_MAX: usize = 10_000;

/// How far an agent's output has come.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Bytes printed so far, thus the offset of the next one.
    pub(crate) end: u64,
    /// Nothing more will follow.
    pub(crate) finished: bool,
    pub(crate) last_at: Option<DateTime<Utc>>,
}

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes(Vec<u8>),
    UpToDate,
    /// The bytes at the cursor are gone; the oldest one still held is at `start`.
    Lost {
        start: u64,
    },
}

pub(crate) struct Output {
    held: Mutex<Held>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Held {
    start: u64,
    bytes: VecDeque<u8>,
    /// Where each of the last lines begins, and when its first byte came. A line whose beginning
    /// has fallen out stays until its end has too.
    lines: VecDeque<(u64, DateTime<Utc>)>,
    in_line: bool,
}

impl Held {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Notes the lines that begin in `bytes`, which come next.
    fn note_lines(&mut self, bytes: &[u8], now: DateTime<Utc>) {
        let mut at = self.end();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.in_line {
                if self.lines.len() == LINES_TIMED_MAX {
                    self.lines.pop_front();
                }
                self.lines.push_back((at, now));
            }
            self.in_line = !line.ends_with(b"\n");
            at += line.len() as u64;
        }
    }

    fn forget_lines(&mut self) {
        while self.lines.get(1).is_some_and(|(next, _)| *next <= self.start) {
            self.lines.pop_front();
        }
    }
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { held: Mutex::default(), progress: watch::Sender::default() }
    }

    pub(crate) fn append(&self, bytes: &[u8]) {
        let now = Utc::now();
        let end = {
            let mut held = lock(&self.held);
            held.note_lines(bytes, now);
            held.bytes.extend(bytes);
            let excess = held.bytes.len().saturating_sub(RING_BYTES);
            held.bytes.drain(..excess);
            held.start += excess as u64;
            held.forget_lines();
            held.end()
        };
        self.progress.send_modify(|progress| {
            progress.end = end;
            progress.last_at = Some(now);
        });
    }

    pub(crate) fn finish(&self) {
        self.progress.send_modify(|progress| progress.finished = true);
    }

    /// Wakes at every change. Subscribe before reading: then nothing can slip in between.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// The offsets of the oldest byte held and of the next one to come.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let held = lock(&self.held);
        (held.start, held.end())
    }

    /// At most `most` bytes from offset `from` on.
    pub(crate) fn read(&self, from: u64, most: usize) -> Found {
        let held = lock(&self.held);
        if from < held.start {
            return Found::Lost { start: held.start };
        }
        let skip = usize::try_from(from - held.start).unwrap_or(usize::MAX);
        if skip >= held.bytes.len() {
            return Found::UpToDate;
        }
        let until = held.bytes.len().min(skip + most);
        let (front, back) = held.bytes.as_slices();
        let mut bytes = Vec::with_capacity(until - skip);
        bytes.extend_from_slice(&front[skip.min(front.len())..until.min(front.len())]);
        bytes.extend_from_slice(&back[skip.saturating_sub(front.len())..until.saturating_sub(front.len())]);
        Found::Bytes(bytes)
    }

    /// Everything held, and the times of its last lines, oldest first; an empty line behind the
    /// last line feed has none.
    pub(crate) fn timed(&self) -> (Vec<u8>, Vec<DateTime<Utc>>) {
        let held = lock(&self.held);
        (held.bytes.iter().copied().collect(), held.lines.iter().map(|(_, at)| *at).collect())
    }

    /// Everything held, and the offset of its first byte.
    pub(crate) fn all(&self) -> (u64, Vec<u8>) {
        let held = lock(&self.held);
        (held.start, held.bytes.iter().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_in_pieces_gives_every_byte_once_even_around_the_rings_edge() {
        let output = Output::new();
        let (mut cursor, mut seen, mut printed) = (0, Vec::new(), Vec::new());
        for round in 0..40_u8 {
            let chunk = vec![round; RING_BYTES / 10 + usize::from(round)];
            output.append(&chunk);
            printed.extend(chunk);
            while let Found::Bytes(bytes) = output.read(cursor, 32 * 1024) {
                cursor += bytes.len() as u64;
                seen.extend(bytes);
            }
        }
        assert!(seen == printed);
        assert_eq!(output.read(cursor, 1), Found::UpToDate);
    }

    #[test]
    fn each_line_has_one_time_however_its_pieces_come() {
        let output = Output::new();
        for piece in ["one", " more\ntwo\n", "\n", "last"] {
            output.append(piece.as_bytes());
        }
        let (bytes, times) = output.timed();
        assert_eq!((bytes.split(|byte| *byte == b'\n').count(), times.len()), (4, 4));
        assert!(times.is_sorted());
        output.append(&b"x\n".repeat(2 * LINES_TIMED_MAX));
        assert_eq!(output.timed().1.len(), LINES_TIMED_MAX);
        // One line longer than the ring keeps its time, and no other.
        output.append(&vec![b'y'; 2 * RING_BYTES]);
        assert_eq!(output.timed().1.len(), 1);
    }

    #[test]
    fn a_cursor_that_fell_out_is_told_where_to_go_on() {
        let output = Output::new();
        output.append(&vec![1; RING_BYTES]);
        output.append(&[2; 10]);
        assert_eq!(output.read(9, 5), Found::Lost { start: 10 });
        assert_eq!(output.read(RING_BYTES as u64, 99), Found::Bytes(vec![2; 10]));
        assert_eq!(output.bounds(), (10, RING_BYTES as u64 + 10));
    }
}
