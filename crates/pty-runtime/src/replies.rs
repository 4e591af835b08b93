//! Remembers replies to spawn requests, so that a repeated request starts nothing twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use runtime_protocol::SpawnReply;
use tokio::sync::OnceCell;

use crate::{lock::lock, problem::Problem};

/// How long a repetition is recognised: longer than any caller keeps trying.
pub(crate) const KEPT_FOR: Duration = Duration::from_mins(10);
/// Replies kept at once, a few hundred bytes each.
const KEPT_MAX: usize = 1024;

/// A reply to come: the first request makes it, any other with the same id waits for it.
type Slot = Arc<OnceCell<SpawnReply>>;
/// Workspace and request id: ids of one workspace mean nothing in another.
pub(crate) type Key = (Option<String>, String);

#[derive(Default)]
pub(crate) struct Replies {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: HashMap<Key, Slot>,
    by_age: VecDeque<(Instant, Key)>,
}

impl Replies {
    /// The reply to the first request with this key, made by `make` if this is the first.
    /// Failures are not kept: trying again after one is what the caller should do.
    pub(crate) async fn once(&self, key: Key, make: impl Future<Output = Result<SpawnReply, Problem>>) -> Result<SpawnReply, Problem> {
        let slot = self.slot(key);
        slot.get_or_try_init(|| make).await.cloned()
    }

    /// Remembers a reply that was given already, at an earlier time by an earlier runtime.
    pub(crate) fn remember(&self, key: Key, reply: SpawnReply) {
        if self.slot(key).set(reply).is_err() {
            tracing::debug!("a reply is remembered already");
        }
    }

    fn slot(&self, key: Key) -> Slot {
        let mut kept = lock(&self.kept);
        while kept.by_age.front().is_some_and(|(at, _)| at.elapsed() > KEPT_FOR) || kept.by_age.len() > KEPT_MAX {
            if let Some((_, oldest)) = kept.by_age.pop_front() {
                kept.slots.remove(&oldest);
            }
        }
        if let Some(slot) = kept.slots.get(&key) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        kept.by_age.push_back((Instant::now(), key.clone()));
        kept.slots.insert(key, Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_replies_are_kept_than_the_limit() {
        let replies = Replies::default();
        let first = replies.slot((None, "0".into()));
        assert!(Arc::ptr_eq(&first, &replies.slot((None, "0".into()))));
        for id in 1..=2 * KEPT_MAX {
            replies.slot((None, id.to_string()));
        }
        let kept = lock(&replies.kept);
        assert!(kept.slots.len() <= KEPT_MAX + 1 && kept.slots.len() == kept.by_age.len());
        assert!(!kept.slots.contains_key(&(None, "0".into())));
    }
}
