//! Keys and people that were verified a moment ago, so that a busy agent or page costs no query per call.
//!
//! What is remembered counts only while the database tells this process of every change: a listener
//! confirms that with a message to itself ([`AccessCache::confirm`]), and without one in time nothing
//! is believed. A look-up that began before a change is not remembered after it ([`Ticket`]).

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::model::actor::{KeyHolder, Subject};

/// Keys and people remembered at the most; about 300 bytes each.
const ENTRIES_MAX: usize = 10_000;
/// How long one is remembered. Changes are told at once; this bounds what a bug could do.
const TTL: Duration = Duration::from_secs(30);
/// How long one confirmation counts: a few times the interval at which they are sent.
const CONFIRMED_FOR: Duration = Duration::from_secs(3);
/// A key's last use is written at most this often.
const TOUCH_EVERY: Duration = Duration::from_mins(1);

struct Entry {
    holder: KeyHolder,
    expires_at: Option<DateTime<Utc>>,
    remembered_at: Instant,
    touched_at: Instant,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Entry>,
    /// Until when what is remembered may be believed.
    believed_until: Option<Instant>,
}

/// Proof of when a look-up began.
#[derive(Clone, Copy)]
pub struct Ticket(u64);

/// See the module.
#[derive(Default)]
pub struct AccessCache {
    state: Mutex<State>,
    /// Counts the changes heard of.
    changes: AtomicU64,
    used: Notify,
}

impl AccessCache {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single step, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever is remembered under a name, such as a key's hash, if that is to be believed. The flag says
    /// that the use of a key is to be noted.
    #[must_use]
    pub fn get(&self, name: &str, now: DateTime<Utc>) -> Option<(KeyHolder, bool)> {
        let mut state = self.state();
        let at = Instant::now();
        if state.believed_until.is_none_or(|until| until < at) {
            return None;
        }
        let entry = state.entries.get_mut(name)?;
        if at - entry.remembered_at > TTL || entry.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return None;
        }
        let touch = at - entry.touched_at > TOUCH_EVERY;
        if touch {
            entry.touched_at = at;
        }
        Some((entry.holder.clone(), touch))
    }

    /// To be taken before a look-up in the database.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.changes.load(Ordering::Acquire))
    }

    /// Whether something changed since: what was looked up then may be wrong by now.
    #[must_use]
    pub fn changed_since(&self, ticket: Ticket) -> bool {
        self.changes.load(Ordering::Acquire) != ticket.0
    }

    /// Remembers what a look-up found, unless something changed since it began.
    pub fn put(&self, ticket: Ticket, name: String, holder: KeyHolder, expires_at: Option<DateTime<Utc>>) {
        let at = Instant::now();
        let mut state = self.state();
        if self.changes.load(Ordering::Acquire) != ticket.0 {
            return;
        }
        if state.entries.len() >= ENTRIES_MAX {
            state.entries.retain(|_, entry| at - entry.remembered_at <= TTL);
        }
        if state.entries.len() < ENTRIES_MAX {
            state.entries.insert(name, Entry { holder, expires_at, remembered_at: at, touched_at: at });
        }
        drop(state);
        self.used.notify_one();
    }

    /// Forgets everybody whom a change concerns.
    pub fn forget(&self, subject: &Subject) {
        let mut state = self.state();
        self.changes.fetch_add(1, Ordering::AcqRel);
        state.entries.retain(|_, entry| !subject.concerns(&entry.holder));
    }

    /// Forgets everything and believes nothing until the next confirmation: changes may have been missed.
    pub fn distrust(&self) {
        let mut state = self.state();
        self.changes.fetch_add(1, Ordering::AcqRel);
        state.entries.clear();
        state.believed_until = None;
    }

    /// Every change before `sent_at` was heard of.
    pub fn confirm(&self, sent_at: Instant) {
        let mut state = self.state();
        state.believed_until = state.believed_until.max(Some(sent_at + CONFIRMED_FOR));
    }

    /// Waits until there is something that confirmations are worth sending for.
    pub async fn in_use(&self) {
        loop {
            let used = self.used.notified();
            {
                let mut state = self.state();
                state.entries.retain(|_, entry| entry.remembered_at.elapsed() <= TTL);
                if !state.entries.is_empty() {
                    return;
                }
            }
            used.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        actor::AgentCaller,
        ids::{UserId, WorkspaceId},
        permission::PermissionSet,
    };

    fn holder(workspace: WorkspaceId, agent: &str, key_id: &str) -> KeyHolder {
        KeyHolder::Agent(AgentCaller {
            workspace,
            agent: agent.parse().unwrap(),
            user: UserId::generate(),
            key_id: key_id.to_owned(),
            permissions: PermissionSet::defaults(),
            policy: std::sync::Arc::default(),
        })
    }

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    #[test]
    fn nothing_is_believed_without_a_confirmation_in_time() {
        let cache = AccessCache::default();
        let workspace = WorkspaceId::generate();
        cache.put(cache.ticket(), "hash".into(), holder(workspace, "scout", "k"), None);
        assert!(cache.get("hash", now()).is_none(), "no listener yet");
        cache.confirm(Instant::now());
        assert!(cache.get("hash", now()).is_some());
        cache.distrust();
        cache.confirm(Instant::now());
        assert!(cache.get("hash", now()).is_none(), "what was known before may be wrong");
        cache.put(cache.ticket(), "hash".into(), holder(workspace, "scout", "k"), None);
        let Some(long_ago) = Instant::now().checked_sub(CONFIRMED_FOR * 2) else { return };
        cache.state().believed_until = None;
        cache.confirm(long_ago);
        assert!(cache.get("hash", now()).is_none(), "the listener is silent");
    }

    #[test]
    fn a_change_forgets_whom_it_concerns_and_what_was_looked_up_before_it() {
        let cache = AccessCache::default();
        cache.confirm(Instant::now());
        let workspace = WorkspaceId::generate();
        cache.put(cache.ticket(), "one".into(), holder(workspace, "scout", "k1"), None);
        cache.put(cache.ticket(), "two".into(), holder(workspace, "other", "k2"), None);
        let before = cache.ticket();
        cache.forget(&Subject::Agent(workspace, "scout".parse().unwrap()));
        assert!(cache.get("one", now()).is_none() && cache.get("two", now()).is_some());
        cache.put(before, "one".into(), holder(workspace, "scout", "k1"), None);
        assert!(cache.get("one", now()).is_none(), "the look-up began before the change");
        cache.forget(&Subject::Key("k2".into()));
        assert!(cache.get("two", now()).is_none());
    }

    #[test]
    fn an_expired_key_is_not_remembered_beyond_its_time() {
        let cache = AccessCache::default();
        cache.confirm(Instant::now());
        cache.put(cache.ticket(), "one".into(), holder(WorkspaceId::generate(), "scout", "k"), Some(now()));
        assert!(cache.get("one", now() - chrono::TimeDelta::seconds(1)).is_some());
        assert!(cache.get("one", now()).is_none());
    }
}
