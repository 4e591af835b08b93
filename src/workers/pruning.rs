//! Keeps recordings within what their workspaces may take: as soon as more was written than fits, when the settings of a
//! workspace change, and every minute for what has become old.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    app::{App, StorageError},
    domain::recordings,
    model::ids::WorkspaceId,
};

/// How often all workspaces are looked at, and how often one that writes without a pause.
const EVERY: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);

/// Says when a workspace's recordings are to be looked at.
#[derive(Clone, Default)]
pub(super) struct Pruning(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// Bytes that may be written before it is looked whether they are too much. Of a workspace that is not here none.
    rooms: HashMap<WorkspaceId, u64>,
    due: HashSet<WorkspaceId>,
}

impl Pruning {
    /// This many bytes were added to a workspace's recordings.
    pub(super) fn written(&self, workspace: WorkspaceId, bytes: usize) {
        let mut state = self.lock();
        let room = state.rooms.entry(workspace).or_default();
        *room = room.saturating_sub(bytes as u64);
        if *room == 0 && state.due.insert(workspace) {
            self.0.wake.notify_one();
        }
    }

    /// Has a workspace's recordings looked at.
    pub(super) fn look(&self, workspace: WorkspaceId) {
        self.lock().due.insert(workspace);
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn run(app: App, pruning: Pruning) {
    let mut next = Instant::now();
    loop {
        let is_time_for_all = next <= Instant::now();
        match round(&app, &pruning, is_time_for_all).await {
            Ok(()) if is_time_for_all => next = Instant::now() + EVERY,
            Ok(()) => {}
            Err(error) => {
                super::pause_after("pruning of recordings", &error).await;
                // What was due is among all.
                next = Instant::now();
                continue;
            }
        }
        sleep(PAUSE).await;
        tokio::select! {
            () = pruning.0.wake.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

async fn round(app: &App, pruning: &Pruning, of_all: bool) -> Result<(), StorageError> {
    let mut due = std::mem::take(&mut pruning.lock().due);
    if of_all {
        due.extend(recordings::workspaces(&mut *app.read().await?).await?);
        pruning.lock().rooms.retain(|workspace, _| due.contains(workspace));
    }
    for workspace in due {
        let mut pruned = 0;
        loop {
            let mut tx = app.begin().await?;
            let segments = recordings::prune(&mut tx, workspace, app.settings.recordings).await?;
            tx.commit().await?;
            if segments == 0 {
                break;
            }
            pruned += segments;
        }
        if pruned > 0 {
            tracing::info!(workspace.id = %workspace, segments = pruned, "recordings beyond what is kept were deleted");
        }
        let room = recordings::room(&mut *app.read().await?, workspace, app.settings.recordings).await?;
        pruning.lock().rooms.insert(workspace, room);
    }
    Ok(())
}
