//! `raven-agents up`: service, database and a local runtime under one supervisor, nothing to set.

use std::{
    collections::VecDeque,
    fs,
    io::{ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::{Config, RuntimeSettings},
    database::{self, Database},
    model::clock::Clock,
    runtime::RuntimeClient,
    serve, storage,
};

/// Levels of a log, as the runtime takes them.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// A log larger than this at a start becomes `runtime.log.1`.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How often the runtime's log is looked at.
const LOG_POLL: Duration = Duration::from_millis(100);
/// How often the private database is asked whether it is there, and how often in a row it may not be.
const DATABASE_POLL: Duration = Duration::from_secs(2);
const DATABASE_MISSES_MAX: u32 = 3;
/// How long the runtime may take until it answers.
const RUNTIME_START: Duration = Duration::from_secs(10);
/// How long what has the runtime's port may take to show that it is our runtime.
const ADOPTION: Duration = Duration::from_secs(2);
/// How often an adopted runtime, which is no child of ours to wait for, is looked at.
const ADOPTED_POLL: Duration = Duration::from_millis(50);
/// How often a runtime that ends by itself is started again, and within which time: its agents go on
/// meanwhile, but one that cannot live has to be looked at by somebody.
const RESTARTS_MAX: usize = 5;
const RESTARTS_WITHIN: Duration = Duration::from_mins(1);
/// How long the runtime may take to end its agents.
const RUNTIME_STOP: Duration = Duration::from_secs(8);

/// Starts everything, says where, and stays until `shutdown`; then stops what it started, the
/// runtime first, so that the service still hears how its agents ended.
///
/// Errors: a sentence that says what is wrong and what to do.
pub async fn run(mut config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut progress = |step: &str| eprintln!("raven-agents: {step}");
    let data_dir = database::data_dir(&config)?;
    fs::create_dir_all(&data_dir)
        .with_context(|| format!("the data directory {} cannot be made: set RAVEN_DATA_DIR", data_dir.display()))?;
    let lock = fs::File::create(data_dir.join("up.lock")).context("the data directory cannot be written: set RAVEN_DATA_DIR")?;
    if lock.try_lock().is_err() {
        bail!("another `raven-agents up` uses {}: stop it, or set RAVEN_DATA_DIR to another folder", data_dir.display());
    }
    // Ports first: nothing else is worth starting without them.
    let listener = TcpListener::bind(config.address()).await.map_err(|error| serve::explain_bind(config.address(), &error))?;
    let secrets = Secrets::load(&data_dir.join("secrets"))?;
    config.app_secret.get_or_insert(secrets.app);
    let webhook_secret = config.webhook_secret.get_or_insert(secrets.webhook).clone();
    let mut local_runtime = None;
    if config.runtime.is_none() {
        let runtime = LocalRuntime::start(&config, &data_dir, &secrets.runtime, &webhook_secret, &mut progress).await?;
        config.runtime = Some(RuntimeSettings { endpoint: runtime.endpoint(), token: Some(secrets.runtime.clone()) });
        local_runtime = Some(runtime);
    }
    let started = async {
        let database = Database::resolve(&config, &mut progress)?;
        let pool = storage::db::pool(database.options.clone(), config.database_connections_max);
        serve::prepare_database(&pool, config.app_secret.as_deref()).await?;
        anyhow::Ok((serve::start(&config, pool, listener, Clock::default())?, database))
    };
    let (running, database) = match started.await {
        Ok(started) => started,
        Err(error) => {
            if let Some(runtime) = local_runtime {
                runtime.stop().await;
            }
            return Err(error);
        }
    };
    println!("raven-agents is ready: {}", config.public_url());
    let mut shutdown = std::pin::pin!(shutdown);
    let mut restarts = Restarts::default();
    let failure = loop {
        tokio::select! {
            () = &mut shutdown => break None,
            () = ended(local_runtime.as_mut()) => {}
            () = database_gone(&database) => {
                break Some(anyhow!("the private database ended by itself; its log is postgres/postgres.log in the data directory"));
            }
        }
        // What it said last is shown first.
        sleep(LOG_POLL * 2).await;
        local_runtime = None;
        if !restarts.may_start() {
            break Some(anyhow!("the runtime ended by itself; what it said is above"));
        }
        progress("the runtime ended by itself: starting it again, with its agents");
        // Not given up half-way: a shutdown would leave the runtime behind.
        match LocalRuntime::start(&config, &data_dir, &secrets.runtime, &webhook_secret, &mut progress).await {
            Ok(runtime) => local_runtime = Some(runtime),
            Err(error) => break Some(error),
        }
    };
    progress("stopping");
    if let Some(runtime) = local_runtime {
        runtime.stop().await;
    }
    running.stop().await;
    database.stop()?;
    drop(lock);
    failure.map_or(Ok(()), Err)
}

/// Waits until the local runtime is gone; for ever without one.
async fn ended(runtime: Option<&mut LocalRuntime>) {
    match runtime {
        Some(runtime) => runtime.ended().await,
        None => std::future::pending().await,
    }
}

/// When the runtime was started again.
#[derive(Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Counts one more, unless there were too many of late.
    fn may_start(&mut self) -> bool {
        self.0.retain(|at| at.elapsed() < RESTARTS_WITHIN);
        let few = self.0.len() < RESTARTS_MAX;
        if few {
            self.0.push_back(Instant::now());
        }
        few
    }
}

