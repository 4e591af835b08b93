//! Pages of the knowledge base, as agents and people's keys read and write them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    content::{ContentError, changes_something, decided_by_people, may_write},
    events,
    spaces::Page as Slice,
};
use crate::{
    model::{
        account::Account,
        event::{EventKind, PageBrief},
        ids::{EventId, PageId, SpaceId},
        page::{DEPTH_MAX, NewPage, Page, PageChange, PageHit, PageRef, PageSummary, Revision, SearchWords},
        position,
        space::{PageRequest, SpaceRole},
    },
    storage::{
        self, Conn, StorageError, Tx,
        pages::{Locked, PageUpdate, Subtree},
    },
};

const NOT_FOUND: ContentError = ContentError::NotFound("page");

/// A page with what is written on it.
pub async fn find(conn: &mut Conn, account: &Account, page: &PageRef) -> Result<Page, ContentError> {
    storage::pages::find(conn, account, page).await?.ok_or(NOT_FOUND)
}

/// Pages, of one space if given, those changed last first.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn list(
    conn: &mut Conn,
    account: &Account,
    space: Option<SpaceId>,
    request: &PageRequest,
) -> Result<Slice<PageSummary>, ContentError> {
    if let Some(space) = space {
        role_in(conn, account, space).await?;
    }
    Ok(Slice::of(storage::pages::list(conn, account, space, request).await?, request))
}

/// Pages right below a page, or at the top of a space, in their order.
///
/// Errors: `NotFound`, `Storage`.
pub async fn children(
    conn: &mut Conn,
    account: &Account,
    space: SpaceId,
    parent: Option<&PageRef>,
    request: &PageRequest,
) -> Result<Slice<PageSummary>, ContentError> {
    role_in(conn, account, space).await?;
    let parent = match parent {
        Some(parent) => Some(find(conn, account, parent).await?.summary.id),
        None => None,
    };
    Ok(Slice::of(storage::pages::children(conn, account, space, parent, request).await?, request))
}

/// The pages above a page and it itself, the topmost first.
pub async fn path(conn: &mut Conn, account: &Account, page: &PageRef) -> Result<Vec<PageSummary>, ContentError> {
    let id = find(conn, account, page).await?.summary.id;
    Ok(storage::pages::path(conn, account, id).await?)
}

/// Pages in which the words are found, the best first.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn search(
    conn: &mut Conn,
    account: &Account,
    words: &SearchWords,
    space: Option<SpaceId>,
    request: &PageRequest,
) -> Result<Slice<PageHit>, ContentError> {
    if let Some(space) = space {
        role_in(conn, account, space).await?;
    }
    Ok(Slice::of(storage::pages::search(conn, account, words, space, request).await?, request))
}

/// What was done to a page through this service, the latest first.
pub async fn history(conn: &mut Conn, account: &Account, page: &PageRef, request: &PageRequest) -> Result<Slice<Revision>, ContentError> {
    let id = find(conn, account, page).await?.summary.id;
    Ok(Slice::of(storage::pages::history(conn, account, id, request).await?, request))
}

/// One entry of a page's history.
pub async fn revision(conn: &mut Conn, account: &Account, id: EventId) -> Result<Revision, ContentError> {
    storage::pages::revision(conn, account, id).await?.ok_or(ContentError::NotFound("history entry"))
}

/// Makes a page at the end of those beside it.
///
/// Records [`EventKind::PageCreated`]. Errors: `NotFound` (space or parent), `ReadOnly`, `Invalid` (too deep), `Storage`.
pub async fn create(tx: &mut Tx, account: &Account, page: &NewPage) -> Result<Page, ContentError> {
    may_write(role_in(tx.conn(), account, page.space).await?)?;
    if let Some(parent) = page.parent {
        storage::pages::lock_trees(tx.conn(), account).await?;
        parent_in(tx.conn(), account, parent, page.space).await?;
        fits_below(tx.conn(), account, parent, &[], 1).await?;
    }
    let last = storage::pages::last_position(tx.conn(), page.space, page.parent).await?;
    let (id, now) = (PageId::generate(), tx.now());
    let position = position::after(last.as_deref(), Uuid::new_v4());
    storage::pages::insert(tx.conn(), account, id, &position::slug_id(Uuid::new_v4()), page, &position, now).await?;
    let made = find(tx.conn(), account, &PageRef::Id(id)).await?;
    events::record(tx, account.did(EventKind::PageCreated { page: brief(&made) })).await?;
    Ok(made)
}

