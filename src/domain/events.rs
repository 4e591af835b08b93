//! Records what happened: one value becomes the activity row and the outbox entry.

use crate::{
    model::{event::Event, ids::EventId},
    storage::{self, StorageError, Tx, outbox::Entry},
};

pub use crate::storage::outbox::Delivered;

/// Takes events after their commit, each at least once and in order; tells repeats by the event id.
pub trait EventSink: Send + Sync {
    fn deliver(&self, event: &Delivered);
}

/// Writes the activity row of `event`, where it has one, and puts it into the outbox with the commit.
/// Both carry the id that is returned, as every broadcast of the event will.
pub async fn record(tx: &mut Tx, event: Event) -> Result<EventId, StorageError> {
    let id = EventId::generate();
    let at = tx.now();
    if let Some(note) = event.kind.activity(event.actor) {
        storage::activity::insert(tx.conn(), event.workspace, id, event.agent.as_ref(), event.actor, &note, at).await?;
    }
    tx.enqueue(Entry { id, workspace: event.workspace, agent: event.agent, kind: event.kind, at });
    Ok(id)
}
