//! Rows of `terminal_recordings`, `terminal_segments`, `terminal_marks` and `terminal_leaks`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    event::SecretKind,
    ids::{AgentId, SessionId, UserId, WorkspaceId},
    recording::{Mark, MarkKind, PIECE_BYTES, Piece, Progress, Recorded, Recording},
    terminal::Size,
};

/// A recording that cannot be read has no position beyond this.
const OFFSET_MAX: i64 = i64::MAX;

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(OFFSET_MAX)
}

/// Negative numbers are kept out by constraints.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A stored piece with its place in the recording.
pub struct Segment {
    /// Numbers of the first and the last piece that it was made of.
    pub first_seq: i64,
    pub seq: i64,
    pub piece: Piece,
}

struct SegmentRow {
    session_id: Uuid,
    seq: i64,
    first_seq: i64,
    from_offset: i64,
    to_offset: i64,
    started_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    cols: i32,
    rows: i32,
    bytes: i64,
    outputs: i32,
    lost_bytes: i64,
    moments: Vec<u8>,
}

impl TryFrom<SegmentRow> for Segment {
    type Error = StorageError;

    fn try_from(row: SegmentRow) -> Result<Self, StorageError> {
        let corrupt =
            || StorageError::Corrupt { table: "terminal_segments", column: "cols", id: format!("{} {}", row.session_id, row.seq) };
        let piece = Piece {
            from_offset: unsigned(row.from_offset),
            to_offset: unsigned(row.to_offset),
            started_at: row.started_at,
            ended_at: row.ended_at,
            size: Size::new(row.cols.into(), row.rows.into()).ok_or_else(corrupt)?,
            bytes: unsigned(row.bytes),
            outputs: u32::try_from(row.outputs).unwrap_or(0),
            lost: unsigned(row.lost_bytes),
            moments: row.moments,
        };
        Ok(Self { first_seq: row.first_seq, seq: row.seq, piece })
    }
}

/// Begins the recording of a session, unless it has begun, and says how far it is. `None` when there is no such session.
pub async fn open(conn: &mut Conn, session: SessionId, at: DateTime<Utc>) -> Result<Option<Recorded>, StorageError> {
    sqlx::query!(
        "INSERT INTO terminal_recordings (session_id, workspace_id, agent_id, started_at, last_at)
         SELECT id, workspace_id, agent_id, $2, $2 FROM terminal_sessions WHERE id = $1 ON CONFLICT (session_id) DO NOTHING",
        session.0,
        at
    )
    .execute(&mut *conn)
    .await?;
    progress(conn, session).await
}

/// How far a session is recorded.
pub async fn progress(conn: &mut Conn, session: SessionId) -> Result<Option<Recorded>, StorageError> {
    let row = sqlx::query!("SELECT end_offset, next_seq, deleted_at FROM terminal_recordings WHERE session_id = $1", session.0);
    let row = row.fetch_optional(conn).await?;
    let progress = |end_offset, seq| Progress { offset: unsigned(end_offset), seq };
    Ok(row.map(|row| Recorded { progress: progress(row.end_offset, row.next_seq), deleted_at: row.deleted_at }))
}

/// What is to be added to one session's recording.
pub struct Addition<'a> {
    pub session: SessionId,
    /// Where the recording must end, so that the pieces go on there.
    pub expected: Progress,
    pub pieces: &'a [Piece],
}

