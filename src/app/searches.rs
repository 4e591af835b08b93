//! Bounds the searches of recordings that go on at the same time: each unpacks as fast as it can.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::ids::UserId;

/// Searches of all people; of one person there is one.
const SEARCHES_MAX: usize = 3;

/// The people whose searches go on.
#[derive(Default)]
pub struct Searches(Mutex<HashSet<UserId>>);

impl Searches {
    /// Begins a search, unless the person has one already or there are too many.
    #[must_use]
    pub fn begin(self: &Arc<Self>, user: UserId) -> Option<Searching> {
        let mut users = self.lock();
        let may = users.len() < SEARCHES_MAX && users.insert(user);
        may.then(|| Searching { user, all: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<UserId>> {
        // Each change is one step, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A search that goes on until this is dropped.
pub struct Searching {
    user: UserId,
    all: Arc<Searches>,
}

impl Drop for Searching {
    fn drop(&mut self) {
        self.all.lock().remove(&self.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_searches_once_at_a_time_and_few_do_together() {
        let searches = Arc::<Searches>::default();
        let user = |number| UserId(uuid::Uuid::from_u128(number));
        let first = searches.begin(user(1)).unwrap();
        assert!(searches.begin(user(1)).is_none());
        let others = [searches.begin(user(2)).unwrap(), searches.begin(user(3)).unwrap()];
        assert!(searches.begin(user(4)).is_none());
        drop(first);
        let fourth = searches.begin(user(4)).unwrap();
        assert!(searches.begin(user(1)).is_none());
        drop((others, fourth));
        assert!(searches.begin(user(1)).is_some());
    }
}
