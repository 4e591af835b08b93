//! What agents noted for later. Nobody reads what another noted (D-54).

use chrono::TimeDelta;
use uuid::Uuid;

use super::{
    content::{ContentError, may_write},
    events, pages,
};
use crate::{
    model::{
        account::Account,
        event::{ContentBrief, EventKind},
        ids::SpaceId,
        memory::{self, Memory, MemoryDay, MemoryFilter, MemoryHit, NewMemory},
        page::SearchWords,
    },
    storage::{self, Conn, Tx},
};

/// How far ahead of the database's clock a memory may be: what is noted has happened.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// Keeps a memory.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound` (the space), `ReadOnly`, `Invalid` (too long, or of the
/// future), `Storage`.
pub async fn ingest(tx: &mut Tx, account: &Account, new: NewMemory) -> Result<Memory, ContentError> {
    if let Some(space) = new.space {
        may_write(pages::role_in(tx.conn(), account, space).await?)?;
    }
    if new.content.to_string().len() > memory::CONTENT_BYTES_MAX {
        return Err(ContentError::Invalid { field: "content", reason: "must be at most 64 KiB of JSON, with metadata and entities" });
    }
    let now = tx.now();
    if new.at.is_some_and(|at| at > now + AHEAD_MAX) {
        return Err(ContentError::Invalid { field: "timestamp", reason: "must not be in the future" });
    }
    let memory = Memory {
        id: Uuid::now_v7(),
        workspace: account.workspace,
        space: new.space,
        creator: Some(account.user),
        source: Some(new.source),
        summary: new.summary.or_else(|| memory::summary_of(&new.content)),
        content: Some(new.content),
        tags: new.tags,
        at: new.at.unwrap_or(now),
    };
    storage::memories::insert(tx.conn(), account, &memory, now).await?;
    // What a memory says is in no event: others hear of it.
    let content = ContentBrief {
        kind: "memory".to_owned(),
        id: memory.id,
        title: String::new(),
        space_id: memory.space,
        project_id: None,
        task_id: None,
        page_id: None,
    };
    events::record(tx, account.did(EventKind::ContentChanged { content, change: "created".to_owned() })).await?;
    Ok(memory)
}

/// Memories of the account that fit, those with the most of the words first, and of those the latest.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn query(
    conn: &mut Conn,
    account: &Account,
    words: &SearchWords,
    filter: &MemoryFilter,
    limit: i64,
) -> Result<Vec<MemoryHit>, ContentError> {
    belongs(conn, account, filter.space).await?;
    Ok(storage::memories::search(conn, account, words, filter, limit).await?)
}

/// Days (UTC) that have memories of the account, the latest first.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn days(conn: &mut Conn, account: &Account, filter: &MemoryFilter, limit: i64) -> Result<Vec<MemoryDay>, ContentError> {
    belongs(conn, account, filter.space).await?;
    Ok(storage::memories::days(conn, account, filter, limit).await?)
}

async fn belongs(conn: &mut Conn, account: &Account, space: Option<SpaceId>) -> Result<(), ContentError> {
    if let Some(space) = space {
        pages::role_in(conn, account, space).await?;
    }
    Ok(())
}
