//! Carries a committed revocation through this process at once, and says what was closed and when.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{
    app::{
        App, StorageError,
        connections::{Closed, Concerned},
    },
    domain::{runs, runtimes},
    model::{
        actor::{Standing, Subject},
        run::Run,
    },
    wire::agents::Receipt,
};

/// How long the answer waits for a process to end; it is pursued after that all the same.
const PROCESS_PATIENCE: Duration = Duration::from_secs(2);

/// What a revocation ended.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) keys: u64,
    pub(super) sessions: u64,
    pub(super) assignments: u64,
    pub(super) runs: u64,
    pub(super) processes: u64,
    pub(super) closed: Closed,
    pub(super) took: Duration,
}

impl From<Ended> for Receipt {
    fn from(ended: Ended) -> Self {
        Self {
            keys: ended.keys,
            sockets: ended.closed.sockets,
            streams: ended.closed.streams,
            sessions: ended.sessions,
            assignments: ended.assignments,
            runs: ended.runs,
            processes_ended: ended.processes,
            took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A revocation that is about to be committed.
pub(super) struct Revocation {
    subject: Subject,
    started: Instant,
    open: Concerned,
}

impl Revocation {
    /// To be made before the commit: from then on the database tells every node, and what is open is closed.
    pub(super) fn of(app: &App, subject: Subject, started: Instant) -> Self {
        Self { open: app.connections.concerned(&subject), subject, started }
    }

    /// Forgets what is remembered of the subject, closes its connections and ends its process. Every node
    /// does the first two upon what the database tells it; here nobody has to wait for that.
    pub(super) async fn carry_out(self, app: &App, run: Option<Run>) -> Ended {
        app.access_cache.forget(&self.subject);
        let runs = u64::from(run.is_some());
        // A caller who goes away does not leave it half done.
        let work = app.spawn({
            let (app, subject, open) = (app.clone(), self.subject, self.open);
            async move { tokio::join!(app.connections.close(&subject, Standing::Ended, open), end_process(&app, run)) }
        });
        let (closed, processes) = work.await.unwrap_or_default();
        Ended { runs, processes, closed, took: self.started.elapsed(), ..Ended::default() }
    }
}

/// The number of processes that have ended: one or none.
async fn end_process(app: &App, run: Option<Run>) -> u64 {
    let Some(run) = run else { return 0 };
    let ending = async {
        let found = runtimes::client_of_run(&mut *app.read().await.ok()?, &app.runtimes, &run).await;
        let report = runs::end_process(&found.ok()??, &run).await.ok()?;
        let heard = async {
            let mut tx = app.begin().await?;
            runs::hear_by_id(&mut tx, run.id, report).await?;
            tx.commit().await
        };
        let heard: Result<(), StorageError> = heard.await;
        heard.ok()
    };
    u64::from(timeout(PROCESS_PATIENCE, ending).await.ok().flatten().is_some())
}
