//! Ends processes whose end was asked for, until the runtime confirms it.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    app::{App, StorageError},
    domain::{
        runs::{self, Report},
        runtimes,
    },
    model::run::Run,
};

/// How long a stop may wait when a wake-up was lost, and before one that failed is tried again.
const POLL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(app: App) {
    loop {
        let woken = app.wake_stopper.notified();
        match round(&app).await {
            // A timeout is a poll.
            Ok(()) => drop(timeout(POLL_EVERY, woken).await),
            Err(error) => super::pause_after("stopper", &error).await,
        }
    }
}

async fn round(app: &App) -> Result<(), StorageError> {
    let stopping = runs::stopping(&mut *app.read().await?).await?;
    // One that takes its five seconds to end does not hold the others.
    let ended = futures_util::future::join_all(stopping.iter().map(|run| end(app, run))).await;
    ended.into_iter().collect()
}

async fn end(app: &App, run: &Run) -> Result<(), StorageError> {
    let Some(runtime) = runtimes::client_of_run(&mut *app.read().await?, &app.runtimes, run).await? else {
        tracing::warn!(agent.id = %run.agent, runtime = run.runtime_endpoint, "a run is given up: its runtime is no longer configured");
        let mut tx = app.begin().await?;
        runs::give_up(&mut tx, run.id, "its runtime is no longer configured").await?;
        return tx.commit().await;
    };
    match runs::end_process(&runtime, run).await {
        Ok(report) => hear(app, run, report).await,
        Err(error) => {
            tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process could not be ended yet");
            Ok(())
        }
    }
}

async fn hear(app: &App, run: &Run, report: Report) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    runs::hear_by_id(&mut tx, run.id, report).await?;
    tx.commit().await
}