/// Waits until the private database is gone; for ever when the database is somebody else's to keep.
async fn database_gone(database: &Database) {
    if database.cluster.is_none() {
        return std::future::pending().await;
    }
    let mut misses = 0;
    while misses < DATABASE_MISSES_MAX {
        sleep(DATABASE_POLL).await;
        misses = if storage::db::answers(&database.options).await { 0 } else { misses + 1 };
    }
}

/// Secrets that are made on first use and kept beside the data.
struct Secrets {
    app: String,
    webhook: String,
    runtime: String,
}

impl Secrets {
    fn load(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        set_mode(folder, 0o700)?;
        Ok(Self {
            app: load_secret(&folder.join("app-secret"))?,
            webhook: load_secret(&folder.join("webhook-secret"))?,
            runtime: load_secret(&folder.join("runtime-token"))?,
        })
    }
}

fn load_secret(file: &Path) -> anyhow::Result<String> {
    let unusable = || format!("the secret in {} cannot be used", file.display());
    match fs::read_to_string(file) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => bail!("{}: it is too short; delete it to have a new one made", unusable()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(unusable),
    }
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let draft = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(&draft).with_context(unusable)?;
    writeln!(opened, "{secret}").with_context(unusable)?;
    opened.sync_all().with_context(unusable)?;
    fs::rename(&draft, file).with_context(unusable)?;
    Ok(secret)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("the mode of {} cannot be set", path.display()))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> anyhow::Result<()> {
    Ok(())
}

/// The runtime beside the service.
struct LocalRuntime {
    address: SocketAddr,
    process: Process,
    /// Shows what it says, until it is dropped; nobody shows what an adopted one says.
    _shown: Option<AbortOnDropHandle<()>>,
}

enum Process {
    Started(Child),
    /// Left over from a service that was killed; its agents went on.
    Adopted(i32),
}

