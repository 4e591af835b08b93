//! Recordings of terminals: written in pieces, read back in their order, searched, and kept within their bounds.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{task::spawn_blocking, time::Instant};
use uuid::Uuid;

use super::events;
use crate::{
    model::{
        actor::Admin,
        event::{AgentBrief, Event, EventKind},
        ids::{AgentId, SessionId, WorkspaceId},
        leak::Found,
        recording::{Mark, Moment, PIECE_BYTES, Piece, Recording, UnreadablePiece, What},
        settings::{RecordingBounds, RecordingRules},
        terminal::{SessionLog, Size},
        terminal_rights::Readable,
        transcript::{Hit, Search, Utf8},
    },
    storage::{self, StorageError, Tx, recordings::Segment},
};

pub use crate::{
    model::recording::{Progress, Recorded},
    storage::{Conn, recordings::Addition},
};

/// Marks that are told of one recording at the most.
const MARKS_MAX: i64 = 1000;
/// Output that a terminal is given back after a restart, in bytes: what its ring holds.
pub const TAIL_BYTES: u64 = 512 * 1024;
/// Segments that are looked through for it at the most: minutes of pieces that were not merged.
const TAIL_SEGMENTS_MAX: i64 = 1000;
/// How long pieces wait to be merged, how many there may be, and how many are merged at once.
const MERGED_AFTER: TimeDelta = TimeDelta::seconds(60);
const UNMERGED_MAX: i64 = 200;
const MERGED_AT_ONCE: i64 = 500;
/// Sessions whose pieces one round merges at the most.
const MERGED_SESSIONS_MAX: i64 = 100;
/// Segments that one transaction prunes at the most, so that it holds no lock for long.
const PRUNED_AT_ONCE: i64 = 200;
/// A workspace's recordings may be too large by this part of what they may take, until that is looked at.
const SURPLUS_PART: u64 = 32;
/// Recordings that a search reads the rows of at once.
const SEARCHED_AT_ONCE: i64 = 20;
/// A search that goes on elsewhere goes back this far, so that it finds what lies across.
const SEARCH_OVERLAP_BYTES: u64 = 1024;
/// Segments that a search reads whatever its deadline, so that it gets on: the first may be one it has seen.
const SEARCHED_MIN: u32 = 2;
/// Rows of output before one that may have the start of its first code point.
const CODE_POINT_ROWS: u64 = 3;

/// What of a session cannot be read back.
fn unreadable(session: SessionId, error: &UnreadablePiece) -> StorageError {
    tracing::error!(session.id = %session, error = error as &dyn std::error::Error, "a segment cannot be read");
    StorageError::Corrupt { table: "terminal_segments", column: "moments", id: session.to_string() }
}

/// Whether a workspace's terminals are recorded, and how.
pub async fn rules(conn: &mut Conn, workspace: WorkspaceId) -> Result<RecordingRules, StorageError> {
    let found = storage::workspaces::get(conn, workspace).await?;
    Ok(RecordingRules::read(&found.map_or(serde_json::Value::Null, |workspace| workspace.settings)))
}

/// Begins the recording of a session, or goes on with it; says how far it is. `None` when the session is gone.
pub async fn begin(tx: &mut Tx, session: SessionId) -> Result<Option<Recorded>, StorageError> {
    let now = tx.now();
    storage::recordings::open(tx.conn(), session, now).await
}

/// How far a session is recorded; `None` when it is not.
pub async fn progress(conn: &mut Conn, session: SessionId) -> Result<Option<Recorded>, StorageError> {
    storage::recordings::progress(conn, session).await
}

/// What was found in one session's output beside the output.
pub struct Findings<'a> {
    pub session: SessionId,
    pub workspace: WorkspaceId,
    pub marks: &'a [Mark],
    pub secrets: &'a [Found],
}

/// Adds pieces to recordings, each to one that ends where the first begins; the others are left alone. Returns the sessions
/// whose recordings were added to.
///
/// Records [`EventKind::SecretLeaked`] once for each session and secret of its workspace that is good.
pub async fn append(tx: &mut Tx, additions: &[Addition<'_>], findings: &[Findings<'_>]) -> Result<Vec<SessionId>, StorageError> {
    let added = storage::recordings::append(tx.conn(), additions).await?;
    for found in findings.iter().filter(|found| added.contains(&found.session)) {
        if !found.marks.is_empty() {
            let seq = additions.iter().find(|addition| addition.session == found.session).map_or(0, |addition| addition.expected.seq);
            storage::recordings::add_marks(tx.conn(), found.session, seq, found.marks).await?;
        }
        if !found.secrets.is_empty() {
            tell_leaks(tx, found).await?;
        }
    }
    Ok(added)
}

