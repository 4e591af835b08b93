//! Keeps what agents called: rows of the feed, and events for whoever watches.

use crate::{
    model::{event::EventKind, ids::EventId, tool_execution::Executed},
    storage::{self, StorageError, Tx, activity::NewRow, outbox::Entry},
};

/// Records calls, all of them with one statement and one commit: a busy agent calls many times a second.
///
/// Records [`EventKind::ToolExecuted`] for each.
pub async fn record(tx: &mut Tx, executed: Vec<Executed>) -> Result<(), StorageError> {
    let mut rows = Vec::with_capacity(executed.len());
    for call in executed {
        let (id, kind) = (EventId::generate(), EventKind::ToolExecuted(call.execution));
        if let Some(note) = kind.activity(Some(call.user)) {
            rows.push(NewRow { id, workspace: call.workspace, agent: call.agent.clone(), actor: call.user, note, at: call.at });
        }
        tx.enqueue(Entry { id, workspace: call.workspace, agent: Some(call.agent), kind, at: call.at });
    }
    storage::activity::insert_many(tx.conn(), &rows).await
}
