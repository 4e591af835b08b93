//! Delivers committed events in order. NOTIFY only wakes; polling guarantees.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::time::timeout;

use crate::{
    app::{App, StorageError},
    domain::events::{self, EventSink, Tail},
};

/// How long events may wait when a wake-up was lost.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Readers that were away for longer start over from what the tables say.
const KEEP: TimeDelta = TimeDelta::hours(24);
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Delivers for ever, from the events committed after now.
pub(super) async fn run(app: App, sinks: Arc<[Box<dyn EventSink>]>) {
    let mut position = None;
    loop {
        if let Err(error) = deliver(&app, &sinks, &mut position).await {
            super::pause_after("outbox", &error).await;
        }
    }
}

/// Delivers until the database fails; `position` goes on after that.
async fn deliver(app: &App, sinks: &[Box<dyn EventSink>], position: &mut Option<i64>) -> Result<(), StorageError> {
    let mut tail = Tail::listen(&app.pool).await?;
    let mut last = if let Some(last) = *position {
        last
    } else {
        let last = events::last(&mut *app.read().await?).await?;
        // What ends after this position is delivered below.
        super::terminal_news::connect_all(app).await?;
        last
    };
    loop {
        loop {
            let batch = events::after(&mut *app.read().await?, last).await?;
            if batch.is_empty() {
                break;
            }
            for event in batch {
                match event {
                    Ok(event) => {
                        for sink in sinks {
                            sink.deliver(&event).await;
                        }
                        last = event.seq;
                    }
                    Err(seq) => {
                        tracing::warn!(outbox.seq = seq, "an event is of a kind that this version does not know");
                        last = seq;
                    }
                }
                *position = Some(last);
            }
        }
        *position = Some(last);
        // A timeout is a poll.
        if let Ok(woken) = timeout(POLL_EVERY, tail.changed()).await {
            woken?;
        }
    }
}

/// Forgets old events every so often.
pub(super) async fn prune(app: App) {
    loop {
        let pruned = async { events::prune(&mut *app.read().await?, KEEP).await };
        match pruned.await {
            Ok(count) => tracing::debug!(count, "old events forgotten"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "old events could not be forgotten"),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}
