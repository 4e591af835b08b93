//! Runs agents in pseudo-terminals on this host and shows them to a control plane.
//!
//! Read in this order:
//!
//! - `config`: every setting, checked once
//! - `server`: binds the parts together, starts and stops them
//! - `routes`: the REST surface; `problem` is how each of its failures looks
//! - `agents`: which agents exist and what state each is in
//! - `process`: one program on one pseudo-terminal; `ring` holds what it printed
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
mod detection;
mod event_stream;
mod extract;
#[cfg(test)]
mod fixtures;
mod following;
mod lock;
mod login;
mod problem;
mod process;
mod replies;
mod ring;
mod routes;
mod screen;
mod server;
mod socket;
mod terminal_socket;
mod text;
mod turns;
mod workdir;

pub use adapter::Adapters;
pub use config::{BadSettings, Config, Secret, Settings};
pub use server::{Handle, Runtime, StartError};
