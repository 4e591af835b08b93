//! Writes what agents called into the feed, many calls at once (decision 0036).

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    app::{App, StorageError},
    domain::tool_executions,
    model::tool_execution::Executed,
};

/// Calls written with one commit at the most.
const BATCH: usize = 100;
/// How long a call waits for others: watchers see it within a second still.
const WAIT: Duration = Duration::from_millis(250);

/// Writes until the service ends, and then what still waits. Later calls find the queue closed and write themselves.
pub(super) async fn run(app: App, mut executed: mpsc::Receiver<Executed>) {
    // Outside of what a stop cancels, so that nothing that was taken out of the queue is lost.
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => break,
            () = fill(&mut executed, &mut batch) => {}
        }
        if write(&app, &batch).await {
            batch.clear();
        } else {
            tokio::time::sleep(super::RETRY).await;
        }
    }
    executed.close();
    while !batch.is_empty() || executed.recv_many(&mut batch, BATCH).await > 0 {
        if !write(&app, &batch).await {
            tracing::error!(calls = batch.len(), "what agents called last could not be written");
        }
        batch.clear();
    }
}

/// Waits for calls, and then a little for more.
async fn fill(executed: &mut mpsc::Receiver<Executed>, batch: &mut Vec<Executed>) {
    if batch.is_empty() {
        executed.recv_many(batch, BATCH).await;
    }
    let until = Instant::now() + WAIT;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        match timeout_at(until, executed.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Writes a batch; `false` when the database could not be reached and it is worth another try. What the database
/// never takes is written call by call, so that one does not cost the others.
async fn write(app: &App, batch: &[Executed]) -> bool {
    match record(app, batch.to_vec()).await {
        Ok(()) => return true,
        Err(error) if error.is_transient() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "what agents called could not be written, trying again");
            return false;
        }
        Err(_) => {}
    }
    for call in batch {
        if let Err(error) = record(app, vec![call.clone()]).await {
            let (tool, agent) = (&call.execution.tool, &call.agent);
            tracing::error!(error = &error as &dyn std::error::Error, tool, %agent, "a call could not be written into the feed");
        }
    }
    true
}

async fn record(app: &App, calls: Vec<Executed>) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    tool_executions::record(&mut tx, calls).await?;
    tx.commit().await
}