/// Adds pieces to recordings that end where they begin; returns the sessions whose recordings did.
pub async fn append(conn: &mut Conn, additions: &[Addition<'_>]) -> Result<Vec<SessionId>, StorageError> {
    let additions: Vec<&Addition> = additions.iter().filter(|addition| !addition.pieces.is_empty()).collect();
    let of = |sum: &dyn Fn(&Piece) -> u64| -> Vec<i64> {
        additions.iter().map(|addition| signed(addition.pieces.iter().map(sum).sum())).collect()
    };
    let sessions: Vec<Uuid> = additions.iter().map(|addition| addition.session.0).collect();
    let seqs: Vec<i64> = additions.iter().map(|addition| addition.expected.seq).collect();
    let offsets: Vec<i64> = additions.iter().map(|addition| signed(addition.expected.offset)).collect();
    let counts = of(&|_| 1);
    let ends: Vec<i64> = additions.iter().map(|addition| signed(addition.pieces.last().map_or(0, |piece| piece.to_offset))).collect();
    let (bytes, stored, lost) = (of(&|piece| piece.bytes), of(&|piece| piece.moments.len() as u64), of(&|piece| piece.lost));
    let last: Vec<DateTime<Utc>> = additions.iter().filter_map(|addition| addition.pieces.last().map(|piece| piece.ended_at)).collect();
    let moved = sqlx::query_scalar!(
        "UPDATE terminal_recordings r
         SET next_seq = r.next_seq + n.count, end_offset = n.to_offset, bytes = r.bytes + n.bytes, stored_bytes = r.stored_bytes + n.stored,
             lost_bytes = r.lost_bytes + n.lost, last_at = greatest(r.last_at, n.last_at), ended_at = NULL
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                     $9::timestamptz[]) AS n (session_id, seq, from_offset, count, to_offset, bytes, stored, lost, last_at)
         WHERE r.session_id = n.session_id AND r.next_seq = n.seq AND r.end_offset = n.from_offset
         RETURNING r.session_id",
        &sessions,
        &seqs,
        &offsets,
        &counts,
        &ends,
        &bytes,
        &stored,
        &lost,
        &last
    )
    .fetch_all(&mut *conn)
    .await?;
    let moved: Vec<SessionId> = moved.into_iter().map(SessionId).collect();
    for addition in additions.iter().filter(|addition| moved.contains(&addition.session)) {
        insert(conn, addition.session, addition.expected.seq, addition.pieces).await?;
    }
    Ok(moved)
}

async fn insert(conn: &mut Conn, session: SessionId, first_seq: i64, pieces: &[Piece]) -> Result<(), StorageError> {
    let seqs: Vec<i64> = (first_seq..).take(pieces.len()).collect();
    // A large piece is worth no merge.
    let whole: Vec<bool> = pieces.iter().map(|piece| piece.bytes >= PIECE_BYTES as u64 / 2).collect();
    insert_as(conn, session, &seqs, &seqs, pieces, &whole).await
}

