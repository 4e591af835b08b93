//! What one socket asked for, in its order and within its bounds, for the one task that does it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use socketioxide::extract::{AckSender, SocketRef, TryData};
use tokio::sync::Notify;

use super::payload::Payload;
use crate::{
    app::Quota,
    wire::terminals::{Answer, TerminalProblem},
};

/// Commands of one socket that may wait. Input joins, and nobody attaches or resizes this often.
const WAITING_COMMANDS_MAX: usize = 256;
/// Pieces of input that may join to one; each may want an answer of its own.
const JOINED_MAX: usize = 64;
/// Input of one socket that may wait while the runtime is slow, in bytes: sixteen of the largest pieces.
const WAITING_INPUT_BYTES_MAX: usize = 1024 * 1024;

/// What a command is, as far as its waiting is concerned.
pub(super) trait Command: Sized + Send + 'static {
    /// Bytes of input that it carries.
    fn input_bytes(&self) -> usize;

    /// How many events it counts as, by the work that it is.
    fn events(&self) -> u32 {
        1
    }

    /// Takes `next` in, where the two are one; gives it back otherwise.
    fn join(&mut self, next: Self) -> Option<Self>;
}

/// What a client asked for and was not done yet, in its order.
pub(super) struct Inbox<C> {
    waiting: Mutex<Waiting<C>>,
    filled: Notify,
}

struct Waiting<C> {
    commands: VecDeque<(C, Asked)>,
    /// Of all input in `commands`.
    input_bytes: usize,
    /// Nothing is taken any more.
    closed: bool,
    pace: Option<Pace>,
}

/// The events behind a command, to answer those whose client wants to know.
#[derive(Default)]
pub(super) struct Asked(Vec<AckSender>);

impl Asked {
    /// Answers every client that asked to be.
    pub(super) fn answer(self, outcome: Result<(), TerminalProblem>) {
        for ack in self.0 {
            if ack.send(&Answer::from(outcome)).is_err() {
                tracing::debug!("a socket without room missed an answer");
            }
        }
    }
}

/// Whether an event could be taken.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    Taken,
    /// It was not taken; the client is told, for the first time in a row.
    Refused {
        first: bool,
    },
    /// Too much waits, or the client goes on although it was refused: none will be taken after it.
    Full,
    Closed,
}

impl<C: Command> Inbox<C> {
    /// `events` bounds how many come in.
    pub(super) fn new(events: Option<Quota>) -> Arc<Self> {
        let waiting = Waiting { commands: VecDeque::new(), input_bytes: 0, closed: false, pace: events.map(Pace::new) };
        Arc::new(Self { waiting: Mutex::new(waiting), filled: Notify::new() })
    }

    /// Registers one event. The closure's body runs in the order of the packets; its future would not.
    pub(super) fn on(
        self: &Arc<Self>,
        socket: &SocketRef,
        event: &'static str,
        command: impl Fn(Payload) -> C + Send + Sync + Clone + 'static,
    ) {
        let inbox = Arc::clone(self);
        socket.on(event, move |socket: SocketRef, TryData::<Payload>(payload), ack: AckSender| {
            // An event without a payload, such as `detach`, has none to read.
            inbox.take_in(&socket, command(payload.unwrap_or_default()), ack);
            std::future::ready(())
        });
    }

    /// Counts events that nobody here knows, which nothing is done for.
    pub(super) fn count_others(self: &Arc<Self>, socket: &SocketRef) {
        let inbox = Arc::clone(self);
        socket.on_fallback(move |socket: SocketRef| {
            inbox.charge(&socket);
            std::future::ready(())
        });
    }

    /// Counts an event for which nothing has to wait. Whether it may be looked at.
    pub(super) fn charge(&self, socket: &SocketRef) -> bool {
        let outcome = self.lock().count(1, Instant::now());
        Self::answer(socket, &outcome);
        outcome == Put::Taken
    }

    /// Adds a command that no client asked for; there is one at the most for each place. Left out where nothing is taken
    /// any more: then the socket is about to be closed.
    pub(super) fn insert(&self, command: C) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.commands.push_back((command, Asked::default()));
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// Waits for the next command.
    pub(super) async fn take(&self) -> (C, Asked) {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(next) = waiting.commands.pop_front() {
                    waiting.input_bytes -= next.0.input_bytes();
                    return next;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes nothing any more and forgets what waits, which would keep the socket in memory.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.commands);
        drop(waiting);
        drop(left);
    }

    fn take_in(&self, socket: &SocketRef, command: C, ack: AckSender) {
        Self::answer(socket, &self.put(command, Asked(vec![ack]), Instant::now()));
    }

    fn answer(socket: &SocketRef, outcome: &Put) {
        match outcome {
            Put::Refused { first: true } => super::tell(socket, TerminalProblem::RATE_LIMITED),
            Put::Full => {
                // To leave one piece out and type the next would be worse than to type neither.
                super::tell(socket, TerminalProblem::RATE_LIMITED);
                if socket.clone().disconnect().is_err() {
                    tracing::debug!("a socket that sent too much left by itself");
                }
            }
            Put::Taken | Put::Refused { first: false } | Put::Closed => {}
        }
    }

