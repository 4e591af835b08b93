//! Puts the service together: builds the [`App`], mounts the edges, starts the workers, drains at the end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context as _;
use axum::middleware;
use http_listener::{Bounds, ByAddress};
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{AccessCache, App, Handles, LiveEvents, Settings},
    config::Config,
    domain::{adoption, settings},
    http, mcp,
    model::{
        address,
        clock::Clock,
        limit::Limiter,
        origin::HostNames,
        policy::{ControlPlanePolicy, Policy, ToolApprovalPolicy},
        seal::Sealer,
        settings::RecordingBounds,
        token::Tokens,
    },
    runtime::{Controls, LiveTerminals, Runtimes, control_plane::ControlPlane},
    socket,
    storage::{self, Tx},
    workers,
};

/// Reports of all terminals' connections that may wait for the database.
const TERMINAL_NEWS_QUEUED: usize = 1024;
/// Tool calls that may wait to be put on record; of a few kilobytes each at the most. Beyond it each is written by itself.
const TOOL_CALLS_QUEUED: usize = 4096;
/// How long running work may take to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections at once, as far as this process may have files open: a page has two or three.
const CONNECTIONS_MAX: usize = 8_192;
/// Files that are left to the database, runtimes and the program itself.
const OWN_FILES: usize = 256;
/// How long a request's head may take to arrive, and an idle connection stay.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// A service that runs.
pub struct Running {
    address: SocketAddr,
    app: App,
    serving: JoinHandle<()>,
}

/// Starts the service on `listener`, on a database whose schema is up to date.
///
/// Errors: `APP_SECRET` is missing, or a setting turns out to be no use.
pub fn start(config: &Config, pool: PgPool, listener: TcpListener, clock: Clock) -> anyhow::Result<Running> {
    let address = listener.local_addr().context("the listening socket has no address")?;
    let app_secret = app_secret(config)?;
    let sealer = Sealer::new(app_secret);
    let environment = config.runtime.as_ref().map(|runtime| (runtime.endpoint.as_str(), runtime.token.clone()));
    let runtimes = Runtimes::new(environment, config.runtime_origins.clone(), sealer.clone()).context("AGENT_RUNTIME_ENDPOINT")?;
    let control_plane = control_plane(config)?;
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let (terminal_news, terminal_reports) = mpsc::channel(TERMINAL_NEWS_QUEUED);
    let (tool_calls, called) = mpsc::channel(TOOL_CALLS_QUEUED);
    let app = App::new(Handles {
        pool,
        clock: clock.clone(),
        policy: Policy {
            agents_per_workspace_max: config.agents_per_workspace_max,
            agent_key_prefix: config.agent_key_prefix.clone(),
            sealer,
            control_plane: ControlPlanePolicy {
                is_told: control_plane.is_some(),
                may_get_keys: config.control_plane.as_ref().is_some_and(|url| url.starts_with("https://")),
            },
            tool_approvals: ToolApprovalPolicy { enabled: config.tool_approvals_enabled, methods: config.tool_approval_methods.clone() },
            login_hosts: config.login_hosts.clone(),
        },
        tokens: Tokens::new(app_secret, config.token_lifetime),
        settings: Settings {
            app_url: config.app_url.clone().unwrap_or_else(|| format!("http://{address}")),
            cloud: config.cloud,
            webhook_secret: config.webhook_secret.clone(),
            key_registration_token: config.key_registration_token.clone(),
            cors_origins: config.cors_origins.clone(),
            host_names: host_names(config),
            trusted_proxies: config.trusted_proxies.clone(),
            rate_limits: config.rate_limits.clone(),
            socket_check_every: config.socket_check_every,
            activity_kept: config.activity_kept,
            activity_daily_kept: config.activity_daily_kept,
            recordings: RecordingBounds { kept: config.recordings_kept, megabytes_max: config.recording_megabytes_max },
        },
        access_cache: AccessCache::default(),
        calls_by_key: config.rate_limits.as_ref().map(|limits| Limiter::new(limits.calls_by_key.at_once, limits.calls_by_key.per_minute)),
        connections: Arc::default(),
        live_events: LiveEvents::default(),
        runtimes,
        control_plane,
        searches: Arc::default(),
        terminals: LiveTerminals::new(terminal_news, clock, tasks.clone(), shutdown.clone()),
        controls: Controls::default(),
        workspace_seen: AtomicBool::new(false),
        tool_calls,
        wake_stopper: tokio::sync::Notify::new(),
        wake_notifier: tokio::sync::Notify::new(),
        tasks,
        shutdown,
    });
    let (sockets, io) = socket::layer(app.clone());
    workers::start(&app, terminal_reports, called, vec![Box::new(socket::Broadcaster::new(app.clone(), io))]);
    let door = middleware::from_fn_with_state(socket::Door::new(app.clone()), socket::guard);
    let router = http::router(app.clone(), mcp::routes(), client(config)?).layer(sockets).layer(door);
    let serving = tokio::spawn(http_listener::serve(listener, router, bounds(config), app.tasks.clone(), app.shutdown.clone()));
    Ok(Running { address, app, serving })
}

