//! The last output of one terminal, addressed by its position in all output there ever was.
//!
//! Output is held in pieces that readers share: fifty viewers of a terminal read the same memory. A piece
//! ends between two code points, so a reader that takes no more than one piece never cuts a character.

use std::collections::VecDeque;

use bytes::Bytes;

/// Output kept per terminal for late viewers, in bytes: 512 KiB holds some 250 screens of 80×24
/// (realtime contract §5.7).
pub(super) const RING_BYTES: usize = 512 * 1024;

/// Output is kept in pieces of this size, however short the parts are that it comes in: so the ring takes hardly more
/// memory than it holds output. It is also the most that one read gives (realtime contract §5.7).
pub(super) const PIECE_BYTES: usize = 32 * 1024;

/// The memory of a piece starts with this many bytes and doubles as it fills: a terminal that printed
/// one prompt takes no more.
const PIECE_BYTES_FIRST: usize = 1024;

/// A bounded tail of a byte stream. Positions count from the first byte of the stream.
#[derive(Default)]
pub(super) struct Ring {
    /// Full pieces with the position of their first byte, without gaps between them. The first may begin before `start`.
    pieces: VecDeque<(u64, Bytes)>,
    /// What follows them, less than a piece.
    tail: Vec<u8>,
    /// What was last read of the tail, with its position: the next viewer wants the same.
    last_read: Option<(u64, Bytes)>,
    start: u64,
    end: u64,
}

impl Ring {
    /// Position of the oldest byte that is still held.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Position behind the newest byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends output and forgets what no longer fits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        // What would be forgotten at once is not taken in.
        let mut rest = &bytes[bytes.len().saturating_sub(RING_BYTES)..];
        if rest.len() < bytes.len() {
            self.skip_to(self.end + (bytes.len() - rest.len()) as u64);
        }
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(PIECE_BYTES - self.tail.len()));
            self.reserve(part.len());
            self.tail.extend_from_slice(part);
            self.end += part.len() as u64;
            rest = after;
            if self.tail.len() == PIECE_BYTES {
                self.seal();
            }
        }
        self.start = self.start.max(self.end.saturating_sub(RING_BYTES as u64));
        while self.pieces.front().is_some_and(|(offset, piece)| offset + piece.len() as u64 <= self.start) {
            self.pieces.pop_front();
        }
    }

    /// Continues the stream at `position`, when what lies between was lost.
    pub(super) fn skip_to(&mut self, position: u64) {
        if position > self.end {
            self.pieces.clear();
            self.tail.clear();
            self.last_read = None;
            self.start = position;
            self.end = position;
        }
    }

    /// Up to `max` bytes from `position` on, out of one piece; empty at the end of the stream. A code point that the end
    /// of what is read cuts is left out, unless it is all there is. The caller has checked that `position` is not
    /// before [`Self::start`].
    pub(super) fn read(&mut self, position: u64, max: usize) -> Bytes {
        let bytes = self.read_raw(position, max);
        let ends_piece = bytes.len() < max && position + bytes.len() as u64 <= self.tail_start();
        // Between pieces nothing is cut, even where the last bytes of one begin a code point: another one follows.
        if ends_piece { bytes } else { whole(&bytes) }
    }

    /// Whether `bytes`, which were read at `position`, may yet become a code point by what is still to come.
    pub(super) fn awaits_rest(&self, position: u64, bytes: &[u8]) -> bool {
        position + bytes.len() as u64 == self.end && unfinished(bytes) == bytes.len()
    }

    /// Like [`Self::read`], whatever is cut.
    pub(super) fn read_raw(&mut self, position: u64, max: usize) -> Bytes {
        let index = self.pieces.partition_point(|(offset, piece)| offset + piece.len() as u64 <= position);
        let found = match self.pieces.get(index) {
            Some((offset, piece)) => piece.slice(within(position, *offset, piece.len())..),
            None => self.read_tail(position),
        };
        found.slice(..found.len().min(max))
    }

    /// Forgets what was last read, which is kept for the next reader.
    pub(super) fn forget_read(&mut self) {
        self.last_read = None;
    }

    /// Where a viewer without a position starts: at the oldest byte, or behind the first line break
    /// when older output is gone, so that no cut escape sequence or code point comes first.
    pub(super) fn history_start(&self) -> u64 {
        if self.start == 0 {
            return 0;
        }
        let tail = std::iter::once((self.tail_start(), self.tail.as_slice()));
        for (offset, piece) in self.pieces.iter().map(|(offset, piece)| (*offset, &piece[..])).chain(tail) {
            let from = within(self.start, offset, piece.len());
            if let Some(line_break) = piece[from..].iter().position(|byte| *byte == b'\n') {
                return offset + (from + line_break) as u64 + 1;
            }
        }
        self.start
    }

    fn tail_start(&self) -> u64 {
        self.end - self.tail.len() as u64
    }

    fn read_tail(&mut self, position: u64) -> Bytes {
        let from = within(position, self.tail_start(), self.tail.len());
        if let Some((at, bytes)) = &self.last_read
            && *at == position
            && bytes.len() == self.tail.len() - from
        {
            return bytes.clone();
        }
        let bytes = Bytes::copy_from_slice(&self.tail[from..]);
        self.last_read = Some((position, bytes.clone()));
        bytes
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.tail.len() + more;
        if needed > self.tail.capacity() {
            let capacity = needed.next_power_of_two().clamp(PIECE_BYTES_FIRST, PIECE_BYTES);
            self.tail.reserve_exact(capacity - self.tail.len());
        }
    }

    /// Makes a piece of the tail; a code point that is not finished goes into the next one. What is left may end in the
    /// beginning of another code point, which what follows did not finish.
    fn seal(&mut self) {
        let offset = self.tail_start();
        let unfinished = self.tail.split_off(self.tail.len() - unfinished(&self.tail));
        self.pieces.push_back((offset, Bytes::from(std::mem::replace(&mut self.tail, unfinished))));
        self.last_read = None;
    }
}

