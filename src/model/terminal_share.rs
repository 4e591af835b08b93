//! Shares: links by which members of a workspace read one terminal for a while.

use chrono::{DateTime, Utc};

use super::{
    ids::{SessionId, ShareId, UserId, WorkspaceId},
    secret::Secret,
};

/// A share of one terminal.
#[derive(Clone, Debug)]
pub struct TerminalShare {
    pub id: ShareId,
    pub workspace: WorkspaceId,
    pub session: SessionId,
    pub created_by: UserId,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl TerminalShare {
    /// Whether it lets anybody read the session at this time.
    #[must_use]
    pub fn admits(&self, session: SessionId, now: DateTime<Utc>) -> bool {
        self.session == session && self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A share that was just made, with its token: nobody can read that again.
pub struct NewShare {
    pub share: TerminalShare,
    pub token: Secret,
}
