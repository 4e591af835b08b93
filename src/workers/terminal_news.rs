//! Takes what terminal connections report into the domain, and what the domain decides to the terminals.

use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::terminals::{self, TerminalNews},
    model::{ids::SessionId, login::Login, terminal::SessionStatus},
};

/// Takes news for ever.
pub(super) async fn run(app: App, mut news: mpsc::Receiver<TerminalNews>) {
    while let Some(news) = news.recv().await {
        while let Err(error) = hear(&app, news).await {
            if !super::try_again("terminal news", &error).await {
                break;
            }
        }
    }
}

/// Connects every session that is alive. The caller delivers what is committed from before this call on,
/// so that a session which ends meanwhile is ended here too.
pub(super) async fn connect_all(app: &App) -> Result<(), StorageError> {
    for session in terminals::all_live(&mut *app.read().await?).await? {
        terminals::connect(&app.terminals, app.runtime.as_ref(), &session);
    }
    Ok(())
}

async fn hear(app: &App, TerminalNews { session, news }: TerminalNews) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    terminals::hear(&mut tx, session, news, None).await?;
    tx.commit().await
}

/// Carries a committed change of a session to its terminal: connects a new one, ends one that is over.
pub(super) async fn changed(app: &App, session: SessionId, status: &str, login: Login, drain: bool) {
    match SessionStatus::parse(status) {
        Some(SessionStatus::Terminated) => app.terminals.end(session, drain),
        Some(SessionStatus::Pending) => {
            while let Err(error) = connect(app, session).await {
                if !super::try_again("terminal news", &error).await {
                    break;
                }
            }
        }
        Some(status) => app.terminals.set_status(session, status, login),
        None => tracing::warn!(session.id = %session, status, "unknown session status"),
    }
}

async fn connect(app: &App, session: SessionId) -> Result<(), StorageError> {
    if let Some(session) = terminals::of_machinery(&mut *app.read().await?, session).await? {
        terminals::connect(&app.terminals, app.runtime.as_ref(), &session);
    }
    Ok(())
}
