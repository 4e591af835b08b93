//! Rows of `control_plane_notifications`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{EventId, WorkspaceId},
    notification::{Decision, Notification},
};

/// Seconds for which a notification that was taken is nobody else's: longer than a delivery may last.
const TAKEN_SECONDS: i32 = 30;
/// Seconds before the second attempt; each further pause is twice as long.
const PAUSE_SECONDS: i32 = 1;
/// Seconds between two attempts at the most.
const PAUSE_SECONDS_MAX: i32 = 600;
/// Hours for which a delivery is tried.
const TRIED_FOR_HOURS: i32 = 24;

/// Adds a notification that has not been tried.
pub async fn insert(conn: &mut Conn, notification: &Notification, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO control_plane_notifications (id, event_id, workspace_id, agent_id, decision, body, key_enc, next_attempt_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, now(), $8)",
        notification.id,
        notification.event.0,
        notification.workspace.0,
        notification.agent.as_str(),
        notification.decision.as_str(),
        notification.body,
        notification.key_sealed,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes up to `limit` notifications that are due, for a while: whoever took them says what came of it, or
/// is gone. Of one agent only the oldest is due, so that decisions arrive in their order.
pub async fn take_due(conn: &mut Conn, limit: i64) -> Result<Vec<Notification>, StorageError> {
    let rows = sqlx::query!(
        r#"UPDATE control_plane_notifications n
           SET attempts = attempts + 1,
               next_attempt_at = now() + make_interval(secs => $2::float8)
           WHERE id IN (
               SELECT id FROM control_plane_notifications d
               WHERE delivered_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= now()
                 AND NOT EXISTS (SELECT 1 FROM control_plane_notifications e
                                 WHERE e.workspace_id = d.workspace_id AND e.agent_id = d.agent_id AND e.id < d.id
                                   AND e.delivered_at IS NULL AND e.given_up_at IS NULL)
               ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED)
           RETURNING id, event_id, workspace_id, agent_id, decision, body, key_enc, attempts,
                     (created_at < now() - make_interval(hours => $3::int)) AS "last_attempt!""#,
        limit,
        f64::from(TAKEN_SECONDS),
        TRIED_FOR_HOURS
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |column| StorageError::Corrupt { table: "control_plane_notifications", column, id: row.id.to_string() };
            Ok(Notification {
                id: row.id,
                event: EventId(row.event_id),
                workspace: WorkspaceId(row.workspace_id),
                agent: row.agent_id.parse().map_err(|_| corrupt("agent_id"))?,
                decision: Decision::parse(&row.decision).ok_or_else(|| corrupt("decision"))?,
                body: row.body,
                key_sealed: row.key_enc,
                attempts: row.attempts,
                last_attempt: row.last_attempt,
            })
        })
        .collect()
}

/// Notes that a notification arrived; its key is forgotten.
pub async fn delivered(conn: &mut Conn, id: Uuid) -> Result<(), StorageError> {
    sqlx::query!("UPDATE control_plane_notifications SET delivered_at = now(), key_enc = NULL, last_error = NULL WHERE id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes why a delivery failed and when it is due again; with `give_up` it is not tried again and its key is forgotten.
pub async fn failed(conn: &mut Conn, id: Uuid, error: &str, give_up: bool) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE control_plane_notifications
         SET last_error = $2, next_attempt_at = now() + make_interval(secs => least($4::float8 * power(2, least(attempts - 1, 20)), $5::float8)),
             given_up_at = CASE WHEN $3 THEN now() END, key_enc = CASE WHEN $3 THEN NULL ELSE key_enc END
         WHERE id = $1",
        id,
        error,
        give_up,
        f64::from(PAUSE_SECONDS),
        f64::from(PAUSE_SECONDS_MAX)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes notifications that were settled over a month ago; returns how many.
pub async fn prune(conn: &mut Conn) -> Result<u64, StorageError> {
    let deleted =
        sqlx::query!("DELETE FROM control_plane_notifications WHERE coalesce(delivered_at, given_up_at) < now() - interval '30 days'")
            .execute(conn)
            .await?;
    Ok(deleted.rows_affected())
}