async fn tell_leaks(tx: &mut Tx, found: &Findings<'_>) -> Result<(), StorageError> {
    let now = tx.now();
    let mut hashes: Vec<String> = found.secrets.iter().map(|secret| secret.hash.clone()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let Some(session) = storage::terminals::get(tx.conn(), found.workspace, found.session).await? else { return Ok(()) };
    let agent = storage::agents::get(tx.conn(), found.workspace, &session.agent).await?;
    for issued in storage::recordings::issued(tx.conn(), found.workspace, &hashes, now).await? {
        if !storage::recordings::note_leak(tx.conn(), found.session, &issued, now).await? {
            continue;
        }
        tracing::warn!(session.id = %found.session, agent.id = %session.agent, secret.kind = issued.kind.as_str(), secret.id = issued.id,
            "an agent's terminal showed a secret");
        if let Some(agent) = &agent {
            let kind = EventKind::SecretLeaked {
                agent: AgentBrief::of(agent),
                session_id: found.session,
                kind: issued.kind,
                secret_id: issued.id,
                label: issued.label,
            };
            events::record(tx, Event::about(agent, None, kind)).await?;
        }
    }
    Ok(())
}

/// Notes that nothing more will be recorded of a session.
pub async fn end(tx: &mut Tx, session: SessionId) -> Result<(), StorageError> {
    let now = tx.now();
    storage::recordings::end(tx.conn(), session, now).await
}

/// Sessions whose pieces are worth merging.
pub async fn to_merge(tx: &mut Tx) -> Result<Vec<SessionId>, StorageError> {
    let before = tx.now() - MERGED_AFTER;
    storage::recordings::to_merge(tx.conn(), before, PIECE_BYTES as u64, UNMERGED_MAX, MERGED_SESSIONS_MAX).await
}

/// Merges pieces that follow each other into segments of about [`PIECE_BYTES`].
pub async fn merge(tx: &mut Tx, session: SessionId) -> Result<(), StorageError> {
    if !storage::recordings::lock(tx.conn(), session).await? {
        return Ok(());
    }
    let mut group: Vec<Segment> = Vec::new();
    let pieces = storage::recordings::unmerged(tx.conn(), session, MERGED_AT_ONCE).await?;
    for segment in pieces {
        let bytes: u64 = group.iter().map(|segment| segment.piece.bytes).sum();
        let is_next =
            group.last().is_none_or(|last| last.seq + 1 == segment.first_seq && last.piece.to_offset == segment.piece.from_offset);
        if !is_next || bytes + segment.piece.bytes > PIECE_BYTES as u64 {
            merge_group(tx, session, std::mem::take(&mut group)).await?;
        }
        group.push(segment);
    }
    merge_group(tx, session, group).await
}

async fn merge_group(tx: &mut Tx, session: SessionId, group: Vec<Segment>) -> Result<(), StorageError> {
    let pieces: Vec<Piece> = group.iter().map(|segment| segment.piece.clone()).collect();
    match Piece::merge(&pieces).map_err(|error| unreadable(session, &error))? {
        Some(merged) => storage::recordings::replace(tx.conn(), session, &group, &merged).await,
        None => Ok(()),
    }
}

/// A recording and its points that stand out.
pub struct Description {
    pub recording: Recording,
    pub marks: Vec<Mark>,
}

/// The recording of a session, `None` when nothing was ever recorded of it.
pub async fn describe(conn: &mut Conn, workspace: WorkspaceId, session: SessionId) -> Result<Option<Description>, StorageError> {
    let Some(recording) = storage::recordings::get(conn, workspace, session).await? else { return Ok(None) };
    let marks = storage::recordings::marks(conn, session, MARKS_MAX).await?;
    Ok(Some(Description { recording, marks }))
}

/// Which recordings of an agent somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    /// Those that they may read: the others are not opened.
    pub readable: Readable,
}

