//! Live terminals: the output of each in a bounded ring, read by any number of viewers at their
//! own pace, and input on its way to the runtime.
//!
//! A terminal has at most one line to its runtime. Every line has a generation, and only the newest changes
//! anything: what an older one says late is nobody's business any more (RT-13). Nothing here touches the database.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    RuntimeClient,
    picture::Picture,
    ring::{RING_BYTES, Ring},
    sequences::{Asked, Filter},
    tape::{Aside, Journal, Tape},
    upstream,
    viewer::{Start, Texts, Viewer},
};
use crate::model::{
    clock::Clock,
    ids::{SessionId, WorkspaceId},
    login::Login,
    terminal::{SessionNews, SessionStatus, Size},
};

/// Pieces of input that may wait for the runtime, and their bytes: two of the largest pieces. What waits here is typed
/// even where the right to type ends meanwhile; the rest waits with who sends it.
const INPUT_QUEUE: usize = 256;
const INPUT_QUEUE_BYTES: u32 = 128 * 1024;

/// Questions of a program that wait to be answered.
const ASKED_MAX: usize = 64;
/// Changes of the size that the model of the screen has not seen: more of them while so little is printed are a person
/// who drags a corner, and only the last counts.
const SIZES_MAX: usize = 64;

/// How long an ended process's last output is waited for.
const DRAIN: Duration = Duration::from_secs(1);

/// A terminal that has ended is still found by whoever looks at all for this long: a recorder that was about to
/// hear of it finds what a process of a moment printed.
const LINGERS: Duration = Duration::from_secs(5);

/// The number of a stream is one that every client can hold: JavaScript counts to 2^53.
const STREAM_MAX: u64 = (1 << 53) - 1;

/// What viewers see where output was lost, which a runtime without positions cannot make up for.
const GAP_NOTICE: &str = "the connection to the runtime was lost; output may be missing here";

/// What a terminal's line reports upward.
#[derive(Clone, Copy, Debug)]
pub struct TerminalNews {
    pub session: SessionId,
    /// Of the line that reports it; see [`Terminal::is_newest`].
    pub generation: u64,
    pub news: SessionNews,
}

/// What is needed to connect a terminal.
#[derive(Clone)]
pub struct TerminalSpec {
    pub session: SessionId,
    pub workspace: WorkspaceId,
    /// The name under which the runtime serves the terminal.
    pub runtime_agent_id: String,
    pub size: Size,
    pub status: SessionStatus,
    pub login: Login,
    /// What is known of the output from before this service started.
    pub past: Option<Past>,
    /// Where the recording ends, also where nothing of it is left: what follows of a runtime without positions is not before it.
    pub recorded_to: u64,
}

/// Output from before, as it was recorded.
#[derive(Clone)]
pub struct Past {
    /// The position of the first byte.
    pub offset: u64,
    pub bytes: Bytes,
    /// The terminal's size when they were printed.
    pub size: Size,
}

/// What goes to the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(Bytes),
    /// The terminal has another size: the one that [`Terminal::size`] tells when this is taken, so that the last of several
    /// is the same everywhere.
    Resize,
}

/// The way of input to the runtime.
#[derive(Clone)]
pub(super) struct InputQueue {
    sender: mpsc::Sender<Queued>,
    /// Bytes that may still come in.
    room: Arc<Semaphore>,
}

struct Queued {
    input: Input,
    _room: Option<OwnedSemaphorePermit>,
}

impl InputQueue {
    fn new() -> (Self, Inputs) {
        let (sender, inputs) = mpsc::channel(INPUT_QUEUE);
        (Self { sender, room: Arc::new(Semaphore::new(INPUT_QUEUE_BYTES as usize)) }, Inputs(inputs))
    }

    /// Waits until so many bytes may come in; more than there is room for at all need all of it.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NotConnected> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(INPUT_QUEUE_BYTES);
        Arc::clone(&self.room).acquire_many_owned(wanted).await.map_err(|_| NotConnected)
    }

    /// Sends a short piece, if there is a place for it; whether there was.
    pub(super) fn try_send(&self, input: Input) -> bool {
        self.sender.try_send(Queued { input, _room: None }).is_ok()
    }
}

/// What is on its way to the runtime.
pub(super) struct Inputs(mpsc::Receiver<Queued>);

impl Inputs {
    /// Waits for what comes next. `None` once nothing will.
    pub(super) async fn recv(&mut self) -> Option<Input> {
        self.0.recv().await.map(|queued| queued.input)
    }

    #[cfg(test)]
    pub(super) fn try_recv(&mut self) -> Result<Input, mpsc::error::TryRecvError> {
        self.0.try_recv().map(|queued| queued.input)
    }
}

/// Terminals whose size has changed and is not stored yet.
#[derive(Default)]
struct Resizes {
    sessions: Mutex<HashSet<SessionId>>,
    added: Notify,
}

