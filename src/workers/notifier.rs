//! Tells the control plane of decisions until it has heard of them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    app::{App, StorageError},
    domain::notifications,
    model::notification::Notification,
};

/// How long a notification that is due may wait when nothing wakes the worker.
const POLL_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(app: App) {
    if app.control_plane.is_none() {
        return std::future::pending().await;
    }
    loop {
        let woken = app.wake_notifier.notified();
        // What was taken is settled also when the service ends meanwhile: nobody else would try before its time is over.
        let working = app.clone().spawn({
            let app = app.clone();
            async move { round(&app).await }
        });
        // A panic ends this as it would have here.
        let Ok(worked) = working.await else { return };
        match worked {
            // A timeout is a poll.
            Ok(0) => drop(timeout(POLL_EVERY, woken).await),
            Ok(_) => {}
            Err(error) => super::pause_after("notifier", &error).await,
        }
    }
}

/// Delivers what is due; returns how many that was.
async fn round(app: &App) -> Result<usize, StorageError> {
    let mut tx = app.begin().await?;
    let due = notifications::take_due(&mut tx).await?;
    tx.commit().await?;
    let settled = join_all(due.iter().map(|notification| deliver(app, notification))).await;
    settled.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(due.len())
}

async fn deliver(app: &App, notification: &Notification) -> Result<(), StorageError> {
    let Some(control_plane) = &app.control_plane else { return Ok(()) };
    let outcome = notifications::deliver(control_plane, &app.policy, notification).await;
    if let Err(error) = &outcome {
        tracing::warn!(agent.id = %notification.agent, attempts = notification.attempts, error, "the control plane was not told yet");
    }
    let mut tx = app.begin().await?;
    notifications::settle(&mut tx, notification, &outcome).await?;
    tx.commit().await
}
