//! Starts the program of one agent, on a terminal or on pipes, and waits for its end.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
};

use anyhow::Context;
use portable_pty::{MasterPty, native_pty_system};

use crate::{
    limits::Cage,
    note::note,
    process::{Launch, Mode},
    supervisor_protocol::Exit,
};

/// A program that was started, and its streams.
pub(crate) struct Streams {
    pub(crate) child: Child,
    pub(crate) readers: Vec<Reader>,
    pub(crate) writer: Box<dyn Write + Send>,
    pub(crate) terminal: Option<Box<dyn MasterPty + Send>>,
}

pub(crate) enum Reader {
    Terminal(Box<dyn Read + Send>),
    /// Lines, each with `mark` in front; those that are too long come in pieces with `piece_mark`.
    Lines {
        stream: Box<dyn Read + Send>,
        mark: &'static str,
        piece_mark: &'static str,
    },
}

/// Starts what `launch` says, as the leader of a session of its own and within its cage.
pub(crate) fn start(launch: &Launch, cage: &Arc<Cage>) -> anyhow::Result<Streams> {
    match launch.mode {
        Mode::Terminal => start_on_terminal(launch, cage),
        Mode::Structured => start_on_pipes(launch, cage),
    }
}

/// Waits for the end of the program, which keeps its pid until it is reaped.
#[expect(unsafe_code, reason = "the standard library cannot wait for a process without reaping it")]
pub(crate) fn wait_without_reaping(pid: i32) -> Exit {
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
            note(format_args!("the end of the program is unknown: {error}"));
            return Exit::unknown();
        }
        // SAFETY: waitid succeeded, so it filled in the fields of an ended child.
        let status = unsafe { info.si_status() };
        return if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(signal_name(status)) };
    }
}

/// Reaps what this process has adopted and what has ended. Neither waits, nor reaps `program`.
#[expect(unsafe_code, reason = "the standard library waits only for what it started")]
pub(crate) fn reap_orphans(program: i32) {
    loop {
        // SAFETY: `siginfo_t` is plain data for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is valid for writes during the call.
        let failed = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT | libc::WNOHANG) } != 0;
        // SAFETY: all zeroes, as it was, or filled in with an ended child.
        let pid = unsafe { info.si_pid() };
        if failed || pid == 0 || pid == program {
            return;
        }
        // SAFETY: no status is asked for, and `pid` is a child of ours that has ended.
        if unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } != pid {
            return;
        }
    }
}

fn start_on_terminal(launch: &Launch, cage: &Arc<Cage>) -> anyhow::Result<Streams> {
    let pair = native_pty_system().openpty(launch.size.pty()).context("no terminal")?;
    let reader = pair.master.try_clone_reader()?;
    let writer = pair.master.take_writer()?;
    let name = pair.master.tty_name().context("the terminal has no name")?;
    // Without NOCTTY it would become this process's own terminal.
    let terminal = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).context("no terminal")?;
    let mut command = command(launch);
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    let child = spawn(command, cage, true, launch.open_files)?;
    Ok(Streams { child, readers: vec![Reader::Terminal(reader)], writer, terminal: Some(pair.master) })
}

fn start_on_pipes(launch: &Launch, cage: &Arc<Cage>) -> anyhow::Result<Streams> {
    let mut command = command(launch);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command, cage, false, launch.open_files)?;
    let stdin: ChildStdin = child.stdin.take().context("no input")?;
    let stdout = child.stdout.take().context("no output")?;
    let stderr = child.stderr.take().context("no errors")?;
    // A line of JSON starts with neither mark, so whatever is marked is no message.
    let readers = vec![
        Reader::Lines { stream: Box::new(stdout), mark: "", piece_mark: "stdout: " },
        Reader::Lines { stream: Box::new(stderr), mark: "stderr: ", piece_mark: "stderr: " },
    ];
    Ok(Streams { child, readers, writer: Box::new(stdin), terminal: None })
}

fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).current_dir(&launch.cwd).env_clear();
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    command
}

#[expect(unsafe_code, reason = "a session and limits can only be set between fork and exec")]
fn spawn(mut command: Command, cage: &Arc<Cage>, on_terminal: bool, open_files: Option<u64>) -> anyhow::Result<Child> {
    let cage = Arc::clone(cage);
    let prepare = move || {
        // SAFETY: all of these take numbers, or a set that is valid for the call, and may be called
        // between fork and exec.
        unsafe {
            if libc::setsid() == -1 {
                return Err(io::Error::last_os_error());
            }
            if on_terminal && libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY as _, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGCHLD, libc::SIGALRM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            if let Some(open_files) = open_files {
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
                    limit.rlim_cur = open_files.min(limit.rlim_max);
                    libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                }
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        cage.enter()
    };
    // SAFETY: `prepare` neither allocates nor takes a lock; see there and `Cage::enter`.
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn().context("no process")
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
