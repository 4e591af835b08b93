//! Budgets of requests: how many a caller may make at once, and when there is room for more (D-58).
//!
//! Each caller has one number: the instant at which all of its budget is there again (the generic
//! cell rate algorithm). A request moves it on; one that would move it too far is refused. Time is
//! passed in and never goes back.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Callers that one limit remembers: some 3 MiB at the worst. Only somebody with more addresses than
/// this could make it forget a caller, and each of those addresses has a budget anyway.
const REMEMBERED_MAX: usize = 65_536;

/// A budget for each of many callers.
pub struct Limiter {
    at_once: u32,
    /// How long it takes until there is room for one more request.
    every: Duration,
    full_at: Mutex<Recent<Instant>>,
}

/// How a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests that are taken at once at the most.
    pub limit: u32,
    /// Requests that would be taken now.
    pub remaining: u32,
    /// How long it takes until all of the budget is there again.
    pub full_in: Duration,
}

/// A caller has used up its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub budget: Budget,
    /// How long it takes until the next request is taken.
    pub retry_in: Duration,
}

impl Limiter {
    /// `at_once` requests at once, and `per_minute` for as long as it goes on; both are at least 1.
    #[must_use]
    pub fn new(at_once: u32, per_minute: u32) -> Self {
        let every = Duration::from_mins(1) / per_minute.max(1);
        Self { at_once: at_once.max(1), every, full_at: Mutex::new(Recent::default()) }
    }

    /// Takes one request of `who` out of its budget. One that is refused costs nothing.
    pub fn take(&self, who: impl Hash, now: Instant) -> Result<Budget, Exhausted> {
        let mut all = self.lock();
        let key = all.key(who);
        let full_at = all.get(key).unwrap_or(now).max(now);
        self.has_room(full_at, now)?;
        let full_at = full_at + self.every;
        all.insert(key, full_at);
        Ok(self.budget(full_at, now))
    }

    /// How `who` stands, for requests that are charged for only when they fail.
    pub fn look(&self, who: impl Hash, now: Instant) -> Result<Budget, Exhausted> {
        let mut all = self.lock();
        let key = all.key(who);
        let full_at = all.get(key).unwrap_or(now).max(now);
        self.has_room(full_at, now)
    }

    /// Charges `who` for one request after it, at most until the budget is used up: several that ran
    /// at the same time are no debt.
    pub fn charge(&self, who: impl Hash, now: Instant) {
        let mut all = self.lock();
        let key = all.key(who);
        let full_at = all.get(key).unwrap_or(now).max(now) + self.every;
        all.insert(key, full_at.min(now + self.every * self.at_once));
    }

    /// Gives back what [`Self::take`] took for a request that turned out to be harmless.
    pub fn give_back(&self, who: impl Hash, now: Instant) {
        let mut all = self.lock();
        let key = all.key(who);
        if let Some(full_at) = all.get(key) {
            all.insert(key, full_at.checked_sub(self.every).unwrap_or(now));
        }
    }

    fn has_room(&self, full_at: Instant, now: Instant) -> Result<Budget, Exhausted> {
        let budget = self.budget(full_at, now);
        if budget.remaining > 0 {
            return Ok(budget);
        }
        Err(Exhausted { budget, retry_in: budget.full_in.saturating_sub(self.every * (self.at_once - 1)) })
    }

    fn budget(&self, full_at: Instant, now: Instant) -> Budget {
        let full_in = full_at.saturating_duration_since(now);
        let used = full_in.as_nanos().div_ceil(self.every.as_nanos().max(1));
        let remaining = self.at_once.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        Budget { limit: self.at_once, remaining, full_in }
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Callers that were seen to be good, the longest unseen of them forgotten first.
#[derive(Default)]
pub struct Proven(Mutex<Recent<()>>);

impl Proven {
    pub fn add(&self, who: impl Hash) {
        let mut all = self.lock();
        let key = all.key(who);
        if all.get(key).is_none() {
            all.insert(key, ());
        }
    }

    pub fn remove(&self, who: impl Hash) {
        let mut all = self.lock();
        let key = all.key(who);
        all.remove(key);
    }

    pub fn has(&self, who: impl Hash) -> bool {
        let mut all = self.lock();
        let key = all.key(who);
        all.get(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Recent<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map of bounded size. When its young half is full, the old half is forgotten and the young one
/// becomes the old; what is looked at is young again.
///
/// Keys are kept as a hash under a random key of this process: no credential stays in memory, and
/// nobody can choose two names that share a budget.
struct Recent<V> {
    hasher: RandomState,
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Copy> Recent<V> {
    fn key(&self, who: impl Hash) -> u64 {
        self.hasher.hash_one(who)
    }

    fn get(&mut self, key: u64) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(*value);
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value);
        Some(value)
    }

    fn insert(&mut self, key: u64, value: V) {
        if self.young.len() >= REMEMBERED_MAX / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_budget_is_used_up_and_comes_back_request_by_request() {
        let limiter = Limiter::new(3, 60);
        let start = Instant::now();
        let remaining: Vec<u32> = (0..3).map(|_| limiter.take("ada", start).unwrap().remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limiter.take("ada", start).unwrap_err();
        assert_eq!((refused.retry_in, refused.budget.full_in, refused.budget.remaining), (SECOND, 3 * SECOND, 0));
        assert_eq!(limiter.take("ada", start).unwrap_err(), refused, "a refused request costs nothing");
        assert_eq!(limiter.take("bob", start).unwrap().remaining, 2, "another caller has its own budget");
        assert!(limiter.take("ada", start + SECOND / 2).is_err());
        assert_eq!(limiter.take("ada", start + SECOND).unwrap().remaining, 0);
        assert_eq!(limiter.take("ada", start + 60 * SECOND).unwrap().remaining, 2);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let limiter = Limiter::new(1, 60);
        let start = Instant::now();
        for _ in 0..5 {
            limiter.take("ada", start).unwrap();
            assert!(limiter.take("ada", start).is_err());
            limiter.give_back("ada", start);
        }
        limiter.give_back("ada", start);
        limiter.take("ada", start).unwrap();
        assert!(limiter.take("ada", start).is_err(), "a budget never grows beyond its limit");
    }

    #[test]
    fn looking_costs_nothing_and_charging_makes_no_debt() {
        let limiter = Limiter::new(2, 60);
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(limiter.look("ada", start).unwrap().remaining, 2);
        }
        for _ in 0..50 {
            limiter.charge("ada", start);
        }
        assert_eq!(limiter.look("ada", start).unwrap_err().retry_in, SECOND);
        assert_eq!(limiter.look("ada", start + SECOND).unwrap().remaining, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_busy_stay() {
        let mut recent = Recent::default();
        for number in 0..4 * REMEMBERED_MAX as u64 {
            recent.insert(number, ());
            assert!(recent.get(0).is_some(), "forgotten after {number}");
        }
        assert!(recent.young.len() + recent.old.len() <= REMEMBERED_MAX);
        assert!(recent.get(1).is_none());
    }

    #[test]
    fn who_was_proven_can_lose_it() {
        let proven = Proven::default();
        proven.add(("ada", 1));
        assert!(proven.has(("ada", 1)) && !proven.has(("ada", 2)));
        proven.remove(("ada", 1));
        assert!(!proven.has(("ada", 1)));
    }
}
