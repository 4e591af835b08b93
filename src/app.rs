//! The handles that every edge gets.

pub mod connections;

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
    model::{clock::Clock, policy::Policy, token::Tokens, tool_execution::Executed},
    runtime::{LiveTerminals, Runtimes, control_plane::ControlPlane},
};

pub use crate::{
    config::{Quota, RateLimits},
    runtime::{RuntimeClient, link, registry::LinkKey},
    storage::{StorageError, Tx, access_cache::AccessCache},
};
pub use connections::Connections;

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
    /// Proxies that are believed when they say whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    pub rate_limits: Option<RateLimits>,
    /// How often an open socket's credential is checked again.
    pub socket_check_every: Duration,
    /// How long the activity feed and its daily counts are kept; `None` is for ever.
    pub activity_kept: Option<TimeDelta>,
    pub activity_daily_kept: Option<TimeDelta>,
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
    pub connections: Arc<Connections>,
    pub runtimes: Runtimes,
    pub control_plane: Option<ControlPlane>,
    pub terminals: LiveTerminals,
    /// Whether a workspace was found, so that it is not looked for with every request.
    pub workspace_seen: AtomicBool,
    /// Calls of agents on their way into the feed, which a worker writes many at once.
    pub executions: mpsc::Sender<Executed>,
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

    /// Runs work that shutdown waits for, and that goes on when its caller goes away.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }
}
