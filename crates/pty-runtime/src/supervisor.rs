//! The process that stays beside one agent: it holds the terminal, so the runtime may come and go.
//!
//! It keeps what the program prints in a [`Ring`], types what the runtime sends, passes signals on,
//! waits for the program's end, and speaks with one runtime at a time (`supervisor_protocol`). Threads
//! do it, because terminals and processes can only be waited for by blocking; none of them ever waits
//! for a runtime.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::AsRawFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, ExitCode, exit},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::Utc;
use portable_pty::MasterPty;

use crate::{
    limits::Cage,
    lock::lock,
    note::note,
    own_process,
    process::{Launch, Mode, Size},
    program::{self, Reader},
    records::{self, Processes},
    ring::{AHEAD_BYTES, Found, Ring},
    session::{self, Identity},
    supervisor_protocol::{self as protocol, Command as Order, End, Hello, PULL_BYTES, Report, Started, VERSION},
};

/// Inputs of runtimes that were replaced before theirs was typed. One runtime has one on its way at
/// a time, so a second one waits only after a restart.
const INPUTS_WAITING_MAX: usize = 4;

/// Bytes read from the terminal at once; the kernel hands out 4 KiB at a time anyway.
const READ_BYTES: usize = 16 * 1024;

/// A line of a structured program; a longer one comes in marked pieces, since no ring could hold it.
const LINE_BYTES_MAX: usize = 1024 * 1024 - 64;

/// How long the last output may take to arrive after the program ended. The kernel hangs the
/// terminal up at that moment, so this only bounds what should never happen.
const LAST_OUTPUT_WITHIN: Duration = Duration::from_secs(2);

/// How long a program that is over one of its limits in time may take to end by itself.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long a runtime that pulls is waited for before output that it has not read is dropped: longer
/// than it waits for a reader of its own, and so short that one that is stopped holds a program up once.
const HELD_UP_WITHIN: Duration = Duration::from_millis(750);

/// How often deadlines are looked at, and how often the memory that the session uses.
const WATCH_EVERY: Duration = Duration::from_millis(500);
const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// How often it is asked whether the agent may have too many processes: what doubles with each of
/// them has some dozens by then.
const MULTIPLIES_EVERY: Duration = Duration::from_millis(20);

/// Pause after measuring or counting, as a multiple of the time that it took: a host with thousands
/// of processes gives a tenth of one CPU for each at the most.
const MEASURE_SHARE: u32 = 10;

/// How long a connection may take to read an answer of at most 64 KiB, before it is dropped.
const ANSWER_WITHIN: Duration = Duration::from_mins(10);

/// How often, and with what pauses, it is made sure that nothing is left of an agent that has ended:
/// what is killed is gone in microseconds, unless it starts more than anybody can end.
const DESCENDANTS_LOOKS_MAX: usize = 50;
const DESCENDANTS_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Pause after a connection that could not be taken, such as for want of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Why an agent was ended that used too much memory, whoever found that out.
const MEMORY_LIMIT: &str = "memory limit";

/// Supervises the program that standard input describes; returns only when that fails.
#[must_use]
pub fn supervise() -> ExitCode {
    own_process::close_foreign_files();
    own_process::keep_to_itself();
    own_process::adopt_orphans();
    leave_session();
    // Before there are threads, so that all of them leave it to the one that waits for it.
    hold_back_term();
    let launched = protocol::read::<Launch>(&mut io::stdin().lock()).context("no launch").and_then(|(launch, _)| Supervisor::start(launch));
    let (supervisor, listener) = match launched {
        Ok(started) => started,
        Err(error) => {
            let error = format!("{error:#}");
            if let Err(unheard) = protocol::write(&mut io::stdout().lock(), &Started::No { error }, &[]) {
                note(format_args!("nobody hears why nothing was started: {unheard}"));
            }
            return ExitCode::FAILURE;
        }
    };
    // A runtime that is gone by now is no reason to end: the next one will find the agent.
    if let Err(error) = protocol::write(&mut io::stdout().lock(), &Started::Yes, &[]).and_then(|()| close_standard_streams()) {
        note(format_args!("the runtime does not hear of the start: {error}"));
    }
    supervisor.serve(&listener);
    ExitCode::FAILURE
}

