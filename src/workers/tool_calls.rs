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
/// How often what waits at the end of the service is tried: it does not wait for a database that is away.
const LAST_ATTEMPTS: usize = 2;

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
        write(&app, &mut batch).await;
        if !batch.is_empty() {
            tokio::time::sleep(super::RETRY).await;
        }
    }
    called.close();
    while !batch.is_empty() || called.recv_many(&mut batch, BATCH).await > 0 {
        for _ in 0..LAST_ATTEMPTS {
            write(&app, &mut batch).await;
        }
        if !batch.is_empty() {
            tracing::error!(calls = batch.len(), "the last tool calls could not be put on record");
            batch.clear();
        }
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

/// Writes a batch. What could not be written for now is left in it: the database is away, and it is worth another try. Where
/// one call is never taken, all are written one by one, so that it does not cost the others.
async fn write(app: &App, batch: &mut Vec<ToolCall>) {
    if batch.is_empty() {
        return;
    }
    match record(app, batch.clone()).await {
        Ok(()) => return batch.clear(),
        Err(error) if error.is_transient() => return try_later(&error),
        Err(_) => {}
    }
    while let Some(call) = batch.first() {
        match record(app, vec![call.clone()]).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => return try_later(&error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, tool = call.tool, user = %call.user, "a tool call could not be put on record");
            }
        }
        batch.remove(0);
    }
}

fn try_later(error: &StorageError) {
    tracing::warn!(error = error as &dyn std::error::Error, "tool calls could not be put on record, trying again");
}

async fn record(app: &App, calls: Vec<ToolCall>) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    tool_calls::record(&mut tx, calls).await?;
    tx.commit().await
}
