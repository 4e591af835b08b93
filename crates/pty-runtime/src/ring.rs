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
}

impl Held {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { held: Mutex::default(), progress: watch::Sender::default() }
    }

    pub(crate) fn append(&self, bytes: &[u8]) {
        let end = {
            let mut held = lock(&self.held);
            held.bytes.extend(bytes);
            let excess = held.bytes.len().saturating_sub(RING_BYTES);
            held.bytes.drain(..excess);
            held.start += excess as u64;
            held.end()
        };
        self.progress.send_modify(|progress| {
            progress.end = end;
            progress.last_at = Some(Utc::now());
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
    fn a_cursor_that_fell_out_is_told_where_to_go_on() {
        let output = Output::new();
        output.append(&vec![1; RING_BYTES]);
        output.append(&[2; 10]);
        assert_eq!(output.read(9, 5), Found::Lost { start: 10 });
        assert_eq!(output.read(RING_BYTES as u64, 99), Found::Bytes(vec![2; 10]));
        assert_eq!(output.bounds(), (10, RING_BYTES as u64 + 10));
    }
}
