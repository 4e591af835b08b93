//! Ids of signed webhooks that were taken in.

use super::{Conn, StorageError};

/// Notes an id; `false` when it was noted before.
pub async fn note(conn: &mut Conn, id: &str) -> Result<bool, StorageError> {
    let noted = sqlx::query!("INSERT INTO webhook_deliveries (id) VALUES ($1) ON CONFLICT DO NOTHING", id).execute(conn).await?;
    Ok(noted.rows_affected() == 1)
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
