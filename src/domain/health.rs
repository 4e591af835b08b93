//! Whether what the service needs is there.

use sqlx::PgPool;

use crate::storage;

/// Whether the database answers.
pub async fn database(pool: &PgPool) -> bool {
    match storage::db::ping(pool).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database does not answer");
            false
        }
    }
}
