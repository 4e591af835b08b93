//! One program, as the runtime holds it: through the supervisor that runs it.
//!
//! Three threads serve it. One pulls what the program prints into the [`Output`] and learns of its
//! end; one hands over what is typed; one writes to the supervisor, so that nobody else waits for it.
//! None of them ever waits for a viewer.

use std::{
    collections::VecDeque,
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use chrono::DateTime;
use portable_pty::PtySize;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

pub(crate) use crate::supervisor_protocol::{End, Exit};
use crate::{
    limits::{Limits, Restraint},
    lock::lock,
    records::{self, Processes},
    ring::Output,
    session::{self, Identity, Usage},
    supervisor_protocol::{self as protocol, Command as Order, Hello, Report, Started, VERSION},
};

/// Inputs waiting to be typed, per agent. With the 1 MiB that a message, raw keys and a frame of a
/// terminal's socket may have each, 16 MiB at the most wait for a program that reads nothing; then whoever types has to wait.
const INPUTS_WAITING_MAX: usize = 16;

/// How long a supervisor may take to start its program; it takes milliseconds.
const STARTED_WITHIN: Duration = Duration::from_secs(10);

/// How long a supervisor may take to answer when a connection begins. One that does not is stopped
/// or broken, and nobody could reach its agent.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Orders waiting to be told to one supervisor, which always reads at once.
const ORDERS_WAITING_MAX: usize = 32;

/// How long a supervisor may take to read what it is told. One that takes longer is lost.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// A terminal's size in characters; only [`Size::new`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    pub(crate) fn screen(self) -> terminal_screen::Size {
        terminal_screen::Size { cols: self.cols, rows: self.rows }
    }

    pub(crate) fn pty(self) -> PtySize {
        PtySize { cols: self.cols, rows: self.rows, pixel_width: 0, pixel_height: 0 }
    }
}

/// How a program is spoken with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// As a person would, on a terminal.
    #[default]
    Terminal,
    /// In lines, on pipes.
    Structured,
}

/// What to run, fully decided.
#[derive(Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The supervisor's folder, see `records`.
    pub(crate) folder: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment: nothing else is inherited.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) size: Size,
    pub(crate) limits: Limits,
    /// The group below which the agent gets its own.
    pub(crate) cgroup: Option<PathBuf>,
    /// How long it may live, and how long without input or output.
    pub(crate) lifetime: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    /// How long it may live without a runtime.
    pub(crate) orphan_timeout: Duration,
    /// How many files each of its processes may have open at first; `None` is as many as the runtime.
    pub(crate) open_files: Option<u64>,
}

/// Something to type, in one piece: inputs of several senders never mix.
pub(crate) enum Input {
    Keys(Bytes),
    /// Text, then Enter after a pause in which the program takes the text in as a paste.
    Message {
        text: String,
        pause: Duration,
    },
    /// The end of a structured program's input.
    End,
}

/// The handles of a started program. They stay valid, and harmless, after its end.
pub(crate) struct Process {
    pid: i32,
    supervisor: Option<Identity>,
    link: Arc<Link>,
    restraint: Restraint,
    size: watch::Sender<Size>,
    input: Mutex<Option<mpsc::Sender<Input>>>,
}

/// Follows a program that was started or adopted; see [`Waiter::wait`].
pub(crate) struct Waiter {
    stream: UnixStream,
    link: Arc<Link>,
    hello: Hello,
    folder: PathBuf,
    output: Arc<Output>,
    /// Told when an input was typed.
    typed: SyncSender<()>,
    /// Ours to reap, unless an earlier runtime started it.
    supervisor: Option<Child>,
}

/// Gets every piece of output once, in order: its offset, its bytes, and the offset up to which an
/// earlier runtime has worked output off.
pub(crate) type Listener = Box<dyn FnMut(u64, &[u8], u64) + Send>;

/// What is said to the supervisor: orders wait here for the thread that writes them.
struct Link {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// The runtime leaves, and the agent stays.
    detached: AtomicBool,
    /// The program takes no more input.
    input_ended: AtomicBool,
}

struct Waiting {
    orders: VecDeque<(Order, Bytes)>,
    /// The newest size, which is all that a terminal has to know.
    size: Option<Size>,
    /// Gone once nothing more is taken in, so that descriptors are not held for as long as the agent is listed.
    stream: Option<Arc<UnixStream>>,
    /// Nothing more is ever written.
    done: bool,
}