/// One program and who is connected.
struct Supervisor {
    launch: Launch,
    pid: i32,
    interactive_shell: bool,
    cage: Arc<Cage>,
    terminal: Option<Mutex<Box<dyn MasterPty + Send>>>,
    inputs: SyncSender<(u64, Input)>,
    state: Mutex<State>,
    changed: Condvar,
}

enum Input {
    Bytes(Vec<u8>),
    Message { text: Vec<u8>, pause: Duration },
    End,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all of them may go together")]
struct State {
    ring: Ring,
    /// Streams of the program that are still being read.
    streams: usize,
    /// Nothing more is taken into the ring.
    finished: bool,
    end: Option<End>,
    /// The pid was given back to the system and may name another process.
    reaped: bool,
    reason: Option<(&'static str, Instant)>,
    size: Size,
    seen: u64,
    /// When a runtime last pulled, or there was something for it again.
    pulled_at: Option<Instant>,
    last_output_ms: Option<i64>,
    active_at: Instant,
    connection: Option<Connection>,
    connections: u64,
    unattended_since: Option<Instant>,
    released: bool,
    /// The program takes no more input.
    input_ended: bool,
}

/// The runtime's newest connection.
struct Connection {
    number: u64,
    stream: UnixStream,
    /// The cursor at which it waits for output.
    pull: Option<u64>,
    typed: bool,
}

impl Supervisor {
    fn start(mut launch: Launch) -> anyhow::Result<(Arc<Self>, UnixListener)> {
        let name = launch.folder.file_name().and_then(|name| name.to_str()).context("no folder")?;
        let cage = Arc::new(Cage::new(launch.limits, launch.cgroup.as_deref(), name));
        let listener = protocol::bind(&launch.folder).context("no socket")?;
        let (inputs, to_type) = sync_channel(INPUTS_WAITING_MAX);
        let streams = program::start(&launch, &cage).inspect_err(|_| cage.tear_down())?;
        let pid = i32::try_from(streams.child.id()).context("no process id")?;
        let processes = Processes { supervisor: own_pid().and_then(Identity::of), program: Identity::of(pid) };
        let interactive_shell = launch.mode == Mode::Terminal && is_interactive_shell(&launch);
        // The program has them; they would only take memory here, and hold secrets.
        launch.env = Vec::new();
        launch.args = Vec::new();
        let supervisor = Arc::new(Self {
            pid,
            interactive_shell,
            cage,
            terminal: streams.terminal.map(Mutex::new),
            inputs,
            state: Mutex::new(State {
                ring: Ring::default(),
                streams: streams.readers.len(),
                finished: false,
                end: None,
                reaped: false,
                reason: None,
                size: launch.size,
                seen: 0,
                pulled_at: None,
                last_output_ms: None,
                active_at: Instant::now(),
                connection: None,
                connections: 0,
                unattended_since: Some(Instant::now()),
                released: false,
                input_ended: false,
            }),
            changed: Condvar::new(),
            launch,
        });
        let threads = supervisor.start_threads(streams.readers, streams.writer, to_type, streams.child);
        if let Err(error) = threads.and_then(|()| processes.write(&supervisor.launch.folder)) {
            session::signal(pid, own_pid(), libc::SIGKILL);
            return Err(error).context("no thread or no record");
        }
        Ok((supervisor, listener))
    }

    fn start_threads(
        self: &Arc<Self>,
        readers: Vec<Reader>,
        writer: Box<dyn Write + Send>,
        to_type: Receiver<(u64, Input)>,
        child: Child,
    ) -> io::Result<()> {
        for reader in readers {
            let its = Arc::clone(self);
            on_a_thread(move || {
                match reader {
                    Reader::Terminal(terminal) => its.copy_terminal(terminal),
                    Reader::Lines { stream, mark, piece_mark } => its.copy_lines(stream, mark, piece_mark),
                }
                its.lock().streams -= 1;
                its.changed.notify_all();
            })?;
        }
        let its = Arc::clone(self);
        on_a_thread(move || its.type_inputs(writer, &to_type))?;
        let its = Arc::clone(self);
        on_a_thread(move || its.wait(child))?;
        let its = Arc::clone(self);
        on_a_thread(move || its.end_when_told())?;
        #[cfg(target_os = "linux")]
        if let Some(most) = self.cage.to_watch().processes {
            let its = Arc::clone(self);
            on_a_thread(move || its.watch_processes(most))?;
        }
        let its = Arc::clone(self);
        on_a_thread(move || its.watch())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes one connection after the other; each newer one ends the one before.
    fn serve(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    note(format_args!("a connection was not taken: {error}"));
                    thread::sleep(ACCEPT_AGAIN_AFTER);
                    continue;
                }
            };
            if let Err(error) = self.connect(stream) {
                note(format_args!("a connection was not served: {error}"));
                let number = self.lock().connections;
                self.left_by(number);
            }
        }
    }

