//! Runs agents in pseudo-terminals on this host and shows them to a control plane.
//!
//! Read in this order:
//!
//! - `config`: every setting, checked once
//! - `server`: binds the parts together, starts and stops them; `accept` takes connections in
//! - `routes`: the REST surface, with `thread_routes` and `output_stream`; `problem` is how each of its
//!   failures looks
//! - `agents`: which agents exist and what state each is in
//! - `threads`: agents that were started for an objective
//! - `keys` and `context_files`: what is typed and written for an agent by name
//! - `process`: one program, through its supervisor; `ring` holds what it printed, and `structured`
//!   finds messages in it
//! - `supervisor`: the process that holds one agent's terminal, and `supervisor_protocol` how the two speak
//! - `program`: starts what a supervisor supervises; `session` knows its processes, `limits` bounds them
//! - `own_process`: what the runtime and a supervisor arrange for themselves when they start
//! - `records`: what outlives the runtime; `note` is what a supervisor logs
//! - `following`: how an agent is followed by its screen: `screen` is the model of its terminal,
//!   `adapter` says as data what each program shows, `detection` judges by it, `login` reads what a
//!   login takes, and `turns` has what was said
//! - `socket`: the WebSocket handshake; `terminal_socket` and `event_stream` speak over it
//! - `callbacks`: what is posted to the control plane without being asked
//!
//! What an agent prints never decides that it has ended: the operating system says so.

mod adapter;
mod agents;
mod callbacks;
mod config;
mod context_files;
mod detection;
mod event_stream;
mod extract;
#[cfg(test)]
mod fixtures;
mod following;
mod limits;
mod lock;
mod login;
mod note;
mod output_stream;
mod own_process;
mod problem;
mod process;
mod program;
mod records;
mod replies;
mod ring;
mod routes;
mod screen;
mod server;
mod session;
mod socket;
mod structured;
mod supervisor;
mod supervisor_protocol;
mod terminal_socket;
mod text;
mod thread_routes;
mod threads;
mod turns;
mod workdir;

pub use adapter::Adapters;
pub use config::{BadSettings, Config, Secret, Settings};
pub use limits::Limits;
pub use own_process::{keep_to_itself, raise_open_files};
pub use records::FolderError;
pub use server::{Handle, Runtime, StartError};
pub use supervisor::supervise;