impl Process {
    /// Has a supervisor, which `supervisor` is the program of, start `launch`. Blocks for milliseconds.
    pub(crate) fn start(supervisor: &Path, launch: &Launch, output: &Arc<Output>) -> anyhow::Result<(Self, Waiter)> {
        let log = records::private_file().append(true).open(launch.folder.join("supervisor.log")).context("no log")?;
        let mut command = Command::new(supervisor);
        command.arg("supervise").env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("no supervisor {}", supervisor.display()))?;
        let begun = begin(&mut child, launch).and_then(|()| Self::connect(&launch.folder, output));
        match begun {
            Ok((process, waiter)) => Ok((process, Waiter { supervisor: Some(child), ..waiter })),
            Err(error) => {
                abandon(&launch.folder);
                child.kill().context("left with a supervisor")?;
                child.wait().context("left with a supervisor")?;
                Err(error)
            }
        }
    }

    /// Connects to the supervisor that listens in `folder`, which an earlier runtime may have started.
    ///
    /// Errors: when it does not answer in time, or speaks another version.
    pub(crate) fn connect(folder: &Path, output: &Arc<Output>) -> anyhow::Result<(Self, Waiter)> {
        let mut stream = protocol::connect(folder).context("no connection to the supervisor")?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.set_write_timeout(Some(TOLD_WITHIN))?;
        let (report, _) = protocol::read(&mut stream).context("the supervisor does not answer")?;
        let Report::Hello(hello) = report else {
            bail!("the supervisor does not say hello");
        };
        ensure!(hello.version == VERSION, "the supervisor speaks version {} and not {VERSION}", hello.version);
        let link = Link::start(stream.try_clone()?)?;
        link.input_ended.store(hello.input_ended, Ordering::SeqCst);
        let (input, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        let (typed, was_typed) = sync_channel(1);
        let told = Arc::clone(&link);
        on_a_thread("agent-type", move || told.type_inputs(inputs, &was_typed)).inspect_err(|_| link.hang_up())?;
        let process = Self {
            pid: hello.pid,
            supervisor: Processes::read(folder).and_then(|processes| processes.supervisor),
            link: Arc::clone(&link),
            restraint: hello.restraint,
            size: watch::Sender::new(Size::new(hello.cols, hello.rows).unwrap_or(Size::DEFAULT)),
            input: Mutex::new(Some(input)),
        };
        let folder = folder.to_owned();
        Ok((process, Waiter { stream, link, hello, folder, output: Arc::clone(output), typed, supervisor: None }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// What the program and everything it started use; `None` where that cannot be known.
    pub(crate) fn usage(&self) -> Option<Usage> {
        session::usage(self.pid, self.supervisor.filter(|supervisor| supervisor.is_alive()).map(|supervisor| supervisor.pid))
    }

    pub(crate) fn restraint(&self) -> Restraint {
        self.restraint
    }

    pub(crate) fn size(&self) -> Size {
        *self.size.borrow()
    }

    /// Where to queue input; `None` after the end.
    pub(crate) fn input(&self) -> Option<mpsc::Sender<Input>> {
        lock(&self.input).clone()
    }

    /// Whether the program takes no more input, because that was ended or nobody reads it.
    pub(crate) fn input_ended(&self) -> bool {
        self.link.input_ended.load(Ordering::SeqCst)
    }

    /// Has nothing more queued: the end of the input is.
    pub(crate) fn end_input(&self) {
        self.link.input_ended.store(true, Ordering::SeqCst);
    }

    /// Tells the terminal its new size; nothing happens if it has that size or is gone.
    pub(crate) fn resize(&self, size: Size) {
        let changed = self.size.send_if_modified(|current| std::mem::replace(current, size) != size);
        if changed {
            self.link.resize(size);
        }
    }

    /// Asks the program and everything it started to end.
    pub(crate) fn ask_to_end(&self) {
        self.tell(Order::End);
    }

    /// Ends the program and everything it started, at once.
    pub(crate) fn kill(&self) {
        self.tell(Order::Kill);
    }

    /// Lets go of the supervisor, which ends as soon as its program has.
    pub(crate) fn release(&self) {
        lock(&self.input).take();
        self.tell(Order::Release);
        self.link.close();
    }

    /// Leaves the agent to the next runtime.
    pub(crate) fn detach(&self) {
        self.link.detached.store(true, Ordering::SeqCst);
        lock(&self.input).take();
        self.link.hang_up();
    }

    /// Ends the program for a runtime that is not there any more to hear how.
    pub(crate) fn end_unheard(&self) {
        self.link.detached.store(true, Ordering::SeqCst);
        lock(&self.input).take();
        self.tell(Order::Release);
        self.tell(Order::Kill);
        self.link.close();
    }

    /// Waits until everything is told that ever will be. Blocks, until `deadline` at the most.
    pub(crate) fn told_by(&self, deadline: Instant) {
        self.link.told_by(deadline);
    }

    fn tell(&self, order: Order) {
        if let Err(error) = self.link.tell(order, Bytes::new()) {
            tracing::debug!(%error, pid = self.pid, "supervisor is not told");
        }
    }
}

impl Waiter {
    /// Takes over what was printed so far, then follows the program on a thread of its own:
    /// `listener` gets its output, and `ended` is called once, after the last of it.
    pub(crate) fn wait(mut self, mut listener: Option<Listener>, ended: impl FnOnce(End) + Send + 'static) -> io::Result<()> {
        let mut cursor = self.hello.start;
        let mut heard = Ok(None);
        while cursor < self.hello.end && matches!(heard, Ok(None)) {
            heard = self.pull(&mut cursor, &mut listener);
        }
        if self.supervisor.is_none() {
            self.output.forget_times();
        }
        if self.hello.end > 0 {
            self.output.came_last_at(self.hello.last_output_ms.and_then(DateTime::from_timestamp_millis));
        }
        self.stream.set_read_timeout(None)?;
        on_a_thread("agent-read", move || {
            while matches!(heard, Ok(None)) {
                heard = self.pull(&mut cursor, &mut listener);
            }
            self.finish(heard, ended);
        })
    }

    /// Asks for what follows the cursor and waits for it; gives the end once there is nothing more.
    fn pull(&mut self, cursor: &mut u64, listener: &mut Option<Listener>) -> io::Result<Option<End>> {
        self.link.tell(Order::Pull { from: *cursor }, Bytes::new())?;
        loop {
            let (report, body) = protocol::read(&mut self.stream)?;
            match report {
                Report::Output { offset } => {
                    self.output.append(offset, &body);
                    if let Some(listener) = listener {
                        listener(offset, &body, self.hello.seen);
                    }
                    *cursor = offset + body.len() as u64;
                    return Ok(None);
                }
                Report::Gap { start } => {
                    *cursor = start;
                    return Ok(None);
                }
                Report::Ended(end) => return Ok(Some(end)),
                Report::Typed { closed } => {
                    if closed && !self.link.input_ended.swap(true, Ordering::SeqCst) {
                        tracing::warn!(pid = self.hello.pid, "program takes no more input");
                    }
                    match self.typed.try_send(()) {
                        Ok(()) | Err(TrySendError::Disconnected(())) => {}
                        Err(TrySendError::Full(())) => tracing::debug!("supervisor typed more than it was given"),
                    }
                }
                Report::Hello(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "a second hello")),
            }
        }
    }

    fn finish(self, heard: io::Result<Option<End>>, ended: impl FnOnce(End)) {
        let end = match heard {
            Ok(Some(end)) => end,
            Ok(None) | Err(_) if self.link.detached.load(Ordering::SeqCst) => return,
            Ok(None) => abandon(&self.folder),
            Err(error) => {
                tracing::error!(%error, pid = self.hello.pid, "supervisor was lost");
                abandon(&self.folder)
            }
        };
        self.output.finish();
        // Before anybody hears of the end: what is told is not told again by the next runtime.
        records::remove(&self.folder);
        ended(end);
        if let Some(mut supervisor) = self.supervisor
            && let Err(error) = supervisor.wait()
        {
            tracing::warn!(%error, "supervisor was not reaped");
        }
    }
}

impl Link {
    fn start(stream: UnixStream) -> io::Result<Arc<Self>> {
        let stream = Arc::new(stream);
        let waiting = Waiting { orders: VecDeque::new(), size: None, stream: Some(Arc::clone(&stream)), done: false };
        let link = Arc::new(Self {
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
            detached: AtomicBool::new(false),
            input_ended: AtomicBool::new(false),
        });
        let its = Arc::clone(&link);
        on_a_thread("agent-tell", move || its.write(&stream))?;
        Ok(link)
    }

    /// Leaves one order to be told; never waits.
    ///
    /// Errors: `NotConnected` after the end, `WouldBlock` when the supervisor has too much to read already.
    fn tell(&self, order: Order, body: Bytes) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        if waiting.stream.is_none() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if waiting.orders.len() >= ORDERS_WAITING_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        waiting.orders.push_back((order, body));
        self.changed.notify_all();
        Ok(())
    }

    /// Leaves the terminal's size to be told; a newer one takes its place. Never waits.
    fn resize(&self, size: Size) {
        let mut waiting = lock(&self.waiting);
        if waiting.stream.is_some() {
            waiting.size = Some(size);
            self.changed.notify_all();
        }
    }

    /// Takes nothing more in; what waits is still told.
    fn close(&self) {
        lock(&self.waiting).stream.take();
        self.changed.notify_all();
    }

    fn hang_up(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.orders.clear();
        waiting.size = None;
        if let Some(stream) = waiting.stream.take() {
            shut_down(&stream);
        }
        self.changed.notify_all();
    }

    fn told_by(&self, deadline: Instant) {
        let mut waiting = lock(&self.waiting);
        while !waiting.done {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes what is to be told, until the link is closed or the supervisor does not read in time.
    /// It may have got a part of a frame then, so nothing more is said, and whoever listens to it
    /// learns that it is lost.
    fn write(&self, mut stream: &UnixStream) {
        while let Some((order, body)) = self.next() {
            if let Err(error) = protocol::write(&mut stream, &order, &body) {
                tracing::debug!(%error, ?order, "supervisor does not read");
                break;
            }
        }
        shut_down(stream);
        let mut waiting = lock(&self.waiting);
        waiting.orders.clear();
        waiting.stream = None;
        waiting.done = true;
        self.changed.notify_all();
    }

    /// What is to be told next; `None` once the link is closed and everything is told.
    fn next(&self) -> Option<(Order, Bytes)> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(Size { cols, rows }) = waiting.size.take() {
                return Some((Order::Resize { cols, rows }, Bytes::new()));
            }
            if let Some(order) = waiting.orders.pop_front() {
                return Some(order);
            }
            waiting.stream.as_ref()?;
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands inputs over, the next one when the one before was typed.
    fn type_inputs(&self, mut inputs: mpsc::Receiver<Input>, typed: &Receiver<()>) {
        while let Some(input) = inputs.blocking_recv() {
            let told = match input {
                Input::Keys(bytes) => self.tell(Order::Keys, bytes),
                Input::Message { text, pause } => {
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    self.tell(Order::Message { pause_ms }, text.into())
                }
                Input::End => self.tell(Order::EndInput, Bytes::new()),
            };
            if let Err(error) = told {
                tracing::debug!(%error, "supervisor takes no more input");
                return;
            }
            if typed.recv().is_err() {
                return;
            }
        }
    }
}

fn shut_down(stream: &UnixStream) {
    if let Err(error) = stream.shutdown(std::net::Shutdown::Both) {
        tracing::trace!(%error, "supervisor is gone");
    }
}

/// Hands the launch over on standard input and waits for the answer on standard output.
fn begin(child: &mut Child, launch: &Launch) -> anyhow::Result<()> {
    let mut stdin = child.stdin.take().context("no way to the supervisor")?;
    let mut stdout = child.stdout.take().context("no way from the supervisor")?;
    protocol::write(&mut stdin, launch, &[]).context("the supervisor takes no launch")?;
    drop(stdin);
    let (tell, answer) = sync_channel(1);
    on_a_thread("agent-start", move || {
        if tell.send(protocol::read::<Started>(&mut stdout)).is_err() {
            tracing::debug!("a supervisor answered too late");
        }
    })?;
    match answer.recv_timeout(STARTED_WITHIN) {
        Ok(Ok((Started::Yes, _))) => Ok(()),
        Ok(Ok((Started::No { error }, _))) => bail!("{error}"),
        Ok(Err(error)) => Err(error).context("the supervisor ended at its start"),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => bail!("the supervisor does not answer"),
    }
}

/// Ends a supervisor that cannot be spoken with, and the session of its program, and gives what is
/// known of the program's end.
pub(crate) fn abandon(folder: &Path) -> End {
    if let Some(processes) = Processes::read(folder) {
        // The program first: its supervisor, if it lives, then still keeps its pid from being reused.
        let supervisor = processes.supervisor.filter(|supervisor| supervisor.is_alive());
        if let Some(program) = processes.program.filter(|program| program.is_alive()) {
            session::signal(program.pid, supervisor.map(|supervisor| supervisor.pid), libc::SIGKILL);
        }
        if let Some(supervisor) = supervisor {
            session::signal_descendants(supervisor.pid, libc::SIGKILL);
            session::signal_process(supervisor.pid, libc::SIGKILL);
        }
    }
    let lost = || End { exit: Exit::unknown(), reason: Some("its supervisor was lost".into()) };
    records::read_exit(folder).unwrap_or_else(lost)
}

fn on_a_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
