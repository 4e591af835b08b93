//! Forgets answers that are no longer given again.

use std::time::Duration;

use crate::{app::App, domain::idempotency};

/// What is older counts for nothing already, so this only keeps the table small.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Forgets old answers every so often.
pub(super) async fn prune(app: App) {
    loop {
        let pruned = async {
            let mut tx = app.begin().await?;
            let count = idempotency::prune(&mut tx).await?;
            tx.commit().await?;
            Ok(count)
        };
        match pruned.await {
            Ok(count) => tracing::debug!(count, "old answers forgotten"),
            Err::<_, crate::app::StorageError>(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old answers could not be forgotten");
            }
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}
