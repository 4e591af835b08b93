//! Shapes on the wire, shared by the edges: requests are validated here, answers made from model values.

pub mod access;
pub mod activity;
pub mod agents;
pub mod approvals;
pub mod assignments;
pub mod auth;
pub mod control;
pub mod envelope;
pub mod events;
pub mod input;
pub mod invites;
pub mod keys;
pub mod lists;
pub mod mcp;
pub mod neighbours;
pub mod problem;
pub mod recordings;
pub mod repeat;
pub mod runs;
pub mod runtime;
pub mod runtimes;
pub mod settings;
pub mod shares;
pub mod spawns;
pub mod terminals;
pub mod time;