impl Resizes {
    fn add(&self, session: SessionId) {
        self.lock().insert(session);
        self.added.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all terminals share.
#[derive(Clone, Default)]
struct Shared {
    resizes: Arc<Resizes>,
    /// Bytes that are put aside for recorders.
    aside: Arc<AtomicUsize>,
}

/// What of a terminal changes all the time. It is locked for moments only.
#[expect(clippy::struct_excessive_bools, reason = "each says one thing of a terminal, beside any other")]
pub(super) struct State {
    pub(super) ring: Ring,
    pub(super) filter: Filter,
    pub(super) journal: Journal,
    /// What the recorder has still to take.
    pub(super) aside: Aside,
    pub(super) size: Size,
    /// Where the output of this size begins.
    pub(super) size_at: u64,
    pub(super) status: SessionStatus,
    pub(super) login: Login,
    /// Counts the changes of `status` that viewers are told of.
    pub(super) status_version: u64,
    /// The runtime has no terminals to show.
    pub(super) unsupported: bool,
    /// Whether output may still come; once it cannot, viewers are told the final status.
    pub(super) open: bool,
    /// Sizes that the model of the screen has not seen yet, with the positions from which on they hold.
    pub(super) sizes: VecDeque<(u64, Size)>,
    /// How far the model is fed.
    pub(super) fed: u64,
    /// When output came last.
    pub(super) output_at: Instant,
    /// What the program asked and was not answered yet, with where the cursor was, once the model was there.
    pub(super) asked: VecDeque<(Asked, Option<(u16, u16)>)>,
    /// Where input goes while a line is connected.
    pub(super) input: Option<InputQueue>,
    /// What stands before this position was printed before the line was there: nobody waits for an answer.
    live_from: u64,
    /// Somebody waits for the output to come to this position.
    awaited: Option<u64>,
    /// What stands before this position is there for every life of the service; what follows, a runtime without positions has printed
    /// to this one alone.
    pub(super) counted_until: u64,
    /// Bytes that have come from the runtime, which unlike the ring's end do not count our own notices.
    heard_bytes: u64,
    /// The runtime closed the terminal with the word that its process ended.
    exited: bool,
    /// No input is taken any more.
    ending: bool,
    /// The generation of the newest line.
    generation: u64,
    /// Whether the newest line is still held by somebody.
    has_line: bool,
}

/// One live terminal.
pub struct Terminal {
    spec: TerminalSpec,
    clock: Clock,
    /// Tells the terminal's output in this life of the service from that in any other.
    stream: u64,
    resizes: Arc<Resizes>,
    /// Whether what people type is for the recorder, too.
    records_input: AtomicBool,
    /// Whom to dial: the endpoint stays, while the token may be replaced. Nobody, where the runtime dials in.
    runtime: watch::Sender<Option<RuntimeClient>>,
    state: Mutex<State>,
    /// Locked before the state, where both are.
    pub(super) picture: Mutex<Picture>,
    /// Wakes who feeds the model, and who answers.
    pub(super) behind: Notify,
    pub(super) asked: Notify,
    /// What several viewers are shown.
    pub(super) texts: Texts,
    /// Wakes viewers; the value means nothing.
    changed: watch::Sender<()>,
    /// Wakes who waits for more than any output.
    printed: Notify,
    /// Ends the line: at once, or after the last output.
    cut: CancellationToken,
    drain: CancellationToken,
}

/// The runtime is not connected now, so input goes nowhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("runtime not connected")]
pub struct NotConnected;

/// What a terminal let hear of a process that may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It printed something.
    Output,
    /// It printed nothing, and would have been heard.
    Silence,
    /// The terminal is not connected.
    Nothing,
}

impl Terminal {
    fn new(mut spec: TerminalSpec, runtime: Option<RuntimeClient>, clock: Clock, shared: &Shared) -> Self {
        let past = spec.past.take().unwrap_or(Past { offset: 0, bytes: Bytes::new(), size: spec.size });
        let (mut ring, mut filter) = (Ring::default(), Filter::default());
        ring.skip_to(past.offset);
        ring.push(&past.bytes);
        filter.pass(past.offset, past.bytes);
        let sizes = if past.size == spec.size { VecDeque::new() } else { VecDeque::from([(ring.end(), spec.size)]) };
        let state = State {
            journal: Journal::new(ring.start(), now(&clock), spec.size),
            aside: Aside::new(Arc::clone(&shared.aside), ring.end()),
            ring,
            filter,
            size: spec.size,
            size_at: 0,
            status: spec.status,
            login: spec.login.clone(),
            status_version: 0,
            unsupported: false,
            open: true,
            sizes,
            fed: past.offset,
            output_at: Instant::now(),
            asked: VecDeque::new(),
            input: None,
            live_from: 0,
            awaited: None,
            counted_until: u64::MAX,
            heard_bytes: 0,
            exited: false,
            ending: false,
            generation: 0,
            has_line: false,
        };
        Self {
            spec,
            clock,
            stream: rand::random::<u64>() & STREAM_MAX,
            resizes: Arc::clone(&shared.resizes),
            records_input: AtomicBool::new(false),
            runtime: watch::Sender::new(runtime),
            state: Mutex::new(state),
            picture: Mutex::new(Picture::new(past.offset, past.size)),
            behind: Notify::new(),
            asked: Notify::new(),
            texts: Texts::default(),
            changed: watch::Sender::new(()),
            printed: Notify::new(),
            cut: CancellationToken::new(),
            drain: CancellationToken::new(),
        }
    }