/// How far `position` lies behind `offset`, at most `len`.
fn within(position: u64, offset: u64, len: usize) -> usize {
    usize::try_from(position.saturating_sub(offset)).unwrap_or(len).min(len)
}

/// `bytes` without the code point that their end cuts, unless that is all.
fn whole(bytes: &Bytes) -> Bytes {
    match bytes.len() - unfinished(bytes) {
        0 => bytes.clone(),
        end => bytes.slice(..end),
    }
}

/// How many bytes at the end of `bytes` begin a code point of UTF-8 whose rest is still to come: three at the most.
pub(super) fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let end = &bytes[bytes.len() - back..];
        if end[0] & 0b1100_0000 != 0b1000_0000 {
            let cut = std::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
            return if cut { back } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(ring: &mut Ring, mut position: u64, max: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = ring.read(position, max);
            if bytes.is_empty() {
                return all;
            }
            assert!(bytes.len() <= max && bytes.len() <= PIECE_BYTES);
            position += bytes.len() as u64;
            all.extend_from_slice(&bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written_at_that_position(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 1..40),
            back in 0u64..700_000,
            max in 1usize..50_000,
        ) {
            let mut ring = Ring::default();
            let mut all = Vec::new();
            for chunk in chunks {
                all.extend_from_slice(&chunk);
                ring.push(&chunk);
            }
            prop_assert_eq!(ring.end(), all.len() as u64);
            prop_assert_eq!(ring.end() - ring.start(), all.len().min(RING_BYTES) as u64);
            let position = ring.end().saturating_sub(back).max(ring.start());
            let from = usize::try_from(position).unwrap();
            prop_assert_eq!(&read_all(&mut ring, position, max)[..], &all[from..]);
        }

        #[test]
        fn who_reads_along_waits_for_nothing_but_the_last_character(
            cut in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xbfu8, 0xc2..=0xf4u8], 1..200),
            chunks in prop::collection::vec(1usize..20_000, 1..20),
        ) {
            let mut ring = Ring::default();
            let (mut all, mut seen) = (Vec::new(), Vec::new());
            for chunk in chunks {
                let bytes: Vec<u8> = cut.iter().copied().cycle().skip(all.len() % cut.len()).take(chunk).collect();
                all.extend_from_slice(&bytes);
                ring.push(&bytes);
                loop {
                    let position = seen.len() as u64;
                    let bytes = ring.read(position, PIECE_BYTES);
                    if bytes.is_empty() || ring.awaits_rest(position, &bytes) {
                        break;
                    }
                    seen.extend_from_slice(&bytes);
                }
                prop_assert_eq!(&all[seen.len()..], &all[all.len() - unfinished(&all)..]);
            }
            prop_assert!(all.starts_with(&seen));
        }

        #[test]
        fn no_read_cuts_a_character(text in "[a-z\u{e9}\u{20ac}\u{1f600}]{1,300}", max in 4usize..64) {
            let mut ring = Ring::default();
            let mut all = String::new();
            while all.len() < 3 * PIECE_BYTES {
                all.push_str(&text);
            }
            ring.push(all.as_bytes());
            let mut position = 0;
            while position < ring.end() {
                let bytes = ring.read(position, max);
                prop_assert!(std::str::from_utf8(&bytes).is_ok());
                position += bytes.len() as u64;
            }
        }
    }

    #[test]
    fn many_short_parts_take_no_more_memory_than_long_ones() {
        let mut ring = Ring::default();
        ring.push(b"$ ");
        assert!(ring.tail.capacity() <= PIECE_BYTES_FIRST);
        for _ in 0..2 * RING_BYTES {
            ring.push(b"x");
        }
        let held: usize = ring.pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>() + ring.tail.capacity();
        assert!(held <= RING_BYTES + 2 * PIECE_BYTES, "{held} bytes");
        assert!(ring.pieces.len() <= RING_BYTES / PIECE_BYTES + 1);
        ring.push(&vec![b'y'; 3 * RING_BYTES]);
        assert_eq!((ring.end() - ring.start(), ring.end()), (RING_BYTES as u64, 5 * RING_BYTES as u64 + 2));
    }

    #[test]
    fn viewers_that_read_the_same_share_it() {
        let mut ring = Ring::default();
        ring.push(&vec![b'x'; PIECE_BYTES + 100]);
        for position in [0, 10, PIECE_BYTES as u64, PIECE_BYTES as u64 + 10] {
            assert_eq!(ring.read(position, PIECE_BYTES).as_ptr(), ring.read(position, PIECE_BYTES).as_ptr(), "from {position}");
        }
    }

    #[test]
    fn a_code_point_is_unfinished_only_while_it_can_be_finished() {
        for (bytes, expected) in [
            (&b"a"[..], 0),
            (b"\xe2\x82\xac", 0),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xf0", 1),
            (b"\xff", 0),
            (b"\xe0\x80", 0),
            (b"\x82", 0),
        ] {
            assert_eq!(unfinished(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn history_starts_behind_a_line_break_once_something_was_forgotten() {
        let mut ring = Ring::default();
        ring.push(b"first\nsecond");
        assert_eq!(ring.history_start(), 0);
        ring.push(&vec![b'x'; RING_BYTES - 6]);
        assert_eq!(ring.history_start(), ring.start(), "no line break is left");
        ring.push(b"\ny");
        assert_eq!(ring.history_start(), ring.end() - 1);
    }

    #[test]
    fn a_gap_moves_the_stream_forward_and_never_back() {
        let mut ring = Ring::default();
        ring.push(b"abc");
        ring.skip_to(2);
        assert_eq!((ring.start(), ring.end()), (0, 3));
        ring.skip_to(10);
        assert_eq!((ring.start(), ring.end()), (10, 10));
    }
}
