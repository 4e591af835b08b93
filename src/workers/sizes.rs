//! Stores the sizes of terminals, off the way of what is typed.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    app::{App, StorageError},
    domain::terminals,
    model::ids::SessionId,
};

/// A terminal's size is stored at most this often, however often somebody changes it.
const STORE_EVERY: Duration = Duration::from_millis(250);

/// Stores sizes for ever.
pub(super) async fn run(app: App) {
    loop {
        for session in app.terminals.resized().await {
            while let Err(error) = store(&app, session).await {
                if !super::try_again("sizes", &error).await {
                    break;
                }
            }
        }
        sleep(STORE_EVERY).await;
    }
}

async fn store(app: &App, session: SessionId) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    terminals::note_size(&mut tx, &app.terminals, session).await?;
    tx.commit().await
}
