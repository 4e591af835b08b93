//! The last bytes that one agent printed, at their absolute offsets.
//!
//! A [`Ring`] is filled by the supervisor, which reads what the program prints. The runtime pulls
//! from it into an [`Output`] of its own, and each viewer pulls from that with a cursor: whoever falls
//! behind loses bytes, and is told so. Who wants every byte is waited for as long as it reads fast
//! ([`Reader`]); nobody else slows anybody down.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::lock::lock;

/// Output kept per agent for late and slow viewers, in bytes: 1 MiB is about 500 full plain
/// screens of 80 by 24, and the default ten agents together cost 10 MiB.
pub(crate) const RING_BYTES: usize = 1024 * 1024;

/// Lines whose time of arrival is kept per agent: as many as one request for logs can ask for, at
/// 24 bytes each.
pub(crate) const LINES_TIMED_MAX: usize = 10_000;

/// Output that is held for who has not read it before more waits for them, in bytes: a quarter of the ring, so that an
/// interrupt is seen soon, and the rest for when there is no more waiting.
pub(crate) const AHEAD_BYTES: usize = RING_BYTES / 4;
/// How long output waits for a reader that takes nothing: many times what a busy service needs to come
/// round, and little for a program whose service is stopped.
const READER_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long output waits for one reader in all, without what it earns by reading.
const READER_CREDIT_MAX: Duration = Duration::from_secs(2);
/// What a reader takes to earn a second: in the long run one that is slower than this is not waited for all
/// the time, so a slow line does not hold up a program that floods its terminal.
const READER_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

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

/// The newest [`RING_BYTES`] of a stream; memory is taken as it fills, and never more than that.
#[derive(Default)]
pub(crate) struct Ring {
    start: u64,
    bytes: VecDeque<u8>,
}

impl Ring {
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(RING_BYTES);
        let dropped = excess.min(self.bytes.len());
        self.bytes.drain(..dropped);
        self.start += excess as u64;
        let kept = &bytes[excess - dropped..];
        let needed = self.bytes.len() + kept.len();
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(RING_BYTES);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(kept);
    }

    /// Forgets everything before `offset`, which lies at the end or behind it.
    fn skip_to(&mut self, offset: u64) {
        if offset > self.end() {
            self.bytes.clear();
            self.start = offset;
        }
    }

    /// At most `most` bytes from offset `from` on.
    pub(crate) fn read(&self, from: u64, most: usize) -> Found {
        if from < self.start {
            return Found::Lost { start: self.start };
        }
        let skip = usize::try_from(from - self.start).unwrap_or(usize::MAX);
        if skip >= self.bytes.len() {
            return Found::UpToDate;
        }
        let until = self.bytes.len().min(skip + most);
        let (front, back) = self.bytes.as_slices();
        let mut bytes = Vec::with_capacity(until - skip);
        bytes.extend_from_slice(&front[skip.min(front.len())..until.min(front.len())]);
        bytes.extend_from_slice(&back[skip.saturating_sub(front.len())..until.saturating_sub(front.len())]);
        Found::Bytes(bytes)
    }
}

/// What the runtime's viewers read: the output of one agent as its supervisor handed it over.
pub(crate) struct Output {
    held: Mutex<Held>,
    /// Wakes whoever waits for readers.
    read: Condvar,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Held {
    ring: Ring,
    /// Where each of the last lines begins, and when its first byte came, as far as that is known. A
    /// line whose beginning has fallen out stays until its end has too.
    lines: VecDeque<(u64, Option<DateTime<Utc>>)>,
    in_line: bool,
    readers: Vec<Credit>,
    readers_ever: u64,
}

/// How far one [`Reader`] is, and how long it may still be waited for.
struct Credit {
    number: u64,
    cursor: u64,
    left: Duration,
    /// When it last took something, or there was something to take again.
    since: Instant,
}

impl Credit {
    fn took(&mut self, bytes: usize) {
        let earned = Duration::from_micros(bytes as u64 * 1_000_000 / READER_BYTES_PER_SECOND);
        self.left = (self.left + earned).min(READER_CREDIT_MAX);
        self.since = Instant::now();
    }

    fn patience(&self) -> Duration {
        self.left.min(READER_PAUSE_MAX.saturating_sub(self.since.elapsed()))
    }
}

impl Held {
    /// The readers that so many bytes more are too many for. Who has lost something already is not helped by waiting.
    fn behind(&mut self, bytes: usize) -> impl Iterator<Item = &mut Credit> {
        let (start, ahead_from) = (self.ring.start(), (self.ring.end() + bytes as u64).saturating_sub(AHEAD_BYTES as u64));
        self.readers.iter_mut().filter(move |reader| (start..ahead_from).contains(&reader.cursor))
    }

