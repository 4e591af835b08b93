//! Makes, starts, attaches to and stops one cluster.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::AtPath;
use crate::owner::Owner;
use crate::postmaster::{Postmaster, Status, remove_misleading_file};
use crate::{Binaries, Error, Result, Rows, client};

/// The database user: superuser of the cluster, which only its folder's owner can reach.
pub const USER: &str = "raven";

/// The database that the product keeps its tables in.
pub const DATABASE: &str = "raven_agents";

/// Names the socket file; nothing listens on a network port.
const PORT: u16 = 5432;

/// Bytes of a Unix socket's path that the system accepts, without the ending zero.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// How long a start may take: 30 ms usually, more when a crash left much to recover.
const START_DEADLINE: Duration = Duration::from_mins(2);

/// How long a polite stop may take; it ends with a checkpoint.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// How long the impolite one may.
const HARD_STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Part of what Postgres says while children of a killed server still run.
const CHILDREN_LEFT: &str = "pre-existing shared memory block";

/// How often a starting or stopping server's file is read again.
const POLL: Duration = Duration::from_millis(10);

/// A log larger than this at a start becomes `postgres.log.1`: enough for a story, never a full disk.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The end of the log that is searched for the reason of a failure.
const LOG_TAIL_BYTES: u64 = 16 * 1024;

/// How a cluster runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether committed means on disk. Off is several times faster and only for tests: a crash of the machine may
    /// leave the cluster unusable.
    pub durable: bool,
    /// Connections at most, at the same time.
    pub max_connections: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: true, max_connections: 100 }
    }
}

/// A running cluster; stopped when dropped, unless it was running before.
#[derive(Debug)]
pub struct Cluster {
    socket_dir: PathBuf,
    port: u16,
    server: Option<Server>,
}

impl Cluster {
    /// Starts the cluster in `data_dir`, making it first when there is none, and waits until it is ready.
    ///
    /// When it is running already, this attaches to it: [`Cluster::url`] works and [`Cluster::stop`]
    /// leaves it alone. The server dies with this process, even after `kill -9` (Linux; elsewhere it
    /// is left running and the next start attaches). It runs in a process group of its own, so a
    /// Ctrl-C in the terminal reaches only its parent, which stops it when it is done with it. Any
    /// thread may call this: the server is kept by a thread made for that.
    /// Blocks, up to two minutes after a crash.
    ///
    /// # Errors
    /// Every variant but those of looking for binaries. Data is never deleted or upgraded.
    pub fn start(binaries: &Binaries, data_dir: &Path, options: &Options) -> Result<Self> {
        let layout = Layout::create(data_dir)?;
        let lock = File::create(&layout.lock).at("creating", &layout.lock)?;
        lock.lock().at("locking", &layout.lock)?;

        if let Some(running) = attach_when_settled(&layout.data)? {
            return Ok(running);
        }
        layout.check_socket_length()?;
        let owner = Owner::for_cluster(&layout.data)?;
        owner.check_reach(&binaries.postgres(), &layout.root)?;
        layout.rotate_log()?;
        if !layout.has_cluster()? {
            layout.initialize(binaries, owner, options)?;
        }
        check_version(&layout.data, binaries)?;
        remove_misleading_file(&layout.data);
        fs::create_dir_all(&layout.run).at("creating", &layout.run)?;
        owner.take(&layout.run)?;

        let server = layout.start_server(binaries, owner, options)?;
        Ok(Self { socket_dir: layout.run, port: PORT, server: Some(server) })
    }

    /// The cluster that runs in `data_dir` now, if any, without starting one.
    #[must_use]
    pub fn attach(data_dir: &Path) -> Option<Self> {
        let layout = Layout::at(data_dir);
        Postmaster::in_data(&layout.data).filter(Postmaster::is_alive).and_then(Self::answering)
    }

