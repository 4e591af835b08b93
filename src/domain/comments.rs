//! Comments on pages, as agents and people's keys read and write them.

use uuid::Uuid;

use super::{
    content::{ContentError, may_write},
    events, pages,
    spaces::Page as Slice,
};
use crate::{
    model::{
        account::Account,
        comment::Comment,
        document::Document,
        event::{ContentBrief, EventKind},
        page::PageRef,
        space::{PageRequest, SpaceRole},
    },
    storage::{self, Conn, StorageError, Tx},
};

const NOT_FOUND: ContentError = ContentError::NotFound("comment");

/// A comment.
pub async fn find(conn: &mut Conn, account: &Account, id: Uuid) -> Result<Comment, ContentError> {
    storage::comments::find(conn, account, id).await?.ok_or(NOT_FOUND)
}

/// Comments on a page, the first one first.
///
/// Errors: `NotFound` (the page), `Storage`.
pub async fn list(conn: &mut Conn, account: &Account, page: &PageRef, request: &PageRequest) -> Result<Slice<Comment>, ContentError> {
    let page = pages::find(conn, account, page).await?.summary.id;
    Ok(Slice::of(storage::comments::list(conn, account, page, request).await?, request))
}

/// Comments on a page, or answers a comment on it. Answers are not answered: one to an answer is one to its comment.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound` (page or comment), `ReadOnly`, `Storage`.
pub async fn create(
    tx: &mut Tx,
    account: &Account,
    page: &PageRef,
    parent: Option<Uuid>,
    text: &Document,
) -> Result<Comment, ContentError> {
    let page = pages::find(tx.conn(), account, page).await?.summary;
    may_write(pages::role_in(tx.conn(), account, page.space).await?)?;
    let parent = match parent {
        None => None,
        Some(parent) => {
            let found = find(tx.conn(), account, parent).await?;
            if found.page != page.id {
                return Err(NOT_FOUND);
            }
            Some(found.parent.unwrap_or(found.id))
        }
    };
    let (id, now) = (Uuid::now_v7(), tx.now());
    storage::comments::insert(tx.conn(), account, id, page.id, parent, text.json(), now).await?;
    told(tx, account, id, "created").await
}

/// Writes one's own comment anew.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Refused` (somebody else's), `Storage`.
pub async fn update(tx: &mut Tx, account: &Account, id: Uuid, text: &Document) -> Result<Comment, ContentError> {
    let (found, _) = lock_for_change(tx, account, id).await?;
    if !is_own(account, &found) {
        return Err(ContentError::Refused("only whoever wrote a comment may change it"));
    }
    let now = tx.now();
    storage::comments::set_content(tx.conn(), account, id, text.json(), now).await?;
    told(tx, account, id, "updated").await
}

/// Notes that what a comment is about is settled, or that it is not. Answers are settled with their comment.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Invalid` (an answer), `Storage`.
pub async fn resolve(tx: &mut Tx, account: &Account, id: Uuid, resolved: bool) -> Result<Comment, ContentError> {
    let (found, _) = lock_for_change(tx, account, id).await?;
    if found.parent.is_some() {
        return Err(ContentError::Invalid { field: "commentId", reason: "must be of a comment, not of an answer to one" });
    }
    if found.resolved_at.is_some() == resolved {
        return Ok(found);
    }
    let now = tx.now();
    storage::comments::set_resolved(tx.conn(), account, id, resolved.then_some(now)).await?;
    told(tx, account, id, if resolved { "resolved" } else { "reopened" }).await
}

/// Deletes one's own comment with its answers, softly. People who run the space may delete anybody's.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Refused` (somebody else's), `Storage`.
pub async fn delete(tx: &mut Tx, account: &Account, id: Uuid) -> Result<(), ContentError> {
    let (found, role) = lock_for_change(tx, account, id).await?;
    let runs_space = role == SpaceRole::Admin && !account.is_agent();
    if !is_own(account, &found) && !runs_space {
        return Err(ContentError::Refused("only whoever wrote a comment may delete it"));
    }
    let now = tx.now();
    storage::comments::delete(tx.conn(), account, id, now).await?;
    record(tx, account, &found, "deleted").await?;
    Ok(())
}

async fn lock_for_change(tx: &mut Tx, account: &Account, id: Uuid) -> Result<(Comment, SpaceRole), ContentError> {
    let role = storage::comments::lock(tx.conn(), account, id).await?.ok_or(NOT_FOUND)?;
    may_write(role)?;
    Ok((find(tx.conn(), account, id).await?, role))
}

fn is_own(account: &Account, comment: &Comment) -> bool {
    comment.creator.as_ref().is_some_and(|creator| creator.id == account.user)
}

async fn told(tx: &mut Tx, account: &Account, id: Uuid, change: &str) -> Result<Comment, ContentError> {
    let comment = find(tx.conn(), account, id).await?;
    record(tx, account, &comment, change).await?;
    Ok(comment)
}

/// What a comment says is in no event: the feed is kept for long, and its page may be deleted.
async fn record(tx: &mut Tx, account: &Account, comment: &Comment, change: &str) -> Result<(), StorageError> {
    let content = ContentBrief {
        kind: "comment".to_owned(),
        id: comment.id,
        title: String::new(),
        space_id: Some(comment.space),
        project_id: None,
        task_id: None,
        page_id: Some(comment.page),
    };
    events::record(tx, account.did(EventKind::ContentChanged { content, change: change.to_owned() })).await?;
    Ok(())
}
