//! Feature tests: through HTTP, sockets and the program itself, on a real database each, with the
//! real PTY runtime. `support` has the world that they share.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::unused_result_ok,
    reason = "a test fails by panicking, has its own clock and client, and may not care how things end"
)]

mod access;
mod activity;
mod adoption;
mod approvals;
mod assignments;
mod auth;
mod authority;
mod client_dir;
mod connections;
mod contract;
mod crash;
mod docs;
mod events;
mod faults;
mod gateway;
mod idempotency;
mod invites;
mod keys;
mod layers;
mod limits;
mod link;
mod mcp;
mod mcp_clients;
mod mcp_doors;
mod mcp_rules;
mod notifications;
mod pages;
mod program;
mod properties;
mod recording;
mod reference;
mod runtimes;
mod screens;
mod settings;
mod sockets;
mod spawns;
mod support;
mod terminal_rights;
mod terminals_under_load;
mod tools_as_people;
mod tools_comments;
mod tools_hostile;
mod tools_memories;
mod tools_pages;
mod tools_people;
mod tools_projects;
mod tools_search;
mod tools_tasks;
mod webhooks;