    /// Adds a command. Input joins the piece before it, so that keys cost bytes and not commands.
    fn put(&self, command: C, asked: Asked, now: Instant) -> Put {
        let mut waiting = self.lock();
        let counted = waiting.count(command.events(), now);
        if counted != Put::Taken {
            return counted;
        }
        let bytes = command.input_bytes();
        if waiting.input_bytes + bytes > WAITING_INPUT_BYTES_MAX || waiting.commands.len() >= WAITING_COMMANDS_MAX {
            waiting.closed = true;
            return Put::Full;
        }
        waiting.input_bytes += bytes;
        let left = match waiting.commands.back_mut() {
            Some((last, before)) if before.0.len() < JOINED_MAX => {
                if let Some(command) = last.join(command) {
                    Some((command, asked))
                } else {
                    before.0.extend(asked.0);
                    None
                }
            }
            Some(_) | None => Some((command, asked)),
        };
        waiting.commands.extend(left);
        drop(waiting);
        self.filled.notify_one();
        Put::Taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<C>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Waiting<C> {
    /// Counts what is as much as so many events.
    fn count(&mut self, events: u32, now: Instant) -> Put {
        if self.closed {
            return Put::Closed;
        }
        let outcome = self.pace.as_mut().map_or(Put::Taken, |pace| pace.count(events, now));
        self.closed = outcome == Put::Full;
        outcome
    }
}

/// How fast events come: a bucket that leaks. Once it has run over, nothing is taken until it is down to a half, so
/// that what was typed ends at one place instead of having many holes; who goes on for as much again is shown out.
struct Pace {
    at_once: f64,
    per_second: f64,
    level: f64,
    refused: f64,
    at: Instant,
}

impl Pace {
    fn new(quota: Quota) -> Self {
        let (at_once, per_second) = (f64::from(quota.at_once), f64::from(quota.per_minute) / 60.0);
        Self { at_once, per_second, level: 0.0, refused: 0.0, at: Instant::now() }
    }

    fn count(&mut self, events: u32, now: Instant) -> Put {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.level = (self.level - passed.as_secs_f64() * self.per_second).max(0.0);
        let is_refusing = self.refused > 0.0;
        if is_refusing && self.level <= self.at_once / 2.0 {
            self.refused = 0.0;
        }
        let events = f64::from(events).min(self.at_once);
        if self.refused == 0.0 && self.level + events <= self.at_once {
            self.level += events;
            return Put::Taken;
        }
        self.refused += 1.0;
        if self.refused > self.at_once { Put::Full } else { Put::Refused { first: !is_refusing } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Keys(String),
        Leave,
    }

    impl Command for Told {
        fn input_bytes(&self) -> usize {
            if let Self::Keys(keys) = self { keys.len() } else { 0 }
        }

        fn join(&mut self, next: Self) -> Option<Self> {
            match (self, next) {
                (Self::Keys(keys), Self::Keys(more)) if keys.len() + more.len() <= 64 * 1024 => {
                    keys.push_str(&more);
                    None
                }
                (_, next) => Some(next),
            }
        }
    }

    fn keys(text: &str) -> Told {
        Told::Keys(text.to_owned())
    }

    fn put(inbox: &Inbox<Told>, command: Told) -> Put {
        inbox.put(command, Asked::default(), Instant::now())
    }

    #[tokio::test]
    async fn keys_join_in_their_order_and_never_across_another_command() {
        let inbox = Inbox::new(None);
        for command in [keys("l"), keys("s"), Told::Leave, keys("x")] {
            assert_eq!(put(&inbox, command), Put::Taken);
        }
        for expected in [keys("ls"), Told::Leave, keys("x")] {
            assert_eq!(inbox.take().await.0, expected);
        }
    }

    #[tokio::test]
    async fn once_too_much_waits_nothing_behind_it_is_taken() {
        let inbox = Inbox::new(None);
        let piece = "x".repeat(64 * 1024);
        for _ in 0..WAITING_INPUT_BYTES_MAX / piece.len() {
            assert_eq!(put(&inbox, keys(&piece)), Put::Taken);
        }
        assert_eq!(put(&inbox, keys("y")), Put::Full);
        assert_eq!(inbox.take().await.0.input_bytes(), piece.len());
        assert_eq!(put(&inbox, keys("z")), Put::Closed, "a hole in what is typed is worse than nothing typed");
    }

    #[test]
    fn who_sends_too_fast_is_refused_until_half_has_leaked_and_shown_out_for_going_on() {
        let start = Instant::now();
        let mut pace = Pace::new(Quota { at_once: 10, per_minute: 600 });
        pace.at = start;
        for _ in 0..10 {
            assert_eq!(pace.count(1, start), Put::Taken);
        }
        assert_eq!(pace.count(1, start), Put::Refused { first: true });
        assert_eq!(pace.count(1, start + Duration::from_millis(400)), Put::Refused { first: false }, "not yet half");
        assert_eq!(pace.count(1, start + Duration::from_millis(600)), Put::Taken);
        // Ten a second for as long as it goes on.
        for tenth in 7..100 {
            assert_eq!(pace.count(1, start + Duration::from_millis(100 * tenth)), Put::Taken);
        }
        let late = start + Duration::from_secs(10);
        let outcomes: Vec<Put> = (0..30).map(|_| pace.count(1, late)).collect();
        assert!(outcomes.contains(&Put::Refused { first: true }) && outcomes.contains(&Put::Full));
    }
}
