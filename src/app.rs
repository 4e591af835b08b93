//! The handles that every edge gets.

pub mod connections;
pub mod live_events;
pub mod searches;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use chrono::TimeDelta;
use ipnet::IpNet;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    model::{
        clock::Clock,
        limit::Limiter,
        origin::HostNames,
        policy::Policy,
        settings::RecordingBounds,
        token::{Judges, Tokens},
        tool_call::ToolCall,
    },
    runtime::{Controls, LiveTerminals, Runtimes, control_plane::ControlPlane},
};

pub use crate::{
    config::{Quota, RateLimits},
    runtime::{RuntimeClient, link, registry::LinkKey},
    storage::{Proviso, StorageError, Tx, access_cache::AccessCache},
};
pub use connections::Connections;
pub use live_events::LiveEvents;
pub use searches::Searches;

/// What the operator set, as far as the edges need it.
pub struct Settings {
    /// Public address of this service, without a slash at its end.
    pub app_url: String,
    /// Whether the host name chooses the workspace.
    pub cloud: bool,
    pub webhook_secret: Option<String>,
    /// Lets an operator's script make keys for people; without one nobody can (D-12).
    pub key_registration_token: Option<String>,
    /// Origins beside our own whose pages may use the service from a browser.
    pub cors_origins: Vec<String>,
    /// Names under which browsers may ask for sockets; `None` where nobody knows them.
    pub host_names: Option<HostNames>,
    /// Proxies that are believed when they say whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    pub rate_limits: Option<RateLimits>,
    /// How often an open socket's credential is checked again.
    pub socket_check_every: Duration,
    /// How long the activity feed and its daily counts are kept; `None` is for ever.
    pub activity_kept: Option<TimeDelta>,
    pub activity_daily_kept: Option<TimeDelta>,
    /// What the operator lets recordings of terminals take.
    pub recordings: RecordingBounds,
}

/// Cloneable access to everything that lives as long as the process.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// What an [`App`] gives access to.
pub struct Handles {
    pub pool: PgPool,
    pub clock: Clock,
    pub policy: Policy,
    pub tokens: Tokens,
    pub settings: Settings,
    pub access_cache: AccessCache,
    /// How much each API key may ask for, of whatever edge; `None` where nothing is limited.
    pub calls_by_key: Option<Limiter>,
    pub connections: Arc<Connections>,
    pub live_events: LiveEvents,
    pub runtimes: Runtimes,
    pub control_plane: Option<ControlPlane>,
    /// Searches of recordings that go on.
    pub searches: Arc<Searches>,
    pub terminals: LiveTerminals,
    /// Who is at the live terminals, and who controls them.
    pub controls: Controls,
    /// Whether a workspace was found, so that it is not looked for with every request.
    pub workspace_seen: AtomicBool,
    /// Tool calls on their way onto the record, which a worker writes many at once.
    pub tool_calls: mpsc::Sender<ToolCall>,
    /// Wakes the worker that ends processes.
    pub wake_stopper: Notify,
    /// Wakes the worker that tells the control plane of decisions.
    pub wake_notifier: Notify,
    pub tasks: TaskTracker,
    pub shutdown: CancellationToken,
}

impl std::ops::Deref for App {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl App {
    #[must_use]
    pub fn new(handles: Handles) -> Self {
        Self(Arc::new(handles))
    }

    /// Begins a use case that changes something.
    pub async fn begin(&self) -> Result<Tx, StorageError> {
        Tx::begin(&self.pool, &self.clock).await
    }

    /// A connection to read with.
    pub async fn read(&self) -> Result<PoolConnection<Postgres>, StorageError> {
        Ok(self.pool.acquire().await?)
    }

    /// What credentials of connections that stay open are judged by.
    #[must_use]
    pub fn judges(&self) -> Judges<'_> {
        Judges { clock: &self.clock, tokens: &self.tokens, every: self.settings.socket_check_every }
    }

    /// Runs work that shutdown waits for, and that goes on when its caller goes away.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }
}
