//! Agents of the replica: a shell on a pseudo-terminal each, and what is read off its screen.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, watch};

use super::{EXIT_WORD, LOGGED_IN_PHRASE, LOGIN_PHRASE, LOGIN_SENTENCE, Shared, locked, timestamp};

/// Adapters of the original. All run a shell here; there is none for `custom`.
const TYPES: [&str; 6] = ["claude", "gemini", "codex", "aider", "hermes", "echo"];
/// Characters of output after which an agent counts as ready.
const READY_CHARS: usize = 10;
/// Fragments of output kept for `logs`.
const FRAGMENTS_KEPT: usize = 1_000;
/// Characters that are searched for phrases.
const DETECTION_CHARS: usize = 100_000;
/// Pieces of output that a terminal socket may be behind; see the bound of events.
const OUTPUT_QUEUED: usize = 16 * 1024;
/// Pieces of input that may wait for a program that reads nothing.
const INPUT_QUEUED: usize = 1_024;
/// Between what is typed and its Enter.
const ENTER_DELAY: Duration = Duration::from_millis(50);
/// The original's terminal starts with this size, whatever was asked for.
const START_SIZE: PtySize = PtySize { rows: 40, cols: 120, pixel_width: 0, pixel_height: 0 };

/// Body of `POST /api/agents`, as far as the original reads it.
pub(super) struct Order {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) agent_type: String,
    pub(super) capabilities: Value,
    pub(super) role: Option<String>,
    pub(super) workdir: Option<PathBuf>,
    pub(super) env: Map<String, Value>,
    pub(super) execution_id: Option<String>,
}

/// One agent.
pub(super) struct Agent {
    pub(super) id: String,
    name: String,
    /// The adapter's name.
    pub(super) kind: String,
    capabilities: Value,
    pub(super) role: Option<String>,
    pid: Option<u32>,
    started: Instant,
    started_at: Value,
    seen: Mutex<Seen>,
    output: broadcast::Sender<Arc<str>>,
    input: mpsc::SyncSender<Typed>,
    terminal: Mutex<Box<dyn MasterPty + Send>>,
    alive: AtomicBool,
    ended: watch::Sender<bool>,
}

/// What changes while an agent runs.
struct Seen {
    status: &'static str,
    printed_chars: usize,
    /// What phrases are looked for in; emptied when one was found.
    screen: String,
    fragments: VecDeque<String>,
    last_activity_at: Option<Value>,
}

enum Typed {
    Keys(String),
    Message(String),
}

impl Agent {
    /// Starts an agent. Its start is told before whoever asked gets an answer.
    ///
    /// Errors: the texts that the original answers with status 500.
    pub(super) fn start(shared: &Arc<Shared>, order: Order) -> Result<Arc<Self>, String> {
        if !TYPES.contains(&order.agent_type.as_str()) {
            return Err(format!("No adapter registered for type: {}", order.agent_type));
        }
        let agent = {
            let mut agents = locked(&shared.agents);
            let made = || format!("agent-{}-{:06}", chrono::Utc::now().timestamp_millis(), agents.len());
            let id = order.id.clone().unwrap_or_else(made);
            if agents.iter().any(|agent| agent.id == id) {
                return Err(format!("Session with ID {id} already exists"));
            }
            // Stopped agents count too (RUN-08).
            if agents.len() >= shared.options.agents_max {
                return Err(format!("Maximum agent limit reached ({})", shared.options.agents_max));
            }
            let agent = Self::launch(shared, id, order).map_err(|error| format!("{error:#}"))?;
            agents.push(Arc::clone(&agent));
            agent
        };
        shared.emit("agent_started", json!({"agent": agent.handle()}));
        Ok(agent)
    }

