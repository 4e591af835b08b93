//! Why a scenario could not be played to its end.

use std::{fmt::Display, time::Duration};

use tokio_tungstenite::tungstenite;

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0:?} is no http or https address")]
    Address(String),
    #[error("nobody answers at {0}")]
    Unreachable(String),
    #[error("the runtime refuses the token: set RUNTIME_TOKEN to its own")]
    Token,
    #[error("the request failed: {}", with_causes(.0))]
    Http(#[from] reqwest::Error),
    #[error("the socket failed: {0}")]
    Socket(#[from] Box<tungstenite::Error>),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{what} did not come within {} s{}", .patience.as_secs(), last_seen(.seen))]
    Late { what: String, patience: Duration, seen: String },
    #[error("expected {expected}, saw {seen}")]
    Unexpected { expected: String, seen: String },
}

impl Trouble {
    pub(crate) fn unexpected(expected: impl Display, seen: impl Display) -> Self {
        Self::Unexpected { expected: expected.to_string(), seen: seen.to_string() }
    }
}

impl From<tungstenite::Error> for Trouble {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

fn last_seen(seen: &str) -> String {
    if seen.is_empty() { String::new() } else { format!("; last seen: {seen}") }
}

/// What a client says of itself is short; the cause is what helps.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
