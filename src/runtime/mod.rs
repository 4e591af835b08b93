//! The agent runtimes: calls, the event stream, and one task per live terminal.

pub mod client;
pub mod control;
pub mod control_plane;
pub mod host;
pub mod link;
mod picture;
pub mod pty;
pub mod registry;
mod ring;
mod sequences;
pub mod tape;
mod upstream;
pub mod viewer;

use std::time::Duration;

use tokio::time::Instant;

pub use client::{RuntimeClient, RuntimeError};
pub use control::Controls;
pub use pty::{LiveTerminals, Terminal, TerminalNews, TerminalSpec};
pub use registry::Runtimes;
pub use viewer::{Start, View, Viewer};

/// How long a connection to a runtime may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that lasted this long was a good one: the next loss starts with short waits again. One that is
/// taken and dropped at once must not be asked for every second for ever.
const LASTED: Duration = Duration::from_secs(10);

/// Waits between attempts to reach a runtime: doubling from one second to thirty, with jitter so
/// that many connections do not return at the same moment.
#[derive(Default)]
struct Backoff {
    attempts: u32,
    connected_at: Option<Instant>,
}

impl Backoff {
    /// Notes that an attempt has led to a connection.
    fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
    }

    fn next_delay(&mut self) -> Duration {
        if self.connected_at.take().is_some_and(|since| since.elapsed() >= LASTED) {
            self.attempts = 0;
        }
        let base = Duration::from_secs(1 << self.attempts.min(5)).min(Duration::from_secs(30));
        self.attempts = self.attempts.saturating_add(1);
        base.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_lasted_makes_the_waits_short_again() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.connected();
            backoff.next_delay();
        }
        assert!(backoff.next_delay() >= Duration::from_secs(15));
        backoff.connected_at = Instant::now().checked_sub(LASTED);
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }
}
