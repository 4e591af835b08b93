//! Takes what terminal connections report into the domain, and what the domain decides to the terminals.

use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::terminals::{self, TerminalNews},
    model::{ids::SessionId, terminal::SessionStatus},
};

/// Connects every session that is alive, then takes news for ever.
pub(super) async fn run(app: App, mut news: mpsc::Receiver<TerminalNews>) {
    while let Err(error) = connect_all(&app).await {
        super::pause_after("terminal news", &error).await;
    }
    while let Some(news) = news.recv().await {
        while let Err(error) = hear(&app, news).await {
            if !super::try_again("terminal news", &error).await {
                break;
            }
        }
    }
}

async fn connect_all(app: &App) -> Result<(), StorageError> {
    let sessions = terminals::all_live(&mut *app.read().await?).await?;
    for session in &sessions {
        terminals::connect(&app.terminals, app.runtime.as_ref(), session);
    }
    Ok(())
}

async fn hear(app: &App, TerminalNews { session, news }: TerminalNews) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    terminals::hear(&mut tx, session, news, None).await?;
    tx.commit().await
}

/// Carries a committed change of a session to its terminal: connects a new one, ends one that is over.
pub(super) fn changed(app: &App, session: SessionId, status: &str, login_url: Option<String>, drain: bool) {
    match SessionStatus::parse(status) {
        Some(SessionStatus::Terminated) => app.terminals.end(session, drain),
        Some(SessionStatus::Pending) => {
            let app = app.clone();
            app.clone().spawn(async move {
                let found = async { terminals::of_machinery(&mut *app.read().await?, session).await };
                match found.await {
                    Ok(Some(session)) => terminals::connect(&app.terminals, app.runtime.as_ref(), &session),
                    Ok(None) => {}
                    Err(error) => tracing::error!(error = &error as &dyn std::error::Error, session.id = %session, "a terminal could not be connected"),
                }
            });
        }
        Some(status) => app.terminals.set_status(session, status, login_url),
        None => tracing::warn!(session.id = %session, status, "unknown session status"),
    }
}
