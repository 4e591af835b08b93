//! Driven by time and queues: each worker takes what happened into the domain or out of it.

mod access;
mod idempotency;
mod notifier;
mod outbox;
mod pruning;
mod recorder;
mod runtime_events;
mod runtime_links;
mod sizes;
mod stopper;
mod terminal_news;
mod tool_calls;
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
    model::{event::EventKind, terminal_rights::TerminalRules, tool_call::ToolCall},
};

/// How long a worker waits before it tries again what failed.
const RETRY: Duration = Duration::from_secs(1);

/// Starts all workers; they end with the service. `terminals` is what terminal connections report, `called` the tools
/// that were called with keys, and `sinks` take every event after its commit.
pub fn start(app: &App, terminals: mpsc::Receiver<TerminalNews>, called: mpsc::Receiver<ToolCall>, mut sinks: Vec<Box<dyn EventSink>>) {
    let recorder = recorder::start(app);
    sinks.push(Box::new(Machinery { app: app.clone(), recorder }));
    let sinks: Arc<[Box<dyn EventSink>]> = sinks.into();
    run(app, "outbox", outbox::run(app.clone(), sinks));
    run(app, "terminal news", terminal_news::run(app.clone(), terminals));
    run(app, "sizes", sizes::run(app.clone()));
    run(app, "outbox pruning", outbox::prune(app.clone()));
    run(app, "idempotency pruning", idempotency::prune(app.clone()));
    run(app, "stopper", stopper::run(app.clone()));
    run(app, "access", access::run(app.clone()));
    run(app, "notifier", notifier::run(app.clone()));
    // It ends by itself, when it has written what waited.
    app.spawn(tool_calls::run(app.clone(), called));
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
struct Machinery {
    app: App,
    recorder: recorder::Recorder,
}

impl EventSink for Machinery {
    fn deliver<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, ()> {
        Box::pin(async {
            match &event.entry.kind {
                EventKind::RunStopRequested { .. } => self.app.wake_stopper.notify_one(),
                EventKind::TerminalChanged { session_id, status, login, drain } => {
                    terminal_news::changed(&self.app, *session_id, status, login.clone(), *drain).await;
                }
                EventKind::TerminalShareRevoked { session_id, .. } => self.app.controls.doubt(*session_id),
                EventKind::RuntimeOnline { runtime } => terminal_news::reconnect(&self.app, event.entry.workspace, runtime).await,
                EventKind::AccessApproved { .. } | EventKind::AccessDenied { .. } | EventKind::AccessRevoked { .. } => {
                    self.app.wake_notifier.notify_one();
                }
                EventKind::RecordingDeleted { session_id } => {
                    if let Some(terminal) = self.app.terminals.get(*session_id) {
                        self.recorder.deleted(*session_id, event.entry.at, terminal.end());
                    }
                }
                EventKind::SettingsChanged { fields } => {
                    // Whoever is at a terminal may do more or less there than when they came.
                    if TerminalRules::follow_from(fields) {
                        self.app.controls.doubt_workspace(event.entry.workspace);
                    }
                    self.recorder.rules_changed(event.entry.workspace);
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
                | EventKind::RuntimeChanged { .. }
                | EventKind::RuntimeOffline { .. }
                | EventKind::UserChanged { .. }
                | EventKind::ApprovalRequested { .. }
                | EventKind::ApprovalDecided { .. }
                | EventKind::ToolExecuted { .. }
                | EventKind::StatusChanged { .. }
                | EventKind::ActivityLogged(_)
                | EventKind::TaskClaimed { .. }
                | EventKind::TaskDelegated { .. }
                | EventKind::TaskReceived { .. }
                | EventKind::NotificationGivenUp { .. }
                | EventKind::AgentsSpawned { .. }
                | EventKind::TerminalEnded { .. }
                | EventKind::TerminalControlTaken { .. }
                | EventKind::TerminalControlHandedOver { .. }
                | EventKind::TerminalShared { .. }
                | EventKind::SecretLeaked { .. }
                | EventKind::PageCreated { .. }
                | EventKind::PageUpdated { .. }
                | EventKind::TaskStarted { .. }
                | EventKind::TaskCompleted { .. }
                | EventKind::TaskFailed { .. }
                | EventKind::ContentChanged { .. }
                | EventKind::RunStarted { .. }
                | EventKind::RunReady { .. }
                | EventKind::RunLoginRequired { .. }
                | EventKind::RunWaiting { .. }
                | EventKind::RunStopUnconfirmed { .. }
                | EventKind::RunMessageSent { .. }
                | EventKind::RunKeysSent { .. }
                | EventKind::RunPaused { .. }
                | EventKind::RunResumed { .. }
                | EventKind::RunStopped { .. }
                | EventKind::RunTroubled { .. }
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
