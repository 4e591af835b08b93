//! What a terminal showed, as it is kept: moments in their order, written into pieces that are compressed.
//!
//! A piece is the bytes of its moments one after the other: microseconds since the moment before, the kind, and what the
//! kind needs, numbers as LEB128. Positions are not written: they follow from the piece's first and from the output.

use std::io;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ids::{AgentId, SessionId, WorkspaceId},
    terminal::Size,
};

/// A piece is at most this long before it is compressed, in bytes: what a merge makes of pieces that were each closed at
/// [`PIECE_BYTES`] stays far below. One that claims to be longer is not unpacked.
const UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A piece is closed at this many bytes: the unit in which a long recording is stored and read.
pub const PIECE_BYTES: usize = 256 * 1024;
/// One moment's output is at most this long, in bytes (realtime contract §5.7 allows four times that): a page of log lines
/// has one in each.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// Level 1 packs terminal output to a tenth at several hundred megabytes a second; higher ones cost more than they save.
const PACK_LEVEL: i32 = 1;
/// A marker's text is cut to this many bytes.
const MARKER_BYTES_MAX: usize = 500;

const OUTPUT: u8 = 0;
const RESIZED: u8 = 1;
const GAP: u8 = 2;
const MARKER: u8 = 3;
const INPUT: u8 = 4;

/// Something that happened at a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: DateTime<Utc>,
    /// How much output came before, in bytes since the process's first.
    pub offset: u64,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Output(Vec<u8>),
    Resized(Size),
    /// This many bytes of output are missing.
    Gap(u64),
    Marker(String),
    Input(Vec<u8>),
}

impl What {
    /// How far the stream of output moves on.
    fn advances(&self) -> u64 {
        match self {
            Self::Output(bytes) => bytes.len() as u64,
            Self::Gap(length) => *length,
            Self::Resized(_) | Self::Marker(_) | Self::Input(_) => 0,
        }
    }
}

impl Moment {
    /// The position behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.what.advances()
    }
}

/// A stretch of a recording, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub from_offset: u64,
    pub to_offset: u64,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    /// The terminal's size at its start.
    pub size: Size,
    /// Bytes of output in it.
    pub bytes: u64,
    /// How many moments of output it has.
    pub outputs: u32,
    /// Bytes that are missing in it.
    pub lost: u64,
    /// The moments, packed.
    pub moments: Vec<u8>,
}

/// A packed piece cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadablePiece {
    #[error("the piece cannot be unpacked")]
    Packed(#[source] io::Error),
    #[error("the piece ends inside a moment")]
    Cut,
    #[error("the piece has a moment of unknown kind {0}")]
    Kind(u8),
    #[error("the piece has a number or a size that is out of range")]
    Range,
}

impl Piece {
    /// Its moments, in their order.
    pub fn unpack(&self) -> Result<Vec<Moment>, UnreadablePiece> {
        let bytes = zstd::bulk::decompress(&self.moments, UNPACKED_BYTES_MAX).map_err(UnreadablePiece::Packed)?;
        let mut reader = Reader { rest: &bytes, at: self.started_at, offset: self.from_offset };
        let mut moments = Vec::new();
        while !reader.rest.is_empty() {
            moments.push(reader.moment()?);
        }
        Ok(moments)
    }

    /// One piece of several that follow each other; `None` of none.
    pub fn merge(pieces: &[Self]) -> Result<Option<Self>, UnreadablePiece> {
        let Some(first) = pieces.first() else { return Ok(None) };
        let mut draft = Draft::new(first.from_offset, first.started_at, first.size);
        for piece in pieces {
            for moment in piece.unpack()? {
                draft.push(moment.at, &moment.what);
            }
        }
        Ok(draft.seal())
    }
}

/// A piece that is being written.
pub struct Draft {
    piece: Piece,
    size: Size,
    written: Vec<u8>,
}

impl Draft {
    /// An empty one whose first moment is at `offset`.
    #[must_use]
    pub fn new(offset: u64, at: DateTime<Utc>, size: Size) -> Self {
        let piece = Piece {
            from_offset: offset,
            to_offset: offset,
            started_at: at,
            ended_at: at,
            size,
            bytes: 0,
            outputs: 0,
            lost: 0,
            moments: Vec::new(),
        };
        Self { piece, size, written: Vec::new() }
    }

