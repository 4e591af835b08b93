//! Rows of `idempotency_keys`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};

/// A request that wants to be carried out.
pub struct Claim<'a> {
    pub id: &'a str,
    pub operation: &'a str,
    pub body_hash: &'a str,
    pub attempt: Uuid,
    pub now: DateTime<Utc>,
    /// An unfinished attempt that showed no life since then is taken over.
    pub dead_before: DateTime<Utc>,
    /// A row from before then counts for nothing any more.
    pub forgotten_before: DateTime<Utc>,
}

/// A request that came before.
pub struct Earlier {
    pub body_hash: String,
    /// Its answer, sealed, once there is one.
    pub answer: Option<(i32, Vec<u8>)>,
}

/// Writes the row of a request that is to be carried out. `false` when an earlier one is in the way.
/// Of two at once, the second waits here until the first has committed its row.
pub async fn claim(conn: &mut Conn, claim: &Claim<'_>) -> Result<bool, StorageError> {
    let written = sqlx::query!(
        "INSERT INTO idempotency_keys AS known (id, operation, body_hash, attempt, started_at, alive_at) VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT (id) DO UPDATE
         SET body_hash = excluded.body_hash, attempt = excluded.attempt, started_at = excluded.started_at, alive_at = excluded.alive_at,
             status = NULL, answer_enc = NULL
         WHERE known.started_at < $7
            OR (known.status IS NULL AND known.alive_at < $6 AND known.body_hash = excluded.body_hash)",
        claim.id,
        claim.operation,
        claim.body_hash,
        claim.attempt,
        claim.now,
        claim.dead_before,
        claim.forgotten_before,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

pub async fn get(conn: &mut Conn, id: &str) -> Result<Option<Earlier>, StorageError> {
    let row = sqlx::query!("SELECT body_hash, status, answer_enc FROM idempotency_keys WHERE id = $1", id).fetch_optional(conn).await?;
    Ok(row.map(|row| Earlier { body_hash: row.body_hash, answer: row.status.zip(row.answer_enc) }))
}

/// Says that an attempt still runs.
pub async fn keep_alive(conn: &mut Conn, id: &str, attempt: Uuid, now: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE idempotency_keys SET alive_at = $3 WHERE id = $1 AND attempt = $2", id, attempt, now).execute(conn).await?;
    Ok(())
}

/// Keeps the answer of an attempt, unless another has taken over.
pub async fn finish(conn: &mut Conn, id: &str, attempt: Uuid, status: i32, answer: &[u8]) -> Result<(), StorageError> {
    sqlx::query!("UPDATE idempotency_keys SET status = $3, answer_enc = $4 WHERE id = $1 AND attempt = $2", id, attempt, status, answer)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets an attempt, unless another has taken over.
pub async fn forget(conn: &mut Conn, id: &str, attempt: Uuid) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM idempotency_keys WHERE id = $1 AND attempt = $2", id, attempt).execute(conn).await?;
    Ok(())
}

/// Deletes rows from before `before`; returns how many.
pub async fn prune(conn: &mut Conn, before: DateTime<Utc>) -> Result<u64, StorageError> {
    Ok(sqlx::query!("DELETE FROM idempotency_keys WHERE started_at < $1", before).execute(conn).await?.rows_affected())
}
