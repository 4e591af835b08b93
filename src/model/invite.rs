//! Invites by which agents register themselves (REST contract §4.4).

use chrono::{DateTime, Utc};

use super::{
    ids::{InviteId, UserId, WorkspaceId},
    permission::PermissionSet,
    secret::Secret,
};

/// An invite as the admins see it.
#[derive(Clone, Debug)]
pub struct Invite {
    pub id: InviteId,
    pub workspace: WorkspaceId,
    pub name: String,
    pub description: Option<String>,
    /// Sealed; absent once the invite can admit nobody.
    pub token_sealed: Option<Vec<u8>>,
    pub token_prefix: String,
    pub permissions: PermissionSet,
    /// `None` is without limit.
    pub uses_remaining: Option<i32>,
    pub uses_count: i32,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_by: Option<UserId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Invite {
    /// Whether the invite can still admit somebody.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at) && self.uses_remaining.is_none_or(|uses| uses > 0)
    }

    /// Where the token is sealed for, so that a ciphertext moved to another row does not open.
    #[must_use]
    pub fn seal_place(id: InviteId) -> String {
        format!("agent_invites/{id}")
    }
}

/// An invite with its token, where the token may still be shown.
pub struct InviteView {
    pub invite: Invite,
    pub token: Option<Secret>,
}

/// What an admin asks for when making an invite.
#[derive(Clone, Debug)]
pub struct InviteOrder {
    pub name: String,
    pub description: Option<String>,
    pub permissions: PermissionSet,
    pub uses: Option<i32>,
    pub expires_at: Option<DateTime<Utc>>,
}