    pub(super) fn spec(&self) -> &TerminalSpec {
        &self.spec
    }

    #[must_use]
    pub fn session(&self) -> SessionId {
        self.spec.session
    }

    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.spec.workspace
    }

    /// Tells positions in the terminal's output from those that another life of the service told, where the runtime has none.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.stream
    }

    #[must_use]
    pub fn size(&self) -> Size {
        self.lock().size
    }

    /// Where the output ends now.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.lock().ring.end()
    }

    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.lock().unsupported
    }

    /// Whether input goes through now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lock().input.is_some()
    }

    /// Whether this is the generation of the newest line: what an older one reports is void.
    #[must_use]
    pub fn is_newest(&self, generation: u64) -> bool {
        self.lock().generation == generation
    }

    /// All output that is held, as text.
    #[must_use]
    pub fn history(&self) -> String {
        let mut state = self.lock();
        let mut position = state.ring.history_start();
        let mut bytes = Vec::new();
        while position < state.ring.end() {
            let piece = state.ring.read_raw(position, usize::MAX);
            position += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        drop(state);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A viewer of this terminal.
    #[must_use]
    pub fn view(self: &Arc<Self>, start: Start) -> Viewer {
        Viewer::new(self, start)
    }

    /// What a recorder reads, from this position on.
    #[must_use]
    pub fn tape(self: &Arc<Self>, from: u64) -> Tape {
        Tape::new(self, from)
    }

    /// As [`Self::tape`], for the terminal's recorder: what it has not taken is put aside, within bounds, from what follows the
    /// terminal's past on.
    #[must_use]
    pub fn follow(self: &Arc<Self>) -> Tape {
        Tape::following(self)
    }

    /// Puts a remark into the recordings, between what came before and what comes after.
    pub fn mark(&self, text: &str) {
        let now = self.now();
        let mut state = self.lock();
        let end = state.ring.end();
        state.journal.marked(end, now, text);
        drop(state);
        self.changed.send_replace(());
    }

    /// Watches for output that shows that the process lives (runtime contract §6.3, rule 5): what comes within
    /// `on_its_way` may have been printed before; then nothing may come for `silence`. A terminal that was closed
    /// because its process ended is silent, too.
    pub async fn listen(&self, on_its_way: Duration, silence: Duration) -> Heard {
        sleep(on_its_way).await;
        let mut changed = self.changed.subscribe();
        let before = self.lock().heard_bytes;
        let speaks = async {
            // Fails only when the terminal is gone, and we hold it.
            while self.lock().heard_bytes == before && changed.changed().await.is_ok() {}
        };
        let spoke = timeout(silence, speaks).await.is_ok();
        let state = self.lock();
        match spoke {
            true => Heard::Output,
            false if state.input.is_some() || state.unsupported || state.exited => Heard::Silence,
            false => Heard::Nothing,
        }
    }

    /// Sends input, in the order of the calls; waits while the runtime is slow to take it.
    pub async fn write(&self, bytes: Bytes) -> Result<(), NotConnected> {
        self.write_if(bytes, || Ok(())).await
    }

    /// Sends input like [`Self::write`], unless it is not `allowed` any more once it need not wait.
    pub async fn write_if<E: From<NotConnected>>(&self, bytes: Bytes, allowed: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let queue = self.lock().input.clone().ok_or(NotConnected)?;
        let room = queue.room(bytes.len()).await?;
        let slot = queue.sender.reserve().await.map_err(|_| NotConnected)?;
        allowed()?;
        let now = self.now();
        let mut state = self.lock();
        // The line may have ended meanwhile, or be another one.
        if !state.input.as_ref().is_some_and(|input| input.sender.same_channel(&queue.sender)) {
            return Err(NotConnected.into());
        }
        slot.send(Queued { input: Input::Bytes(bytes.clone()), _room: Some(room) });
        // What may belong to a login is not recorded (RT-17): a status that tells of a lost line may hide that one is required.
        if self.records_input() && state.status == SessionStatus::Active {
            let end = state.ring.end();
            state.journal.typed(end, now, &bytes);
            drop(state);
            self.changed.send_replace(());
        }
        Ok(())
    }

    /// Has what people type be recorded from now on, or not any more.
    pub fn record_input(&self, records: bool) {
        self.records_input.store(records, Ordering::Relaxed);
    }

    /// Whether what people type is recorded now.
    #[must_use]
    pub fn records_input(&self) -> bool {
        self.records_input.load(Ordering::Relaxed)
    }

    /// Changes the size. `false` when it is that size already.
    pub async fn resize(&self, size: Size) -> bool {
        {
            let now = self.now();
            let mut state = self.lock();
            if state.size == size {
                return false;
            }
            state.size = size;
            let end = state.ring.end();
            state.size_at = end;
            state.journal.resized(end, now, size);
            if state.sizes.len() == SIZES_MAX {
                state.sizes.pop_front();
            }
            state.sizes.push_back((end, size));
        }
        self.resizes.add(self.session());
        self.changed.send_replace(());
        if self.tell_size().await.is_err() {
            tracing::debug!(session.id = %self.spec.session, "a terminal without a line is resized once it has one");
        }
        true
    }

    async fn tell_size(&self) -> Result<(), NotConnected> {
        let queue = self.lock().input.clone().ok_or(NotConnected)?;
        queue.sender.send(Queued { input: Input::Resize, _room: None }).await.map_err(|_| NotConnected)
    }

    /// A new line to the runtime, unless there is one.
    pub(super) fn line(self: &Arc<Self>) -> Option<Line> {
        let mut state = self.lock();
        if state.has_line || state.ending {
            return None;
        }
        state.generation += 1;
        state.has_line = true;
        Some(Line { terminal: Arc::clone(self), generation: state.generation })
    }

    /// A new line for a runtime that dials in, in place of one that is only being dialed.
    fn legacy_line(self: &Arc<Self>) -> Option<(Line, Inputs)> {
        {
            let mut state = self.lock();
            if state.input.is_some() {
                return None;
            }
            state.has_line = false;
        }
        let line = self.line()?;
        let inputs = line.connect()?;
        Some((line, inputs))
    }

    /// Waits until the terminal has no line.
    pub(super) async fn without_line(&self) {
        let mut changed = self.changed.subscribe();
        // Fails only when the terminal is gone, and we hold it.
        while self.lock().has_line && changed.changed().await.is_ok() {}
    }

    /// The client to dial with, and those that come after it.
    pub(super) fn runtime(&self) -> watch::Receiver<Option<RuntimeClient>> {
        self.runtime.subscribe()
    }

    /// Wakes at every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How many wait for changes.
    pub(super) fn watched_by(&self) -> usize {
        self.changed.receiver_count()
    }

    /// Waits until the output comes to `position`, or as long as there is time for.
    pub(super) async fn until_printed(&self, position: u64, deadline: Instant) {
        let printed = async {
            loop {
                let mut printed = std::pin::pin!(self.printed.notified());
                printed.as_mut().enable();
                {
                    let mut state = self.lock();
                    if !state.open || state.ring.end() >= position {
                        return;
                    }
                    state.awaited = Some(state.awaited.map_or(position, |other| other.min(position)));
                }
                printed.await;
            }
        };
        // Time that is up is as good.
        drop(timeout_at(deadline, printed).await);
    }

    /// Lives as long as the terminal: `connecting` ends when there is nothing left to connect to.
    async fn live(&self, connecting: impl Future<Output = ()>) {
        let draining = async {
            self.drain.cancelled().await;
            sleep(DRAIN).await;
        };
        let connecting = async {
            connecting.await;
            // The last status comes from the domain; wait for it, so that viewers see the end after all output.
            self.drain.cancelled().await;
        };
        tokio::select! {
            () = connecting => {}
            () = draining => {}
            () = self.cut.cancelled() => {}
            () = self.look_after() => {}
        }
        self.finish();
    }

    pub(super) fn set_status(&self, status: SessionStatus, login: Login) {
        {
            let mut state = self.lock();
            if state.status == status && state.login == login {
                return;
            }
            state.status = status;
            state.login = login;
            state.status_version += 1;
        }
        self.changed.send_replace(());
    }

    /// No input is taken any more.
    fn close_input(&self) {
        let mut state = self.lock();
        state.ending = true;
        state.input = None;
    }

    /// No output will come any more.
    pub(super) fn finish(&self) {
        self.close_input();
        self.lock().open = false;
        self.changed.send_replace(());
    }

    fn now(&self) -> DateTime<Utc> {
        now(&self.clock)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Goes on at `offset`, if what lies before it is lost.
    fn skip_to(&mut self, offset: u64) {
        if offset > self.ring.end() {
            self.aside.put(&mut self.ring, u64::MAX);
            self.ring.skip_to(offset);
            self.filter.skip_to(offset);
        }
    }

    /// Adds to the output.
    fn push(&mut self, bytes: &[u8]) {
        // No more at once than the ring holds, so that nothing passes it by.
        for part in bytes.chunks(RING_BYTES) {
            let kept_from = (self.ring.end() + part.len() as u64).saturating_sub(RING_BYTES as u64);
            self.aside.put(&mut self.ring, kept_from);
            self.ring.push(part);
        }
    }
}

/// One connection of a terminal to its runtime, from the first attempt to its end. Once there is a newer one, nothing
/// that is said on it counts.
pub(super) struct Line {
    terminal: Arc<Terminal>,
    generation: u64,
}

impl Line {
    pub(super) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Opens the way for input. `None` where the terminal is about to end, or there is a newer line.
    pub(super) fn connect(&self) -> Option<Inputs> {
        let (input, inputs) = InputQueue::new();
        self.change(|state| {
            state.unsupported = false;
            state.live_from = 0;
            if !state.ending {
                state.input = Some(input);
            }
        })?;
        Some(inputs)
    }

    /// Says that the runtime repeats what was printed before `position`: questions in it are not answered, unless these
    /// are the first words of a process that was just started and waits for the answers.
    pub(super) fn repeats_until(&self, position: u64) {
        let first = self.terminal.spec.status == SessionStatus::Pending;
        self.change(|state| state.live_from = if first && state.heard_bytes == 0 { 0 } else { position });
    }

    /// Takes in output that starts at `offset` of the stream; what is held already is left out.
    pub(super) fn output(&self, offset: u64, mut bytes: Bytes) {
        let now = self.terminal.now();
        let woken = self.change(|state| {
            state.heard_bytes += bytes.len() as u64;
            state.output_at = Instant::now();
            let known = state.ring.end().saturating_sub(offset);
            if known > 0 {
                bytes = bytes.split_off(usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len()));
            }
            state.skip_to(offset);
            let position = state.ring.end();
            let (bytes, asked) = state.filter.pass(position, bytes);
            state.journal.came(position, now);
            state.push(&bytes);
            let (live_from, room) = (state.live_from, ASKED_MAX - state.asked.len());
            let asked = asked.into_iter().filter(|asked| asked.position > live_from).take(room);
            state.asked.extend(asked.map(|asked| (asked, None)));
            let printed = state.awaited.take_if(|awaited| *awaited <= state.ring.end()).is_some();
            (state.is_behind(), !state.asked.is_empty(), printed)
        });
        if let Some((behind, asked, printed)) = woken {
            printed.then(|| self.terminal.printed.notify_waiters());
            behind.then(|| self.terminal.behind.notify_one());
            asked.then(|| self.terminal.asked.notify_one());
        }
    }

    /// Takes in output that follows what is there.
    pub(super) fn append(&self, bytes: Bytes) {
        self.output(self.terminal.end(), bytes);
    }

    /// Goes on behind all that was recorded, and shows that output may be missing here, which the runtime cannot say.
    pub(super) fn tell_gap(&self) {
        self.skip_to(self.terminal.spec.recorded_to);
        self.change(|state| state.counted_until = state.counted_until.min(state.ring.end()));
        if self.terminal.end() == 0 {
            return;
        }
        tracing::info!(session.id = %self.terminal.spec.session, "terminal output may have been missed");
        // Attributes that the program set end before the line and are not taken up behind it.
        let notice = format!("\r\n\u{1b}[0;2m[{GAP_NOTICE}]\u{1b}[0m\r\n");
        self.change(|state| {
            let position = state.ring.end();
            let (notice, _) = state.filter.pass(position, notice.into());
            state.push(&notice);
        });
    }

    /// The runtime has dropped everything before `offset` for us.
    pub(super) fn skip_to(&self, offset: u64) {
        self.change(|state| state.skip_to(offset));
    }

    /// Says whether the runtime turned out to have no terminals.
    pub(super) fn set_unsupported(&self, unsupported: bool) {
        self.change(|state| state.unsupported = unsupported);
    }

    /// The runtime has said, as it closed the terminal, that the process ended.
    pub(super) fn set_exited(&self) {
        self.change(|state| state.exited = true);
    }

    /// Changes the terminal and wakes who watches it, unless there is a newer line.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut state = self.terminal.lock();
        if state.generation != self.generation {
            return None;
        }
        let changed = change(&mut state);
        drop(state);
        self.terminal.changed.send_replace(());
        Some(changed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.change(|state| {
            state.has_line = false;
            state.input = None;
        });
    }
}

/// The line of a runtime that has dialed in (realtime contract §5.10). It ends with its value.
pub struct LegacyUpstream {
    line: Line,
    inputs: Inputs,
    /// Has the loss of the line be reported.
    _gone: DropGuard,
}

impl LegacyUpstream {
    /// Tells this line from others of its session.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.line.generation()
    }

    /// The size that the terminal has now.
    #[must_use]
    pub fn size(&self) -> Size {
        self.line.terminal().size()
    }

    /// Takes in what the terminal printed next.
    pub fn output(&self, bytes: Bytes) {
        self.line.append(bytes);
    }

    /// Waits for what the runtime is to be told. `None` once the session is over.
    pub async fn next(&mut self) -> Option<Input> {
        self.inputs.recv().await
    }
}

