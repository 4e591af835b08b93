//! Spaces, pages, groups and people, as far as the web UI's pages and the rules for agents need them.

use crate::{
    model::{
        actor::Person,
        ids::SpaceId,
        space::{Group, PageEntry, PageRequest, Space, SpaceRole},
        workspace::User,
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
    fn of(mut items: Vec<T>, request: &PageRequest) -> Self {
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