async fn insert_as(
    conn: &mut Conn,
    session: SessionId,
    first_seqs: &[i64],
    seqs: &[i64],
    pieces: &[Piece],
    merged: &[bool],
) -> Result<(), StorageError> {
    let column = |value: &dyn Fn(&Piece) -> i64| -> Vec<i64> { pieces.iter().map(value).collect() };
    let started: Vec<DateTime<Utc>> = pieces.iter().map(|piece| piece.started_at).collect();
    let ended: Vec<DateTime<Utc>> = pieces.iter().map(|piece| piece.ended_at).collect();
    let moments: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.moments.clone()).collect();
    sqlx::query!(
        "INSERT INTO terminal_segments (session_id, first_seq, seq, from_offset, to_offset, started_at, ended_at, cols, rows, bytes, outputs,
                                        lost_bytes, moments, merged)
         SELECT $1, n.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                                         $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[], $14::boolean[]) AS n",
        session.0,
        first_seqs,
        seqs,
        &column(&|piece| signed(piece.from_offset)),
        &column(&|piece| signed(piece.to_offset)),
        &started,
        &ended,
        &column(&|piece| piece.size.cols().into()),
        &column(&|piece| piece.size.rows().into()),
        &column(&|piece| signed(piece.bytes)),
        &column(&|piece| piece.outputs.into()),
        &column(&|piece| signed(piece.lost)),
        &moments,
        merged
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes points of a recording that stand out.
pub async fn add_marks(conn: &mut Conn, session: SessionId, seq: i64, marks: &[Mark]) -> Result<(), StorageError> {
    let at: Vec<DateTime<Utc>> = marks.iter().map(|mark| mark.at).collect();
    let offsets: Vec<i64> = marks.iter().map(|mark| signed(mark.offset)).collect();
    let (mut texts, mut lost) = (Vec::new(), Vec::new());
    for mark in marks {
        let (text, missing) = match &mark.kind {
            // Postgres takes no NUL in a text.
            MarkKind::Marker(text) => (Some(text.replace('\0', "")), None),
            MarkKind::Gap(length) => (None, Some(signed(*length))),
        };
        texts.push(text);
        lost.push(missing);
    }
    sqlx::query!(
        r#"INSERT INTO terminal_marks (session_id, seq, at, "offset", text, lost_bytes)
           SELECT $1, $2, n.* FROM unnest($3::timestamptz[], $4::bigint[], $5::varchar[], $6::bigint[]) AS n"#,
        session.0,
        seq,
        &at,
        &offsets,
        &texts as &[Option<String>],
        &lost as &[Option<i64>]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Points of what is kept of a recording, in their order.
pub async fn marks(conn: &mut Conn, session: SessionId, limit: i64) -> Result<Vec<Mark>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT m.at, m."offset", m.text, m.lost_bytes FROM terminal_marks m JOIN terminal_recordings r USING (session_id)
           WHERE m.session_id = $1 AND m."offset" + coalesce(m.lost_bytes, 0) >= r.from_offset ORDER BY m.at, m.seq LIMIT $2"#,
        session.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    let mark = |at, offset, text: Option<String>, lost: Option<i64>| {
        let kind = text.map_or(MarkKind::Gap(unsigned(lost.unwrap_or(0))), MarkKind::Marker);
        Mark { at, offset: unsigned(offset), kind }
    };
    Ok(rows.into_iter().map(|row| mark(row.at, row.offset, row.text, row.lost_bytes)).collect())
}

/// Notes that a session is over.
pub async fn end(conn: &mut Conn, session: SessionId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE terminal_recordings SET ended_at = $2 WHERE session_id = $1 AND ended_at IS NULL", session.0, at)
        .execute(conn)
        .await?;
    Ok(())
}

struct Row {
    session_id: Uuid,
    workspace_id: Uuid,
    agent_id: String,
    title: Option<String>,
    cols: i32,
    rows: i32,
    started_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    from_offset: i64,
    end_offset: i64,
    bytes: i64,
    stored_bytes: i64,
    lost_bytes: i64,
    pruned_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    exit_code: Option<i32>,
}

impl TryFrom<Row> for Recording {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "terminal_recordings", column, id: row.session_id.to_string() };
        Ok(Self {
            session: SessionId(row.session_id),
            workspace: WorkspaceId(row.workspace_id),
            agent: row.agent_id.parse().map_err(|_| corrupt("agent_id"))?,
            title: row.title,
            size: Size::new(row.cols.into(), row.rows.into()).ok_or_else(|| corrupt("cols"))?,
            started_at: row.started_at,
            last_at: row.last_at,
            ended_at: row.ended_at,
            from_offset: unsigned(row.from_offset),
            to_offset: unsigned(row.end_offset),
            bytes: unsigned(row.bytes),
            stored_bytes: unsigned(row.stored_bytes),
            lost_bytes: unsigned(row.lost_bytes),
            pruned_at: row.pruned_at,
            deleted_at: row.deleted_at,
            exit_code: row.exit_code,
        })
    }
}

/// The columns of a [`Row`], for each checked query.
macro_rules! select_recordings {
    ($rest:literal, $($arg:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT r.session_id AS "session_id!", r.workspace_id AS "workspace_id!", r.agent_id AS "agent_id!", s.title, s.cols AS "cols!",
                      s.rows AS "rows!", r.started_at AS "started_at!", r.last_at AS "last_at!", coalesce(r.ended_at, s.terminated_at) AS ended_at,
                      r.from_offset AS "from_offset!", r.end_offset AS "end_offset!", r.bytes AS "bytes!", r.stored_bytes AS "stored_bytes!",
                      r.lost_bytes AS "lost_bytes!", r.pruned_at, r.deleted_at, a.exit_code AS "exit_code?"
               FROM terminal_recordings r JOIN terminal_sessions s ON s.id = r.session_id
                    LEFT JOIN agent_runs a ON a.terminal_session_id = r.session_id "# + $rest,
            $($arg),*
        )
    };
}

pub async fn get(conn: &mut Conn, workspace: WorkspaceId, session: SessionId) -> Result<Option<Recording>, StorageError> {
    let row = select_recordings!("WHERE r.workspace_id = $1 AND r.session_id = $2", workspace.0, session.0).fetch_optional(conn).await?;
    row.map(TryInto::try_into).transpose()
}

/// The recording of an agent's session, where `spawned_by` began that or is not given.
pub async fn one_of_agent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    spawned_by: Option<UserId>,
    session: SessionId,
) -> Result<Option<Recording>, StorageError> {
    let row = select_recordings!(
        "WHERE r.workspace_id = $1 AND r.agent_id = $2 AND r.session_id = $3 AND ($4::uuid IS NULL OR a.requested_by = $4)",
        workspace.0,
        agent.as_str(),
        session.0,
        spawned_by.map(|user| user.0)
    );
    row.fetch_optional(conn).await?.map(TryInto::try_into).transpose()
}