/// Every terminal that this process keeps connected.
#[derive(Clone)]
pub struct LiveTerminals {
    terminals: Arc<Mutex<Terminals>>,
    /// Wakes when a terminal is opened.
    opened: Arc<watch::Sender<()>>,
    shared: Shared,
    news: mpsc::Sender<TerminalNews>,
    clock: Clock,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Terminals {
    live: HashMap<SessionId, Arc<Terminal>>,
    /// Ended a moment ago.
    leaving: HashMap<SessionId, Arc<Terminal>>,
}

impl LiveTerminals {
    /// `news` takes what the connections report; tasks run under `tasks` until `shutdown`.
    #[must_use]
    pub fn new(news: mpsc::Sender<TerminalNews>, clock: Clock, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        Self { terminals: Arc::default(), opened: Arc::default(), shared: Shared::default(), news, clock, tasks, shutdown }
    }

    /// Connects a terminal, unless it is connected.
    pub fn open(&self, runtime: &RuntimeClient, spec: TerminalSpec) {
        if let Some(terminal) = self.insert(Some(runtime.clone()), spec) {
            let news = self.news.clone();
            let dialed = Arc::clone(&terminal);
            self.keep(terminal, async move { upstream::run(&dialed, &news).await });
        }
    }

    /// Gives a runtime that dials in the line of its session; `None` where the session has one. The session is
    /// `connecting` until the runtime says more of it.
    #[must_use]
    pub fn open_legacy(&self, spec: TerminalSpec) -> Option<LegacyUpstream> {
        let session = spec.session;
        if let Some(terminal) = self.insert(None, spec) {
            self.keep(terminal, std::future::pending());
        }
        let terminal = self.get(session)?;
        let (line, inputs) = terminal.legacy_line()?;
        line.tell_gap();
        let (gone, generation) = (CancellationToken::new(), line.generation());
        let (news, over, shutdown) = (self.news.clone(), gone.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            report(&news, TerminalNews { session, generation, news: SessionNews::Dialing }).await;
            tokio::select! {
                () = over.cancelled() => {}
                () = shutdown.cancelled() => return,
            }
            report(&news, TerminalNews { session, generation, news: SessionNews::Lost }).await;
        });
        Some(LegacyUpstream { line, inputs, _gone: gone.drop_guard() })
    }

