//! Takes what is heard of a runtime into the domain, one news after the other, and does what follows from it.

use tokio::sync::{mpsc, watch};

use crate::{
    app::{App, RuntimeClient, StorageError},
    domain::{
        runs::{self, FollowUp, LinkNews},
        runtimes::Condition,
    },
    model::{run::Run, runtime::Reach},
};

/// Takes the news of one link, as far as they are about agents of whoever uses it then.
pub(super) async fn run(app: App, runtime: RuntimeClient, users: watch::Receiver<Reach>, mut news: mpsc::Receiver<LinkNews>) {
    while let Some(news) = news.recv().await {
        if matches!(news, LinkNews::Agents(_)) {
            super::runtime_links::note_contact(&app, &users, &Condition::default()).await;
        }
        loop {
            match hear(&app, &users, &news).await {
                Ok(follow_up) => {
                    start(&app, &runtime, follow_up);
                    break;
                }
                Err(error) => {
                    if !super::try_again("runtime events", &error).await {
                        break;
                    }
                }
            }
        }
    }
}

async fn hear(app: &App, users: &watch::Receiver<Reach>, news: &LinkNews) -> Result<FollowUp, StorageError> {
    let reach = users.borrow().clone();
    let mut tx = app.begin().await?;
    let is_connected = |session| app.terminals.get(session).is_some_and(|terminal| terminal.is_connected());
    let follow_up = runs::hear_link(&mut tx, &app.policy, &reach, news, is_connected).await?;
    tx.commit().await?;
    Ok(follow_up)
}

/// Does what waits for the runtime or for a terminal, while other news are taken in.
fn start(app: &App, runtime: &RuntimeClient, FollowUp { outlived, missing, doubtful }: FollowUp) {
    for run in outlived {
        let runtime = runtime.clone();
        app.spawn(async move { end(&runtime, &run).await });
    }
    for run in doubtful {
        let (app, runtime) = (app.clone(), runtime.clone());
        app.clone().spawn(async move {
            tokio::select! {
                () = look_into(&app, &runtime, &run) => {}
                () = app.shutdown.cancelled() => {}
            }
        });
    }
    if !missing.is_empty() {
        let (app, runtime) = (app.clone(), runtime.clone());
        app.clone().spawn(async move {
            for run in missing {
                look_for(&app, &runtime, &run).await;
            }
        });
    }
}

/// Ends a process that goes on although its run is over.
async fn end(runtime: &RuntimeClient, run: &Run) {
    match runs::end_process(runtime, run).await {
        Ok(_) => tracing::info!(agent.id = %run.agent, "ended a process that had outlived its run"),
        Err(error) => tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process outlives its run"),
    }
}

/// Decides an end that the runtime told of and cannot know.
async fn look_into(app: &App, runtime: &RuntimeClient, run: &Run) {
    let verdict = runs::investigate(&app.terminals, runtime, run).await;
    tracing::info!(agent.id = %run.agent, ?verdict, "the runtime told of an end that it cannot know");
    let judged = async {
        let mut tx = app.begin().await?;
        let is_over = runs::judge(&mut tx, run.id, verdict).await?;
        tx.commit().await?;
        Ok(is_over)
    };
    match judged.await {
        // What was believed by its silence must not go on unseen.
        Ok(true) => end(runtime, run).await,
        Ok(false) => {}
        Err(error) => {
            let error: StorageError = error;
            tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a reported end stays undecided for now");
        }
    }
}

/// Ends a run whose agent the runtime does not have.
async fn look_for(app: &App, runtime: &RuntimeClient, run: &Run) {
    match runs::is_gone(runtime, run).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::debug!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a missing agent cannot be asked for");
            return;
        }
    }
    let gone = async {
        let mut tx = app.begin().await?;
        runs::hear_gone(&mut tx, run.id).await?;
        tx.commit().await
    };
    if let Err(error) = gone.await {
        let error: StorageError = error;
        tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "an agent that is gone is not noted yet");
    }
}
