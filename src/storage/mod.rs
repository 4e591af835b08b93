//! SQL and row conversion. Nothing here decides anything: rules live in `domain`.

pub mod access;
pub mod access_cache;
pub mod activity;
pub mod adoption;
pub mod agents;
pub mod assignments;
pub mod comments;
pub mod db;
mod filter;
pub mod idempotency;
pub mod invites;
pub mod keys;
pub mod memories;
pub mod notifications;
pub mod outbox;
pub mod pages;
pub mod projects;
pub mod recordings;
pub mod runs;
pub mod runtimes;
pub mod spaces;
pub mod tasks;
pub mod terminal_control;
pub mod terminals;
pub mod tool_approvals;
pub mod users;
pub mod webhooks;
pub mod workspaces;

pub use db::{Conn, Proviso, StorageError, Tx};