/// What the listener grants. A proxy that is trusted, and programs on this host, among them proxies that nobody told us
/// of, speak for many.
fn bounds(config: &Config) -> Bounds {
    let free = open_files_max().map_or(CONNECTIONS_MAX, |files| files.saturating_sub(OWN_FILES));
    let connections = CONNECTIONS_MAX.min(free).max(OWN_FILES);
    if connections < CONNECTIONS_MAX {
        tracing::info!(connections, "few files may be open at once, so that many connections are");
    }
    let by_address = config.rate_limits.as_ref().map(|limits| {
        let proxies = config.trusted_proxies.clone();
        let is_many = move |peer: IpAddr| peer.is_loopback() || proxies.iter().any(|proxy| proxy.contains(&peer.to_canonical()));
        let of_one = usize::try_from(limits.connections_by_address).unwrap_or(usize::MAX);
        ByAddress { connections: of_one, count_as: Arc::new(move |peer| (!is_many(peer)).then(|| address::subscriber(peer))) }
    });
    Bounds { connections, by_address, head_within: HEAD_WITHIN }
}

/// How many files this process may have open.
#[expect(unsafe_code, reason = "the standard library tells no limits")]
fn open_files_max() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes during the call.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    (!failed).then(|| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// The names under which browsers may ask for sockets. A service that others reach and that was told no address of its
/// own cannot know how they call it.
fn host_names(config: &Config) -> Option<HostNames> {
    if config.app_url.is_none() && !config.host.is_loopback() {
        return None;
    }
    let urls = config.app_url.iter().chain(&config.cors_origins).map(String::as_str);
    // Where the host name chooses the workspace, workspaces have names below this one, or beside our own.
    let beside = || config.app_url.as_deref().and_then(|url| url.split_once("://")?.1.split_once('.')).map(|(_, parent)| parent);
    let parents = config.cloud.then(|| config.client.subdomain_host.as_deref().or_else(beside)).flatten();
    Some(HostNames::new(urls, parents))
}

/// The control plane that is told of decisions. Without a shared secret it could not tell who tells it,
/// so it is told nothing (D-20).
fn control_plane(config: &Config) -> anyhow::Result<Option<ControlPlane>> {
    match (&config.control_plane, &config.webhook_secret) {
        (Some(url), Some(secret)) => Ok(Some(ControlPlane::new(url, secret.clone()).context("PARALLAX_CONTROL_PLANE_URL")?)),
        (Some(_), None) => {
            tracing::warn!("PARALLAX_CONTROL_PLANE_URL is set without PARALLAX_WEBHOOK_SECRET: the control plane is told nothing");
            Ok(None)
        }
        (None, _) => Ok(None),
    }
}

/// The secret that signs tokens and seals secrets.
///
/// Errors: it is not set.
pub fn app_secret(config: &Config) -> anyhow::Result<&str> {
    config.app_secret.as_deref().context("APP_SECRET is missing: set it to at least 32 random characters")
}

/// Brings the schema up to date. What an original database kept in plain text is sealed, if there is a
/// secret to do it with; returns how many invite tokens still wait for one.
///
/// Errors: a sentence that says what is wrong and what to do.
pub async fn prepare_database(pool: &PgPool, app_secret: Option<&str>) -> anyhow::Result<i64> {
    storage::db::migrate(pool).await.map_err(|error| explain_database(&error))?;
    let mut tx = Tx::begin(pool, &Clock::default()).await?;
    let Some(app_secret) = app_secret else { return Ok(adoption::count_unsealed(&mut tx).await?) };
    let sealer = Sealer::new(app_secret);
    let tokens = adoption::seal_tokens(&mut tx, &sealer).await?;
    let keys = settings::seal_plain_keys(&mut tx, &sealer).await?;
    tx.commit().await?;
    if tokens > 0 || keys > 0 {
        tracing::info!(tokens, keys, "the original's invite tokens and runtime keys were sealed");
    }
    Ok(0)
}

/// The client that takes the console's place, if one is set.
///
/// Errors: its folder cannot be opened.
fn client(config: &Config) -> anyhow::Result<Option<http::Client>> {
    let Some(folder) = &config.client_dir else { return Ok(None) };
    let others = config.client.clone();
    let settings = http::ClientSettings {
        env: "production",
        app_url: config.app_url.clone(),
        cloud: config.cloud,
        file_upload_size_limit: others.file_upload_size_limit,
        drawio_url: others.drawio_url,
        subdomain_host: others.subdomain_host,
        collab_url: others.collab_url,
    };
    http::Client::open(folder, &settings).map(Some).with_context(|| format!("CLIENT_DIR {} cannot be opened", folder.display()))
}

impl Running {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handles of the running service, for tests and tools in the same process.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Ends the service: takes no new work, lets the running work end, and closes what is left. Sockets lose their
    /// transport, so that their clients come back.
    pub async fn stop(self) {
        self.app.shutdown.cancel();
        self.app.tasks.close();
        if timeout(DRAIN, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("some work did not end in time");
        }
        self.serving.abort();
        self.app.pool.close().await;
    }
}

/// Runs the service until it is told to end.
///
/// Errors: a sentence that says what is wrong and what to do.
pub async fn run(config: &Config, options: PgConnectOptions, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let pool = storage::db::pool(options, config.database_connections_max);
    prepare_database(&pool, Some(app_secret(config)?)).await?;
    let listener = TcpListener::bind(config.address()).await.map_err(|error| explain_bind(config.address(), &error))?;
    let running = start(config, pool, listener, Clock::default())?;
    tracing::info!(address = %running.address(), "raven-agents is ready");
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// One sentence for a port that cannot be had.
#[must_use]
pub fn explain_bind(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let port = address.port();
    if error.kind() == std::io::ErrorKind::AddrInUse {
        anyhow::anyhow!("port {port} on {} is in use: stop the program that has it, or set PORT to another", address.ip())
    } else if error.kind() == std::io::ErrorKind::PermissionDenied {
        anyhow::anyhow!("port {port} may not be used by this user: set PORT to one above 1023")
    } else {
        anyhow::anyhow!("cannot listen on {address}: {error}")
    }
}

/// One sentence for a database that cannot be used. It does not repeat `DATABASE_URL`, which may hold a password.
#[must_use]
pub fn explain_database(error: &sqlx::migrate::MigrateError) -> anyhow::Error {
    let reason = if let sqlx::migrate::MigrateError::Execute(cause) = error { cause.to_string() } else { error.to_string() };
    anyhow::anyhow!("the database cannot be used: {reason}; check DATABASE_URL, or unset it to use a private database")
}
