//! Keeps one link to each runtime that is known now, on every node: it follows the runtime's events, asks for
//! its health, and notices when nothing is heard of it.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, LinkKey, RuntimeClient, StorageError, link},
    domain::{
        health,
        runtimes::{self, Condition, Link},
    },
    model::{
        ids::WorkspaceId,
        runtime::{Reach, RuntimeName},
    },
};

/// Reports of one link that may wait for the database; beyond it the link stops reading.
const NEWS_QUEUED: usize = 256;
/// How often each runtime is asked for its health.
const HEALTH_EVERY: Duration = Duration::from_secs(30);
/// How often is looked for runtimes that went silent: a fraction of how long they may be.
const SILENCE_CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a change of which runtimes there are may go unheard when its news were lost.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// A link that is kept, by whom it may be used now. Dropping it ends it.
struct Kept {
    reach: watch::Sender<Reach>,
    ending: CancellationToken,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// Keeps the links for ever. They stay while nobody can hear of changes.
pub(super) async fn run(app: App) {
    let mut kept = HashMap::new();
    while let Err(error) = doubt(&app).await {
        super::pause_after("runtime links", &error).await;
    }
    loop {
        if let Err(error) = keep(&app, &mut kept).await {
            super::pause_after("runtime links", &error).await;
        }
    }
}

async fn doubt(app: &App) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    runtimes::doubt(&mut tx).await?;
    tx.commit().await
}

async fn keep(app: &App, kept: &mut HashMap<LinkKey, Kept>) -> Result<(), StorageError> {
    let mut changes = runtimes::listen(&app.pool).await?;
    loop {
        update(app, kept).await?;
        let reload_at = Instant::now() + RELOAD_EVERY;
        loop {
            notice_silence(app, kept).await?;
            let until = (Instant::now() + SILENCE_CHECK_EVERY).min(reload_at);
            match timeout(until.saturating_duration_since(Instant::now()), changes.changed()).await {
                Ok(changed) => {
                    changed?;
                    break;
                }
                Err(_) if Instant::now() >= reload_at => break,
                Err(_) => {}
            }
        }
    }
}

/// Starts links to runtimes that are new, ends those to runtimes that are gone, and tells the others who uses them.
async fn update(app: &App, kept: &mut HashMap<LinkKey, Kept>) -> Result<(), StorageError> {
    let links = runtimes::links(&mut *app.read().await?, &app.runtimes).await?;
    let keys: Vec<LinkKey> = links.iter().map(|link| link.key.clone()).collect();
    kept.retain(|key, _| keys.contains(key));
    app.runtimes.keep_only(&keys);
    let mut joined = Vec::new();
    for Link { key, client, reach } in links {
        if let Some(known) = kept.get(&key) {
            joined.extend(reach.users.iter().filter(|user| !known.reach.borrow().users.contains(user)).cloned());
            known.reach.send_if_modified(|current| {
                let changed = *current != reach;
                *current = reach;
                changed
            });
        } else {
            joined.extend(reach.users.iter().cloned());
            kept.insert(key, start(app, client, reach));
        }
    }
    app.spawn(app.shutdown.clone().run_until_cancelled_owned(renew(app.clone(), joined)));
    Ok(())
}

/// Has the terminals of runtimes that came to another link dialed over it: with another endpoint or token.
async fn renew(app: App, joined: Vec<(Option<WorkspaceId>, RuntimeName)>) {
    for (workspace, runtime) in joined {
        // The operator's runtime has the same link for as long as the service runs.
        if let Some(workspace) = workspace {
            super::terminal_news::renew(&app, workspace, &runtime).await;
        }
    }
}

fn start(app: &App, client: RuntimeClient, reach: Reach) -> Kept {
    let (reach, users) = watch::channel(reach);
    let ending = app.shutdown.child_token();
    let (news, reports) = mpsc::channel(NEWS_QUEUED);
    let work = {
        let app = app.clone();
        async move {
            tokio::join!(
                link::follow(client.clone(), news),
                super::runtime_events::run(app.clone(), client.clone(), users.clone(), reports),
                watch_health(app, client, users),
            )
        }
    };
    app.spawn(ending.clone().run_until_cancelled_owned(work));
    Kept { reach, ending }
}

/// Asks the runtime how it is, as long as anybody uses it; an answer is a sign of life. Who is new learns it at once.
async fn watch_health(app: App, client: RuntimeClient, mut users: watch::Receiver<Reach>) {
    let mut ticks = interval(HEALTH_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = users.changed() => if changed.is_err() { return },
        }
        if let Ok(probed) = health::probe(&client).await {
            let condition = Condition { version: probed.version, active_agents: probed.active_agents };
            note_contact(&app, &users, &condition).await;
        }
    }
}

/// Notes a sign of life. One that cannot be noted is made up for by the next.
pub(super) async fn note_contact(app: &App, users: &watch::Receiver<Reach>, condition: &Condition) {
    let reach = users.borrow().clone();
    let noted = async {
        let mut tx = app.begin().await?;
        runtimes::note_contact(&mut tx, &reach, condition).await?;
        tx.commit().await
    };
    let noted: Result<(), StorageError> = noted.await;
    if let Err(error) = noted {
        tracing::warn!(runtime = reach.endpoint, error = &error as &dyn std::error::Error, "a sign of life of a runtime is not noted");
    }
}

async fn notice_silence(app: &App, kept: &HashMap<LinkKey, Kept>) -> Result<(), StorageError> {
    let reaches: Vec<Reach> = kept.values().map(|kept| kept.reach.borrow().clone()).collect();
    if reaches.is_empty() {
        return Ok(());
    }
    let mut tx = app.begin().await?;
    runtimes::notice_silence(&mut tx, reaches.iter()).await?;
    tx.commit().await
}
