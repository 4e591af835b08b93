//! Rows of `agent_memories`. Every query is limited to what the account itself kept and, of that, to what is in no space
//! or in one that it belongs to still (D-54).

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Conn, StorageError};
use crate::model::{
    account::Account,
    ids::{SpaceId, UserId},
    memory::{Memory, MemoryDay, MemoryFilter, MemoryHit},
    page::SearchWords,
};

/// Memories that one search reads at the most, the latest first: their text is in no index.
const SEARCHED_MAX: i64 = 5000;
/// Bytes of JSON up to which a memory is searched and told as it is: twice what is taken, as Postgres writes it with
/// spaces. Of what is longer, which only Raven Docs wrote, the beginning is told as text. Postgres makes no `tsvector` of
/// more than 1 MiB, and of a text one of up to six times its size.
const TOLD_BYTES_MAX: i32 = 128 * 1024;
/// Characters of that beginning; each has up to four bytes.
const BEGINNING_CHARS: i32 = 16 * 1024;
/// Characters of a summary, and of where a memory comes from, that are searched and told.
const SUMMARY_CHARS_MAX: i32 = 1000;
/// Bytes of JSON up to which a memory's tags are searched and told.
const TAGS_BYTES_MAX: i32 = 16 * 1024;

/// Adds a memory.
pub async fn insert(conn: &mut Conn, account: &Account, memory: &Memory, now: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO agent_memories (id, workspace_id, space_id, creator_id, source, summary, content, tags, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, to_jsonb($8::text[]), $9, $10)",
        memory.id,
        account.workspace.0,
        memory.space.map(|space| space.0),
        account.user.0,
        memory.source,
        memory.summary,
        memory.content,
        &memory.tags,
        memory.at,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Memories that fit, those with the most of the words first, and of those the latest. No words fit everything.
pub async fn search(
    conn: &mut Conn,
    account: &Account,
    words: &SearchWords,
    filter: &MemoryFilter,
    limit: i64,
) -> Result<Vec<MemoryHit>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT m.id, m.space_id, m.creator_id, left(m.source, $12) AS source, left(m.summary, $12) AS summary, m.told AS content,
                  m.told_tags AS tags, m.created_at, m.score AS "score!"
           FROM (
               SELECT f.*, CASE WHEN $3::text = '' THEN 0::real ELSE
                           ts_rank(setweight(to_tsvector('english', left(coalesce(f.summary, ''), $12)), 'A')
                                   || setweight(jsonb_to_tsvector('english', f.told_tags, '["string"]'), 'B')
                                   || setweight(jsonb_to_tsvector('english', coalesce(f.told, '{}'), '["string"]'), 'C'),
                                   to_tsquery('english', $3)) END AS score
               FROM (
                   SELECT m.*, CASE WHEN octet_length(m.content::text) <= $10 THEN m.content ELSE to_jsonb(left(m.content::text, $11)) END AS told,
                          CASE WHEN octet_length(m.tags::text) <= $13 THEN m.tags ELSE '[]'::jsonb END AS told_tags
                   FROM agent_memories m
                   WHERE m.workspace_id = $1 AND m.creator_id = $2
                     AND (m.space_id IS NULL OR m.space_id IN (SELECT space_id FROM account_spaces($2)))
                     AND ($4::uuid IS NULL OR m.space_id = $4)
                     AND (cardinality($5::text[]) = 0 OR m.tags @> to_jsonb($5::text[]))
                     AND ($6::timestamptz IS NULL OR m.created_at >= $6) AND ($7::timestamptz IS NULL OR m.created_at < $7)
                   ORDER BY m.created_at DESC, m.id DESC LIMIT $8
               ) f
           ) m
           WHERE $3::text = '' OR m.score > 0
           ORDER BY m.score DESC, m.created_at DESC, m.id DESC LIMIT $9"#,
        account.workspace.0,
        account.user.0,
        words.any(),
        filter.space.map(|space| space.0),
        &filter.tags,
        filter.from,
        filter.to,
        SEARCHED_MAX,
        limit,
        TOLD_BYTES_MAX,
        BEGINNING_CHARS,
        SUMMARY_CHARS_MAX,
        TAGS_BYTES_MAX
    )
    .fetch_all(conn)
    .await?;
    let hits = rows.into_iter().map(|row| MemoryHit {
        memory: Memory {
            id: row.id,
            workspace: account.workspace,
            space: row.space_id.map(SpaceId),
            creator: row.creator_id.map(UserId),
            source: row.source,
            summary: row.summary,
            content: row.content,
            tags: tags(row.tags.as_ref()),
            at: row.created_at,
        },
        score: row.score,
    });
    Ok(hits.collect())
}

/// Days (UTC) that have memories that fit, the latest first.
pub async fn days(conn: &mut Conn, account: &Account, filter: &MemoryFilter, limit: i64) -> Result<Vec<MemoryDay>, StorageError> {
    let rows = sqlx::query_as!(
        MemoryDay,
        r#"SELECT (m.created_at AT TIME ZONE 'UTC')::date AS "date!", count(*) AS "count!"
           FROM agent_memories m
           WHERE m.workspace_id = $1 AND m.creator_id = $2
             AND (m.space_id IS NULL OR m.space_id IN (SELECT space_id FROM account_spaces($2)))
             AND ($3::uuid IS NULL OR m.space_id = $3) AND (cardinality($4::text[]) = 0 OR m.tags @> to_jsonb($4::text[]))
             AND ($5::timestamptz IS NULL OR m.created_at >= $5) AND ($6::timestamptz IS NULL OR m.created_at < $6)
           GROUP BY 1 ORDER BY 1 DESC LIMIT $7"#,
        account.workspace.0,
        account.user.0,
        filter.space.map(|space| space.0),
        &filter.tags,
        filter.from,
        filter.to,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The tags of a row; what is no list of texts has none.
fn tags(column: Option<&Value>) -> Vec<String> {
    let items = column.and_then(Value::as_array);
    items.map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}
