//! Reads the activity feed.

use crate::{
    model::{activity::Activity, actor::Admin, ids::AgentId},
    storage::{self, Conn, StorageError},
};

/// What happened in the admin's workspace, newest first.
pub async fn of_workspace(conn: &mut Conn, admin: &Admin, limit: u64) -> Result<Vec<Activity>, StorageError> {
    storage::activity::list(conn, admin.workspace(), None, limit).await
}

/// What happened to one agent, newest first; empty for an agent that was never here.
pub async fn of_agent(conn: &mut Conn, admin: &Admin, agent: &AgentId, limit: u64) -> Result<Vec<Activity>, StorageError> {
    storage::activity::list(conn, admin.workspace(), Some(agent), limit).await
}
