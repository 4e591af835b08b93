//! Takes what is heard of a runtime into the domain, one news after the other.

use tokio::sync::{mpsc, watch};

use crate::{
    app::{App, RuntimeClient, StorageError},
    domain::{
        runs::{self, LinkNews},
        runtimes::Condition,
    },
    model::runtime::Reach,
};

/// Takes the news of one link, as far as they are about agents of whoever uses it then.
pub(super) async fn run(app: App, runtime: RuntimeClient, users: watch::Receiver<Reach>, mut news: mpsc::Receiver<LinkNews>) {
    while let Some(news) = news.recv().await {
        if matches!(news, LinkNews::Agents(_)) {
            super::runtime_links::note_contact(&app, &users, &Condition::default()).await;
        }
        while let Err(error) = hear(&app, &runtime, &users, &news).await {
            if !super::try_again("runtime events", &error).await {
                break;
            }
        }
    }
}

async fn hear(app: &App, runtime: &RuntimeClient, users: &watch::Receiver<Reach>, news: &LinkNews) -> Result<(), StorageError> {
    let reach = users.borrow().clone();
    let mut tx = app.begin().await?;
    let leftovers = runs::hear_link(&mut tx, &reach, news).await?;
    tx.commit().await?;
    for run in leftovers {
        let runtime = runtime.clone();
        app.spawn(async move {
            match runs::end_process(&runtime, &run).await {
                Ok(_) => tracing::info!(agent.id = %run.agent, "ended a process that had outlived its run"),
                Err(error) => tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process outlives its run"),
            }
        });
    }
    Ok(())
}