    /// Bytes that it takes unpacked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Position behind its last moment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.piece.to_offset
    }

    /// The terminal's size behind its last moment.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Adds a moment; one that is dated before the last counts as of the same time. Longer output is split.
    pub fn push(&mut self, at: DateTime<Utc>, what: &What) {
        match what {
            What::Output(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (part, behind) = rest.split_at(part_length(rest));
                    rest = behind;
                    self.begin(at, OUTPUT);
                    self.bytes(part);
                    self.piece.bytes += part.len() as u64;
                    self.piece.outputs += 1;
                }
            }
            What::Resized(size) => {
                self.begin(at, RESIZED);
                self.number(size.cols().into());
                self.number(size.rows().into());
                self.size = *size;
            }
            What::Gap(length) => {
                self.begin(at, GAP);
                self.number(*length);
                self.piece.lost += length;
            }
            What::Marker(text) => {
                self.begin(at, MARKER);
                self.bytes(&text.as_bytes()[..text.floor_char_boundary(MARKER_BYTES_MAX)]);
            }
            What::Input(bytes) => {
                for part in bytes.chunks(OUTPUT_BYTES_MAX) {
                    self.begin(at, INPUT);
                    self.bytes(part);
                }
            }
        }
        self.piece.to_offset += what.advances();
    }

    /// The piece, packed; `None` when nothing is in it.
    #[must_use]
    pub fn seal(mut self) -> Option<Piece> {
        if self.is_empty() {
            return None;
        }
        self.piece.moments = zstd::bulk::compress(&self.written, PACK_LEVEL).expect("compressing into memory cannot fail");
        Some(self.piece)
    }

    fn begin(&mut self, at: DateTime<Utc>, kind: u8) {
        let since = (at - self.piece.ended_at).max(TimeDelta::zero());
        self.number(since.num_microseconds().unwrap_or(0).unsigned_abs());
        self.written.push(kind);
        // What is read back has no more digits either.
        self.piece.ended_at += TimeDelta::microseconds(since.num_microseconds().unwrap_or(0));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.written.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.written.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.written.push((number & 0x7f) as u8);
    }
}

/// How much of output one moment takes: it ends before a code point that would be cut.
fn part_length(bytes: &[u8]) -> usize {
    if bytes.len() <= OUTPUT_BYTES_MAX {
        return bytes.len();
    }
    let is_boundary = |at: &usize| !matches!(bytes[*at], 0x80..=0xbf);
    (OUTPUT_BYTES_MAX - 3..=OUTPUT_BYTES_MAX).rev().find(is_boundary).unwrap_or(OUTPUT_BYTES_MAX)
}

struct Reader<'a> {
    rest: &'a [u8],
    at: DateTime<Utc>,
    offset: u64,
}

impl Reader<'_> {
    fn moment(&mut self) -> Result<Moment, UnreadablePiece> {
        let since = i64::try_from(self.number()?).map_err(|_| UnreadablePiece::Range)?;
        self.at = self.at.checked_add_signed(TimeDelta::microseconds(since)).ok_or(UnreadablePiece::Range)?;
        let what = match self.byte()? {
            OUTPUT => What::Output(self.bytes()?.to_vec()),
            RESIZED => {
                let mut side = || self.number().and_then(|side| i64::try_from(side).map_err(|_| UnreadablePiece::Range));
                What::Resized(Size::new(side()?, side()?).ok_or(UnreadablePiece::Range)?)
            }
            GAP => What::Gap(self.number()?),
            MARKER => What::Marker(String::from_utf8_lossy(self.bytes()?).into_owned()),
            INPUT => What::Input(self.bytes()?.to_vec()),
            kind => return Err(UnreadablePiece::Kind(kind)),
        };
        let offset = self.offset;
        self.offset = offset.checked_add(what.advances()).ok_or(UnreadablePiece::Range)?;
        Ok(Moment { at: self.at, offset, what })
    }

    fn byte(&mut self) -> Result<u8, UnreadablePiece> {
        let (byte, rest) = self.rest.split_first().ok_or(UnreadablePiece::Cut)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn bytes(&mut self) -> Result<&[u8], UnreadablePiece> {
        let length = usize::try_from(self.number()?).map_err(|_| UnreadablePiece::Range)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(UnreadablePiece::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, UnreadablePiece> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(UnreadablePiece::Range)
    }
}

/// The recording of one session.
#[derive(Clone, Debug)]
pub struct Recording {
    pub session: SessionId,
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    pub title: Option<String>,
    pub size: Size,
    pub started_at: DateTime<Utc>,
    /// When something was last recorded.
    pub last_at: DateTime<Utc>,
    /// `None` while the session goes on.
    pub ended_at: Option<DateTime<Utc>>,
    /// The part that is kept: everything before was pruned or deleted.
    pub from_offset: u64,
    pub to_offset: u64,
    /// Bytes of output that are kept, and what they take.
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Bytes that were never recorded, in what is kept.
    pub lost_bytes: u64,
    /// When the retention last took something away, and when a person did.
    pub pruned_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub exit_code: Option<i32>,
}

/// A point of a recording that stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub at: DateTime<Utc>,
    pub offset: u64,
    pub kind: MarkKind,
}

