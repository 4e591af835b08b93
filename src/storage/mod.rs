//! SQL and row conversion. Nothing here decides anything: rules live in `domain`.

pub mod activity;
pub mod agents;
pub mod assignments;
pub mod db;
mod filter;
pub mod idempotency;
pub mod invites;
pub mod keys;
pub mod outbox;
pub mod runs;
pub mod terminals;
pub mod users;
pub mod workspaces;

pub use db::{Conn, StorageError, Tx};