    /// The address of `database` for any client that knows Postgres URLs.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let host = self.socket_dir.as_os_str().as_encoded_bytes();
        format!("postgres://{USER}@localhost:{}/{}?host={}", self.port, percent_encoded(database.as_bytes()), percent_encoded(host))
    }

    /// Whether the cluster was running before, so that stopping it is somebody else's business.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.server.is_none()
    }

    /// The process id of the server, for logs; `None` when attached.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(|server| server.pid)
    }

    /// Runs one or more statements in `database`; several together are one transaction.
    ///
    /// # Errors
    /// [`Error::Sql`] for the first one refused, [`Error::Connection`].
    pub fn execute(&self, database: &str, sql: &str) -> Result<()> {
        self.query(database, sql).map(drop)
    }

    /// As [`Cluster::execute`], returning the rows of all statements as text.
    ///
    /// # Errors
    /// Those of [`Cluster::execute`].
    pub fn query(&self, database: &str, sql: &str) -> Result<Rows> {
        client::query(&self.socket(), database, sql)
    }

    /// Creates `database` when it does not exist.
    ///
    /// # Errors
    /// Those of [`Cluster::execute`].
    pub fn ensure_database(&self, database: &str) -> Result<()> {
        /// SQLSTATE `duplicate_database`.
        const EXISTS: &str = "42P04";
        match self.execute("postgres", &format!("CREATE DATABASE {}", quoted(database))) {
            Err(Error::Sql { code, .. }) if code == EXISTS => Ok(()),
            other => other,
        }
    }

    /// Removes `database` and ends the connections to it, when it exists.
    ///
    /// # Errors
    /// Those of [`Cluster::execute`].
    pub fn drop_database(&self, database: &str) -> Result<()> {
        self.execute("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(database)))
    }

    /// Stops the server if this value started it: connections are ended, what was committed is kept.
    /// Stopping twice is fine.
    ///
    /// # Errors
    /// [`Error::StoppedHard`] when it took too long.
    pub fn stop(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), Server::stop)
    }

    fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// The server that a pid file names, when it accepts connections.
    fn answering(postmaster: Postmaster) -> Option<Self> {
        let cluster = Self { socket_dir: postmaster.socket_dir, port: postmaster.port, server: None };
        cluster.execute("postgres", "SELECT 1").is_ok().then_some(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to tell; a server that had to be ended hard recovers at its next start.
        drop(self.stop());
    }
}

/// The paths of one data folder.
#[derive(Debug)]
struct Layout {
    root: PathBuf,
    data: PathBuf,
    run: PathBuf,
    log: PathBuf,
    lock: PathBuf,
}

impl Layout {
    fn at(data_dir: &Path) -> Self {
        let root = data_dir.join("postgres");
        Self { data: root.join("data"), run: root.join("run"), log: root.join("postgres.log"), lock: root.join("lock"), root }
    }