    fn append(&mut self, offset: u64, bytes: &[u8], now: DateTime<Utc>) {
        if offset > self.ring.end() {
            self.lines.clear();
            self.in_line = false;
        }
        let end = self.ring.end();
        let now_behind = self.readers.iter_mut().filter(|reader| reader.cursor >= end);
        now_behind.for_each(|reader| reader.since = Instant::now());
        self.ring.skip_to(offset);
        self.note_lines(bytes, now);
        self.ring.append(bytes);
        while self.lines.get(1).is_some_and(|(next, _)| *next <= self.ring.start()) {
            self.lines.pop_front();
        }
    }

    /// Notes the lines that begin in `bytes`, which come next.
    fn note_lines(&mut self, bytes: &[u8], now: DateTime<Utc>) {
        let mut at = self.ring.end();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.in_line {
                if self.lines.len() == LINES_TIMED_MAX {
                    self.lines.pop_front();
                }
                self.lines.push_back((at, Some(now)));
            }
            self.in_line = !line.ends_with(b"\n");
            at += line.len() as u64;
        }
    }
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { held: Mutex::default(), read: Condvar::new(), progress: watch::Sender::default() }
    }

    /// Adds what was printed at `offset`; what was missed before it stays a gap. Blocks while readers with credit are
    /// behind.
    pub(crate) fn append(&self, offset: u64, bytes: &[u8]) {
        self.wait_for_readers(bytes.len());
        let now = Utc::now();
        let end = {
            let mut held = lock(&self.held);
            held.append(offset, bytes, now);
            held.ring.end()
        };
        self.progress.send_modify(|progress| {
            progress.end = end;
            progress.last_at = Some(now);
        });
    }

    fn wait_for_readers(&self, bytes: usize) {
        let mut held = lock(&self.held);
        while let Some(patience) = held.behind(bytes).map(|reader| reader.patience()).filter(|patience| !patience.is_zero()).min() {
            let began = Instant::now();
            held = self.read.wait_timeout(held, patience).unwrap_or_else(PoisonError::into_inner).0;
            let waited = began.elapsed();
            held.behind(bytes).for_each(|reader| reader.left = reader.left.saturating_sub(waited));
        }
    }

    /// A reader at `cursor` that wants every byte.
    pub(crate) fn reader(&self, cursor: u64) -> Reader<'_> {
        let mut held = lock(&self.held);
        held.readers_ever += 1;
        let number = held.readers_ever;
        held.readers.push(Credit { number, cursor, left: READER_CREDIT_MAX, since: Instant::now() });
        Reader { output: self, number }
    }

    /// Gives up the times of the lines so far, which an earlier runtime saw come.
    pub(crate) fn forget_times(&self) {
        lock(&self.held).lines.iter_mut().for_each(|(_, at)| *at = None);
    }

    /// Adds what was printed next.
    #[cfg(test)]
    pub(crate) fn print(&self, bytes: &[u8]) {
        self.append(self.bounds().1, bytes);
    }

    /// Sets when the last output came, where that was before this runtime started.
    pub(crate) fn came_last_at(&self, last_at: Option<DateTime<Utc>>) {
        self.progress.send_modify(|progress| progress.last_at = last_at);
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
        (held.ring.start(), held.ring.end())
    }

    /// At most `most` bytes from offset `from` on.
    pub(crate) fn read(&self, from: u64, most: usize) -> Found {
        lock(&self.held).ring.read(from, most)
    }

    /// Everything held, and the times of its last lines, oldest first; an empty line behind the
    /// last line feed has none.
    pub(crate) fn timed(&self) -> (Vec<u8>, Vec<Option<DateTime<Utc>>>) {
        let held = lock(&self.held);
        (held.ring.bytes.iter().copied().collect(), held.lines.iter().map(|(_, at)| *at).collect())
    }

    /// Everything held, and the offset of its first byte.
    pub(crate) fn all(&self) -> (u64, Vec<u8>) {
        let held = lock(&self.held);
        (held.ring.start, held.ring.bytes.iter().copied().collect())
    }
}

/// Who wants every byte. While it is behind the program waits, but no longer than [`READER_PAUSE_MAX`] at once, and than
/// [`READER_CREDIT_MAX`] and what it earns in all.
pub(crate) struct Reader<'a> {
    output: &'a Output,
    number: u64,
}

