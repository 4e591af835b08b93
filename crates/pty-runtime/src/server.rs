//! Binds the parts of one runtime together, starts them and stops them again.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use http_listener::Bounds;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agents::{Agents, Patience},
    callbacks::Courier,
    config::Config,
    event_stream::EventLog,
    limits, own_process,
    records::{FolderError, Records},
    replies::Replies,
    routes,
    threads::Threads,
};

/// How long agents get to end by themselves at shutdown, before they are killed.
const AGENTS_END_WITHIN: Duration = Duration::from_secs(3);
/// How long killed agents get to disappear after that.
const KILLED_WITHIN: Duration = Duration::from_secs(1);
/// How long threads get to tell of the end of their agents after that.
const THREADS_TOLD_WITHIN: Duration = Duration::from_millis(250);
/// How long sockets and requests get to end after that.
const SOCKETS_CLOSE_WITHIN: Duration = Duration::from_millis(1500);
/// How long a request's head may take, and an idle connection stay: in twenty seconds a head arrives over any line.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// Connections at once, however few agents there may be, and for each agent where there may be many. The first is half
/// of the 1,024 files that a process commonly may have open.
const CONNECTIONS_MIN: usize = 512;
const CONNECTIONS_PER_AGENT: usize = 4;
/// Files that the runtime has open for each agent at the most, for a moment at its start, and for itself.
const FILES_PER_AGENT: usize = 4;
const OWN_FILES: usize = 64;
/// How often stopped agents and ended threads that have been listed long enough are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// What every request gets.
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) replies: Replies,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    pub(crate) started: Instant,
}

/// The runtime; see [`Runtime::start`].
pub struct Runtime;

/// A running runtime. Dropping it kills its agents, unless they are to be kept; [`Handle::shutdown`]
/// is the friendly way.
pub struct Handle {
    app: Arc<App>,
    address: SocketAddr,
}

/// Why a runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("listener has no address")]
    Address(#[source] io::Error),
    #[error("a token is needed to listen on {0}, since others can reach it")]
    Exposed(SocketAddr),
    #[error("HTTP client for callbacks cannot be built")]
    Client(#[source] reqwest::Error),
    #[error("the program raven-runtime, which supervises agents, is not at {0}: build or install it there")]
    Program(PathBuf),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("agents of an earlier start cannot be adopted")]
    Adoption(#[source] io::Error),
}

impl Runtime {
    /// Starts serving on `listener`; any number of runtimes may live in one process.
    /// `config.host` and `config.port` are for whoever made the listener and are not read here.
    /// Agents that an earlier runtime left under the same root are adopted before the first request.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(config: Config, listener: TcpListener) -> Result<Handle, StartError> {
        let address = listener.local_addr().map_err(StartError::Address)?;
        if config.token.is_none() && !address.ip().is_loopback() {
            return Err(StartError::Exposed(address));
        }
        if !config.program.is_file() {
            return Err(StartError::Program(config.program));
        }
        let records = Records::open(&config.workdir_root)?;
        let mut config = config;
        if let Some(folder) = &config.cgroup
            && let Err(error) = limits::prepare_cgroup(folder)
        {
            tracing::warn!(%error, folder = %folder.display(), "no cgroups for agents, so limits are kept per process");
            config.cgroup = None;
        }
        // Another part of the same process may have chosen a provider already; any will do.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let config = Arc::new(config);
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let events = Arc::new(EventLog::new());
        let endpoint = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let (courier, callbacks) = Courier::start(Arc::clone(&config), tasks.clone(), closing.clone()).map_err(StartError::Client)?;
        let (own, log) = (Arc::clone(&config), Arc::clone(&events));
        let agents = Arc::new(Agents::new(own, endpoint.clone(), log, callbacks, tasks.clone(), closing.clone(), records));
        agents.adopt().map_err(StartError::Adoption)?;
        // The address, since unlike the boot id it stays the same over restarts.
        tasks.spawn(courier.send_heartbeats(Arc::clone(&agents), endpoint));
        let threads = Arc::new(Threads::new(Arc::clone(&agents), Arc::clone(&events), tasks.clone(), closing.clone()));
        threads.adopt();
        tasks.spawn(forget_old(Arc::clone(&agents), Arc::clone(&threads), closing.clone()));
        let (replies, started) = (routes::replies_of(&agents.list()), Instant::now());
        let app = Arc::new(App { config, agents, threads, events, replies, tasks, closing, started });
        app.tasks.spawn(http_listener::serve(
            listener,
            routes::router(Arc::clone(&app)),
            bounds(app.config.max_agents, own_process::open_files_max()),
            app.tasks.clone(),
            app.closing.clone(),
        ));
        Ok(Handle { app, address })
    }
}

/// Room for a few viewers of each agent, as far as this process may have files open beside those that agents need.
fn bounds(agents: usize, open_files: Option<usize>) -> Bounds {
    let wanted = CONNECTIONS_MIN.max(agents.saturating_mul(CONNECTIONS_PER_AGENT));
    let own = agents.saturating_mul(FILES_PER_AGENT).saturating_add(OWN_FILES);
    let free = open_files.map_or(wanted, |files| files.saturating_sub(own));
    let connections = wanted.min(free).max(CONNECTIONS_MIN / 4);
    if connections < wanted {
        tracing::warn!(connections, wanted, "few files may be open at once, so few connections are");
    }
    Bounds { connections, by_address: None, head_within: HEAD_WITHIN }
}

async fn forget_old(agents: Arc<Agents>, threads: Arc<Threads>, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    while closing.run_until_cancelled(ticks.tick()).await.is_some() {
        agents.forget_old();
        threads.forget_old();
    }
}

impl Handle {
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new agents, ends all there are, then closes every socket with 1001; takes less
    /// than 6 s. Agents end first, so that listeners still hear how. With `config.keep_agents` they
    /// are left to the next runtime instead.
    pub async fn shutdown(self) {
        if self.app.config.keep_agents {
            self.app.agents.leave_all();
        } else {
            let drain = self.app.agents.drain(Patience::Wait(AGENTS_END_WITHIN));
            if timeout(AGENTS_END_WITHIN + KILLED_WITHIN, drain).await.is_err() {
                tracing::error!("some agents were left behind");
            }
            if timeout(THREADS_TOLD_WITHIN, self.app.threads.all_told()).await.is_err() {
                tracing::warn!("some threads did not tell of their end");
            }
        }
        self.app.closing.cancel();
        self.app.tasks.close();
        if timeout(SOCKETS_CLOSE_WITHIN, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not close in time");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.app.config.keep_agents {
            self.app.agents.kill_all();
        }
        self.app.closing.cancel();
        self.app.tasks.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_grow_with_the_agents_as_far_as_files_go() {
        let connections = |agents, files| bounds(agents, files).connections;
        assert_eq!((connections(10, Some(1024)), connections(1000, Some(1 << 20)), connections(1000, None)), (512, 4000, 4000));
        assert_eq!((connections(100, Some(1024)), connections(1000, Some(1024))), (512, 128));
    }
}
