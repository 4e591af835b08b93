//! Ids of signed webhooks that were taken in.

use super::{Conn, StorageError};

/// Notes an id; `false` when it was noted before. One whose attempt did not end within a minute, because
/// the process did, is noted anew: what it brought changes nothing the second time.
pub async fn begin(conn: &mut Conn, id: &str) -> Result<bool, StorageError> {
    let noted = sqlx::query!(
        "INSERT INTO webhook_deliveries (id) VALUES ($1)
         ON CONFLICT (id) DO UPDATE SET received_at = now()
         WHERE webhook_deliveries.taken_in_at IS NULL AND webhook_deliveries.received_at < now() - interval '1 minute'",
        id
    )
    .execute(conn)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that what an id brought was taken in.
pub async fn taken_in(conn: &mut Conn, id: &str) -> Result<(), StorageError> {
    sqlx::query!("UPDATE webhook_deliveries SET taken_in_at = now() WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

/// Forgets an id, since what it brought was not taken in after all.
pub async fn forget(conn: &mut Conn, id: &str) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM webhook_deliveries WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

/// Deletes ids older than a day, which is longer than a signature is good for; returns how many.
pub async fn prune(conn: &mut Conn) -> Result<u64, StorageError> {
    let deleted = sqlx::query!("DELETE FROM webhook_deliveries WHERE received_at < now() - interval '1 day'").execute(conn).await?;
    Ok(deleted.rows_affected())
}
