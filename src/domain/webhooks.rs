//! Signed webhooks: whether one is genuine, fresh and new (REST contract §2.12 S9, D-01).

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::storage::{self, Conn, StorageError};

/// How far a sender's clock may be from ours.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// Characters of a delivery's id at the most.
const ID_CHARS_MAX: usize = 128;

/// What a sender says of one delivery.
pub struct Signed<'a> {
    /// Unique to the delivery; a retry of it carries the same.
    pub id: &'a str,
    /// Seconds since 1970.
    pub timestamp: &'a str,
    /// `sha256=` and the HMAC-SHA-256 in hex of `<timestamp>.<id>.<body>` under the shared secret.
    pub signature: &'a str,
    /// The body, byte by byte as it was sent.
    pub body: &'a [u8],
}

/// Whether a delivery was signed with `secret` within the tolerance around `now`. Compares in constant time.
#[must_use]
pub fn is_genuine(delivery: &Signed<'_>, secret: &str, now: DateTime<Utc>) -> bool {
    let Ok(sent_at) = delivery.timestamp.parse::<i64>() else { return false };
    let fresh = now.timestamp().saturating_sub(sent_at).saturating_abs() <= TOLERANCE.num_seconds();
    let named = (1..=ID_CHARS_MAX).contains(&delivery.id.len()) && delivery.id.bytes().all(|b| b.is_ascii_graphic());
    let Some(signature) = delivery.signature.strip_prefix("sha256=").and_then(from_hex) else { return false };
    if secret.is_empty() || !fresh || !named {
        return false;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    for part in [delivery.timestamp.as_bytes(), b".", delivery.id.as_bytes(), b".", delivery.body] {
        mac.update(part);
    }
    mac.verify_slice(&signature).is_ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2))?;
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Notes a delivery before it is taken in; `false` when it was taken in before, or is being taken in.
pub async fn begin(conn: &mut Conn, id: &str) -> Result<bool, StorageError> {
    storage::webhooks::begin(conn, id).await
}

/// Notes that a delivery was taken in; one that was refused may be tried again by its sender.
pub async fn end(conn: &mut Conn, id: &str, taken_in: bool) -> Result<(), StorageError> {
    if taken_in { storage::webhooks::taken_in(conn, id).await } else { storage::webhooks::forget(conn, id).await }
}

/// Forgets deliveries that are too old to be repeated; returns how many.
pub async fn prune(conn: &mut Conn) -> Result<u64, StorageError> {
    storage::webhooks::prune(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(secret: &str, timestamp: &str, id: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{timestamp}.{id}.").as_bytes());
        mac.update(body);
        format!("sha256={}", crate::model::hex(&mac.finalize().into_bytes()))
    }

    #[test]
    fn only_the_signed_bytes_under_the_secret_and_in_time_are_genuine() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let good = signature("secret", "1700000000", "d1", b"{}");
        let check = |id: &str, timestamp: &str, signature: &str, body: &[u8], secret: &str, after: i64| {
            let delivery = Signed { id, timestamp, signature, body };
            is_genuine(&delivery, secret, now + TimeDelta::seconds(after))
        };
        assert!(check("d1", "1700000000", &good, b"{}", "secret", 0));
        assert!(check("d1", "1700000000", &good, b"{}", "secret", 300) && check("d1", "1700000000", &good, b"{}", "secret", -300));
        assert!(!check("d1", "1700000000", &good, b"{}", "secret", 301), "too old");
        assert!(!check("d2", "1700000000", &good, b"{}", "secret", 0), "another id");
        assert!(!check("d1", "1700000001", &good, b"{}", "secret", 0), "another time");
        assert!(!check("d1", "1700000000", &good, b"{ }", "secret", 0), "another body");
        assert!(!check("d1", "1700000000", &good, b"{}", "other", 0), "another secret");
        let unkeyed = signature("", "1700000000", "d1", b"{}");
        assert!(!check("d1", "1700000000", &unkeyed, b"{}", "", 0), "no secret is no proof");
        for bad in ["", "sha256=", "sha256=zz", "sha256=0", &good[7..]] {
            assert!(!check("d1", "1700000000", bad, b"{}", "secret", 0), "{bad}");
        }
    }
}