    fn connect(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let (mut heard, mut told, shared) = (stream.try_clone()?, stream.try_clone()?, stream);
        let (number, hello) = {
            let mut state = self.lock();
            state.connections += 1;
            let number = state.connections;
            let connection = Connection { number, stream: shared, pull: None, typed: false };
            if let Some(older) = state.connection.replace(connection) {
                hang_up(&older.stream);
            }
            state.unattended_since = None;
            self.changed.notify_all();
            (number, self.hello(&state))
        };
        let its = Arc::clone(self);
        on_a_thread(move || {
            if let Err(error) = protocol::write(&mut told, &hello, &[]).and_then(|()| its.tell(number, &mut told)) {
                note(format_args!("the runtime takes no answer: {error}"));
            }
            hang_up(&told);
        })?;
        let its = Arc::clone(self);
        on_a_thread(move || {
            its.obey(number, &mut heard);
            its.left_by(number);
        })
    }

    fn hello(&self, state: &State) -> Report {
        Report::Hello(Hello {
            version: VERSION,
            pid: self.pid,
            cols: state.size.cols,
            rows: state.size.rows,
            start: state.ring.start(),
            end: state.ring.end(),
            seen: state.seen,
            last_output_ms: state.last_output_ms,
            restraint: self.cage.restraint,
            input_ended: state.input_ended,
        })
    }