impl Wanted {
    async fn newest(
        &self,
        conn: &mut Conn,
        before: Option<(DateTime<Utc>, SessionId)>,
        limit: i64,
    ) -> Result<Vec<Recording>, StorageError> {
        let spawned_by = match self.readable {
            Readable::All => None,
            Readable::SpawnedBy(user) => Some(user),
            Readable::None => return Ok(Vec::new()),
        };
        storage::recordings::of_agent(conn, self.workspace, &self.agent, spawned_by, before, limit).await
    }

    async fn one(&self, conn: &mut Conn, session: SessionId) -> Result<Option<Recording>, StorageError> {
        let spawned_by = match self.readable {
            Readable::All => None,
            Readable::SpawnedBy(user) => Some(user),
            Readable::None => return Ok(None),
        };
        storage::recordings::one_of_agent(conn, self.workspace, &self.agent, spawned_by, session).await
    }
}

/// An agent's recordings, newest first.
pub async fn of_agent(conn: &mut Conn, wanted: &Wanted, limit: u64) -> Result<Vec<Recording>, StorageError> {
    wanted.newest(conn, None, i64::try_from(limit).unwrap_or(i64::MAX)).await
}

/// Deletes what is recorded of a session until now. `false` when nothing is.
///
/// Records [`EventKind::RecordingDeleted`].
pub async fn delete(tx: &mut Tx, admin: &Admin, session: SessionId) -> Result<bool, StorageError> {
    let Some(recording) = storage::recordings::get(tx.conn(), admin.workspace(), session).await? else { return Ok(false) };
    storage::recordings::lock(tx.conn(), session).await?;
    let now = tx.now();
    storage::recordings::clear(tx.conn(), session, now).await?;
    let kind = EventKind::RecordingDeleted { session_id: session };
    events::record(tx, Event { workspace: recording.workspace, agent: Some(recording.agent), actor: Some(admin.user()), kind }).await?;
    Ok(true)
}

/// Reads a recording from a position on, a segment at a time. Pieces may be merged meanwhile.
pub struct Playback {
    session: SessionId,
    seq: i64,
    /// Behind the last moment that was read, and when that was.
    position: u64,
    at: DateTime<Utc>,
}

impl Playback {
    /// From the beginning of what is kept.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self { session, seq: -1, position: 0, at: DateTime::<Utc>::MIN_UTC }
    }

    /// From the segment on that has the byte at `offset`.
    async fn from(conn: &mut Conn, session: SessionId, offset: u64) -> Result<Self, StorageError> {
        Ok(Self { seq: storage::recordings::seq_before(conn, session, offset).await?, ..Self::new(session) })
    }

    /// The next moments, with the size that the terminal has before them; `None` at the end.
    pub async fn next(&mut self, conn: &mut Conn) -> Result<Option<(Size, Vec<Moment>)>, StorageError> {
        let segment = self.fetch(conn).await?;
        segment.map(|segment| self.read(&segment)).transpose()
    }

    async fn fetch(&self, conn: &mut Conn) -> Result<Option<Segment>, StorageError> {
        storage::recordings::segment_after(conn, self.session, self.seq).await
    }

    /// Reads the segment that was fetched.
    fn read(&mut self, segment: &Segment) -> Result<(Size, Vec<Moment>), StorageError> {
        let mut moments = segment.piece.unpack().map_err(|error| unreadable(self.session, &error))?;
        if segment.first_seq <= self.seq {
            // Pieces that were read already are in it.
            moments.retain(|moment| (moment.end(), moment.at) > (self.position, self.at));
        }
        self.seq = segment.seq;
        if let Some(last) = moments.last() {
            (self.position, self.at) = (last.end(), last.at);
        }
        Ok((segment.piece.size, moments))
    }
}

/// The newest output of a session, as far as it was recorded.
pub struct Tail {
    pub offset: u64,
    pub bytes: Vec<u8>,
    pub size: Size,
}

