//! The agent runtimes: calls, the event stream, and one task per live terminal.

pub mod client;
pub mod control_plane;
pub mod link;
pub mod pty;
pub mod registry;
mod ring;
mod upstream;

use std::time::Duration;

pub use client::{RuntimeClient, RuntimeError};
pub use pty::{LiveTerminals, Terminal, TerminalNews, TerminalSpec, Viewer};
pub use registry::Runtimes;

/// How long a connection to a runtime may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits between attempts to reach a runtime: doubling from one second to thirty, with jitter so
/// that many connections do not return at the same moment.
#[derive(Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    fn reset(&mut self) {
        self.attempts = 0;
    }

    fn next_delay(&mut self) -> Duration {
        let base = Duration::from_secs(1 << self.attempts.min(5)).min(Duration::from_secs(30));
        self.attempts = self.attempts.saturating_add(1);
        base.mul_f64(rand::random_range(0.5..1.0))
    }
}
