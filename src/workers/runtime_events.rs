//! Takes what is heard of the runtime into the domain, one news after the other, and does what follows from it.

use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::runs::{self, FollowUp, LinkNews},
    model::run::Run,
};

pub(super) async fn run(app: App, endpoint: String, mut news: mpsc::Receiver<LinkNews>) {
    while let Some(news) = news.recv().await {
        loop {
            match hear(&app, &endpoint, &news).await {
                Ok(follow_up) => {
                    start(&app, follow_up);
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

async fn hear(app: &App, endpoint: &str, news: &LinkNews) -> Result<FollowUp, StorageError> {
    let mut tx = app.begin().await?;
    let is_connected = |session| app.terminals.get(session).is_some_and(|terminal| terminal.is_connected());
    let follow_up = runs::hear_link(&mut tx, &app.policy, endpoint, news, is_connected).await?;
    tx.commit().await?;
    Ok(follow_up)
}

/// Does what waits for the runtime or for a terminal, while other news are taken in.
fn start(app: &App, FollowUp { outlived, missing, doubtful }: FollowUp) {
    for run in outlived {
        let app = app.clone();
        app.clone().spawn(async move { end(&app, &run).await });
    }
    for run in doubtful {
        let app = app.clone();
        app.clone().spawn(async move {
            let app_ending = app.clone();
            tokio::select! {
                () = look_into(&app, &run) => {}
                () = app_ending.shutdown.cancelled() => {}
            }
        });
    }
    if !missing.is_empty() {
        let app = app.clone();
        app.clone().spawn(async move {
            for run in missing {
                look_for(&app, &run).await;
            }
        });
    }
}

/// Ends a process that goes on although its run is over.
async fn end(app: &App, run: &Run) {
    let Some(runtime) = app.runtime.as_ref() else { return };
    match runs::end_process(runtime, run).await {
        Ok(_) => tracing::info!(agent.id = %run.agent, "ended a process that had outlived its run"),
        Err(error) => tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process outlives its run"),
    }
}

/// Decides an end that the runtime told of and cannot know.
async fn look_into(app: &App, run: &Run) {
    let Some(runtime) = app.runtime.as_ref() else { return };
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
        Ok(true) => end(app, run).await,
        Ok(false) => {}
        Err(error) => {
            let error: StorageError = error;
            tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a reported end stays undecided for now");
        }
    }
}

/// Ends a run whose agent the runtime does not have.
async fn look_for(app: &App, run: &Run) {
    let Some(runtime) = app.runtime.as_ref() else { return };
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
