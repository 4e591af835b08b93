//! What happens now, for every stream of this process: one reader of the outbox feeds them all.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::model::{actor::Subject, listener::Published};

/// Events that a stream may be behind before it is told of a gap instead. One takes about a kilobyte, once for all streams.
const EVENTS_BEHIND_MAX: usize = 1024;
/// Changes of rights that a listener may be behind; one that missed some looks everything up again.
const CHANGES_BEHIND_MAX: usize = 256;

/// See the module.
pub struct LiveEvents {
    events: broadcast::Sender<Arc<Published>>,
    changes: broadcast::Sender<Subject>,
}

impl Default for LiveEvents {
    fn default() -> Self {
        Self { events: broadcast::Sender::new(EVENTS_BEHIND_MAX), changes: broadcast::Sender::new(CHANGES_BEHIND_MAX) }
    }
}

impl LiveEvents {
    /// Hands an event to every stream. Without one, nobody misses it.
    pub fn publish(&self, event: Arc<Published>) {
        let streams = self.events.send(event).unwrap_or_default();
        tracing::trace!(streams, "an event was handed to the streams");
    }

    /// Whether there is a stream.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Every event from now on, in order.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<Published>> {
        self.events.subscribe()
    }

    /// Tells every listener that somebody's rights have changed.
    pub fn rights_changed(&self, subject: &Subject) {
        let listeners = self.changes.send(subject.clone()).unwrap_or_default();
        tracing::trace!(listeners, "listeners were told of changed rights");
    }

    /// Whose rights change from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Subject> {
        self.changes.subscribe()
    }
}
