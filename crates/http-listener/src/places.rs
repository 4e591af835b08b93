//! How many connections there may be, in all and from one address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What an address counts as, such as an IPv6 address as its network; `None`: it is not counted, as
/// one of a proxy that speaks for many.
pub type CountAs = Arc<dyn Fn(IpAddr) -> Option<IpAddr> + Send + Sync>;

/// What one address is granted.
#[derive(Clone)]
pub struct ByAddress {
    pub connections: usize,
    pub count_as: CountAs,
}

/// Places for connections.
pub(crate) struct Places {
    all: usize,
    by_address: Option<ByAddress>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only addresses that have a connection, so never more than there are places.
    by_address: HashMap<IpAddr, usize>,
}

/// One place; free again when this is dropped.
pub(crate) struct Place {
    counted_as: Option<IpAddr>,
    places: Arc<Places>,
}

impl Places {
    pub(crate) fn new(all: usize, by_address: Option<ByAddress>) -> Self {
        Self { all, by_address, taken: Mutex::default() }
    }

    /// A place for a connection of `peer`, if there is one for it.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let bound = self.by_address.as_ref().and_then(|bound| (bound.count_as)(peer).map(|address| (address, bound.connections)));
        let mut taken = self.lock();
        if taken.all >= self.all {
            return None;
        }
        if let Some((address, connections)) = bound {
            let of_address = taken.by_address.entry(address).or_default();
            if *of_address >= connections {
                return None;
            }
            *of_address += 1;
        }
        taken.all += 1;
        Some(Place { counted_as: bound.map(|(address, _)| address), places: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(Entry::Occupied(mut entry)) = self.counted_as.map(|address| taken.by_address.entry(address)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
