//! Counts and forgets what has become old, once an hour.

use std::time::Duration;

use crate::{
    app::{App, StorageError},
    domain::{
        activity::{self, Retention},
        auth, notifications, tool_approvals, webhooks,
    },
};

const EVERY: Duration = Duration::from_hours(1);

pub(super) async fn run(app: App) {
    loop {
        match round(&app).await {
            Ok(()) => tokio::time::sleep(EVERY).await,
            Err(error) => super::pause_after("upkeep", &error).await,
        }
    }
}

/// What is old is forgotten also when it cannot be counted.
async fn round(app: &App) -> Result<(), StorageError> {
    let counted = count(app).await;
    let mut tx = app.begin().await?;
    let forgotten = [
        notifications::prune(&mut tx).await?,
        tool_approvals::prune(&mut tx).await?,
        webhooks::prune(tx.conn()).await?,
        auth::prune(&mut tx).await?,
    ];
    tx.commit().await?;
    tracing::debug!(?forgotten, "old notifications, approvals, webhook deliveries and sign-ins forgotten");
    counted
}

/// Counts the activity of each day, and deletes what is older than its retention.
async fn count(app: &App) -> Result<(), StorageError> {
    let retention = Retention { rows: app.settings.activity_kept, daily: app.settings.activity_daily_kept };
    let mut tx = app.begin().await?;
    let mut purged = activity::roll_up(&mut tx, retention).await?;
    tx.commit().await?;
    while let Some(before) = purged {
        let mut tx = app.begin().await?;
        let (deleted, more) = activity::purge(&mut tx, before).await?;
        tx.commit().await?;
        if deleted > 0 {
            tracing::info!(deleted, "activity older than its retention was deleted");
        }
        purged = more.then_some(before);
    }
    Ok(())
}
