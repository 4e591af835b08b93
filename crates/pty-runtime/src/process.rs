//! One program on one pseudo-terminal.
//!
//! Three threads serve it, because terminals and processes can only be waited for by blocking:
//! one reads what it prints into the [`Output`], one writes what is typed, and one waits for its
//! end. None of them ever waits for a viewer.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc::RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::sync::{mpsc, watch};

use crate::{lock::lock, ring::Output};

/// Inputs waiting to be typed, per agent. With the 1 MiB that one message may have, 16 MiB at the
/// most wait for a program that reads nothing; then whoever types has to wait.
const INPUTS_WAITING_MAX: usize = 16;

/// Bytes read from the terminal at once; the kernel hands out 4 KiB at a time anyway.
const READ_BYTES: usize = 16 * 1024;

/// How long the last output may take to arrive after the program ended. The kernel hangs the
/// terminal up at that moment, so this only bounds what should never happen.
const LAST_OUTPUT_WITHIN: Duration = Duration::from_secs(2);

/// A terminal's size in characters; only [`Size::new`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) cols: u16,
    pub(crate) rows: u16,
}

impl Size {
    pub(crate) const DEFAULT: Self = Self { cols: 80, rows: 24 };
    /// Above this, programs that draw the whole screen would take memory and time for nothing.
    const MAX: Self = Self { cols: 1000, rows: 500 };

    /// `None` unless both are positive and within bounds.
    pub(crate) fn new(cols: u16, rows: u16) -> Option<Self> {
        let fits = (1..=Self::MAX.cols).contains(&cols) && (1..=Self::MAX.rows).contains(&rows);
        fits.then_some(Self { cols, rows })
    }

    fn pty(self) -> PtySize {
        PtySize { cols: self.cols, rows: self.rows, pixel_width: 0, pixel_height: 0 }
    }
}

/// What to run, fully decided.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment: nothing else is inherited.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) size: Size,
}

/// How a program ended, in the words of the operating system.
#[derive(Clone, Debug)]
pub(crate) enum Exit {
    Code(i32),
    Signal(String),
}

impl Exit {
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(_) => None,
        }
    }

    pub(crate) fn signal(&self) -> Option<&str> {
        match self {
            Self::Code(_) => None,
            Self::Signal(name) => Some(name),
        }
    }
}

/// Something to type, in one piece: inputs of several senders never mix.
pub(crate) enum Input {
    Keys(Bytes),
    /// Text, then Enter after a pause in which the program takes the text in as a paste.
    Message {
        text: String,
        pause: Duration,
    },
}

/// The handles of a started program. They stay valid, and harmless, after its end.
pub(crate) struct Process {
    pid: i32,
    /// Whether a shell reads from the terminal; such a shell ignores SIGTERM.
    interactive_shell: bool,
    /// Guards signals: once the pid is given back to the system it may name another process.
    reaped: Arc<Mutex<bool>>,
    /// Gone after the end, so that descriptors are not held for as long as the agent is listed.
    terminal: Mutex<Option<Box<dyn MasterPty + Send>>>,
    size: watch::Sender<Size>,
    input: Mutex<Option<mpsc::Sender<Input>>>,
}

/// Waits for the end of a program that was started; see [`Waiter::wait`].
pub(crate) struct Waiter {
    pid: i32,
    child: Box<dyn Child + Send + Sync>,
    reaped: Arc<Mutex<bool>>,
    output: Arc<Output>,
    /// Disconnects when the reader has met the end of the terminal's output.
    all_read: std::sync::mpsc::Receiver<()>,
}

