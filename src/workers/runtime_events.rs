//! Takes what is heard of the runtime into the domain, one news after the other.

use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::runs::{self, LinkNews},
};

pub(super) async fn run(app: App, endpoint: String, mut news: mpsc::Receiver<LinkNews>) {
    while let Some(news) = news.recv().await {
        while let Err(error) = hear(&app, &endpoint, &news).await {
            if !super::try_again("runtime events", &error).await {
                break;
            }
        }
    }
}

async fn hear(app: &App, endpoint: &str, news: &LinkNews) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    let leftovers = runs::hear_link(&mut tx, endpoint, news).await?;
    tx.commit().await?;
    for run in leftovers {
        let app = app.clone();
        app.clone().spawn(async move {
            let Some(runtime) = app.runtime.as_ref() else { return };
            match runs::end_process(runtime, &run).await {
                Ok(_) => tracing::info!(agent.id = %run.agent, "ended a process that had outlived its run"),
                Err(error) => tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "a process outlives its run"),
            }
        });
    }
    Ok(())
}
