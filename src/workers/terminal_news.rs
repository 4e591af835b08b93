//! Takes what terminal connections report into the domain, and what the domain decides to the terminals.

use tokio::sync::mpsc;

use crate::{
    app::{App, StorageError},
    domain::{
        runtimes,
        terminals::{self, TerminalNews},
    },
    model::{
        ids::{SessionId, WorkspaceId},
        login::Login,
        runtime::RuntimeName,
        terminal::SessionStatus,
    },
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
    let mut conn = app.read().await?;
    for session in terminals::all_live(&mut conn).await? {
        let runtime = runtimes::client_of_session(&mut conn, &app.runtimes, &session).await?;
        terminals::connect(&mut conn, &app.terminals, runtime.as_ref(), &session).await?;
    }
    Ok(())
}

/// Connects the sessions on a runtime that is back, where they are not; those whose connection held all the time
/// are active again.
pub(super) async fn reconnect(app: &App, workspace: WorkspaceId, runtime: &RuntimeName) {
    let reconnected = async {
        for session in runtimes::sessions(&mut *app.read().await?, workspace, runtime).await? {
            connect(app, session).await?;
            let mut tx = app.begin().await?;
            terminals::hear_connected(&mut tx, &app.terminals, session).await?;
            tx.commit().await?;
        }
        Ok(())
    };
    let reconnected: Result<(), StorageError> = reconnected.await;
    if let Err(error) = reconnected {
        tracing::warn!(%runtime, error = &error as &dyn std::error::Error, "not all sessions of a runtime were looked after");
    }
}

/// Has the sessions on a runtime dialed over the link that the runtime has now.
pub(super) async fn renew(app: &App, workspace: WorkspaceId, runtime: &RuntimeName) {
    let renewed = async {
        let mut conn = app.read().await?;
        let client = runtimes::client(&mut conn, &app.runtimes, workspace, runtime).await?;
        for session in runtimes::sessions(&mut conn, workspace, runtime).await? {
            if let Some(client) = &client {
                app.terminals.renew(session, client);
            }
        }
        Ok(())
    };
    let renewed: Result<(), StorageError> = renewed.await;
    if let Err(error) = renewed {
        tracing::warn!(%runtime, error = &error as &dyn std::error::Error, "the terminals of a runtime keep the link that they had");
    }
}

/// Takes in news of a line; what is said of one that was replaced meanwhile is nothing to anybody (RT-13).
async fn hear(app: &App, TerminalNews { session, generation, news }: TerminalNews) -> Result<(), StorageError> {
    if app.terminals.get(session).is_none_or(|terminal| !terminal.is_newest(generation)) {
        return Ok(());
    }
    let mut tx = app.begin().await?;
    terminals::hear(&mut tx, session, news, None).await?;
    tx.commit().await
}

/// Carries a committed change of a session to its terminal: connects a new one, ends one that is over.
pub(super) async fn changed(app: &App, session: SessionId, status: &str, login: Login, drain: bool) {
    match SessionStatus::parse(status) {
        Some(SessionStatus::Terminated) => {
            app.controls.end(session);
            mark(app, session, status);
            app.terminals.end(session, drain);
        }
        Some(SessionStatus::Pending) => {
            while let Err(error) = connect(app, session).await {
                if !super::try_again("terminal news", &error).await {
                    break;
                }
            }
        }
        Some(known) => {
            mark(app, session, status);
            app.terminals.set_status(session, known, login);
        }
        None => tracing::warn!(session.id = %session, status, "unknown session status"),
    }
}

/// Puts the status into the session's recording.
fn mark(app: &App, session: SessionId, status: &str) {
    if let Some(terminal) = app.terminals.get(session) {
        terminal.mark(&status.replace('_', " "));
    }
}

async fn connect(app: &App, session: SessionId) -> Result<(), StorageError> {
    let mut conn = app.read().await?;
    if let Some(session) = terminals::of_machinery(&mut conn, session).await? {
        let runtime = runtimes::client_of_session(&mut conn, &app.runtimes, &session).await?;
        terminals::connect(&mut conn, &app.terminals, runtime.as_ref(), &session).await?;
    }
    Ok(())
}