impl Process {
    /// Starts `launch` on a new terminal and prints into `output`. Blocks for milliseconds.
    pub(crate) fn start(launch: &Launch, output: &Arc<Output>) -> anyhow::Result<(Self, Waiter)> {
        let pair = native_pty_system().openpty(launch.size.pty()).context("no terminal")?;
        let reader = pair.master.try_clone_reader()?;
        let writer = pair.master.take_writer()?;

        let mut command = CommandBuilder::new(&launch.program);
        command.args(&launch.args);
        command.cwd(&launch.cwd);
        command.env_clear();
        for (name, value) in &launch.env {
            command.env(name, value);
        }
        let mut child = pair.slave.spawn_command(command).context("no process")?;
        let pid = child.process_id().and_then(|pid| i32::try_from(pid).ok()).context("no process id")?;

        let (input, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        let printed = Arc::clone(output);
        let (reading, all_read) = std::sync::mpsc::channel();
        let read = move || {
            copy_output(reader, &printed);
            drop(reading);
        };
        let threads = on_a_thread("pty-read", read).and_then(|()| on_a_thread("pty-write", move || type_inputs(writer, inputs)));
        if let Err(error) = threads {
            child.kill().context("left without a thread")?;
            return Err(error).context("no thread");
        }

        let reaped = Arc::new(Mutex::new(false));
        let process = Self {
            pid,
            interactive_shell: is_interactive_shell(launch),
            reaped: Arc::clone(&reaped),
            terminal: Mutex::new(Some(pair.master)),
            size: watch::Sender::new(launch.size),
            input: Mutex::new(Some(input)),
        };
        Ok((process, Waiter { pid, child, reaped, output: Arc::clone(output), all_read }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    pub(crate) fn size(&self) -> Size {
        *self.size.borrow()
    }

    /// Where to queue input; `None` after the end.
    pub(crate) fn input(&self) -> Option<mpsc::Sender<Input>> {
        lock(&self.input).clone()
    }

    /// Tells the terminal its new size; nothing happens if it has that size or is gone.
    pub(crate) fn resize(&self, size: Size) {
        let terminal = lock(&self.terminal);
        let Some(terminal) = terminal.as_ref().filter(|_| self.size() != size) else {
            return;
        };
        match terminal.resize(size.pty()) {
            Ok(()) => {
                self.size.send_replace(size);
            }
            Err(error) => tracing::warn!(%error, pid = self.pid, "terminal was not resized"),
        }
    }

    /// Asks the program and everything it started to end.
    pub(crate) fn ask_to_end(&self) {
        self.signal(libc::SIGTERM);
        if self.interactive_shell {
            // A shell that reads from a terminal ignores SIGTERM, but ends on a hang-up and
            // passes it on to its jobs.
            self.signal(libc::SIGHUP);
        }
    }

    /// Ends the program and everything it started, at once.
    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: i32) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            signal_session(self.pid, signal);
        }
    }

    /// Lets go of the terminal once the program has ended.
    pub(crate) fn release(&self) {
        lock(&self.input).take();
        lock(&self.terminal).take();
    }
}

impl Waiter {
    /// Waits on a thread of its own for the program to end and for its last output, ends what it
    /// left behind, and then calls `ended`, once.
    pub(crate) fn wait(self, ended: impl FnOnce(Exit) + Send + 'static) -> io::Result<()> {
        on_a_thread("pty-wait", move || {
            let exit = wait_without_reaping(self.pid);
            if self.all_read.recv_timeout(LAST_OUTPUT_WITHIN) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(pid = self.pid, "terminal stayed open after its program ended");
                self.output.finish();
            }
            drop(self);
            ended(exit);
        })
    }
}

impl Drop for Waiter {
    /// Ends what the program left behind, or the program itself, and gives its pid back.
    fn drop(&mut self) {
        let mut reaped = lock(&self.reaped);
        // A dead program that is not reaped still holds its pid: this is its session, no other's.
        signal_session(self.pid, libc::SIGKILL);
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, pid = self.pid, "program was not reaped");
        }
        *reaped = true;
    }
}

fn on_a_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

fn copy_output(mut terminal: Box<dyn Read + Send>, output: &Output) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match terminal.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => output.append(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Linux reports the end of a terminal's output as an I/O error.
            Err(error) => {
                tracing::trace!(%error, "terminal closed");
                break;
            }
        }
    }
    output.finish();
}

fn type_inputs(mut terminal: Box<dyn Write + Send>, mut inputs: mpsc::Receiver<Input>) {
    while let Some(input) = inputs.blocking_recv() {
        let typed = match input {
            Input::Keys(bytes) => terminal.write_all(&bytes),
            Input::Message { text, pause } => terminal.write_all(text.as_bytes()).and_then(|()| {
                thread::sleep(pause);
                terminal.write_all(b"\r")
            }),
        };
        if let Err(error) = typed.and_then(|()| terminal.flush()) {
            tracing::debug!(%error, "terminal takes no more input");
            return;
        }
    }
}

fn is_interactive_shell(launch: &Launch) -> bool {
    let name = launch.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let shell = matches!(name, "bash" | "sh" | "dash" | "zsh" | "ksh" | "fish");
    shell && launch.args.iter().all(|arg| arg.starts_with('-') && arg != "-c")
}

#[expect(unsafe_code, reason = "the standard library cannot wait for a process without reaping it")]
fn wait_without_reaping(pid: i32) -> Exit {
    loop {
        // SAFETY: `siginfo_t` is plain data for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is valid for writes during the call, and `pid` is a child of ours that
        // nobody else reaps.
        let failed = unsafe { libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, libc::WEXITED | libc::WNOWAIT) } != 0;
        if failed {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            tracing::error!(%error, pid, "end of the program is unknown");
            return Exit::Signal("unknown".into());
        }
        // SAFETY: waitid succeeded, so it filled in the fields of an ended child.
        let status = unsafe { info.si_status() };
        return if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(signal_name(status)) };
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.into()
}

/// Signals the process group that the program leads, and every other process of its session:
/// a shell gives each job a group of its own. The caller makes sure that `session` is not reaped.
#[expect(unsafe_code, reason = "the standard library cannot signal a process group")]
fn signal_session(session: i32, signal: i32) {
    // SAFETY: killpg and kill take numbers only. The leader is not reaped, so `session` is its
    // group and no other; a member that ended since it was listed is at worst a number unused.
    unsafe {
        libc::killpg(session, signal);
        for member in session_members(session) {
            libc::kill(member, signal);
        }
    }
}

/// Processes of the session outside of the leader's own group, from `/proc`; none elsewhere.
fn session_members(session: i32) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything; state, parent, group, session follow it.
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(2);
            let group: i32 = fields.next()?.parse().ok()?;
            let its_session: i32 = fields.next()?.parse().ok()?;
            (its_session == session && group != session).then_some(pid)
        })
        .collect()
}