    /// Has a terminal that is kept connected be dialed with this client from now on, if it is not connected at once. A
    /// connection that holds is left alone.
    pub fn renew(&self, session: SessionId, runtime: &RuntimeClient) {
        if let Some(terminal) = self.get(session) {
            terminal.runtime.send_if_modified(|known| known.replace(runtime.clone()).is_some());
        }
    }

    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<Arc<Terminal>> {
        self.lock().live.get(&session).cloned()
    }

    /// Every terminal, with those that ended a moment ago.
    #[must_use]
    pub fn all(&self) -> Vec<(SessionId, Arc<Terminal>)> {
        let terminals = self.lock();
        terminals.live.iter().chain(&terminals.leaving).map(|(session, terminal)| (*session, Arc::clone(terminal))).collect()
    }

    /// Wakes whenever a terminal was opened, which [`Self::all`] then has.
    #[must_use]
    pub fn opened(&self) -> watch::Receiver<()> {
        self.opened.subscribe()
    }

    /// Waits until sizes have changed, and tells which terminals' since the last call.
    pub async fn resized(&self) -> Vec<SessionId> {
        loop {
            let sessions: Vec<SessionId> = self.shared.resizes.lock().drain().collect();
            if !sessions.is_empty() {
                return sessions;
            }
            self.shared.resizes.added.notified().await;
        }
    }

