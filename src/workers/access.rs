//! Carries changed rights to what this process remembers and holds open, whoever made the change.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    app::{App, StorageError, connections::Concerned},
    domain::{
        shares,
        standing::{self, AccessListener, AccessNews},
    },
    model::actor::Subject,
};

/// How often the listener proves that it hears, while anybody is remembered.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Listens for ever. While nobody listens, nothing that is remembered counts.
pub(super) async fn run(app: App) {
    loop {
        let heard = listen(&app).await;
        app.access_cache.distrust();
        if let Err(error) = heard {
            super::pause_after("access", &error).await;
        }
    }
}

async fn listen(app: &App) -> Result<(), StorageError> {
    let mut listener = standing::listen(&app.pool).await?;
    // What changed while nobody listened.
    for subject in app.connections.subjects() {
        apply(app, &subject).await?;
    }
    let name = uuid::Uuid::new_v4().simple().to_string();
    let started = Instant::now();
    tokio::select! {
        heard = hear(app, &mut listener, &name, started) => heard,
        pinged = ping(app, &name, started) => pinged,
    }
}

async fn hear(app: &App, listener: &mut AccessListener, name: &str, started: Instant) -> Result<(), StorageError> {
    loop {
        match listener.next().await? {
            AccessNews::Changed(subject) => apply(app, &subject).await?,
            AccessNews::Ping(text) => {
                // The text is the listener's name and when it sent the message, in milliseconds since it started.
                let sent_ms = text.strip_prefix(name).and_then(|rest| rest.trim().parse().ok());
                if let Some(sent_at) = sent_ms.and_then(|ms| started.checked_add(Duration::from_millis(ms))) {
                    app.access_cache.confirm(sent_at);
                }
            }
        }
    }
}

/// Sends the listener a message every so often, as long as anybody is remembered.
async fn ping(app: &App, name: &str, started: Instant) -> Result<(), StorageError> {
    loop {
        app.access_cache.in_use().await;
        let text = format!("{name} {}", started.elapsed().as_millis());
        standing::ping(&mut *app.read().await?, &text).await?;
        sleep(PING_EVERY).await;
    }
}

async fn apply(app: &App, subject: &Subject) -> Result<(), StorageError> {
    app.access_cache.forget(subject);
    app.live_events.rights_changed(subject);
    if let Subject::User(user) = subject {
        for session in shares::sessions_shared_by(&mut *app.read().await?, *user).await? {
            app.controls.doubt(session);
        }
    }
    if app.connections.has(subject) {
        let standing = standing::of(&mut *app.read().await?, subject).await?;
        let (app, subject) = (app.clone(), subject.clone());
        // Connections that are slow to close do not keep the next change waiting.
        app.clone().spawn(async move { app.connections.close(&subject, standing, Concerned::default()).await });
    }
    Ok(())
}
