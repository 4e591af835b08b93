//! What becomes of what is sent over one connection, seen from the side that sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Tells how many bytes of one connection the kernel has taken, so that whoever sends over it through
/// other code can keep what waits in between small. Clones are of the same connection.
#[derive(Clone, Default)]
pub struct Outlet(Arc<Flow>);

#[derive(Default)]
struct Flow {
    taken: AtomicU64,
    blocked: AtomicBool,
    moved: Notify,
    closed: AtomicBool,
    reader: AtomicWaker,
    ended: CancellationToken,
}

impl Outlet {
    /// Bytes that the kernel has taken since the connection was accepted.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Acquire)
    }

    /// Whether the last write found no room: the peer reads less than is sent to it.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.0.blocked.load(Ordering::Acquire)
    }

    /// Waits until the kernel has taken `bytes` in all.
    pub async fn until_taken(&self, bytes: u64) {
        loop {
            let mut moved = std::pin::pin!(self.0.moved.notified());
            moved.as_mut().enable();
            if self.taken() >= bytes {
                return;
            }
            moved.await;
        }
    }

    /// Closes the connection, whoever serves it now, as if the peer had closed it.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.reader.wake();
    }

    /// Cancelled once the connection is no more, whoever still holds what came over it.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }

    pub(crate) fn took(&self, bytes: usize) {
        self.0.blocked.store(false, Ordering::Release);
        if bytes > 0 {
            self.0.taken.fetch_add(bytes as u64, Ordering::AcqRel);
            self.0.moved.notify_waiters();
        }
    }

    pub(crate) fn block(&self) {
        self.0.blocked.store(true, Ordering::Release);
    }

    /// Whether it was closed; otherwise the reader is woken when it is.
    pub(crate) fn is_closed(&self, context: &Context<'_>) -> bool {
        self.0.reader.register(context.waker());
        self.0.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_by_the_byte_that_is_waited_for() {
        let outlet = Outlet::default();
        outlet.block();
        assert!(outlet.is_blocked());
        let waiting = tokio::spawn({
            let outlet = outlet.clone();
            async move { outlet.until_taken(10).await }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            outlet.took(1);
        }
        timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
        assert!(!outlet.is_blocked() && outlet.taken() == 10);
    }
}