    /// Answers what the connection asked for, as soon as there is an answer.
    fn tell(&self, number: u64, stream: &mut UnixStream) -> io::Result<()> {
        loop {
            let (report, body) = {
                let mut state = self.lock();
                loop {
                    let State { connection, ring, end, input_ended, .. } = &mut *state;
                    let Some(connection) = connection.as_mut().filter(|connection| connection.number == number) else {
                        return Ok(());
                    };
                    if std::mem::take(&mut connection.typed) {
                        break (Report::Typed { closed: *input_ended }, Vec::new());
                    }
                    let answer = connection.pull.and_then(|from| match ring.read(from, PULL_BYTES) {
                        Found::Bytes(bytes) => Some((Report::Output { offset: from }, bytes)),
                        Found::Lost { start } => Some((Report::Gap { start }, Vec::new())),
                        Found::UpToDate => Some((Report::Ended(end.clone()?), Vec::new())),
                    });
                    if let Some(answer) = answer {
                        connection.pull = None;
                        break answer;
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            protocol::write(stream, &report, &body)?;
        }
    }

    /// Carries out what the connection says, until it ends or is replaced.
    fn obey(&self, number: u64, stream: &mut UnixStream) {
        loop {
            let (order, body) = match protocol::read::<Order>(stream) {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Err(error) => {
                    note(format_args!("the runtime is not understood: {error}"));
                    return;
                }
            };
            // A newer one may have come before this one noticed that it was replaced.
            if self.lock().connections != number {
                return;
            }
            let taken = match order {
                Order::Pull { from } => {
                    let mut state = self.lock();
                    state.seen = state.seen.max(from);
                    state.pulled_at = Some(Instant::now());
                    if let Some(connection) = state.connection.as_mut().filter(|connection| connection.number == number) {
                        connection.pull = Some(from);
                    }
                    self.changed.notify_all();
                    true
                }
                Order::Keys => self.inputs.try_send((number, Input::Bytes(body))).is_ok(),
                Order::Message { pause_ms } => {
                    let pause = Duration::from_millis(pause_ms);
                    self.inputs.try_send((number, Input::Message { text: body, pause })).is_ok()
                }
                Order::EndInput => self.inputs.try_send((number, Input::End)).is_ok(),
                Order::Resize { cols, rows } => {
                    self.resize(cols, rows);
                    true
                }
                Order::End => {
                    self.ask_to_end();
                    true
                }
                Order::Kill => {
                    self.signal(libc::SIGKILL);
                    true
                }
                Order::Release => {
                    self.release();
                    true
                }
            };
            if !taken {
                note("the runtime sent more input than it may");
                return;
            }
        }
    }

    fn left_by(&self, number: u64) {
        let mut state = self.lock();
        if state.connection.as_ref().is_some_and(|connection| connection.number == number) {
            if let Some(connection) = state.connection.take() {
                hang_up(&connection.stream);
            }
            state.unattended_since = Some(Instant::now());
        }
        self.changed.notify_all();
    }

    fn resize(&self, cols: u16, rows: u16) {
        let (Some(terminal), Some(size)) = (&self.terminal, Size::new(cols, rows)) else {
            return;
        };
        match lock(terminal).resize(size.pty()) {
            Ok(()) => self.lock().size = size,
            Err(error) => note(format_args!("terminal was not resized: {error:#}")),
        }
    }

    fn ask_to_end(&self) {
        self.signal(libc::SIGTERM);
        if self.interactive_shell {
            // A shell that reads from a terminal ignores SIGTERM, but ends on a hang-up and
            // passes it on to its jobs.
            self.signal(libc::SIGHUP);
        }
    }

    fn signal(&self, signal: i32) {
        // Held while the signal is sent: the pid must not be given back in between.
        let state = self.lock();
        if !state.reaped {
            session::signal(self.pid, own_pid(), signal);
        }
    }

    fn release(&self) {
        let mut state = self.lock();
        state.released = true;
        if state.end.is_some() {
            exit(0);
        }
    }

    /// Takes in what was printed; false once the program has ended for good.
    fn printed(&self, parts: &[&[u8]]) -> bool {
        let mut state = self.lock();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        while let Some(patience) = state.hold_up(bytes) {
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.finished {
            return false;
        }
        if state.ring.end() <= state.seen {
            // Before, there was nothing that it could have taken.
            state.pulled_at = state.pulled_at.map(|_| Instant::now());
        }
        for part in parts {
            state.ring.append(part);
        }
        state.active_at = Instant::now();
        state.last_output_ms = Some(Utc::now().timestamp_millis());
        self.changed.notify_all();
        true
    }

    fn copy_terminal(&self, mut terminal: Box<dyn Read + Send>) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match terminal.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if !self.printed(&[&buffer[..count]]) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Linux reports the end of a terminal's output as an I/O error.
                Err(_) => return,
            }
        }
    }

    /// Takes whole lines in, so that those of two streams never mix.
    fn copy_lines(&self, stream: Box<dyn Read + Send>, mark: &str, piece_mark: &str) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut in_long_line = false;
        loop {
            line.clear();
            line.shrink_to(READ_BYTES);
            let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            match stream.by_ref().take(most).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    note(format_args!("a stream of the program cannot be read: {error}"));
                    return;
                }
            }
            let ends = line.last() == Some(&b'\n');
            let too_long = !ends && line.len() == LINE_BYTES_MAX;
            let mark = if in_long_line || too_long { piece_mark } else { mark };
            in_long_line = too_long;
            if !ends {
                line.push(b'\n');
            }
            if !self.printed(&[mark.as_bytes(), &line]) {
                return;
            }
        }
    }

    fn type_inputs(&self, writer: Box<dyn Write + Send>, to_type: &Receiver<(u64, Input)>) {
        let mut writer = Some(writer);
        while let Ok((number, input)) = to_type.recv() {
            let typed = match (input, &mut writer) {
                (Input::End, writer) => {
                    writer.take();
                    Ok(())
                }
                (Input::Bytes(bytes), Some(writer)) => writer.write_all(&bytes).and_then(|()| writer.flush()),
                (Input::Message { text, pause }, Some(writer)) => writer.write_all(&text).and_then(|()| {
                    writer.flush()?;
                    thread::sleep(pause);
                    writer.write_all(b"\r")?;
                    writer.flush()
                }),
                // Nobody reads any more.
                (Input::Bytes(_) | Input::Message { .. }, None) => Ok(()),
            };
            if let Err(error) = typed {
                note(format_args!("the program takes no more input: {error}"));
                writer = None;
            }
            let mut state = self.lock();
            state.active_at = Instant::now();
            state.input_ended = writer.is_none();
            if let Some(connection) = state.connection.as_mut().filter(|connection| connection.number == number) {
                connection.typed = true;
            }
            self.changed.notify_all();
        }
    }

    /// Waits for the program to end and for its last output, and ends what it left behind.
    fn wait(&self, mut child: Child) {
        let exit_status = program::wait_without_reaping(self.pid);
        let deadline = Instant::now() + LAST_OUTPUT_WITHIN;
        let mut state = self.lock();
        while state.streams > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.finished = true;
        // A dead program that is not reaped still holds its pid: this is its session, no other's.
        session::signal(self.pid, own_pid(), libc::SIGKILL);
        if let Err(error) = child.wait() {
            note(format_args!("the program was not reaped: {error}"));
        }
        state.reaped = true;
        end_descendants(self.pid);
        let reason = state.reason.map(|(reason, _)| reason).or_else(|| self.cage.ran_out_of_memory().then_some(MEMORY_LIMIT));
        self.cage.tear_down();
        let end = End { exit: exit_status, reason: reason.map(Into::into) };
        if !state.released
            && let Err(error) = records::write_exit(&self.launch.folder, &end)
        {
            note(format_args!("the end is not recorded: {error}"));
        }
        state.end = Some(end);
        if state.released {
            exit(0);
        }
        self.changed.notify_all();
    }

    /// Ends the program before this process when somebody ends this process.
    fn end_when_told(&self) {
        wait_for_term();
        self.end_because("its supervisor was told to end");
    }

    /// Holds the program to its deadlines and its limits, and this process to its purpose.
    fn watch(&self) {
        let memory_limit = self.cage.to_watch().memory_bytes;
        let started_at = Instant::now();
        let mut pause = if memory_limit.is_some() { MEASURE_EVERY } else { WATCH_EVERY };
        loop {
            thread::sleep(pause);
            let (ended, reason) = {
                let state = self.lock();
                // Under the lock, as signals are sent: no number may be given back in between.
                program::reap_orphans(self.pid);
                (state.end.is_some(), state.reason)
            };
            if ended {
                if self.orphaned() {
                    exit(0);
                }
            } else if let Some((_, since)) = reason {
                if since.elapsed() >= END_WITHIN {
                    self.signal(libc::SIGKILL);
                }
            } else if let Some(reason) = self.overdue(started_at) {
                self.end_because(reason);
            } else if let Some(most) = memory_limit {
                let begun = Instant::now();
                if session::usage(self.pid, own_pid()).is_some_and(|usage| usage.memory_bytes > most) {
                    self.kill_because(MEMORY_LIMIT);
                }
                // Not longer, however slow it was: a busy host leaves little time to anybody.
                pause = MEASURE_EVERY.max((begun.elapsed() * MEASURE_SHARE).min(WATCH_EVERY));
            }
        }
    }

    /// Ends the program once the agent has more processes than it may have. They are counted only when
    /// so many were started on the host since the last time that there can be too many.
    #[cfg(target_os = "linux")]
    fn watch_processes(&self, most: u32) {
        run_first();
        let mut counted = 0;
        let mut newest_then = None;
        let mut pause = MULTIPLIES_EVERY;
        while self.lock().end.is_none() {
            thread::sleep(pause);
            pause = MULTIPLIES_EVERY;
            // Before they are counted: what starts meanwhile is counted twice rather than not at all.
            let newest = session::newest_pid();
            let started = newest_then.zip(newest).and_then(|(then, now)| session::started_between(then, now));
            if started.is_some_and(|started| counted + started <= most) {
                continue;
            }
            let begun = Instant::now();
            if let Some(count) = session::count(self.pid, own_pid()) {
                if count > most {
                    self.kill_because("process limit");
                }
                (counted, newest_then) = (count, newest);
            }
            pause = pause.max((begun.elapsed() * MEASURE_SHARE).min(WATCH_EVERY));
        }
    }

    /// Ends the program at once, for a reason that is told with its end; the first one counts.
    fn kill_because(&self, reason: &'static str) {
        self.lock().reason.get_or_insert((reason, Instant::now()));
        self.signal(libc::SIGKILL);
    }

    fn overdue(&self, started_at: Instant) -> Option<&'static str> {
        let over = |limit: Option<Duration>, since: Instant| limit.is_some_and(|limit| since.elapsed() >= limit);
        if over(self.launch.lifetime, started_at) {
            Some("timeout")
        } else if over(self.launch.idle_timeout, self.lock().active_at) {
            Some("idle timeout")
        } else {
            self.orphaned().then_some("no runtime")
        }
    }

    /// Whether no runtime has come for too long, or none can ever come again.
    fn orphaned(&self) -> bool {
        let unattended_since = self.lock().unattended_since;
        unattended_since.is_some_and(|since| since.elapsed() >= self.launch.orphan_timeout || !self.launch.folder.exists())
    }

    /// Asks the program to end, for a reason that is told with its end; the first one counts.
    fn end_because(&self, reason: &'static str) {
        self.lock().reason.get_or_insert((reason, Instant::now()));
        self.ask_to_end();
    }
}