    fn launch(shared: &Arc<Shared>, id: String, order: Order) -> anyhow::Result<Arc<Self>> {
        let pair = native_pty_system().openpty(START_SIZE)?;
        let mut command = CommandBuilder::new("/bin/bash");
        // The original gives no arguments; a start-up file of this machine must not change the prompt.
        command.arg("--norc");
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env("PS1", "echo> ");
        if let Some(execution) = &order.execution_id {
            command.env("PARALLAX_EXECUTION_ID", execution);
        }
        for (name, value) in &order.env {
            command.env(name, value.as_str().unwrap_or_default());
        }
        if let Some(workdir) = &order.workdir {
            command.cwd(workdir);
        }
        let reader = pair.master.try_clone_reader()?;
        let writer = pair.master.take_writer()?;
        let child = pair.slave.spawn_command(command).context("the shell could not be started")?;
        let (input, inputs) = mpsc::sync_channel(INPUT_QUEUED);
        let agent = Arc::new(Self {
            id,
            name: order.name,
            kind: order.agent_type,
            capabilities: order.capabilities,
            role: order.role,
            pid: child.process_id(),
            started: Instant::now(),
            started_at: timestamp(),
            seen: Mutex::new(Seen {
                status: "starting",
                printed_chars: 0,
                screen: String::new(),
                fragments: VecDeque::new(),
                last_activity_at: None,
            }),
            output: broadcast::Sender::new(OUTPUT_QUEUED),
            input,
            terminal: Mutex::new(pair.master),
            alive: AtomicBool::new(true),
            ended: watch::Sender::new(false),
        });
        let (reading, waiting) = (Arc::clone(&agent), Arc::clone(&agent));
        let (reader_of, waiter_of) = (Arc::clone(shared), Arc::clone(shared));
        thread::Builder::new().name("original-read".into()).spawn(move || reading.read(&reader_of, reader))?;
        thread::Builder::new().name("original-write".into()).spawn(move || type_all(writer, &inputs))?;
        thread::Builder::new().name("original-wait".into()).spawn(move || waiting.wait(&waiter_of, child))?;
        Ok(agent)
    }

    /// The original's handle: no exit code, ever, and the pid even after the end.
    pub(super) fn handle(&self) -> Value {
        let seen = locked(&self.seen);
        let mut handle = json!({
            "id": self.id, "name": self.name, "type": self.kind, "status": seen.status, "capabilities": self.capabilities,
            "pid": self.pid, "startedAt": self.started_at,
        });
        if let Some(role) = &self.role {
            handle["role"] = json!(role);
        }
        if let Some(at) = &seen.last_activity_at {
            handle["lastActivityAt"] = at.clone();
        }
        handle
    }

    pub(super) fn status(&self) -> &'static str {
        locked(&self.seen).status
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The last `count` fragments, all of them for zero.
    pub(super) fn logs(&self, count: usize) -> Vec<String> {
        let seen = locked(&self.seen);
        let skipped = if count == 0 { 0 } else { seen.fragments.len().saturating_sub(count) };
        seen.fragments.iter().skip(skipped).cloned().collect()
    }