/// Changes a page, or moves it within its space.
///
/// Records [`EventKind::PageUpdated`]. Errors: `NotFound` (page or parent), `ReadOnly`, `Refused` (locked, or only for
/// people to decide, or to be moved since pages below it are kept from agents), `Invalid` (nothing to change, below itself,
/// or too deep), `Storage`.
pub async fn update(tx: &mut Tx, account: &Account, page: &PageRef, change: &PageChange) -> Result<Page, ContentError> {
    changes_something(change)?;
    if change.parent.is_some() {
        storage::pages::lock_trees(tx.conn(), account).await?;
    }
    let Locked { id, space, parent: before, .. } = lock_for_change(tx, account, page).await?;
    decided_by_people(account, change.agent_accessible.is_some())?;
    let found = find(tx.conn(), account, &PageRef::Id(id)).await?;
    if found.is_locked && (change.title.is_some() || change.content.is_some()) {
        return Err(ContentError::Refused("the page is locked"));
    }
    if let Some(Some(parent)) = change.parent {
        parent_in(tx.conn(), account, parent, space).await?;
    }
    if let Some(parent) = change.parent.filter(|parent| *parent != before) {
        let tree = whole_tree(tx.conn(), account, id, None).await?;
        if let Some(parent) = parent {
            fits_below(tx.conn(), account, parent, &tree.pages, tree.levels).await?;
        }
    }
    let position = match (&change.position, change.parent) {
        (Some(position), _) => Some(position.clone()),
        (None, Some(parent)) if parent != before => {
            let last = storage::pages::last_position(tx.conn(), space, parent).await?;
            Some(position::after(last.as_deref(), Uuid::new_v4()))
        }
        (None, _) => None,
    };
    let update = PageUpdate {
        title: change.title.as_deref(),
        icon: change.icon.as_ref().map(Option::as_deref),
        content: change.content.as_ref(),
        parent: change.parent,
        position: position.as_deref(),
        agent_accessible: change.agent_accessible,
    };
    let now = tx.now();
    storage::pages::update(tx.conn(), account, id, &update, now).await?;
    let moved = change.parent.is_some() || change.position.is_some();
    changed(tx, account, id, if moved && change.title.is_none() && change.content.is_none() { "moved" } else { "updated" }).await
}

/// Moves a page with all below it to the top of another space.
///
/// Records [`EventKind::PageUpdated`]. Errors: `NotFound` (page or space), `ReadOnly`, `Refused` (pages below it are
/// kept from agents), `Storage`.
pub async fn move_to_space(tx: &mut Tx, account: &Account, page: &PageRef, space: SpaceId) -> Result<Page, ContentError> {
    storage::pages::lock_trees(tx.conn(), account).await?;
    let id = lock_for_change(tx, account, page).await?.id;
    may_write(role_in(tx.conn(), account, space).await?)?;
    let tree = whole_tree(tx.conn(), account, id, None).await?;
    let last = storage::pages::last_position(tx.conn(), space, None).await?;
    let position = position::after(last.as_deref(), Uuid::new_v4());
    let now = tx.now();
    storage::pages::set_space(tx.conn(), account, &tree.pages, space, now).await?;
    let update = PageUpdate { parent: Some(None), position: Some(&position), ..PageUpdate::default() };
    storage::pages::update(tx.conn(), account, id, &update, now).await?;
    changed(tx, account, id, "moved").await
}

/// Deletes a page with all below it; it can be restored.
///
/// Records [`EventKind::PageUpdated`]. Errors: `NotFound`, `ReadOnly`, `Refused` (pages below it are kept from agents),
/// `Storage`.
pub async fn delete(tx: &mut Tx, account: &Account, page: &PageRef) -> Result<(), ContentError> {
    storage::pages::lock_trees(tx.conn(), account).await?;
    let id = lock_for_change(tx, account, page).await?.id;
    let tree = whole_tree(tx.conn(), account, id, None).await?;
    let found = find(tx.conn(), account, &PageRef::Id(id)).await?;
    let now = tx.now();
    storage::pages::delete(tx.conn(), account, &tree.pages, now).await?;
    let kind = EventKind::PageUpdated { page: brief(&found), change: "deleted".to_owned() };
    events::record(tx, account.did(kind)).await?;
    Ok(())
}