/// The newest [`TAIL_BYTES`] of a session's output; `None` when nothing is recorded.
pub async fn tail(conn: &mut Conn, session: SessionId) -> Result<Option<Tail>, StorageError> {
    let mut tail: Option<Tail> = None;
    for segment in storage::recordings::newest(conn, session, TAIL_BYTES, TAIL_SEGMENTS_MAX).await? {
        let tail = tail.get_or_insert(Tail { offset: segment.piece.from_offset, bytes: Vec::new(), size: segment.piece.size });
        if tail.offset + tail.bytes.len() as u64 != segment.piece.from_offset {
            (tail.offset, tail.bytes) = (segment.piece.from_offset, Vec::new());
        }
        for moment in segment.piece.unpack().map_err(|error| unreadable(session, &error))? {
            match moment.what {
                What::Output(bytes) => tail.bytes.extend_from_slice(&bytes),
                What::Resized(size) => tail.size = size,
                What::Gap(_) => (tail.offset, tail.bytes) = (moment.end(), Vec::new()),
                What::Marker(_) | What::Input(_) => {}
            }
        }
    }
    if let Some(tail) = &mut tail {
        let surplus = tail.bytes.len().saturating_sub(usize::try_from(TAIL_BYTES).unwrap_or(usize::MAX));
        tail.bytes.drain(..surplus);
        tail.offset += surplus as u64;
    }
    Ok(tail)
}

/// What was logged of a session, oldest first: what the original logged, then the output that was recorded, a row for each of
/// its moments. A code point that lies across rows is in the last of them.
pub async fn logs(conn: &mut Conn, session: SessionId, limit: u64, offset: u64) -> Result<Vec<SessionLog>, StorageError> {
    let limit_rows = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut logs = storage::terminals::logs(conn, session, limit, offset).await?;
    if logs.len() >= limit_rows {
        return Ok(logs);
    }
    let skipped = offset.saturating_sub(storage::recordings::count_logs(conn, session).await?);
    // What was begun in the rows before.
    let begins = skipped.saturating_sub(CODE_POINT_ROWS);
    let Some((seq, before)) = storage::recordings::seq_before_output(conn, session, begins).await? else { return Ok(logs) };
    let mut playback = Playback { seq, ..Playback::new(session) };
    let (mut row, mut text, mut end) = (before, Utf8::default(), 0);
    while let Some((_, moments)) = playback.next(conn).await? {
        for moment in moments {
            let What::Output(bytes) = &moment.what else { continue };
            row += 1;
            if row <= begins {
                continue;
            }
            if moment.offset != end {
                text = Utf8::default();
            }
            end = moment.end();
            let content = text.read(bytes);
            if row <= skipped {
                continue;
            }
            logs.push(SessionLog {
                id: log_id(session, moment.offset),
                session,
                log_type: "stdout".to_owned(),
                content: Some(content),
                created_at: moment.at,
            });
            if logs.len() >= limit_rows {
                return Ok(logs);
            }
        }
    }
    Ok(logs)
}

