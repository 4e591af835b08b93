//! Feature tests: through HTTP, sockets and the program itself, on a real database each, with the
//! real PTY runtime. `support` has the world that they share.

mod access;
mod auth;
mod contract;
mod crash;
mod docs;
mod invites;
mod layers;
mod mcp;
mod program;
mod sockets;
mod spawns;
mod support;