/// Brings a deleted page back, with what was deleted with it.
///
/// Records [`EventKind::PageUpdated`]. Errors: `NotFound` (also when it is not deleted), `ReadOnly`, `Refused` (pages that
/// were deleted with it are kept from agents), `Storage`.
pub async fn restore(tx: &mut Tx, account: &Account, page: &PageRef) -> Result<Page, ContentError> {
    storage::pages::lock_trees(tx.conn(), account).await?;
    let (id, role, deleted_at) = storage::pages::lock_deleted(tx.conn(), account, page).await?.ok_or(NOT_FOUND)?;
    may_write(role)?;
    let tree = whole_tree(tx.conn(), account, id, Some(deleted_at)).await?;
    let now = tx.now();
    storage::pages::restore(tx.conn(), account, &tree.pages, now).await?;
    changed(tx, account, id, "restored").await
}

/// What the account may do in a space.
///
/// Errors: `NotFound` when it does not belong to it, `Storage`.
pub(super) async fn role_in(conn: &mut Conn, account: &Account, space: SpaceId) -> Result<SpaceRole, ContentError> {
    let role = storage::spaces::role_of(conn, account.workspace, account.user, space).await?;
    role.ok_or(ContentError::NotFound("space"))
}

/// Whether a page that something is to point to is there for the account.
pub(super) async fn is_there(conn: &mut Conn, account: &Account, page: PageId) -> Result<bool, StorageError> {
    Ok(storage::pages::find(conn, account, &PageRef::Id(page)).await?.is_some())
}

async fn lock_for_change(tx: &mut Tx, account: &Account, page: &PageRef) -> Result<Locked, ContentError> {
    let locked = storage::pages::lock(tx.conn(), account, page).await?.ok_or(NOT_FOUND)?;
    may_write(locked.role)?;
    Ok(locked)
}

/// Whether a page can have another one of a space below it.
async fn parent_in(conn: &mut Conn, account: &Account, parent: PageId, space: SpaceId) -> Result<(), ContentError> {
    let found = storage::pages::find(conn, account, &PageRef::Id(parent)).await?;
    match found.filter(|found| found.summary.space == space) {
        Some(_) => Ok(()),
        None => Err(ContentError::NotFound("parent page")),
    }
}

/// Whether a tree of pages can come below another page: that one is none of them, and the whole does not become too deep.
async fn fits_below(conn: &mut Conn, account: &Account, parent: PageId, tree: &[Uuid], levels: usize) -> Result<(), ContentError> {
    let invalid = |reason| Err(ContentError::Invalid { field: "parentPageId", reason });
    let above = storage::pages::above(conn, account, parent).await?;
    if above.iter().any(|page| tree.contains(page)) {
        return invalid("must not be the page itself or one below it");
    }
    if above.len() + levels > DEPTH_MAX {
        return invalid("must not be so deep that pages come to be below more than 63 others");
    }
    Ok(())
}

/// A page and all below it, or all that was deleted with it, for an account that may take all of it along.
async fn whole_tree(conn: &mut Conn, account: &Account, root: PageId, deleted_at: Option<DateTime<Utc>>) -> Result<Subtree, ContentError> {
    let tree = storage::pages::subtree(conn, account, root, deleted_at).await?;
    if tree.hidden && account.is_agent() {
        return Err(ContentError::Refused("below the page is what only people may move, delete or restore"));
    }
    Ok(tree)
}

async fn changed(tx: &mut Tx, account: &Account, id: PageId, change: &str) -> Result<Page, ContentError> {
    let page = find(tx.conn(), account, &PageRef::Id(id)).await?;
    events::record(tx, account.did(EventKind::PageUpdated { page: brief(&page), change: change.to_owned() })).await?;
    Ok(page)
}

fn brief(page: &Page) -> PageBrief {
    PageBrief { id: page.summary.id, title: page.summary.title.clone().unwrap_or_default(), space_id: page.summary.space }
}
