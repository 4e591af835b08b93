//! What a supervisor has to say, in the log of its agent's folder.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Bytes that one supervisor says in its life, so that no failure that repeats fills the disk.
const SAID_BYTES_MAX: usize = 64 * 1024;

static SAID_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Writes a line to standard error. A log that cannot be written must not end what runs here, so
/// that is passed over.
pub(crate) fn note(text: impl Display) {
    let line = format!("{text}\n");
    if SAID_BYTES.fetch_add(line.len(), Ordering::Relaxed) < SAID_BYTES_MAX {
        drop(io::stderr().write_all(line.as_bytes()));
    }
}