impl Reader<'_> {
    /// Notes that it has taken so many bytes and goes on at `cursor`.
    pub(crate) fn took(&self, bytes: usize, cursor: u64) {
        if let Some(reader) = lock(&self.output.held).readers.iter_mut().find(|reader| reader.number == self.number) {
            reader.cursor = cursor;
            reader.took(bytes);
        }
        self.output.read.notify_all();
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        lock(&self.output.held).readers.retain(|reader| reader.number != self.number);
        self.output.read.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_that_keeps_reading_loses_nothing_however_much_is_printed() {
        let output = Output::new();
        let (mut seen, mut cursor) = (Vec::new(), 0);
        let reader = output.reader(0);
        let printed: Vec<u8> = (0..4 * RING_BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
        thread::scope(|scope| {
            scope.spawn(|| printed.chunks(64 * 1024).for_each(|chunk| output.print(chunk)));
            while seen.len() < printed.len() {
                match output.read(cursor, 32 * 1024) {
                    Found::Bytes(bytes) => {
                        cursor += bytes.len() as u64;
                        reader.took(bytes.len(), cursor);
                        seen.extend(bytes);
                    }
                    Found::UpToDate => thread::yield_now(),
                    Found::Lost { start } => panic!("what stood before {start} is lost at {cursor}"),
                }
            }
        });
        assert!(seen == printed);
    }

    #[test]
    fn a_reader_that_has_stopped_is_waited_for_once() {
        let output = Output::new();
        let reader = output.reader(0);
        thread::sleep(READER_PAUSE_MAX);
        output.print(&vec![b'x'; AHEAD_BYTES]);
        let began = Instant::now();
        output.print(b"x");
        let waited = began.elapsed();
        assert!(waited + Duration::from_millis(100) >= READER_PAUSE_MAX, "{waited:?}: it had nothing to read before");
        let began = Instant::now();
        (0..50).for_each(|_| output.print(&vec![b'y'; RING_BYTES / 10]));
        assert!(began.elapsed() < READER_PAUSE_MAX);
        drop(reader);
        assert!(lock(&output.held).readers.is_empty());
    }

    #[test]
    fn a_reader_that_takes_a_byte_at_a_time_is_not_waited_for_for_ever() {
        let output = Output::new();
        let (reader, began) = (output.reader(0), Instant::now());
        thread::scope(|scope| {
            let printing = scope.spawn(|| output.print(&vec![b'x'; RING_BYTES]));
            let mut cursor = 0;
            while !printing.is_finished() {
                assert!(began.elapsed() < 10 * READER_CREDIT_MAX, "it is waited for still");
                thread::sleep(READER_PAUSE_MAX / 50);
                cursor += 1;
                reader.took(1, cursor);
            }
        });
        assert!(began.elapsed() >= READER_CREDIT_MAX);
    }

    #[test]
    fn reading_in_pieces_gives_every_byte_once_even_around_the_rings_edge() {
        let mut ring = Ring::default();
        let (mut cursor, mut seen, mut printed) = (0, Vec::new(), Vec::new());
        for round in 0..40_u8 {
            let chunk = vec![round; RING_BYTES / 10 + usize::from(round)];
            ring.append(&chunk);
            printed.extend(chunk);
            while let Found::Bytes(bytes) = ring.read(cursor, 32 * 1024) {
                cursor += bytes.len() as u64;
                seen.extend(bytes);
            }
        }
        assert!(seen == printed);
        assert_eq!(ring.read(cursor, 1), Found::UpToDate);
        assert!(ring.bytes.capacity() <= RING_BYTES, "{}", ring.bytes.capacity());
    }

    #[test]
    fn each_line_has_one_time_however_its_pieces_come() {
        let output = Output::new();
        for piece in ["one", " more\ntwo\n", "\n", "last"] {
            output.append(output.bounds().1, piece.as_bytes());
        }
        let (bytes, times) = output.timed();
        assert_eq!((bytes.split(|byte| *byte == b'\n').count(), times.len()), (4, 4));
        assert!(times.is_sorted() && times[0].is_some());
        output.append(output.bounds().1, &b"x\n".repeat(2 * LINES_TIMED_MAX));
        assert_eq!(output.timed().1.len(), LINES_TIMED_MAX);
        // One line longer than the ring keeps its time, and no other.
        output.append(output.bounds().1, &vec![b'y'; 2 * RING_BYTES]);
        assert_eq!(output.timed().1.len(), 1);
        output.forget_times();
        assert_eq!(output.timed().1, [None]);
        // After a gap nothing is known of the line that it lies in.
        output.append(output.bounds().1 + 9, b"rest\nnext");
        assert_eq!(output.timed().1.len(), 2);
    }

    #[test]
    fn a_cursor_that_fell_out_is_told_where_to_go_on() {
        let mut ring = Ring::default();
        ring.append(&vec![1; RING_BYTES]);
        ring.append(&[2; 10]);
        assert_eq!(ring.read(9, 5), Found::Lost { start: 10 });
        assert_eq!(ring.read(RING_BYTES as u64, 99), Found::Bytes(vec![2; 10]));
        assert_eq!((ring.start(), ring.end()), (10, RING_BYTES as u64 + 10));
        ring.append(&vec![3; RING_BYTES + 7]);
        assert_eq!((ring.start(), ring.end()), (RING_BYTES as u64 + 17, 2 * RING_BYTES as u64 + 17));
    }

    #[test]
    fn output_goes_on_at_the_offset_that_it_is_given() {
        let output = Output::new();
        output.append(0, b"before");
        output.append(100, b"after");
        assert_eq!(output.bounds(), (100, 105));
        assert_eq!(output.read(3, 9), Found::Lost { start: 100 });
        assert_eq!(output.all(), (100, b"after".to_vec()));
    }
}
