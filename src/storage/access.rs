//! News of changed rights: triggers tell them, whoever made the change.

use std::time::Instant;

use sqlx::{PgPool, postgres::PgListener};

use super::{Conn, StorageError};
use crate::model::{
    actor::Subject,
    ids::{UserId, WorkspaceId},
    token::TokenHash,
};

/// Channel of `NOTIFY`; the triggers of the migrations `access_plane` and `ended_sign_ins` use it.
const CHANNEL: &str = "raven_access";
/// First word of a message that a listener sends to itself.
const PING: &str = "ping";

/// What a listener hears.
#[derive(Debug, PartialEq, Eq)]
pub enum AccessNews {
    Changed(Subject),
    /// A message that some listener sent to itself, with what it wrote into it.
    Ping(String),
}

/// Hears of every change of rights.
pub struct AccessListener(PgListener);

impl AccessListener {
    /// Hears of what is committed from now on.
    pub async fn listen(pool: &PgPool) -> Result<Self, StorageError> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next news. A lost connection is an error, since news may be lost with it.
    pub async fn next(&mut self) -> Result<AccessNews, StorageError> {
        loop {
            let notification = self.0.try_recv().await?.ok_or(sqlx::Error::PoolClosed)?;
            if let Some(news) = parse(notification.payload()) {
                return Ok(news);
            }
            tracing::warn!(payload = notification.payload(), "unknown news of access");
        }
    }
}

fn parse(payload: &str) -> Option<AccessNews> {
    if let Some(text) = payload.strip_prefix(PING) {
        return Some(AccessNews::Ping(text.trim().to_owned()));
    }
    let mut words = payload.splitn(3, ' ');
    let (kind, workspace, id) = (words.next()?, words.next()?, words.next()?);
    let subject = match kind {
        "agent" => Subject::Agent(workspace.parse::<WorkspaceId>().ok()?, id.parse().ok()?),
        "key" => Subject::Key(id.to_owned()),
        "workspace" => Subject::Workspace(id.parse::<WorkspaceId>().ok()?),
        "user" => Subject::User(id.parse::<UserId>().ok()?),
        "sign-in" => Subject::SignIn(TokenHash::parse(id)?),
        "sign-ins" => Subject::SignInsOf(id.parse::<UserId>().ok()?),
        _ => return None,
    };
    Some(AccessNews::Changed(subject))
}

/// Sends a listener a message through the database; returns when it was sent. Everything that was
/// committed before is heard of before it.
pub async fn ping(conn: &mut Conn, text: &str) -> Result<Instant, StorageError> {
    let sent_at = Instant::now();
    sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, format!("{PING} {text}")).execute(conn).await?;
    Ok(sent_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_triggers_are_understood() {
        let id = uuid::Uuid::now_v7();
        let agent = Subject::Agent(WorkspaceId(id), "scout".parse().unwrap());
        assert_eq!(parse(&format!("agent {id} scout")), Some(AccessNews::Changed(agent)));
        assert_eq!(parse(&format!("key {id} k 1")), Some(AccessNews::Changed(Subject::Key("k 1".into()))));
        assert_eq!(parse(&format!("user {id} {id}")), Some(AccessNews::Changed(Subject::User(UserId(id)))));
        let token = TokenHash::of("a token");
        assert_eq!(parse(&format!("sign-in {id} {token}")), Some(AccessNews::Changed(Subject::SignIn(token))));
        assert_eq!(parse(&format!("sign-ins {id} {id}")), Some(AccessNews::Changed(Subject::SignInsOf(UserId(id)))));
        assert_eq!(parse("ping a b"), Some(AccessNews::Ping("a b".into())));
        for unknown in ["", "agent", "agent x y", "page 1 2"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }
}
