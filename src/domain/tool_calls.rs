//! Puts on record what was called with keys, for the activity feed and for whoever watches (D-41).

use crate::{
    model::{
        event::{Entry, EventKind},
        ids::EventId,
        tool_call::ToolCall,
    },
    storage::{self, StorageError, Tx, activity::NewRow},
};

/// Records calls, all of them with one statement and one commit: a busy agent calls many times a second.
///
/// Records [`EventKind::ToolExecuted`] for each; a call by an agent is a row of its activity too.
pub async fn record(tx: &mut Tx, calls: Vec<ToolCall>) -> Result<(), StorageError> {
    let mut rows = Vec::with_capacity(calls.len());
    for call in calls {
        let ToolCall { workspace, agent, user, at, tool, params, duration_ms, outcome } = call;
        let (success, result_summary, error) = match outcome {
            Ok(summary) => (true, Some(summary), None),
            Err(error) => (false, None, Some(error)),
        };
        let kind =
            EventKind::ToolExecuted { caller: user, is_agent: agent.is_some(), tool, params, success, duration_ms, error, result_summary };
        let id = EventId::generate();
        if let Some(note) = kind.activity(Some(user)) {
            rows.push(NewRow { id, workspace, agent: agent.clone(), actor: user, note, at });
        }
        tx.enqueue(Entry { id, workspace, agent, actor: Some(user), kind, at });
    }
    storage::activity::insert_many(tx.conn(), &rows).await
}
