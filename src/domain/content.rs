//! What pages, tasks, projects, comments and memories have in common: why something is not done to them.

use crate::{
    model::{account::Account, space::SpaceRole},
    storage::{self, StorageError, Tx},
};

/// Why content was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Also for what the account must not know of: in another workspace, in a space that it does not belong to,
    /// or kept from agents (D-40).
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The account sees it and may only read in its space.
    #[error("the account may only read in this space")]
    ReadOnly,
    /// The agent lacks a permission that only this way of calling needs.
    #[error("this needs the permission {0}")]
    NotPermitted(&'static str),
    #[error("{0}")]
    Refused(&'static str),
    /// A value that a rule beyond its form forbids.
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Whether the account may change what it found in a space.
pub(super) fn may_write(role: SpaceRole) -> Result<(), ContentError> {
    if role.manages_pages() { Ok(()) } else { Err(ContentError::ReadOnly) }
}

/// Whether the account has a permission, by itself or for a while. What was granted for a while is looked for only where
/// the account lacks the permission.
pub(super) async fn may(tx: &mut Tx, account: &Account, permission: &str) -> Result<bool, StorageError> {
    let Some(agent) = account.agent.as_ref().filter(|_| !account.may(permission)) else { return Ok(true) };
    let now = tx.now();
    Ok(storage::tool_approvals::granted(tx.conn(), account.workspace, agent, account.user, now).await?.contains(permission))
}

/// What agents see and take up is for people to decide (D-40).
pub(super) fn decided_by_people(account: &Account, asked: bool) -> Result<(), ContentError> {
    if asked && account.is_agent() {
        return Err(ContentError::Refused("what agents see and take up is for people to decide"));
    }
    Ok(())
}

/// A change that names nothing is refused: it would leave an event, and its answer would be a way to read.
pub(super) fn changes_something<T: Default + PartialEq>(change: &T) -> Result<(), ContentError> {
    if *change == T::default() {
        return Err(ContentError::Invalid { field: "arguments", reason: "must name something that is to change" });
    }
    Ok(())
}
