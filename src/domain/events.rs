//! Records what happened: one value becomes the activity row and the outbox entry.

use chrono::TimeDelta;
use futures_util::future::BoxFuture;

use crate::{
    model::{
        event::{Entry, Event},
        ids::{AgentId, EventId, WorkspaceId},
    },
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::storage::outbox::{Delivered, Tail};

/// Takes events after their commit, each at least once and in order; tells repeats by the event id.
pub trait EventSink: Send + Sync {
    /// The next event is delivered when this is done.
    fn deliver<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, ()>;
}

/// Writes the activity row of `event`, where it has one, and puts it into the outbox with the commit.
/// Both carry the id that is returned, as every broadcast of the event will.
pub async fn record(tx: &mut Tx, event: Event) -> Result<EventId, StorageError> {
    let id = EventId::generate();
    let at = tx.now();
    if let Some(note) = event.note() {
        storage::activity::insert(tx.conn(), event.workspace, id, event.agent.as_ref(), event.actor, &note, at).await?;
    }
    tx.enqueue(Entry { id, workspace: event.workspace, agent: event.agent, actor: event.actor, kind: event.kind, at });
    Ok(id)
}

/// Events read at once at the most.
const BATCH: i64 = 500;

/// Where a reader starts that wants what is committed from now on.
pub async fn last(conn: &mut Conn) -> Result<i64, StorageError> {
    storage::outbox::last_seq(conn).await
}

/// The next events after a position, in order; of one that cannot be read only the position.
pub async fn after(conn: &mut Conn, seq: i64) -> Result<Vec<Result<Delivered, i64>>, StorageError> {
    storage::outbox::after(conn, seq, BATCH).await
}

/// As [`after`], of one workspace: what somebody missed who listens again.
pub async fn missed(conn: &mut Conn, workspace: WorkspaceId, seq: i64) -> Result<Vec<Result<Delivered, i64>>, StorageError> {
    storage::outbox::after_in(conn, workspace, seq, BATCH).await
}

/// Whether everything after a position can still be read.
pub async fn reaches_back_to(conn: &mut Conn, seq: i64) -> Result<bool, StorageError> {
    storage::outbox::reaches_back_to(conn, seq).await
}

/// Whether the agent has had an event of this name in the time before this transaction.
pub(super) async fn was_recent(
    tx: &mut Tx,
    workspace: WorkspaceId,
    agent: &AgentId,
    name: &str,
    within: TimeDelta,
) -> Result<bool, StorageError> {
    let since = tx.now() - within;
    storage::outbox::heard_since(tx.conn(), workspace, agent, name, since).await
}

/// Forgets events older than `age`; returns how many.
pub async fn prune(conn: &mut Conn, age: TimeDelta) -> Result<u64, StorageError> {
    storage::outbox::prune(conn, age).await
}