/// An agent's recordings, of sessions that `spawned_by` began where it is given, newest first: those before a place in
/// that order, if one is given.
pub async fn of_agent(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    spawned_by: Option<UserId>,
    before: Option<(DateTime<Utc>, SessionId)>,
    limit: i64,
) -> Result<Vec<Recording>, StorageError> {
    let rows = select_recordings!(
        "WHERE r.workspace_id = $1 AND r.agent_id = $2 AND ($3::timestamptz IS NULL OR (r.started_at, r.session_id) < ($3, $4))
               AND ($6::uuid IS NULL OR a.requested_by = $6)
         ORDER BY r.started_at DESC, r.session_id DESC LIMIT $5",
        workspace.0,
        agent.as_str(),
        before.map(|(at, _)| at),
        before.map_or(Uuid::nil(), |(_, session)| session.0),
        limit,
        spawned_by.map(|user| user.0)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The columns of a [`SegmentRow`], for each checked query.
macro_rules! select_segments {
    ($rest:literal, $($arg:expr),*) => {
        sqlx::query_as!(
            SegmentRow,
            r#"SELECT session_id AS "session_id!", seq AS "seq!", first_seq AS "first_seq!", from_offset AS "from_offset!", to_offset AS "to_offset!",
                      started_at AS "started_at!", ended_at AS "ended_at!", cols AS "cols!", rows AS "rows!", bytes AS "bytes!",
                      outputs AS "outputs!", lost_bytes AS "lost_bytes!", moments AS "moments!" FROM "# + $rest,
            $($arg),*
        )
    };
}

/// The next segment after a number.
pub async fn segment_after(conn: &mut Conn, session: SessionId, seq: i64) -> Result<Option<Segment>, StorageError> {
    let row = select_segments!("terminal_segments WHERE session_id = $1 AND seq > $2 ORDER BY seq LIMIT 1", session.0, seq);
    row.fetch_optional(conn).await?.map(TryInto::try_into).transpose()
}

/// The number before that of the first segment that reaches beyond a position.
pub async fn seq_before(conn: &mut Conn, session: SessionId, offset: u64) -> Result<i64, StorageError> {
    let seq = sqlx::query_scalar!(
        "SELECT seq FROM terminal_segments WHERE session_id = $1 AND to_offset > $2 ORDER BY seq LIMIT 1",
        session.0,
        signed(offset)
    );
    Ok(seq.fetch_optional(conn).await?.map_or(i64::MAX, |seq| seq - 1))
}

/// The number before that of the segment with the `outputs`th moment of output, and how many there are before that segment.
pub async fn seq_before_output(conn: &mut Conn, session: SessionId, outputs: u64) -> Result<Option<(i64, u64)>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT seq AS "seq!", before AS "before!"
           FROM (SELECT seq, outputs, sum(outputs) OVER (ORDER BY seq) - outputs AS before FROM terminal_segments WHERE session_id = $1) s
           WHERE before + outputs > $2 ORDER BY seq LIMIT 1"#,
        session.0,
        signed(outputs)
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.seq - 1, unsigned(row.before))))
}

