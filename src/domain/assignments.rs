//! What agents are assigned to.

use crate::{
    model::{
        assignment::Assignment,
        ids::{AgentId, WorkspaceId},
    },
    storage::{self, Conn, StorageError, Tx},
};

/// Assignments listed at the most; an agent may hold fewer.
const LISTED_MAX: i64 = 200;

/// The agent's active assignments, newest first.
pub async fn active(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Vec<Assignment>, StorageError> {
    storage::assignments::active_of_agent(conn, workspace, agent, LISTED_MAX).await
}

/// Ends all assignments of an agent that loses its access; returns how many.
pub(super) async fn end_all(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::assignments::end_of_agent(tx.conn(), workspace, agent, now).await
}
