//! How things stand with whoever a credential belongs to, after the database told that it changed.

use sqlx::PgPool;

use crate::{
    model::{
        actor::{Standing, Subject},
        agent::AgentStatus,
    },
    storage::{self, Conn, StorageError},
};

pub use crate::storage::access::{AccessListener, AccessNews};

/// How things stand with `subject` now.
pub async fn of(conn: &mut Conn, subject: &Subject) -> Result<Standing, StorageError> {
    let good = match subject {
        Subject::User(user) => {
            let role = storage::users::active_role(conn, *user).await?;
            return Ok(role.map_or(Standing::Ended, Standing::Person));
        }
        Subject::Agent(workspace, agent) => {
            let found = storage::agents::get(conn, *workspace, agent).await?;
            found.is_some_and(|agent| agent.state.status() == AgentStatus::Approved)
        }
        Subject::Workspace(workspace) => storage::workspaces::get(conn, *workspace).await?.is_some(),
        Subject::Key(id) => storage::keys::is_live(conn, id).await?,
        Subject::SignIn(token) => !storage::users::sign_in_has_ended(conn, token).await?,
        // Told only when they end. Whoever came in again meanwhile comes in once more.
        Subject::SignInsOf(_) => false,
    };
    Ok(if good { Standing::Good } else { Standing::Ended })
}

/// Hears of every change from now on.
pub async fn listen(pool: &PgPool) -> Result<AccessListener, StorageError> {
    AccessListener::listen(pool).await
}

/// Sends a message to every listener; see [`storage::access::ping`].
pub async fn ping(conn: &mut Conn, text: &str) -> Result<std::time::Instant, StorageError> {
    storage::access::ping(conn, text).await
}
