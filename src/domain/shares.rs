//! Makes, lists and revokes shares: links by which members of the workspace read one terminal for a while.

use chrono::TimeDelta;

use super::{
    events,
    terminals::{self, TerminalError},
};
use crate::{
    model::{
        actor::Person,
        event::{Event, EventKind},
        ids::{SessionId, ShareId, UserId},
        secret::Secret,
        terminal::{SessionStatus, TerminalSession},
        terminal_share::{NewShare, TerminalShare},
    },
    storage::{self, Conn, StorageError, Tx},
};

/// Shares of one session that are good at the same time.
const SHARES_MAX: usize = 20;

/// Why a share was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error("share not found")]
    NotFound,
    #[error("the session has {limit} shares already: revoke one first")]
    LimitReached { limit: usize },
    #[error(transparent)]
    Session(#[from] TerminalError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes a share of a session that is not over, for a person who may write to it.
///
/// Records [`EventKind::TerminalShared`], without the token.
/// Errors: `Session` (`NotFound`, `Forbidden`, `Terminated`), `LimitReached`, `Storage`.
pub async fn create(tx: &mut Tx, person: &Person, session: SessionId, lifetime: TimeDelta) -> Result<NewShare, ShareError> {
    let session = writable(tx, person, session).await?;
    // One who shares at the same time waits, so that both count.
    let session = storage::terminals::lock(tx.conn(), session.id).await?.ok_or(TerminalError::NotFound)?;
    if session.status == SessionStatus::Terminated {
        return Err(TerminalError::Terminated.into());
    }
    let now = tx.now();
    let limit = i64::try_from(SHARES_MAX).unwrap_or(i64::MAX);
    let good = storage::terminal_control::good_shares(tx.conn(), session.workspace, session.id, now, limit).await?;
    if good.len() >= SHARES_MAX {
        return Err(ShareError::LimitReached { limit: SHARES_MAX });
    }
    let token = Secret::share_token();
    let share = TerminalShare {
        id: ShareId::generate(),
        workspace: session.workspace,
        session: session.id,
        created_by: person.user,
        created_at: now,
        expires_at: now + lifetime,
        revoked_at: None,
    };
    storage::terminal_control::insert_share(tx.conn(), &share, &token.hash()).await?;
    let kind = EventKind::TerminalShared { session_id: session.id, share_id: share.id, expires_at: share.expires_at };
    record(tx, &session, person, kind).await?;
    Ok(NewShare { share, token })
}

/// The shares of a session that are good now, newest first, for a person who may write to it.
///
/// Errors: `Session` (`NotFound`, `Forbidden`), `Storage`.
pub async fn list(tx: &mut Tx, person: &Person, session: SessionId) -> Result<Vec<TerminalShare>, ShareError> {
    let session = writable(tx, person, session).await?;
    let now = tx.now();
    let limit = i64::try_from(SHARES_MAX).unwrap_or(i64::MAX);
    Ok(storage::terminal_control::good_shares(tx.conn(), session.workspace, session.id, now, limit).await?)
}

/// The sessions at which viewers may be who came by a share of this person: it ends with the person's account.
pub async fn sessions_shared_by(conn: &mut Conn, user: UserId) -> Result<Vec<SessionId>, StorageError> {
    storage::terminal_control::shared_by(conn, user).await
}

/// Ends a share, and with it the viewers who came by it. Ending it again changes nothing.
///
/// Records [`EventKind::TerminalShareRevoked`] the first time.
/// Errors: `Session` (`NotFound`, `Forbidden`), `NotFound`, `Storage`.
pub async fn revoke(tx: &mut Tx, person: &Person, session: SessionId, id: ShareId) -> Result<TerminalShare, ShareError> {
    let session = writable(tx, person, session).await?;
    let now = tx.now();
    let revoked = storage::terminal_control::revoke_share(tx.conn(), session.workspace, session.id, id, person.user, now).await?;
    let (share, changed) = revoked.ok_or(ShareError::NotFound)?;
    if changed {
        record(tx, &session, person, EventKind::TerminalShareRevoked { session_id: session.id, share_id: id }).await?;
    }
    Ok(share)
}

async fn writable(tx: &mut Tx, person: &Person, session: SessionId) -> Result<TerminalSession, ShareError> {
    let (session, rights) = terminals::with_rights(tx.conn(), person, session).await?;
    if rights.write { Ok(session) } else { Err(TerminalError::Forbidden.into()) }
}

async fn record(tx: &mut Tx, session: &TerminalSession, person: &Person, kind: EventKind) -> Result<(), ShareError> {
    let event = Event { workspace: session.workspace, agent: Some(session.agent.clone()), actor: Some(person.user), kind };
    events::record(tx, event).await?;
    Ok(())
}
