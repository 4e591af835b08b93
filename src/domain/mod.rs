//! Every rule, one transaction at a time. Functions take the transaction (or a connection to read
//! with), then who asks, then what about; the edge begins and commits.

pub mod activity;
pub mod adoption;
pub mod agents;
pub mod approvals;
pub mod assignments;
pub mod auth;
pub mod comments;
pub mod content;
pub mod control;
pub mod events;
pub mod health;
pub mod idempotency;
pub mod invites;
pub mod keys;
pub mod listeners;
pub mod memories;
pub mod notifications;
pub mod pages;
pub mod projects;
pub mod recordings;
pub mod runs;
pub mod runtimes;
pub mod search;
pub mod settings;
pub mod shares;
pub mod spaces;
pub mod spawns;
pub mod standing;
pub mod steering;
pub mod tasks;
pub mod terminals;
pub mod tool_approvals;
pub mod tool_calls;
pub mod webhooks;
pub mod workspaces;
