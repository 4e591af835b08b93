//! Runs the built programs as an operator does.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_mins(1);

/// A folder that a dropped-to user can reach, removed with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("raven-it-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where the program finds the database behind `pool`, over a Unix socket too.
pub(crate) fn database_url(pool: &sqlx::PgPool) -> String {
    let options = pool.connect_options();
    let socket = options.get_socket().map(|path| path.display().to_string());
    let authority = socket.as_ref().map_or_else(|| options.get_host().to_owned(), |_| "localhost".to_owned());
    let query = socket.map(|path| format!("?host={}", path.replace('/', "%2F"))).unwrap_or_default();
    let database = options.get_database().unwrap();
    format!("postgres://{}@{authority}:{}/{database}{query}", options.get_username(), options.get_port())
}

/// The service's program with nothing set but what is given.
pub(crate) fn raven_agents(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raven-agents"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for name in ["PATH", "HOME", "USER", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // A .env file of the developer must not reach into a test.
    command.current_dir(std::env::temp_dir()).envs(settings.iter().copied());
    command
}

/// The runtime's program, from where cargo puts all programs, with nothing set but what is given.
pub(crate) fn raven_runtime(settings: &[(&str, &str)]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_raven-agents")).with_file_name("raven-runtime");
    assert!(program.is_file(), "{} is not there: build it with `cargo build -p pty-runtime`", program.display());
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap()).envs(settings.iter().copied());
    command
}

/// Memory that a process has in use now, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A program that runs.
pub(crate) struct Program {
    child: Child,
    stdout: tokio::io::Lines<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = child.stderr.take();
        Self { child, stdout, stderr }
    }

    /// Waits for a line on standard output that contains `text`.
    pub(crate) async fn until_says(&mut self, text: &str) -> String {
        let search = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the program ended without saying {text:?}: {}", read_all(self.stderr.take()).await);
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("the program did not say {text:?} in time"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        send_signal(pid, signal);
    }

    /// Waits for the end; whether it succeeded, and what it wrote to standard error.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let stderr = self.stderr.take();
        let work = async { tokio::join!(self.child.wait(), read_all(stderr)) };
        let (status, text) = timeout(DEADLINE, work).await.expect("the program did not end in time");
        (status.unwrap().success(), text)
    }

    /// Ends it at once, as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn read_all(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut text).await.ok();
    }
    text
}

/// Whether something answers on the port.
pub(crate) async fn answers(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// Makes the first workspace as the first visit does; the owner's token.
pub(crate) async fn set_up(http: &reqwest::Client, api: &str) -> String {
    let body = serde_json::json!({"workspaceName": "Acme", "name": "Ada", "email": "ada@example.com", "password": "correct horse battery"});
    let answer = http.post(format!("{api}/auth/setup")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["set-cookie"].to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned()
}

/// Sends a signal to a process that is there.
pub(crate) fn send_signal(pid: i32, signal: i32) {
    #[expect(unsafe_code, reason = "the standard library sends no signals")]
    // SAFETY: kill reads two integers and touches no memory of ours.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "process {pid} takes no signal {signal}");
}
