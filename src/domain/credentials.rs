//! What a connection that stays open was opened with: whether it holds still, and when to look at it again.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{auth, keys};
use crate::{
    model::{
        actor::{Holder, Person},
        secret::Secret,
        token::Judges,
    },
    storage::{Conn, StorageError},
};

/// Two looks at a credential are at least this far apart, should another clock be behind ours.
const LOOKS_APART: Duration = Duration::from_millis(50);

/// What a connection was opened with.
pub enum Credential {
    Token(String),
    Key(Secret),
}

impl Credential {
    /// Who is behind it now, whatever is remembered, and how soon to look again; `None` when it is no good.
    pub async fn check_now(&self, conn: &mut Conn, by: Judges<'_>) -> Result<Option<(Holder, Duration)>, StorageError> {
        Ok(match self {
            Self::Token(token) => {
                let person = auth::person_now(conn, by.tokens, token).await?.filter(|person| left_to(person).is_some());
                person.map(|person| {
                    let again = look_again(left_to(&person), by.every);
                    (Holder::Person(person), again)
                })
            }
            Self::Key(key) => keys::verify_now(conn, by.clock, key).await?.map(|(holder, ends_at)| {
                let left = ends_at.map(|at| left_until(at - by.clock.offset()));
                (Holder::Key(holder), look_again(left, by.every))
            }),
        })
    }

    /// Whether whoever was just let in may stay, with what they were let in as.
    pub async fn still_admits(&self, conn: &mut Conn, by: Judges<'_>, holder: &Holder) -> Result<bool, StorageError> {
        Ok(self.check_now(conn, by).await?.is_some_and(|(now, _)| now.role() == holder.role()))
    }
}

/// How soon to look at the token of somebody who is signed in.
#[must_use]
pub fn look_at_token_again(person: &Person, every: Duration) -> Duration {
    look_again(Some(left_to(person).unwrap_or_default()), every)
}

/// How soon to look again at what is good for so long: until it ends, where that is sooner than usual.
fn look_again(left: Option<Duration>, every: Duration) -> Duration {
    left.unwrap_or(every).min(every).max(LOOKS_APART)
}

/// How long a person's token is good; `None` once it is at its end, to the second that it names.
fn left_to(person: &Person) -> Option<Duration> {
    let ends_at = DateTime::from_timestamp(person.expires_at, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    Some(left_until(ends_at)).filter(|left| !left.is_zero())
}

#[expect(clippy::disallowed_methods, reason = "a wait needs no transaction, and tokens are checked by this clock")]
fn left_until(instant: DateTime<Utc>) -> Duration {
    (instant - Utc::now()).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_comes_with_the_end_or_sooner_and_never_at_once() {
        let every = Duration::from_secs(30);
        let table = [(None, 30_000), (Some(90_000), 30_000), (Some(400), 400), (Some(0), 50)];
        for (left, expected) in table {
            let left = left.map(Duration::from_millis);
            assert_eq!(look_again(left, every), Duration::from_millis(expected), "{left:?}");
        }
        assert_eq!(look_again(None, Duration::ZERO), LOOKS_APART);
    }
}