    /// Tells a terminal's viewers of a new status.
    pub fn set_status(&self, session: SessionId, status: SessionStatus, login: Login) {
        if let Some(terminal) = self.get(session) {
            terminal.set_status(status, login);
        }
    }

    /// Ends a terminal: no input any more, and output at once or, with `drain`, after the process's
    /// last words. Viewers are told behind it.
    pub fn end(&self, session: SessionId, drain: bool) {
        let Some(terminal) = self.leave(session) else { return };
        terminal.close_input();
        terminal.set_status(SessionStatus::Terminated, Login::default());
        if drain {
            terminal.drain.cancel();
        } else {
            terminal.cut.cancel();
            terminal.finish();
        }
    }

    fn insert(&self, runtime: Option<RuntimeClient>, spec: TerminalSpec) -> Option<Arc<Terminal>> {
        let mut terminals = self.lock();
        let session = spec.session;
        if terminals.live.contains_key(&session) {
            return None;
        }
        let terminal = Arc::new(Terminal::new(spec, runtime, self.clock.clone(), &self.shared));
        terminals.live.insert(session, Arc::clone(&terminal));
        drop(terminals);
        self.opened.send_replace(());
        Some(terminal)
    }

    fn leave(&self, session: SessionId) -> Option<Arc<Terminal>> {
        let mut terminals = self.lock();
        let terminal = terminals.live.remove(&session)?;
        terminals.leaving.insert(session, Arc::clone(&terminal));
        Some(terminal)
    }