/// What stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkKind {
    Marker(String),
    /// This many bytes are missing.
    Gap(u64),
}

impl Mark {
    /// The mark that a moment makes, if it makes one.
    #[must_use]
    pub fn of(moment: &Moment) -> Option<Self> {
        let kind = match &moment.what {
            What::Marker(text) => MarkKind::Marker(text.clone()),
            What::Gap(length) => MarkKind::Gap(*length),
            What::Output(_) | What::Resized(_) | What::Input(_) => return None,
        };
        Some(Self { at: moment.at, offset: moment.offset, kind })
    }
}

/// How far a session has been recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Position behind the last byte.
    pub offset: u64,
    /// The number of the next piece.
    pub seq: i64,
}

/// What is known of a recording that is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub progress: Progress,
    /// When all that there was of it was deleted last.
    pub deleted_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_900_000_000_123_456).unwrap()
    }

    fn what() -> impl Strategy<Value = What> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..300).prop_map(What::Output),
            (1i64..=1000, 1i64..=500).prop_map(|(cols, rows)| What::Resized(Size::new(cols, rows).unwrap())),
            (1u64..u64::from(u32::MAX)).prop_map(What::Gap),
            "\\PC{0,60}".prop_map(What::Marker),
            prop::collection::vec(any::<u8>(), 1..20).prop_map(What::Input),
        ]
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_written_with_its_times_and_positions(
            moments in prop::collection::vec((0i64..10_000_000, what()), 1..40),
            offset in 0u64..1 << 40,
            cut in 0usize..40,
        ) {
            let mut draft = Draft::new(offset, start(), Size::DEFAULT);
            let mut second = None;
            let (mut at, mut position) = (start(), offset);
            let mut expected = Vec::new();
            for (index, (since, what)) in moments.into_iter().enumerate() {
                at += TimeDelta::microseconds(since);
                if index == cut {
                    second = Some(Draft::new(position, at, draft.size()));
                }
                second.as_mut().unwrap_or(&mut draft).push(at, &what);
                expected.push(Moment { at, offset: position, what });
                position = expected.last().unwrap().end();
            }
            let pieces: Vec<Piece> = [Some(draft), second].into_iter().flatten().filter_map(Draft::seal).collect();
            let read: Vec<Moment> = pieces.iter().flat_map(|piece| piece.unpack().unwrap()).collect();
            prop_assert_eq!(&read, &expected);
            let merged = Piece::merge(&pieces).unwrap().unwrap();
            prop_assert_eq!(&merged.unpack().unwrap(), &expected);
            prop_assert_eq!((merged.from_offset, merged.to_offset, merged.ended_at), (offset, position, at));
            prop_assert_eq!(merged.bytes, pieces.iter().map(|piece| piece.bytes).sum::<u64>());
        }

        #[test]
        fn bytes_that_are_no_piece_are_refused_and_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut draft = Draft::new(0, start(), Size::DEFAULT);
            draft.written = bytes;
            if let Some(piece) = draft.seal() {
                drop(piece.unpack());
            }
        }
    }

    #[test]
    fn time_never_runs_backwards_and_long_output_is_split() {
        let mut draft = Draft::new(0, start(), Size::DEFAULT);
        draft.push(start() + TimeDelta::seconds(2), &What::Output(vec![b'x'; OUTPUT_BYTES_MAX + 1]));
        draft.push(start() + TimeDelta::seconds(1), &What::Marker("late".into()));
        let moments = draft.seal().unwrap().unpack().unwrap();
        assert_eq!(moments.len(), 3);
        assert!(moments.iter().all(|moment| moment.at == start() + TimeDelta::seconds(2)));
        assert_eq!(moments[1].offset, OUTPUT_BYTES_MAX as u64);
    }

    #[test]
    fn long_output_is_not_split_inside_a_code_point() {
        let text = format!("x{}", "\u{1f980}".repeat(OUTPUT_BYTES_MAX));
        let mut draft = Draft::new(0, start(), Size::DEFAULT);
        draft.push(start(), &What::Output(text.clone().into_bytes()));
        let parts = draft.seal().unwrap().unpack().unwrap();
        let parts: Vec<String> = parts
            .into_iter()
            .map(|moment| if let What::Output(bytes) = moment.what { String::from_utf8(bytes).unwrap() } else { unreachable!() })
            .collect();
        assert!(parts.len() >= 4 && parts.concat() == text);
    }

    #[test]
    fn a_piece_that_unpacks_to_too_much_is_refused() {
        let moments = zstd::bulk::compress(&vec![0; UNPACKED_BYTES_MAX + 1], PACK_LEVEL).unwrap();
        let piece = Piece { moments, ..Draft::new(0, start(), Size::DEFAULT).piece };
        assert!(matches!(piece.unpack(), Err(UnreadablePiece::Packed(_))));
    }
}