/// The same for the same line whenever it is asked for.
fn log_id(session: SessionId, offset: u64) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(session.0.as_bytes());
    hash.update(offset.to_be_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Where a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchPlace {
    pub session: SessionId,
    pub offset: u64,
}

/// What a search found.
pub struct Matches {
    /// Newest session first, in the order of the output within one.
    pub found: Vec<(Recording, Hit)>,
    /// Where to go on, where not all was searched.
    pub next: Option<SearchPlace>,
}

/// What of a recording is being searched.
struct Searching {
    search: Search,
    playback: Playback,
}

impl Searching {
    /// Reads on. Unpacking and comparing take long enough to keep others from the thread.
    async fn read(mut self, segment: Segment) -> Result<(Self, Vec<Hit>), StorageError> {
        let session = self.playback.session;
        let read = spawn_blocking(move || {
            let mut hits = Vec::new();
            for moment in self.playback.read(&segment)?.1 {
                if let What::Output(bytes) = &moment.what {
                    self.search.read(moment.at, moment.offset, bytes, &mut hits);
                }
            }
            Ok((self, hits))
        });
        // It fails where the service ends, or where it panicked.
        read.await.map_err(|error| {
            tracing::error!(session.id = %session, error = &error as &dyn std::error::Error, "a recording was not searched");
            StorageError::Corrupt { table: "terminal_segments", column: "moments", id: session.to_string() }
        })?
    }
}

/// Finds a text in recordings, for at most `within`. Of a text that is nothing but white space there is none. Between two
/// segments no connection is held.
pub async fn search(
    pool: &PgPool,
    wanted: &Wanted,
    text: &str,
    from: Option<SearchPlace>,
    limit: usize,
    within: Duration,
) -> Result<Matches, StorageError> {
    let deadline = Instant::now() + within;
    let mut found = Vec::new();
    let mut segments = 0;
    let mut offset = from.map_or(0, |from| from.offset);
    let first = match from {
        Some(from) => wanted.one(&mut *pool.acquire().await?, from.session).await?,
        None => None,
    };
    if from.is_some() && first.is_none() {
        return Ok(Matches { found, next: None });
    }
    let mut before = first.as_ref().map(|recording| (recording.started_at, recording.session));
    let mut waiting: Vec<Recording> = first.into_iter().collect();
    loop {
        if waiting.is_empty() {
            waiting = wanted.newest(&mut *pool.acquire().await?, before, SEARCHED_AT_ONCE).await?;
            waiting.reverse();
        }
        let Some(recording) = waiting.pop() else { return Ok(Matches { found, next: None }) };
        before = Some((recording.started_at, recording.session));
        let Some(search) = Search::new(text) else { return Ok(Matches { found, next: None }) };
        let playback = Playback::from(&mut *pool.acquire().await?, recording.session, offset).await?;
        let mut searching = Searching { search, playback };
        loop {
            let next = searching.playback.fetch(&mut *pool.acquire().await?).await?;
            let is_over = next.is_none();
            let mut hits = Vec::new();
            if let Some(segment) = next {
                (searching, hits) = searching.read(segment).await?;
            }
            segments += 1;
            let is_late = segments >= SEARCHED_MIN && Instant::now() >= deadline;
            if is_over || is_late {
                searching.search.finish(&mut hits);
            }
            for hit in hits.into_iter().filter(|hit| hit.offset >= offset) {
                let next = SearchPlace { session: recording.session, offset: hit.offset + 1 };
                found.push((recording.clone(), hit));
                if found.len() >= limit {
                    return Ok(Matches { found, next: Some(next) });
                }
            }
            if is_over {
                break;
            }
            if is_late {
                let last = found.last().filter(|(last, _)| last.session == recording.session).map_or(0, |(_, hit)| hit.offset + 1);
                let offset = offset.max(last).max(searching.playback.position.saturating_sub(SEARCH_OVERLAP_BYTES));
                return Ok(Matches { found, next: Some(SearchPlace { session: recording.session, offset }) });
            }
        }
        offset = 0;
    }
}

/// Workspaces with recordings.
pub async fn workspaces(conn: &mut Conn) -> Result<Vec<WorkspaceId>, StorageError> {
    storage::recordings::workspaces(conn).await
}

/// Bytes that may be added to a workspace's recordings before it is worth looking whether they are too much.
pub async fn room(conn: &mut Conn, workspace: WorkspaceId, bounds: RecordingBounds) -> Result<u64, StorageError> {
    let bytes_max = rules(conn, workspace).await?.stored_bytes_max(bounds);
    let (stored, _) = storage::recordings::stored(conn, workspace).await?;
    Ok(bytes_max.saturating_sub(stored).max(bytes_max / SURPLUS_PART))
}

/// Deletes some of what a workspace no longer keeps: what is too old, or the oldest of what is too much. Returns how many
/// segments; 0 when all is within its bounds.
pub async fn prune(tx: &mut Tx, workspace: WorkspaceId, bounds: RecordingBounds) -> Result<u64, StorageError> {
    let now = tx.now();
    let rules = rules(tx.conn(), workspace).await?;
    let before = now - rules.kept(bounds);
    if let Some(session) = storage::recordings::with_older(tx.conn(), workspace, before, 1).await?.pop() {
        storage::recordings::lock(tx.conn(), session).await?;
        return storage::recordings::prune(tx.conn(), session, Some(before), u64::MAX, PRUNED_AT_ONCE, now).await;
    }
    let (stored, oldest) = storage::recordings::stored(tx.conn(), workspace).await?;
    let surplus = stored.saturating_sub(rules.stored_bytes_max(bounds));
    let Some(session) = oldest.filter(|_| surplus > 0) else { return Ok(0) };
    storage::recordings::lock(tx.conn(), session).await?;
    storage::recordings::prune(tx.conn(), session, None, surplus, PRUNED_AT_ONCE, now).await
}
