//! Puts tool calls on record, many at once (decision 0037).

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    app::{App, StorageError},
    domain::tool_calls,
    model::tool_call::ToolCall,
};

/// Calls written with one commit at the most.
const BATCH: usize = 100;
/// How long a call waits for others: watchers see it within a second still.
const WAIT: Duration = Duration::from_millis(250);

/// Writes until the service ends, and then what still waits. Later calls find the queue closed and write themselves.
pub(super) async fn run(app: App, mut called: mpsc::Receiver<ToolCall>) {
    // Outside of what a stop cancels, so that nothing that was taken out of the queue is lost.
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => break,
            () = fill(&mut called, &mut batch) => {}
        }
        if write(&app, &batch).await {
            batch.clear();
        } else {
            tokio::time::sleep(super::RETRY).await;
        }
    }
    called.close();
    while !batch.is_empty() || called.recv_many(&mut batch, BATCH).await > 0 {
        if !write(&app, &batch).await {
            tracing::error!(calls = batch.len(), "the last tool calls could not be put on record");
        }
        batch.clear();
    }
}

/// Waits for calls, and then a little for more.
async fn fill(called: &mut mpsc::Receiver<ToolCall>, batch: &mut Vec<ToolCall>) {
    if batch.is_empty() {
        called.recv_many(batch, BATCH).await;
    }
    let until = Instant::now() + WAIT;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        match timeout_at(until, called.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Writes a batch; `false` when the database could not be reached and it is worth another try. What the database
/// never takes is written call by call, so that one does not cost the others.
async fn write(app: &App, batch: &[ToolCall]) -> bool {
    match record(app, batch.to_vec()).await {
        Ok(()) => return true,
        Err(error) if error.is_transient() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "tool calls could not be put on record, trying again");
            return false;
        }
        Err(_) => {}
    }
    for call in batch {
        if let Err(error) = record(app, vec![call.clone()]).await {
            tracing::error!(error = &error as &dyn std::error::Error, tool = call.tool, user = %call.user, "a tool call could not be put on record");
        }
    }
    true
}

async fn record(app: &App, calls: Vec<ToolCall>) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    tool_calls::record(&mut tx, calls).await?;
    tx.commit().await
}