/// The newest segments that together hold at least this much output, in their order.
pub async fn newest(conn: &mut Conn, session: SessionId, bytes: u64, limit: i64) -> Result<Vec<Segment>, StorageError> {
    let rows = select_segments!(
        "(SELECT *, sum(bytes) OVER (ORDER BY seq DESC) - bytes AS later
          FROM (SELECT * FROM terminal_segments WHERE session_id = $1 ORDER BY seq DESC LIMIT $3) newest) s
         WHERE later < $2::bigint ORDER BY seq",
        session.0,
        signed(bytes),
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Keeps everybody else from changing a recording.
pub async fn lock(conn: &mut Conn, session: SessionId) -> Result<bool, StorageError> {
    let found =
        sqlx::query_scalar!("SELECT 1 FROM terminal_recordings WHERE session_id = $1 FOR UPDATE", session.0).fetch_optional(conn).await?;
    Ok(found.is_some())
}

/// The oldest pieces that were not merged yet, in their order.
pub async fn unmerged(conn: &mut Conn, session: SessionId, limit: i64) -> Result<Vec<Segment>, StorageError> {
    let rows = select_segments!("terminal_segments WHERE session_id = $1 AND NOT merged ORDER BY seq LIMIT $2", session.0, limit);
    rows.fetch_all(conn).await?.into_iter().map(TryInto::try_into).collect()
}

/// Puts one piece in the place of several that follow each other.
pub async fn replace(conn: &mut Conn, session: SessionId, replaced: &[Segment], piece: &Piece) -> Result<(), StorageError> {
    let (Some(first), Some(last)) = (replaced.first(), replaced.last()) else { return Ok(()) };
    sqlx::query!("DELETE FROM terminal_segments WHERE session_id = $1 AND seq BETWEEN $2 AND $3", session.0, first.seq, last.seq)
        .execute(&mut *conn)
        .await?;
    insert_as(conn, session, &[first.first_seq], &[last.seq], std::slice::from_ref(piece), &[true]).await?;
    let before: u64 = replaced.iter().map(|segment| segment.piece.moments.len() as u64).sum();
    sqlx::query!(
        "UPDATE terminal_recordings SET stored_bytes = stored_bytes + $2 WHERE session_id = $1",
        session.0,
        signed(piece.moments.len() as u64) - signed(before)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes all that is kept of a recording; what is recorded from then on is kept. The number of the next piece moves on, so
/// that what still waits to be added, and was shown before, is not.
pub async fn clear(conn: &mut Conn, session: SessionId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM terminal_segments WHERE session_id = $1", session.0).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM terminal_marks WHERE session_id = $1", session.0).execute(&mut *conn).await?;
    sqlx::query!(
        "UPDATE terminal_recordings SET from_offset = end_offset, next_seq = next_seq + 1, bytes = 0, stored_bytes = 0, lost_bytes = 0, deleted_at = $2
         WHERE session_id = $1",
        session.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Workspaces that have recordings.
pub async fn workspaces(conn: &mut Conn) -> Result<Vec<WorkspaceId>, StorageError> {
    let ids = sqlx::query_scalar!("SELECT DISTINCT workspace_id FROM terminal_recordings WHERE stored_bytes > 0").fetch_all(conn).await?;
    Ok(ids.into_iter().map(WorkspaceId).collect())
}

/// Sessions of a workspace with segments from before `before`, oldest recording first.
pub async fn with_older(
    conn: &mut Conn,
    workspace: WorkspaceId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<SessionId>, StorageError> {
    let ids = sqlx::query_scalar!(
        "SELECT r.session_id FROM terminal_recordings r
         WHERE r.workspace_id = $1 AND EXISTS (SELECT FROM terminal_segments s WHERE s.session_id = r.session_id AND s.ended_at < $2)
         ORDER BY r.started_at LIMIT $3",
        workspace.0,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}

/// What a workspace's recordings take, in bytes, and the oldest of them.
pub async fn stored(conn: &mut Conn, workspace: WorkspaceId) -> Result<(u64, Option<SessionId>), StorageError> {
    let row = sqlx::query!(
        r#"SELECT coalesce(sum(stored_bytes), 0)::bigint AS "stored!",
                  (array_agg(session_id ORDER BY started_at, session_id))[1] AS oldest
           FROM terminal_recordings WHERE workspace_id = $1 AND stored_bytes > 0"#,
        workspace.0
    )
    .fetch_one(conn)
    .await?;
    Ok((unsigned(row.stored), row.oldest.map(SessionId)))
}

/// Deletes the oldest segments of a recording: those from before `before`, where it is given, and no more than it takes to
/// free this many bytes; and the marks in them. The caller has locked it. Returns how many segments.
pub async fn prune(
    conn: &mut Conn,
    session: SessionId,
    before: Option<DateTime<Utc>>,
    free: u64,
    limit: i64,
    at: DateTime<Utc>,
) -> Result<u64, StorageError> {
    let pruned = sqlx::query_scalar!(
        r#"WITH oldest AS (
               SELECT seq FROM (SELECT seq, ended_at, octet_length(moments) AS stored, sum(octet_length(moments)) OVER (ORDER BY seq) AS freed
                                FROM (SELECT * FROM terminal_segments WHERE session_id = $1 ORDER BY seq LIMIT $4) s) s
               WHERE ($2::timestamptz IS NULL OR ended_at < $2) AND freed - stored < $3),
           gone AS (
               DELETE FROM terminal_segments WHERE session_id = $1 AND seq IN (SELECT seq FROM oldest)
               RETURNING to_offset, bytes, lost_bytes, octet_length(moments) AS stored),
           sums AS (
               SELECT count(*) AS count, max(to_offset) AS to_offset, sum(bytes) AS bytes, sum(lost_bytes) AS lost, sum(stored) AS stored FROM gone),
           marks AS (
               DELETE FROM terminal_marks m USING sums
               WHERE m.session_id = $1 AND m."offset" + coalesce(m.lost_bytes, 0) < sums.to_offset)
           UPDATE terminal_recordings r
           SET from_offset = greatest(r.from_offset, s.to_offset), bytes = r.bytes - s.bytes, lost_bytes = r.lost_bytes - s.lost,
               stored_bytes = r.stored_bytes - s.stored, pruned_at = $5
           FROM sums s WHERE r.session_id = $1 AND s.count > 0
           RETURNING s.count AS "count!""#,
        session.0,
        before,
        signed(free),
        limit,
        at
    )
    .fetch_optional(conn)
    .await?;
    Ok(unsigned(pruned.unwrap_or(0)))
}

/// A secret that is good now.
pub struct Issued {
    pub hash: String,
    pub kind: SecretKind,
    pub id: String,
    pub label: String,
}

/// Those of the secrets with these hashes that are a workspace's and good.
pub async fn issued(conn: &mut Conn, workspace: WorkspaceId, hashes: &[String], at: DateTime<Utc>) -> Result<Vec<Issued>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT hashed_key AS "hash!", 'key' AS "kind!", id AS "id!", name AS "label!" FROM mcp_api_keys
           WHERE workspace_id = $1 AND hashed_key = ANY ($2) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)
           UNION ALL
           SELECT token_hash, 'invite', id::varchar, name FROM agent_invites
           WHERE workspace_id = $1 AND token_hash = ANY ($2) AND revoked_at IS NULL AND deleted_at IS NULL
             AND (expires_at IS NULL OR expires_at > $3) AND (uses_remaining IS NULL OR uses_remaining > 0)
           UNION ALL
           SELECT claim_secret_hash, 'claim', id, name FROM parallax_agents WHERE workspace_id = $1 AND claim_secret_hash = ANY ($2)
           UNION ALL
           SELECT token_hash, 'share', id::varchar, 'terminal' FROM terminal_shares
           WHERE workspace_id = $1 AND token_hash = ANY ($2) AND revoked_at IS NULL AND expires_at > $3"#,
        workspace.0,
        hashes,
        at
    )
    .fetch_all(conn)
    .await?;
    let issued = |hash, kind: &str, id, label| SecretKind::parse(kind).map(|kind| Issued { hash, kind, id, label });
    Ok(rows.into_iter().filter_map(|row| issued(row.hash, &row.kind, row.id, row.label)).collect())
}

/// Notes that a session showed a secret; `false` when that is known.
pub async fn note_leak(conn: &mut Conn, session: SessionId, secret: &Issued, at: DateTime<Utc>) -> Result<bool, StorageError> {
    let noted = sqlx::query!(
        "INSERT INTO terminal_leaks (session_id, kind, secret_id, seen_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        session.0,
        secret.kind.as_str(),
        secret.id,
        at
    )
    .execute(conn)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// How many rows the original logged of a session.
pub async fn count_logs(conn: &mut Conn, session: SessionId) -> Result<u64, StorageError> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM terminal_session_logs WHERE session_id = $1"#, session.0);
    Ok(unsigned(count.fetch_one(conn).await?))
}

/// Sessions with pieces to merge: many, much, or some from before `before`.
pub async fn to_merge(conn: &mut Conn, before: DateTime<Utc>, bytes: u64, pieces: i64, limit: i64) -> Result<Vec<SessionId>, StorageError> {
    let ids = sqlx::query_scalar!(
        "SELECT session_id FROM terminal_segments WHERE NOT merged GROUP BY session_id
         HAVING min(started_at) < $1 OR sum(bytes) >= $2::bigint OR count(*) >= $3 ORDER BY min(started_at) LIMIT $4",
        before,
        signed(bytes),
        pieces,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}