impl State {
    /// How long to wait for the runtime before so many more bytes are taken in.
    fn hold_up(&self, bytes: usize) -> Option<Duration> {
        let unread = self.ring.end().saturating_sub(self.seen) + bytes as u64;
        if self.finished || self.connection.is_none() || unread <= AHEAD_BYTES as u64 {
            return None;
        }
        HELD_UP_WITHIN.checked_sub(self.pulled_at?.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Ends and reaps what descends from this process, also what was started while that was done.
fn end_descendants(program: i32) {
    let Some(own) = own_pid() else {
        return;
    };
    for _ in 0..DESCENDANTS_LOOKS_MAX {
        program::reap_orphans(program);
        if !session::signal_descendants(own, libc::SIGKILL) {
            return;
        }
        thread::sleep(DESCENDANTS_LOOK_EVERY);
    }
    note("processes of the agent are left");
}

fn own_pid() -> Option<i32> {
    i32::try_from(std::process::id()).ok()
}

/// Lets the calling thread run before all ordinary ones, where the system allows that: hundreds of
/// processes that do nothing but start others would leave it no time.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not schedule threads")]
fn run_first() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is valid for reads during the call; 0 is the calling thread.
    unsafe {
        // What the thread starts does not inherit it.
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters);
    }
}

fn hang_up(stream: &UnixStream) {
    if let Err(error) = stream.shutdown(std::net::Shutdown::Both)
        && error.kind() != io::ErrorKind::NotConnected
    {
        note(format_args!("a connection stays open: {error}"));
    }
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

/// Leaves the runtime's session, so that neither a Ctrl-C nor a signal to its group comes here.
#[expect(unsafe_code, reason = "the standard library starts no sessions")]
fn leave_session() {
    // SAFETY: setsid takes nothing. It fails only for the leader of a group, which is out of the
    // runtime's group already.
    unsafe {
        libc::setsid();
    }
}

/// Keeps SIGTERM from ending this process at once; `start` takes that back for the program.
#[expect(unsafe_code, reason = "the standard library does not hold signals back")]
fn hold_back_term() {
    // SAFETY: the set is valid for the duration of the calls; an all-zero set is initialized by the first.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits until SIGTERM comes, which [`hold_back_term`] keeps for this.
#[expect(unsafe_code, reason = "the standard library does not wait for signals")]
fn wait_for_term() {
    // SAFETY: as above; `taken` is valid for writes during the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        let mut taken = 0;
        libc::sigwait(&raw const set, &raw mut taken);
    }
}

/// Lets go of the runtime's pipes, so that nobody waits for them to end.
#[expect(unsafe_code, reason = "the standard library does not replace standard streams")]
fn close_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
        // SAFETY: both are descriptors of this process; dup2 touches no memory of ours.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn is_interactive_shell(launch: &Launch) -> bool {
    let name = Path::new(&launch.program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let shell = matches!(name, "bash" | "sh" | "dash" | "zsh" | "ksh" | "fish");
    shell && launch.args.iter().all(|arg| arg.starts_with('-') && arg != "-c")
}
