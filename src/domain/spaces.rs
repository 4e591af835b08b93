//! Spaces, pages, groups and people, as far as the web UI's pages and the rules for agents need them.

use super::content::ContentError;
use crate::{
    model::{
        account::Account,
        actor::Person,
        ids::{SpaceId, UserId},
        space::{Group, PageEntry, PageRequest, Space, SpaceMember, SpaceRole},
        workspace::{User, Workspace},
    },
    storage::{self, Conn, StorageError},
};

/// One page of a list.
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_next: bool,
}

impl<T> Page<T> {
    /// Takes one item more than the page holds as the sign that there is a next one.
    pub(super) fn of(mut items: Vec<T>, request: &PageRequest) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or_default();
        let has_next = items.len() > limit;
        items.truncate(limit);
        Self { items, has_next }
    }
}

/// What the person may do in a space of their workspace; `None` when nothing.
pub async fn role_of(conn: &mut Conn, person: &Person, space: SpaceId) -> Result<Option<SpaceRole>, StorageError> {
    storage::spaces::role_of(conn, person.workspace, person.user, space).await
}

/// Spaces that the person belongs to, by name.
pub async fn list(conn: &mut Conn, person: &Person, request: &PageRequest) -> Result<Page<Space>, StorageError> {
    Ok(Page::of(storage::spaces::list(conn, person.workspace, person.user, request).await?, request))
}

/// Pages that the person may read, those changed last first.
pub async fn recent_pages(
    conn: &mut Conn,
    person: &Person,
    space: Option<SpaceId>,
    request: &PageRequest,
) -> Result<Page<PageEntry>, StorageError> {
    Ok(Page::of(storage::spaces::recent_pages(conn, person.workspace, person.user, space, request).await?, request))
}

/// Groups of the person's workspace.
pub async fn groups(conn: &mut Conn, person: &Person, request: &PageRequest) -> Result<Page<Group>, StorageError> {
    Ok(Page::of(storage::spaces::groups(conn, person.workspace, request).await?, request))
}

/// People of the person's workspace.
pub async fn people(conn: &mut Conn, person: &Person, request: &PageRequest) -> Result<Page<User>, StorageError> {
    Ok(Page::of(storage::users::people(conn, person.workspace, request).await?, request))
}

/// Spaces that the account belongs to, by name.
pub async fn of_account(conn: &mut Conn, account: &Account, request: &PageRequest) -> Result<Page<Space>, StorageError> {
    Ok(Page::of(storage::spaces::list(conn, account.workspace, account.user, request).await?, request))
}

/// A space that the account belongs to, with what it may do there.
pub async fn find(conn: &mut Conn, account: &Account, id: SpaceId) -> Result<(Space, SpaceRole), ContentError> {
    let role = storage::spaces::role_of(conn, account.workspace, account.user, id).await?;
    let space = storage::spaces::find(conn, account.workspace, account.user, id).await?;
    space.zip(role).ok_or(ContentError::NotFound("space"))
}

/// People who belong to a space of the account, with what they may do there.
///
/// Errors: `NotFound`, `Storage`.
pub async fn members(conn: &mut Conn, account: &Account, id: SpaceId, request: &PageRequest) -> Result<Page<SpaceMember>, ContentError> {
    find(conn, account, id).await?;
    Ok(Page::of(storage::users::of_space(conn, account.workspace, id, request).await?, request))
}

/// People of the account's workspace.
pub async fn people_of(conn: &mut Conn, account: &Account, request: &PageRequest) -> Result<Page<User>, StorageError> {
    Ok(Page::of(storage::users::people(conn, account.workspace, request).await?, request))
}

/// An active account of the same workspace, a person's or an agent's.
pub async fn person(conn: &mut Conn, account: &Account, id: UserId) -> Result<User, ContentError> {
    storage::users::active(conn, account.workspace, id).await?.ok_or(ContentError::NotFound("user"))
}

/// The account's workspace.
pub async fn workspace_of(conn: &mut Conn, account: &Account) -> Result<Workspace, ContentError> {
    storage::workspaces::get(conn, account.workspace).await?.ok_or(ContentError::NotFound("workspace"))
}
