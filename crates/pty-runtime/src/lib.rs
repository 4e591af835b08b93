//! Runs agents in pseudo-terminals on this host and shows them to a control plane.
//!
//! Read in this order:
//!
//! - `config`: every setting, checked once
//! - `server`: binds the parts together, starts and stops them
//! - `routes`: the REST surface; `problem` is how each of its failures looks
//! - `agents`: which agents exist and what state each is in
//! - `process`: one program, through its supervisor; `ring` holds what it printed, and `structured`
//!   finds messages in it
//! - `supervisor`: the process that holds one agent's terminal, and `supervisor_protocol` what it says;
//!   `session` knows an agent's processes, `limits` bounds them, `records` keeps what outlives a runtime
//! - `socket`: the WebSocket handshake; `terminal_socket` and `event_stream` speak over it
//! - `callbacks`: what is posted to the control plane without being asked
//!
//! Nothing here decides anything from what an agent prints, except when it looks ready: an
//! agent has ended when the operating system says so, never before.

mod agents;
mod callbacks;
mod config;
mod event_stream;
mod extract;
mod limits;
mod lock;
mod problem;
mod process;
mod records;
mod replies;
mod ring;
mod routes;
mod server;
mod session;
mod socket;
mod structured;
mod supervisor;
mod supervisor_protocol;
mod terminal_socket;
mod text;
mod workdir;

pub use config::{BadSettings, Config, Secret, Settings};
pub use limits::Limits;
pub use records::FolderError;
pub use server::{Handle, Runtime, StartError};
pub use supervisor::supervise;