impl LocalRuntime {
    /// Adopts the runtime that a killed service left behind, with its agents, or starts one.
    async fn start(
        config: &Config,
        data_dir: &Path,
        token: &str,
        webhook_secret: &str,
        progress: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Self> {
        let pid_file = data_dir.join("runtime.pid");
        if let Some((pid, address)) = read_pid_file(&pid_file) {
            let client = client(address, token)?;
            if timeout(ADOPTION, client.agents()).await.is_ok_and(|answer| answer.is_ok()) {
                progress(&format!("adopting the runtime on {address} that an earlier start left behind"));
                return Ok(Self { address, process: Process::Adopted(pid), _shown: None });
            }
            progress("ending a runtime that an earlier start left behind and that does not answer");
            Self { address, process: Process::Adopted(pid), _shown: None }.stop().await;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.runtime_port));
        if TcpListener::bind(address).await.is_err() {
            bail!("port {} on {} is in use: stop the program that has it, or set RUNTIME_PORT to another", address.port(), address.ip());
        }
        progress("starting the runtime");
        // A file and no pipe: a runtime that outlives the service must still be able to write.
        let log = Log::open(&data_dir.join("runtime.log"))?;
        let mut command = Command::new(runtime_program()?);
        command
            .env("RUNTIME_PORT", address.port().to_string())
            .env("RUNTIME_HOST", address.ip().to_string())
            .env("RUNTIME_TOKEN", token)
            .env_remove("RUNTIME_TOKEN_FILE")
            .env("PARALLAX_WEBHOOK_SECRET", webhook_secret)
            .env("CALLBACK_URL", config.public_url())
            .env("RUNTIME_WORKDIR_ROOT", data_dir.join("agents"))
            .stdin(Stdio::null())
            .stdout(log.writer()?)
            .stderr(log.writer()?);
        // A Ctrl-C in the terminal reaches the service, which ends the runtime when it is its turn.
        #[cfg(unix)]
        command.process_group(0);
        // The service takes a filter here, the runtime one level.
        let level = config.log_level.split([',', '=']).find(|word| LEVELS.contains(word)).unwrap_or("info");
        let mut child = command.env("LOG_LEVEL", level).spawn().context("the runtime could not be started")?;
        let shown = AbortOnDropHandle::new(tokio::spawn(log.show()));
        let pid = child.id().context("the runtime ended at once")?;
        fs::write(&pid_file, format!("{pid} {address}")).with_context(|| format!("{} cannot be written", pid_file.display()))?;
        let client = client(address, token)?;
        let deadline = Instant::now() + RUNTIME_START;
        while client.agents().await.is_err() {
            if let Some(status) = child.try_wait().context("the runtime cannot be watched")? {
                // What it said is shown from the log.
                sleep(LOG_POLL * 2).await;
                bail!("the runtime ended at its start ({status}); what it said is above");
            }
            if Instant::now() > deadline {
                bail!("the runtime does not answer on {address}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, process: Process::Started(child), _shown: Some(shown) })
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the runtime is gone.
    async fn ended(&mut self) {
        match &mut self.process {
            Process::Started(child) => match child.wait().await {
                Ok(status) => tracing::info!(%status, "the runtime ended"),
                Err(error) => tracing::error!(%error, "the runtime cannot be watched"),
            },
            Process::Adopted(pid) => {
                while is_alive(*pid) {
                    sleep(ADOPTED_POLL).await;
                }
            }
        }
    }

    /// Has the runtime end its agents and itself; ends it hard when it takes too long.
    async fn stop(mut self) {
        let pid = match &self.process {
            Process::Started(child) => child.id().and_then(|pid| i32::try_from(pid).ok()),
            Process::Adopted(pid) => Some(*pid),
        };
        let Some(pid) = pid else { return };
        signal(pid, libc::SIGTERM);
        if timeout(RUNTIME_STOP, self.ended()).await.is_err() {
            tracing::warn!("the runtime did not end in time");
            signal(pid, libc::SIGKILL);
        }
    }
}

/// The runtime's program is installed beside ours.
fn runtime_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program is not known")?;
    let program = own.with_file_name(format!("raven-runtime{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        bail!("the runtime {} is missing: build it with `cargo build -p pty-runtime`, or set AGENT_RUNTIME_ENDPOINT", program.display());
    }
    Ok(program)
}

fn client(address: SocketAddr, token: &str) -> anyhow::Result<RuntimeClient> {
    RuntimeClient::new(&format!("http://{address}"), Some(token.to_owned())).context("RUNTIME_PORT")
}

/// Pid and address in the file, if that process is a runtime.
fn read_pid_file(file: &Path) -> Option<(i32, SocketAddr)> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, address) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let is_runtime = program.file_name()?.to_str()?.starts_with("raven-runtime");
    Some((pid, address.parse().ok()?)).filter(|_| is_runtime)
}

fn is_alive(pid: i32) -> bool {
    signal(pid, 0)
}

#[expect(unsafe_code, reason = "the standard library sends no signals")]
fn signal(pid: i32, number: i32) -> bool {
    // SAFETY: kill reads two integers and touches no memory of ours.
    unsafe { libc::kill(pid, number) == 0 }
}

/// What the runtime says: kept in a file, and shown from there.
struct Log {
    file: PathBuf,
    shown: u64,
}

impl Log {
    /// Opens the file, and starts a new one when it has grown large.
    fn open(file: &Path) -> anyhow::Result<Self> {
        let unusable = || format!("{} cannot be written", file.display());
        let length = fs::metadata(file).map_or(0, |metadata| metadata.len());
        if length > LOG_BYTES_MAX {
            fs::rename(file, file.with_extension("log.1")).with_context(unusable)?;
            return Ok(Self { file: file.to_owned(), shown: 0 });
        }
        Ok(Self { file: file.to_owned(), shown: length })
    }

    fn writer(&self) -> anyhow::Result<fs::File> {
        let opened = fs::OpenOptions::new().create(true).append(true).open(&self.file);
        opened.with_context(|| format!("{} cannot be written", self.file.display()))
    }

    /// Shows what is added, line by line, for as long as the service runs.
    async fn show(self) {
        let shown = async {
            let mut file = tokio::fs::File::open(&self.file).await?;
            file.seek(std::io::SeekFrom::Start(self.shown)).await?;
            let mut lines = BufReader::new(file);
            let mut line = String::new();
            loop {
                if lines.read_line(&mut line).await? == 0 {
                    sleep(LOG_POLL).await;
                } else if line.ends_with('\n') {
                    eprint!("runtime | {line}");
                    line.clear();
                }
            }
        };
        let failed: std::io::Result<()> = shown.await;
        if let Err(error) = failed {
            tracing::warn!(%error, "what the runtime says cannot be shown");
        }
    }
}
