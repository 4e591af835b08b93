//! Ends processes whose end was asked for, until the runtime confirms it. Each is ended by itself, so that a
//! runtime that does not answer delays nobody but its own agents.

use std::{collections::HashMap, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep},
};

use crate::{
    app::{App, StorageError},
    domain::{
        runs::{self, Report},
        runtimes,
    },
    model::{ids::RunId, run::Run},
};

/// How long a stop may wait when a wake-up was lost, and how long one that failed rests at first.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// How long one that failed again and again rests at the most.
const REST_MAX: Duration = Duration::from_mins(1);
/// Processes that are being ended at the same time.
const UNDER_WAY_MAX: usize = 256;
/// How many of those may have failed before: the others are for those that were not tried yet.
const RETRIES_MAX: usize = UNDER_WAY_MAX / 2;
/// Runs that are remembered at the most, under way or resting; with so many no other is begun.
const REMEMBERED_MAX: usize = 4096;

/// One that could not be ended so far.
struct Rest {
    failures: u32,
    /// When it is tried again.
    until: Instant,
}

/// What is being ended, and what could not be.
#[derive(Default)]
struct Stops {
    /// Attempts that are under way; each says whether it was the last that its run needs.
    attempts: JoinSet<bool>,
    under_way: HashMap<Id, RunId>,
    failed: HashMap<RunId, Rest>,
}

impl Stops {
    /// Runs that are not to be begun now.
    fn busy(&self) -> Vec<RunId> {
        let now = Instant::now();
        let resting = self.failed.iter().filter(|(_, rest)| rest.until > now).map(|(run, _)| *run);
        self.under_way.values().copied().chain(resting).collect()
    }

    fn room(&self) -> usize {
        UNDER_WAY_MAX.saturating_sub(self.under_way.len())
    }

    /// Whether there is room for this one.
    fn may_begin(&self, run: RunId) -> bool {
        let retries = self.under_way.values().filter(|run| self.failed.contains_key(run)).count();
        if self.failed.contains_key(&run) {
            retries < RETRIES_MAX
        } else {
            self.failed.len() + self.under_way.len() - retries < REMEMBERED_MAX
        }
    }

    fn begin(&mut self, run: RunId, attempt: impl Future<Output = bool> + Send + 'static) {
        let id = self.attempts.spawn(attempt).id();
        self.under_way.insert(id, run);
    }

    fn note(&mut self, ended: Result<(Id, bool), JoinError>) {
        let (id, is_over) = ended.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an attempt to end a process broke off");
            (error.id(), false)
        });
        let Some(run) = self.under_way.remove(&id) else { return };
        if is_over {
            self.failed.remove(&run);
            return;
        }
        let now = Instant::now();
        let rest = self.failed.entry(run).or_insert(Rest { failures: 0, until: now });
        rest.until = now + POLL_EVERY.saturating_mul(1 << rest.failures.min(8)).min(REST_MAX);
        rest.failures = rest.failures.saturating_add(1);
    }

    /// Forgets those that are long due and were not found again: they ended in another way.
    fn forget_ended(&mut self) {
        let (now, under_way) = (Instant::now(), &self.under_way);
        self.failed.retain(|run, rest| now < rest.until + REST_MAX || under_way.values().any(|other| other == run));
    }
}

pub(super) async fn run(app: App) {
    let mut stops = Stops::default();
    loop {
        let woken = app.wake_stopper.notified();
        if let Err(error) = round(&app, &mut stops).await {
            super::pause_after("stopper", &error).await;
            continue;
        }
        tokio::select! {
            () = woken => {}
            () = sleep(POLL_EVERY) => {}
            Some(ended) = stops.attempts.join_next_with_id() => stops.note(ended),
        }
    }
}

/// Begins what is to be ended and is not under way, as far as there is room.
async fn round(app: &App, stops: &mut Stops) -> Result<(), StorageError> {
    while let Some(ended) = stops.attempts.try_join_next_with_id() {
        stops.note(ended);
    }
    stops.forget_ended();
    if stops.room() == 0 {
        return Ok(());
    }
    let failed: Vec<RunId> = stops.failed.keys().copied().collect();
    for run in runs::stopping(&mut *app.read().await?, &stops.busy(), &failed, stops.room()).await? {
        if stops.may_begin(run.id) {
            let app = app.clone();
            stops.begin(run.id, async move { attempt(&app, &run).await });
        }
    }
    Ok(())
}

/// Whether nothing is left to do.
async fn attempt(app: &App, run: &Run) -> bool {
    match end(app, run).await {
        Ok(is_over) => is_over,
        Err(error) => {
            tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "the end of a process is not noted yet");
            false
        }
    }
}

async fn end(app: &App, run: &Run) -> Result<bool, StorageError> {
    let Some(runtime) = runtimes::client_of_run(&mut *app.read().await?, &app.runtimes, run).await? else {
        tracing::warn!(agent.id = %run.agent, runtime = run.runtime_endpoint, "a run is given up: its runtime is no longer configured");
        let mut tx = app.begin().await?;
        runs::give_up(&mut tx, run.id, "its runtime is no longer configured").await?;
        tx.commit().await?;
        return Ok(true);
    };
    match runs::end_process(&runtime, run).await {
        Ok(report) => hear(app, run, report).await,
        Err(error) => {
            tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process could not be ended yet");
            Ok(false)
        }
    }
}

async fn hear(app: &App, run: &Run, report: Report) -> Result<bool, StorageError> {
    let mut tx = app.begin().await?;
    runs::hear_by_id(&mut tx, run.id, report).await?;
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_fail_leave_room_for_those_that_were_not_tried() {
        let mut stops = Stops::default();
        let dead: Vec<RunId> = (0..UNDER_WAY_MAX).map(|_| RunId::generate()).collect();
        for run in &dead {
            assert!(stops.may_begin(*run));
            stops.begin(*run, async { false });
        }
        assert_eq!((stops.room(), stops.busy().len()), (0, UNDER_WAY_MAX));
        while let Some(ended) = stops.attempts.join_next_with_id().await {
            stops.note(ended);
        }
        assert_eq!((stops.room(), stops.busy().len()), (UNDER_WAY_MAX, UNDER_WAY_MAX), "they rest");
        for run in &dead {
            if stops.may_begin(*run) {
                stops.begin(*run, std::future::pending());
            }
        }
        assert_eq!(stops.under_way.len(), RETRIES_MAX);
        let new = RunId::generate();
        assert!(stops.may_begin(new));
        stops.begin(new, async { true });
        let ended = stops.attempts.join_next_with_id().await.unwrap();
        stops.note(ended);
        assert!(!stops.busy().contains(&new) && !stops.failed.contains_key(&new));
    }

    #[tokio::test]
    async fn an_attempt_that_breaks_off_has_failed() {
        let mut stops = Stops::default();
        let run = RunId::generate();
        stops.begin(run, async { panic!("broken") });
        let ended = stops.attempts.join_next_with_id().await.unwrap();
        stops.note(ended);
        assert!(stops.under_way.is_empty() && stops.failed.contains_key(&run));
    }
}