    fn keep(&self, terminal: Arc<Terminal>, connecting: impl Future<Output = ()> + Send + 'static) {
        let (terminals, shutdown) = (Arc::clone(&self.terminals), self.shutdown.clone());
        self.tasks.spawn(async move {
            let session = terminal.session();
            let living = async {
                terminal.live(connecting).await;
                sleep(LINGERS).await;
            };
            tokio::select! {
                () = living => {}
                () = shutdown.cancelled() => {}
            }
            terminals.lock().unwrap_or_else(PoisonError::into_inner).leaving.remove(&session);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Terminals> {
        self.terminals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "no database is asked on the way of the bytes, so its clock is not either")]
fn now(clock: &Clock) -> DateTime<Utc> {
    clock.at(Utc::now())
}

/// Hands on what becomes of a line.
pub(super) async fn report(news: &mpsc::Sender<TerminalNews>, told: TerminalNews) {
    if news.send(told).await.is_err() {
        tracing::debug!(session.id = %told.session, "shutting down, nobody takes terminal news");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::runtime::tape::TapeEvent;

    pub(in crate::runtime) fn spec() -> TerminalSpec {
        TerminalSpec {
            session: SessionId::generate(),
            workspace: WorkspaceId::generate(),
            runtime_agent_id: "a".into(),
            size: Size::DEFAULT,
            status: SessionStatus::Active,
            login: Login::default(),
            past: None,
            recorded_to: 0,
        }
    }

    pub(in crate::runtime) fn terminal() -> Arc<Terminal> {
        Arc::new(Terminal::new(spec(), None, Clock::default(), &Shared::default()))
    }

    /// A terminal whose time can be moved.
    pub(in crate::runtime) fn terminal_at() -> (Arc<Terminal>, Clock) {
        let clock = Clock::default();
        (Arc::new(Terminal::new(spec(), None, clock.clone(), &Shared::default())), clock)
    }

    /// A terminal of a process that was just started.
    pub(in crate::runtime) fn pending_terminal() -> Arc<Terminal> {
        Arc::new(Terminal::new(TerminalSpec { status: SessionStatus::Pending, ..spec() }, None, Clock::default(), &Shared::default()))
    }

    impl Terminal {
        /// How many wait for changes.
        pub(in crate::runtime) fn watchers(&self) -> usize {
            self.changed.receiver_count()
        }
    }

    /// RT-13: an older line says and closes nothing.
    #[tokio::test]
    async fn what_an_older_line_says_late_changes_nothing() {
        let terminal = terminal();
        let dialed = terminal.line().unwrap();
        assert!(terminal.line().is_none(), "it has one");
        dialed.output(0, Bytes::from_static(b"one"));
        let (legacy, mut inputs) = terminal.legacy_line().unwrap();
        assert!(terminal.legacy_line().is_none(), "a connected one stays");
        assert!(terminal.is_newest(legacy.generation()) && !terminal.is_newest(dialed.generation()));

        dialed.output(3, Bytes::from_static(b"old"));
        dialed.skip_to(100);
        dialed.set_unsupported(true);
        dialed.set_exited();
        assert!(dialed.connect().is_none());
        drop(dialed);

        assert!(terminal.is_connected() && !terminal.is_unsupported());
        assert_eq!(terminal.history(), "one");
        terminal.write(Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(inputs.recv().await, Some(Input::Bytes(Bytes::from_static(b"x"))));
        drop(legacy);
        assert_eq!(terminal.write(Bytes::from_static(b"y")).await, Err(NotConnected));
        assert_eq!(inputs.recv().await, None);
        assert!(terminal.line().is_some());
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_runtime_is_bounded_and_is_not_typed_once_it_may_not() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        terminal.record_input(true);
        let mut tape = terminal.tape(0);
        tape.take(0);
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        for _ in 0..2 {
            terminal.write(piece.clone()).await.unwrap();
        }
        let may_type = AtomicBool::new(true);
        let allowed = || if may_type.load(Ordering::Relaxed) { Ok(()) } else { Err(NotConnected) };
        let mut third = std::pin::pin!(terminal.write_if(Bytes::from_static(b"y"), allowed));
        assert!(timeout(Duration::from_millis(50), &mut third).await.is_err(), "it waits");
        may_type.store(false, Ordering::Relaxed);
        assert_eq!(inputs.recv().await, Some(Input::Bytes(piece.clone())));
        assert_eq!(third.await, Err(NotConnected));
        assert_eq!(inputs.recv().await, Some(Input::Bytes(piece)));
        assert!(inputs.try_recv().is_err());
        let events = tape.take(0);
        let typed = events.iter().filter(|event| matches!(event, TapeEvent::Input { .. })).count();
        let cut = events.iter().filter(|event| matches!(event, TapeEvent::Marker { text, .. } if text == "64512 more bytes were typed"));
        assert_eq!((typed, cut.count()), (2, 2), "{events:?}");
    }

    /// RT-17: a line that is back is so before the session is told whether a login is still required.
    #[tokio::test]
    async fn what_is_typed_is_recorded_only_while_the_session_is_known_to_be_active() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        terminal.record_input(true);
        let mut tape = terminal.tape(0);
        for status in SessionStatus::ALL {
            terminal.set_status(status, Login::default());
            terminal.write(Bytes::from_static(status.as_str().as_bytes())).await.unwrap();
            assert_eq!(inputs.recv().await, Some(Input::Bytes(Bytes::from_static(status.as_str().as_bytes()))));
        }
        let events = tape.take(0);
        let typed: Vec<_> = events.iter().filter(|event| matches!(event, TapeEvent::Input { .. })).collect();
        assert!(matches!(typed[..], [TapeEvent::Input { bytes, .. }] if &bytes[..] == b"active"), "{typed:?}");
    }

    #[tokio::test]
    async fn a_runtime_that_dials_in_has_the_only_line_until_it_leaves() {
        let (news, mut told) = mpsc::channel(16);
        let terminals = LiveTerminals::new(news, Clock::default(), TaskTracker::new(), CancellationToken::new());
        let mut opened = terminals.opened();
        let spec = spec();
        let mut first = terminals.open_legacy(spec.clone()).unwrap();
        assert!(opened.has_changed().unwrap());
        opened.mark_unchanged();
        assert!(terminals.open_legacy(spec.clone()).is_none());
        let terminal = terminals.get(spec.session).unwrap();
        first.output(Bytes::from_static(b"hello"));
        terminal.resize(Size::new(90, 20).unwrap()).await;
        assert_eq!(first.next().await, Some(Input::Resize));
        assert_eq!((first.size(), terminals.resized().await), (Size::new(90, 20).unwrap(), vec![spec.session]));
        let generation = first.generation();
        drop(first);
        let second = terminals.open_legacy(spec.clone()).unwrap();
        assert!(terminal.history().starts_with("hello") && terminal.history().contains(GAP_NOTICE));
        let mut heard = Vec::new();
        while heard.len() < 3 {
            let news = told.recv().await.unwrap();
            heard.push((news.generation, news.news));
        }
        heard.sort_by_key(|(generation, _)| *generation);
        assert_eq!(heard[..2], [(generation, SessionNews::Dialing), (generation, SessionNews::Lost)]);
        assert_eq!(heard[2], (second.generation(), SessionNews::Dialing));

        let mut second = second;
        terminals.end(spec.session, true);
        assert_eq!(second.next().await, None);
        assert_eq!((terminals.get(spec.session).is_none(), terminals.all().len()), (true, 1), "a recorder still finds it");
        assert!(!opened.has_changed().unwrap());
    }

    #[tokio::test]
    async fn output_shows_that_a_process_lives_and_silence_only_counts_while_it_would_be_heard() {
        let (on_its_way, silence) = (Duration::from_millis(200), Duration::from_millis(400));
        let terminal = terminal();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Nothing);
        let line = terminal.line().unwrap();
        let inputs = line.connect();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence);
        let print = async |after: u64| {
            sleep(Duration::from_millis(after)).await;
            line.append(Bytes::from_static(b"x"));
        };
        assert_eq!(tokio::join!(terminal.listen(on_its_way, silence), print(50)).0, Heard::Silence, "it was on its way");
        assert_eq!(tokio::join!(terminal.listen(on_its_way, silence), print(300)).0, Heard::Output);
        line.tell_gap();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence, "our own words do not count");
        drop((line, inputs));
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Nothing);
        terminal.line().unwrap().set_exited();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence);
    }

    /// RT-16: nothing is left of the recording, and the runtime has no positions.
    #[tokio::test]
    async fn what_follows_a_recording_that_was_emptied_is_behind_it() {
        let (news, _told) = mpsc::channel(16);
        let terminals = LiveTerminals::new(news, Clock::default(), TaskTracker::new(), CancellationToken::new());
        let spec = TerminalSpec { recorded_to: 1000, ..spec() };
        let legacy = terminals.open_legacy(spec.clone()).unwrap();
        legacy.output(Bytes::from_static(b"on it goes"));
        let terminal = terminals.get(spec.session).unwrap();
        let mut tape = terminal.follow();
        tape.go_on_at(1000);
        let events = tape.take(usize::MAX);
        let outputs = events
            .iter()
            .filter_map(|event| if let TapeEvent::Output { offset, bytes, .. } = event { Some((offset, bytes)) } else { None });
        let outputs: Vec<_> = outputs.collect();
        assert!(matches!(outputs[..], [(1000, _), ..]), "{events:?}");
        let history = terminal.history();
        assert!(history.contains(GAP_NOTICE) && history.ends_with("on it goes"), "{history}");
    }

    #[test]
    fn what_was_recorded_before_is_shown_and_the_stream_goes_on_behind_it() {
        let past = Past { offset: 1000, bytes: Bytes::from_static(b"before"), size: Size::DEFAULT };
        let terminal = Arc::new(Terminal::new(TerminalSpec { past: Some(past), ..spec() }, None, Clock::default(), &Shared::default()));
        assert_eq!((terminal.end(), terminal.history().as_str()), (1006, "before"));
        terminal.line().unwrap().output(1000, Bytes::from_static(b"before and after"));
        assert_eq!(terminal.history(), "before and after");
    }
}
