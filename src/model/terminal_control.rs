//! Who is at a terminal, and who controls it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};

use super::ids::UserId;

/// One socket's place at one terminal, by a random number that is neither 0 nor the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewerId(u64);

impl ViewerId {
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random_range(1..u64::MAX))
    }

    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ViewerId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Somebody at a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    pub id: ViewerId,
    pub user: UserId,
    /// Plain text of one line.
    pub name: String,
    pub can_write: bool,
    pub controls: bool,
    /// Whether they asked the one who controls the terminal to hand it over.
    pub wants_control: bool,
}

/// Everybody at a terminal, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watchers {
    /// At most 100.
    pub listed: Vec<Watcher>,
    pub count: usize,
}

/// Who controls a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `None` while the holder is gone and awaited.
    pub viewer: Option<ViewerId>,
    pub user: UserId,
    /// Plain text of one line.
    pub name: String,
    pub since: DateTime<Utc>,
}