    /// Creates the folders above the cluster's own and makes all paths absolute.
    fn create(data_dir: &Path) -> Result<Self> {
        for folder in [data_dir, &data_dir.join("postgres")] {
            if !folder.is_dir() {
                fs::create_dir_all(folder).at("creating", folder)?;
                // The user that runs Postgres has to get through, whatever the umask says.
                fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).at("opening", folder)?;
            }
        }
        Ok(Self::at(&data_dir.canonicalize().at("resolving", data_dir)?))
    }

    fn check_socket_length(&self) -> Result<()> {
        let socket = self.run.join(format!(".s.PGSQL.{PORT}"));
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(Error::SocketPathTooLong { socket, length, max: SOCKET_PATH_BYTES_MAX });
        }
        Ok(())
    }

    /// Whether there is a cluster; a folder with anything else in it is refused.
    fn has_cluster(&self) -> Result<bool> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(true);
        }
        match fs::read_dir(&self.data) {
            Ok(mut entries) => match entries.next() {
                None => Ok(false),
                Some(_) => Err(Error::NotACluster { folder: self.data.clone() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("reading", &self.data),
        }
    }

    /// Runs `initdb` beside the final place and moves the result there, so a kill halfway leaves nothing behind that
    /// looks like a cluster.
    fn initialize(&self, binaries: &Binaries, owner: Owner, options: &Options) -> Result<()> {
        let partial = self.root.join("data.partial");
        // C.UTF-8 compares like C and knows the case of letters beyond ASCII; not every system has it.
        let locales: &[&str] = if cfg!(target_os = "macos") { &["C"] } else { &["C.UTF-8", "C"] };
        let mut reason = String::new();
        for locale in locales {
            remove_if_there(&partial)?;
            fs::create_dir(&partial).at("creating", &partial)?;
            owner.take(&partial)?;
            let log_start = self.log_bytes();
            let mut command = owner.command(&binaries.initdb());
            command
                .args(["--encoding=UTF8", "--data-checksums", "--auth-local=trust", "--auth-host=reject", "--no-instructions"])
                .arg(format!("--username={USER}"))
                .arg(format!("--locale={locale}"))
                .arg("--pgdata")
                .arg(&partial)
                .current_dir(&partial);
            if !options.durable {
                command.arg("--no-sync");
            }
            let status = self.log_into(owner, &mut command)?.status().at("running", binaries.initdb())?;
            if status.success() {
                // An empty folder may stand there; anything else was refused before.
                return fs::rename(&partial, &self.data).at("moving into place", &self.data);
            }
            reason = self.reason_since(log_start, status);
        }
        remove_if_there(&partial)?;
        Err(Error::Initdb { reason, log: self.log.clone() })
    }

    /// Starts the server and waits until it is ready.
    ///
    /// After a `kill -9` of the server its children need a moment to notice and end, and Postgres
    /// refuses to start beside them: that one refusal is tried again for a while.
    fn start_server(&self, binaries: &Binaries, owner: Owner, options: &Options) -> Result<Server> {
        let began = Instant::now();
        loop {
            let log_start = self.log_bytes();
            let server = Server::spawn(self.server_command(binaries, owner, options)?).at("running", binaries.postgres())?;
            match wait_until_ready(self, &server, log_start) {
                Ok(()) => return Ok(server),
                Err(Error::Start { reason, .. }) if reason.contains(CHILDREN_LEFT) && began.elapsed() < HARD_STOP_DEADLINE => {
                    thread::sleep(POLL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn server_command(&self, binaries: &Binaries, owner: Owner, options: &Options) -> Result<Command> {
        // The setting is a list: quotes keep a comma or a blank in the path from splitting it.
        let socket_dir = format!("\"{}\"", self.run.display().to_string().replace('"', "\"\""));
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={socket_dir}"),
            "unix_socket_permissions=0700".to_owned(),
            format!("max_connections={}", options.max_connections),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
            "log_timezone=UTC".to_owned(),
            "timezone=UTC".to_owned(),
        ];
        if !options.durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
        }
        let mut command = owner.command(&binaries.postgres());
        command.arg("-D").arg(&self.data).args(["-p", &PORT.to_string()]);
        for setting in settings {
            command.args(["-c", &setting]);
        }
        command.current_dir(&self.data).process_group(0);
        die_with_parent(&mut command);
        self.log_into(owner, &mut command)?;
        Ok(command)
    }

    /// Sends what the command says to the log, which belongs to whoever owns the cluster.
    fn log_into<'command>(&self, owner: Owner, command: &'command mut Command) -> Result<&'command mut Command> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).at("opening", &self.log)?;
        owner.take_file(&self.log)?;
        let again = log.try_clone().at("opening", &self.log)?;
        Ok(command.stdout(Stdio::from(log)).stderr(Stdio::from(again)))
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    fn rotate_log(&self) -> Result<()> {
        if self.log_bytes() > LOG_BYTES_MAX {
            fs::rename(&self.log, self.log.with_extension("log.1")).at("renaming", &self.log)?;
        }
        Ok(())
    }

    /// The last line since `start` in which Postgres or `initdb` complains, else how it ended.
    fn reason_since(&self, start: u64, status: ExitStatus) -> String {
        let read = || -> io::Result<String> {
            let mut log = File::open(&self.log)?;
            let from = start.max(log.metadata()?.len().saturating_sub(LOG_TAIL_BYTES));
            log.seek(SeekFrom::Start(from))?;
            let mut tail = Vec::new();
            log.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        let tail = read().unwrap_or_default();
        ["FATAL:", "PANIC:", "error:"]
            .iter()
            .find_map(|mark| tail.lines().rev().find_map(|line| Some(line.split_once(mark)?.1.trim().to_owned())))
            .unwrap_or_else(|| status.to_string())
    }
}

/// The major version of the cluster in `data_dir`, when there is one that says so.
pub(crate) fn major_in(data_dir: &Path) -> Option<u32> {
    written_version(&Layout::at(data_dir).data).ok()?.parse().ok()
}

fn written_version(data: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(data.join("PG_VERSION"))?.trim().to_owned())
}

fn check_version(data: &Path, binaries: &Binaries) -> Result<()> {
    let found = written_version(data).at("reading", data.join("PG_VERSION"))?;
    if found == binaries.major.to_string() {
        return Ok(());
    }
    Err(Error::VersionMismatch { folder: data.into(), found, have: binaries.major })
}

/// Attaches to a server that already runs on `data`, waiting while it starts; waits for one that is
/// stopping to be gone, as after `kill -9` of its parent.
fn attach_when_settled(data: &Path) -> Result<Option<Cluster>> {
    let began = Instant::now();
    while let Some(postmaster) = Postmaster::in_data(data).filter(Postmaster::is_alive) {
        let (pid, status) = (postmaster.pid, postmaster.status);
        if status == Status::Ready
            && let Some(cluster) = Cluster::answering(postmaster)
        {
            return Ok(Some(cluster));
        }
        if began.elapsed() > STOP_DEADLINE {
            return match status {
                Status::Stopping => Err(Error::StillStopping { seconds: STOP_DEADLINE.as_secs(), pid }),
                // Not ours to judge: Postgres itself refuses to start twice and says why.
                Status::Starting | Status::Ready => Ok(None),
            };
        }
        thread::sleep(POLL);
    }
    Ok(None)
}

fn wait_until_ready(layout: &Layout, server: &Server, log_start: u64) -> Result<()> {
    let began = Instant::now();
    loop {
        let ready =
            Postmaster::in_data(&layout.data).is_some_and(|postmaster| postmaster.pid == server.pid && postmaster.status == Status::Ready);
        if ready {
            return Ok(());
        }
        if let Some(status) = server.wait(POLL) {
            return Err(Error::Start { reason: layout.reason_since(log_start, status), log: layout.log.clone() });
        }
        if began.elapsed() > START_DEADLINE {
            // Dropping the server stops it.
            return Err(Error::NotReady { seconds: START_DEADLINE.as_secs(), log: layout.log.clone() });
        }
    }
}

/// The server process and the thread that started it and waits for its end.
///
/// On Linux the request to be told of the parent's death is about the parent's *thread*: a thread
/// of its own for each server makes that the life of this process.
#[derive(Debug)]
struct Server {
    pid: u32,
    end: Arc<End>,
}

/// How the server ended, once it has. The lock is held while it is reaped, so whoever holds it and
/// finds `None` may signal the process without hitting another one.
#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl Server {
    fn spawn(mut command: Command) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let keeper = Arc::clone(&end);
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new().name("postgres-keeper".into()).spawn(move || match command.spawn() {
            Ok(child) => {
                // The receiver waits for exactly this one message.
                drop(sender.send(Ok(child.id())));
                keeper.keep(child);
            }
            Err(error) => drop(sender.send(Err(error))),
        })?;
        let pid = receiver.recv().map_err(io::Error::other)??;
        Ok(Self { pid, end })
    }

    /// Waits up to `timeout` for the end.
    fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let status = self.end.locked();
        let (status, _) =
            self.end.ended.wait_timeout_while(status, timeout, |status| status.is_none()).unwrap_or_else(PoisonError::into_inner);
        *status
    }

    fn stop(self) -> Result<()> {
        self.signal(libc::SIGINT);
        if self.wait(STOP_DEADLINE).is_some() {
            return Ok(());
        }
        // SIGQUIT lets the postmaster end its children; SIGKILL would orphan them for a moment.
        for signal in [libc::SIGQUIT, libc::SIGKILL] {
            self.signal(signal);
            if self.wait(HARD_STOP_DEADLINE).is_some() {
                break;
            }
        }
        Err(Error::StoppedHard { seconds: STOP_DEADLINE.as_secs() })
    }

    fn signal(&self, signal: libc::c_int) {
        let status = self.end.locked();
        if status.is_some() {
            return;
        }
        let Ok(pid) = libc::pid_t::try_from(self.pid) else { return };
        #[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
        // SAFETY: kill touches no memory of ours; the lock keeps the process from being reaped, so
        // the number is still our child's. It can only fail if the child is gone, which wait() sees.
        unsafe {
            libc::kill(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.wait(Duration::ZERO).is_none() {
            self.signal(libc::SIGINT);
            self.wait(STOP_DEADLINE);
        }
    }
}

impl End {
    fn locked(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the child, first without reaping it, then reaps it under the lock.
    fn keep(&self, mut child: Child) {
        #[expect(unsafe_code, reason = "the standard library cannot wait without reaping")]
        // SAFETY: the pointer is valid for the call and a zeroed siginfo is a valid place to write to.
        while unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT) == -1
        } && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        let mut status = self.locked();
        // Only fails when somebody else reaped our child: ended all the same.
        *status = Some(child.wait().unwrap_or_default());
        self.ended.notify_all();
    }
}

/// Asks Linux to send the child SIGINT when its parent dies.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    #[expect(unsafe_code, reason = "only code between fork and exec can ask for this")]
    // SAFETY: the closure calls prctl, getppid and _exit, which are safe between fork and exec, and allocates nothing.
    // It runs after the change of user, which would clear the request.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) == -1 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the request.
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("removing", folder),
        _ => Ok(()),
    }
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Every byte but those that mean themselves anywhere in a URL.
fn percent_encoded(bytes: &[u8]) -> String {
    let encoded = bytes.iter().map(|&byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::{Cluster, quoted};

    #[test]
    fn a_url_survives_any_folder_and_name() {
        let cluster = Cluster { socket_dir: "/a b/ü,?/run".into(), port: 5432, server: None };
        assert_eq!(cluster.url("x/y"), "postgres://raven@localhost:5432/x%2Fy?host=%2Fa%20b%2F%C3%BC%2C%3F%2Frun");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
