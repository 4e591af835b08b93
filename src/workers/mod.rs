//! Driven by time and queues: each worker takes what happened into the domain or out of it.

mod access;
mod idempotency;
mod notifier;
mod outbox;
mod runtime_events;
mod runtime_links;
mod stopper;
mod terminal_news;
mod tool_executions;
mod upkeep;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::{
        events::{Delivered, EventSink},
        terminals::TerminalNews,
    },
    model::{event::EventKind, tool_execution::Executed},
};

/// How long a worker waits before it tries again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// Starts all workers; they end with the service. `terminals` is what terminal connections report, `executed` what
/// agents called, and `sinks` take every event after its commit.
pub fn start(app: &App, terminals: mpsc::Receiver<TerminalNews>, executed: mpsc::Receiver<Executed>, mut sinks: Vec<Box<dyn EventSink>>) {
    sinks.push(Box::new(Machinery(app.clone())));
    let sinks: Arc<[Box<dyn EventSink>]> = sinks.into();
    run(app, "outbox", outbox::run(app.clone(), sinks));
    run(app, "terminal news", terminal_news::run(app.clone(), terminals));
    run(app, "outbox pruning", outbox::prune(app.clone()));
    run(app, "idempotency pruning", idempotency::prune(app.clone()));
    run(app, "stopper", stopper::run(app.clone()));
    run(app, "access", access::run(app.clone()));
    run(app, "notifier", notifier::run(app.clone()));
    // It ends by itself, when it has written what waited.
    app.spawn(tool_executions::run(app.clone(), executed));
    run(app, "upkeep", upkeep::run(app.clone()));
    run(app, "runtime links", runtime_links::run(app.clone()));
}

/// Runs one worker until shutdown.
fn run(app: &App, name: &'static str, worker: impl Future<Output = ()> + Send + 'static) {
    let shutdown = app.shutdown.clone();
    app.spawn(async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = worker => tracing::error!(worker = name, "a worker ended by itself"),
        }
    });
}

/// What the service itself does upon events.
struct Machinery(App);

impl EventSink for Machinery {
    fn deliver<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, ()> {
        Box::pin(async {
            match &event.entry.kind {
                EventKind::RunStopRequested { .. } => self.0.wake_stopper.notify_one(),
                EventKind::TerminalChanged { session_id, status, login, drain } => {
                    terminal_news::changed(&self.0, *session_id, status, login.clone(), *drain).await;
                }
                EventKind::RuntimeOnline { runtime } => terminal_news::reconnect(&self.0, event.entry.workspace, runtime).await,
                EventKind::AccessApproved { .. } | EventKind::AccessDenied { .. } | EventKind::AccessRevoked { .. } => {
                    self.0.wake_notifier.notify_one();
                }
                EventKind::AccessRequested { .. }
                | EventKind::PermissionsUpdated { .. }
                | EventKind::KeyClaimed
                | EventKind::KeyRotated { .. }
                | EventKind::KeyCreated { .. }
                | EventKind::KeyRevoked { .. }
                | EventKind::Assigned { .. }
                | EventKind::Unassigned { .. }
                | EventKind::InviteCreated { .. }
                | EventKind::InviteRevoked { .. }
                | EventKind::InviteDeleted { .. }
                | EventKind::SettingsChanged { .. }
                | EventKind::RuntimeChanged { .. }
                | EventKind::RuntimeOffline { .. }
                | EventKind::UserChanged { .. }
                | EventKind::ApprovalRequested { .. }
                | EventKind::ApprovalDecided { .. }
                | EventKind::ToolExecuted(_)
                | EventKind::StatusChanged { .. }
                | EventKind::ActivityLogged(_)
                | EventKind::TaskClaimed { .. }
                | EventKind::TaskDelegated { .. }
                | EventKind::TaskReceived { .. }
                | EventKind::NotificationGivenUp { .. }
                | EventKind::AgentsSpawned { .. }
                | EventKind::TerminalEnded { .. }
                | EventKind::PageCreated { .. }
                | EventKind::PageUpdated { .. }
                | EventKind::TaskStarted { .. }
                | EventKind::TaskCompleted { .. }
                | EventKind::TaskFailed { .. }
                | EventKind::ContentChanged { .. }
                | EventKind::RunStarted { .. }
                | EventKind::RunReady { .. }
                | EventKind::RunLoginRequired { .. }
                | EventKind::RunStopUnconfirmed { .. }
                | EventKind::RunMessageSent { .. }
                | EventKind::RunKeysSent { .. }
                | EventKind::RunPaused { .. }
                | EventKind::RunResumed { .. }
                | EventKind::RunStopped { .. }
                | EventKind::RunFailed { .. } => {}
            }
        })
    }
}

/// Logs why a round of a worker failed and waits before the next.
async fn pause_after(worker: &'static str, error: &StorageError) {
    tracing::warn!(worker, error = error as &dyn std::error::Error, "a worker could not do its work, trying again");
    tokio::time::sleep(RETRY).await;
}

/// Whether what failed is to be tried again, after a pause: the database only cannot do it now.
/// What it never will do is logged and given up, so that it does not stop everything behind it.
async fn try_again(worker: &'static str, error: &StorageError) -> bool {
    if error.is_transient() {
        pause_after(worker, error).await;
        return true;
    }
    tracing::error!(worker, error = error as &dyn std::error::Error, "a worker had to give something up");
    false
}