    /// Output from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.output.subscribe()
    }

    pub(super) fn type_keys(&self, keys: &str) {
        self.queue(Typed::Keys(keys.to_owned()));
    }

    /// Has the shell say the message: what the echo adapter does.
    pub(super) fn send(&self, message: &str) {
        locked(&self.seen).screen.clear();
        self.queue(Typed::Message(format!("echo '{}'", message.trim().replace('\'', "'\\''"))));
    }

    pub(super) fn resize(&self, cols: u16, rows: u16) {
        let size = PtySize { rows, cols, ..START_SIZE };
        if let Err(error) = locked(&self.terminal).resize(size) {
            tracing::debug!(%error, "terminal was not resized");
        }
    }

    /// Asks the process to end, and kills it after `patience`. A shell at its prompt ignores SIGTERM.
    pub(super) async fn stop(&self, force: bool, patience: Duration) {
        locked(&self.seen).status = "stopping";
        self.signal(if force { libc::SIGKILL } else { libc::SIGTERM });
        let mut ended = self.ended.subscribe();
        if tokio::time::timeout(patience, ended.wait_for(|ended| *ended)).await.is_err() {
            self.kill();
        }
    }

    pub(super) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    #[expect(unsafe_code, reason = "there is no safe call that sends a signal")]
    fn signal(&self, signal: i32) {
        if !self.is_alive() {
            return;
        }
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: kill(2) touches no memory. The process leads its own group and is not waited for yet.
            unsafe { libc::kill(-pid, signal) };
        }
    }

    fn queue(&self, typed: Typed) {
        if self.input.try_send(typed).is_err() {
            tracing::debug!(agent = self.id, "input of an agent that takes none");
        }
    }

    fn read(&self, shared: &Shared, mut reader: Box<dyn Read + Send>) {
        let mut pending = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count) = reader.read(&mut buffer)
            && count > 0
        {
            pending.extend_from_slice(&buffer[..count]);
            let text = decode(&mut pending);
            if !text.is_empty() {
                self.print(shared, &text);
            }
        }
    }

    /// Takes in output: into the log, to the sockets, and through the original's reading of the screen.
    fn print(&self, shared: &Shared, text: &str) {
        let found = {
            let mut seen = locked(&self.seen);
            seen.last_activity_at = Some(timestamp());
            for fragment in text.split('\n') {
                seen.fragments.push_back(fragment.to_owned());
            }
            let surplus = seen.fragments.len().saturating_sub(FRAGMENTS_KEPT);
            seen.fragments.drain(..surplus);
            if self.output.send(text.into()).is_err() {
                tracing::trace!(agent = self.id, "nobody watches");
            }
            seen.read_screen(text)
        };
        match found {
            Some(Found::Ready) => shared.emit("agent_ready", json!({"agent": self.handle()})),
            Some(Found::Login) => shared.emit("login_required", json!({"agent": self.handle(), "loginUrl": LOGIN_SENTENCE})),
            Some(Found::Exit) => shared.emit("agent_stopped", json!({"agent": self.handle(), "reason": "exit code 0"})),
            None => {}
        }
    }

    fn wait(&self, shared: &Shared, mut child: Box<dyn Child + Send + Sync>) {
        let status = child.wait();
        self.alive.store(false, Ordering::Release);
        locked(&self.seen).status = "stopped";
        let reason = match status {
            Ok(status) if status.success() => "normal exit".to_owned(),
            Ok(status) => format!("exit code {}", status.exit_code()),
            Err(error) => error.to_string(),
        };
        if !shared.killed.is_cancelled() {
            shared.emit("agent_stopped", json!({"agent": self.handle(), "reason": reason}));
        }
        self.ended.send_replace(true);
    }
}

/// What the original reads off a screen.
enum Found {
    Ready,
    Login,
    Exit,
}

impl Seen {
    fn read_screen(&mut self, text: &str) -> Option<Found> {
        self.printed_chars += text.chars().count();
        self.screen.push_str(text);
        let surplus = self.screen.ceil_char_boundary(self.screen.len().saturating_sub(DETECTION_CHARS));
        self.screen.drain(..surplus);
        let found = if self.screen.contains(EXIT_WORD) {
            self.status = "stopped";
            Found::Exit
        } else if self.status != "authenticating" && self.screen.contains(LOGIN_PHRASE) {
            self.status = "authenticating";
            Found::Login
        } else if (self.status == "starting" && self.printed_chars > READY_CHARS)
            || (self.status == "authenticating" && self.screen.contains(LOGGED_IN_PHRASE))
        {
            self.status = "ready";
            Found::Ready
        } else {
            return None;
        };
        self.screen.clear();
        Some(found)
    }
}

fn type_all(mut writer: Box<dyn Write + Send>, inputs: &mpsc::Receiver<Typed>) {
    while let Ok(typed) = inputs.recv() {
        let written = match typed {
            Typed::Keys(keys) => writer.write_all(keys.as_bytes()),
            Typed::Message(message) => writer.write_all(message.as_bytes()).and_then(|()| {
                thread::sleep(ENTER_DELAY);
                writer.write_all(b"\r")
            }),
        };
        if written.is_err() {
            return;
        }
    }
}

/// Takes the text at the start of `bytes`; a character that is cut by the end stays.
fn decode(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    };
    let rest = bytes.split_off(whole);
    String::from_utf8_lossy(&std::mem::replace(bytes, rest)).into_owned()
}
