//! Live terminals: the output of each in a bounded ring, read by any number of viewers at their
//! own pace, and input on its way to the runtime.
//!
//! A viewer holds nothing but a position in the ring. It reads when it can send, so a slow one
//! delays nobody and needs no queue; one that falls behind the ring is told to start over.
//! Nothing here touches the database.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{RuntimeClient, ring::Ring, upstream};
use crate::model::{
    ids::{SessionId, WorkspaceId},
    login::Login,
    terminal::{SessionNews, SessionStatus, Size},
};

/// Pieces of input that may wait for the runtime: a paste of 1 MiB in pieces of 16 KiB is 64.
const INPUT_QUEUE: usize = 256;

/// How long an ended process's last output is waited for.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

/// One piece of output for a viewer is at most this long, in bytes (realtime contract §5.7).
const OUTPUT_BYTES_MAX: usize = 32 * 1024;

/// What a terminal's connection reports upward.
#[derive(Clone, Copy, Debug)]
pub struct TerminalNews {
    pub session: SessionId,
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
}

/// What goes to the runtime.
pub(super) enum Input {
    Bytes(Bytes),
    Resize(Size),
}

struct State {
    ring: Ring,
    size: Size,
    status: SessionStatus,
    login: Login,
    /// Counts the changes of `status` that viewers are told of.
    status_version: u64,
    /// Bytes that have come from the runtime, which unlike the ring's end do not count our own notices.
    heard_bytes: u64,
    /// The runtime has no terminals to show.
    unsupported: bool,
    /// The runtime closed the terminal with the word that its process ended.
    exited: bool,
    /// Whether output may still come; once it cannot, viewers are told the final status.
    open: bool,
}

/// One live terminal.
pub struct Terminal {
    spec: TerminalSpec,
    /// Whom to dial: the endpoint stays, while the token may be replaced.
    runtime: watch::Sender<RuntimeClient>,
    state: Mutex<State>,
    /// Wakes viewers; the value means nothing.
    changed: watch::Sender<()>,
    input: mpsc::Sender<Input>,
    connected: AtomicBool,
    /// Ends the connection: at once, or after the last output.
    cut: CancellationToken,
    drain: CancellationToken,
}

/// The runtime is not connected now, so input goes nowhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("runtime not connected")]
pub struct NotConnected;

impl Terminal {
    fn new(spec: TerminalSpec, runtime: RuntimeClient) -> (Self, mpsc::Receiver<Input>) {
        let (input, inputs) = mpsc::channel(INPUT_QUEUE);
        let state = State {
            ring: Ring::default(),
            size: spec.size,
            status: spec.status,
            login: spec.login.clone(),
            status_version: 0,
            heard_bytes: 0,
            unsupported: false,
            exited: false,
            open: true,
        };
        let terminal = Self {
            spec,
            runtime: watch::Sender::new(runtime),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            input,
            connected: AtomicBool::new(false),
            cut: CancellationToken::new(),
            drain: CancellationToken::new(),
        };
        (terminal, inputs)
    }

    pub(super) fn spec(&self) -> &TerminalSpec {
        &self.spec
    }

    /// The client to dial with, and those that come after it.
    pub(super) fn runtime(&self) -> watch::Receiver<RuntimeClient> {
        self.runtime.subscribe()
    }

    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.drain
    }

    pub(super) fn size(&self) -> Size {
        self.lock().size
    }

    /// Where the stream goes on after a reconnect.
    pub(super) fn end(&self) -> u64 {
        self.lock().ring.end()
    }

    /// Takes in output that starts at `offset` of the stream; what is held already is left out.
    pub(super) fn output(&self, offset: u64, mut bytes: Bytes) {
        {
            let mut state = self.lock();
            state.heard_bytes += bytes.len() as u64;
            let known = state.ring.end().saturating_sub(offset);
            if known > 0 {
                bytes = bytes.split_off(usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len()));
            } else {
                state.ring.skip_to(offset);
            }
            state.ring.push(&bytes);
        }
        self.changed.send_replace(());
    }

    /// Shows viewers a line of our own, between what came before and what comes after.
    pub(super) fn notice(&self, text: &str) {
        // Attributes that the program set end before the line and are not taken up behind it.
        self.lock().ring.push(format!("\r\n\u{1b}[0;2m[{text}]\u{1b}[0m\r\n").as_bytes());
        self.changed.send_replace(());
    }

    /// Says whether the runtime turned out to have no terminals.
    pub(super) fn set_unsupported(&self, unsupported: bool) {
        self.lock().unsupported = unsupported;
        self.changed.send_replace(());
    }

    /// The runtime has said, as it closed the terminal, that the process ended.
    pub(super) fn set_exited(&self) {
        self.lock().exited = true;
    }

    fn is_exited(&self) -> bool {
        self.lock().exited
    }

    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.lock().unsupported
    }

    /// Whether input goes through now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// All output that is held, as text: a late viewer's history.
    #[must_use]
    pub fn history(&self) -> String {
        let state = self.lock();
        let start = state.ring.history_start();
        let mut bytes = Vec::new();
        state.ring.read(start, usize::MAX, &mut bytes);
        drop(state);
        String::from_utf8_lossy(&bytes).into_owned()
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
        match timeout(silence, speaks).await {
            Ok(()) => Heard::Output,
            Err(_) if self.is_connected() || self.is_unsupported() || self.is_exited() => Heard::Silence,
            Err(_) => Heard::Nothing,
        }
    }

    /// The runtime has dropped everything before `offset` for us.
    pub(super) fn skip_to(&self, offset: u64) {
        self.lock().ring.skip_to(offset);
        self.changed.send_replace(());
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
    }

    /// No output will come any more.
    pub(super) fn finish(&self) {
        self.set_connected(false);
        self.lock().open = false;
        self.changed.send_replace(());
    }

    /// Sends input, in the order of the calls; waits while the runtime is slow to take it.
    pub async fn write(&self, bytes: Bytes) -> Result<(), NotConnected> {
        if !self.is_connected() {
            return Err(NotConnected);
        }
        self.input.send(Input::Bytes(bytes)).await.map_err(|_| NotConnected)
    }

    /// Changes the size. `false` when it is that size already.
    pub async fn resize(&self, size: Size) -> bool {
        let unchanged = std::mem::replace(&mut self.lock().size, size) == size;
        if !unchanged && self.is_connected() && self.input.send(Input::Resize(size)).await.is_err() {
            tracing::debug!(session.id = %self.spec.session, "resize of a terminal that has ended");
        }
        !unchanged
    }

    /// A viewer that starts with what the ring holds.
    #[must_use]
    pub fn view(self: &Arc<Self>) -> Viewer {
        let state = self.lock();
        let position = state.ring.history_start();
        let status_seen = state.status_version;
        drop(state);
        Viewer {
            changed: self.changed.subscribe(),
            terminal: Arc::clone(self),
            position,
            reset_first: position > 0,
            status_seen,
            told_unsupported: false,
            buffer: Vec::new(),
        }
    }

    fn set_status(&self, status: SessionStatus, login: Login) {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a viewer is to show next.
#[derive(Debug, PartialEq, Eq)]
pub enum View {
    Output(String),
    /// Output was missed: clear the screen, what follows starts over.
    Resync,
    Status {
        status: SessionStatus,
        login: Login,
    },
    /// The runtime has no terminals: there will be nothing to see.
    Unsupported,
}

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

/// One reader of a terminal.
pub struct Viewer {
    terminal: Arc<Terminal>,
    changed: watch::Receiver<()>,
    position: u64,
    /// Whether older output is missing, so that attributes must be reset first.
    reset_first: bool,
    status_seen: u64,
    told_unsupported: bool,
    buffer: Vec<u8>,
}

impl Viewer {
    /// Waits for the next thing to show; `None` once the terminal has ended and all was shown.
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<View> {
        loop {
            self.changed.mark_unchanged();
            if let Some(view) = self.take() {
                return Some(view);
            }
            if !self.terminal.lock().open {
                return None;
            }
            // Fails only when the terminal is gone, and we hold it.
            self.changed.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Option<View> {
        let state = self.terminal.lock();
        if self.position < state.ring.start() {
            self.position = state.ring.history_start();
            self.reset_first = true;
            return Some(View::Resync);
        }
        self.buffer.clear();
        state.ring.read(self.position, OUTPUT_BYTES_MAX, &mut self.buffer);
        let status = (state.status, state.login.clone(), state.status_version);
        let unsupported = state.unsupported;
        let open = state.open;
        drop(state);

        let mut text = String::with_capacity(self.buffer.len() + 8);
        if self.reset_first && !self.buffer.is_empty() {
            // Reset of graphic attributes (ECMA-48, SGR 0): what set them may be gone.
            text.push_str("\u{1b}[0m");
        }
        let consumed = decode(&self.buffer, !open, &mut text);
        if consumed > 0 {
            self.position += consumed as u64;
            self.reset_first = false;
            return Some(View::Output(text));
        }
        if unsupported != self.told_unsupported {
            self.told_unsupported = unsupported;
            if unsupported {
                return Some(View::Unsupported);
            }
        }
        let (status, login, version) = status;
        // The end is told last, when nothing can come after it.
        if version == self.status_seen || (status == SessionStatus::Terminated && open) {
            return None;
        }
        self.status_seen = version;
        Some(View::Status { status, login })
    }
}

/// Appends the UTF-8 text at the start of `bytes` to `text` and returns how many bytes that took.
/// Invalid bytes become U+FFFD. A code point cut by the end is left for later, unless `last`.
fn decode(bytes: &[u8], last: bool, text: &mut String) -> usize {
    let mut consumed = 0;
    while consumed < bytes.len() {
        match std::str::from_utf8(&bytes[consumed..]) {
            Ok(rest) => {
                text.push_str(rest);
                return bytes.len();
            }
            Err(error) => {
                let valid = consumed + error.valid_up_to();
                text.push_str(std::str::from_utf8(&bytes[consumed..valid]).unwrap_or_default());
                consumed = valid;
                match error.error_len() {
                    Some(invalid) => consumed += invalid,
                    None if last => consumed = bytes.len(),
                    None => return consumed,
                }
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    consumed
}

/// Every terminal that this process keeps connected.
#[derive(Clone)]
pub struct LiveTerminals {
    terminals: Arc<Mutex<HashMap<SessionId, Arc<Terminal>>>>,
    news: mpsc::Sender<TerminalNews>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl LiveTerminals {
    /// `news` takes what the connections report; tasks run under `tasks` until `shutdown`.
    #[must_use]
    pub fn new(news: mpsc::Sender<TerminalNews>, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        Self { terminals: Arc::default(), news, tasks, shutdown }
    }

    /// Connects a terminal, unless it is connected.
    pub fn open(&self, runtime: &RuntimeClient, spec: TerminalSpec) {
        let mut terminals = self.lock();
        if terminals.contains_key(&spec.session) {
            return;
        }
        let session = spec.session;
        let (terminal, inputs) = Terminal::new(spec, runtime.clone());
        let terminal = Arc::new(terminal);
        terminals.insert(session, Arc::clone(&terminal));
        drop(terminals);
        let (news, shutdown) = (self.news.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = upstream::run(&terminal, inputs, &news) => terminal.finish(),
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Has a terminal that is kept connected be dialed with this client from now on, if it is not connected at once. A
    /// connection that holds is left alone.
    pub fn renew(&self, session: SessionId, runtime: &RuntimeClient) {
        if let Some(terminal) = self.get(session) {
            terminal.runtime.send_replace(runtime.clone());
        }
    }

    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<Arc<Terminal>> {
        self.lock().get(&session).cloned()
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
        let Some(terminal) = self.lock().remove(&session) else { return };
        terminal.set_connected(false);
        terminal.set_status(SessionStatus::Terminated, Login::default());
        if drain {
            terminal.drain.cancel();
        } else {
            terminal.cut.cancel();
            terminal.finish();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Terminal>>> {
        self.terminals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terminal() -> Arc<Terminal> {
        let spec = TerminalSpec {
            session: SessionId::generate(),
            workspace: WorkspaceId::generate(),
            runtime_agent_id: "a".into(),
            size: Size::DEFAULT,
            status: SessionStatus::Active,
            login: Login::default(),
        };
        Arc::new(Terminal::new(spec, RuntimeClient::new("http://127.0.0.1:9", None).unwrap()).0)
    }

    async fn shown(viewer: &mut Viewer) -> String {
        let mut all = String::new();
        while let Some(view) = viewer.next().await {
            match view {
                View::Output(text) => {
                    assert!(text.len() <= OUTPUT_BYTES_MAX * 3 + 8);
                    all.push_str(&text);
                }
                View::Resync => all.clear(),
                View::Status { .. } | View::Unsupported => {}
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn text_cut_anywhere_is_shown_whole(text in "\\PC{0,2000}", cuts in prop::collection::vec(1usize..9, 1..50)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let terminal = terminal();
                let mut early = terminal.view();
                let bytes = Bytes::from(text.clone().into_bytes());
                let mut position = 0;
                for cut in cuts.iter().cycle() {
                    if position == bytes.len() { break }
                    let end = (position + cut).min(bytes.len());
                    terminal.output(position as u64, bytes.slice(position..end));
                    position = end;
                }
                let mut late = terminal.view();
                terminal.finish();
                assert_eq!(shown(&mut early).await, text);
                assert_eq!(shown(&mut late).await, text);
            });
        }
    }

    #[test]
    fn invalid_bytes_become_replacement_characters_and_cut_ones_wait() {
        let mut text = String::new();
        assert_eq!(decode(b"a\xffb\xf0\x9f", false, &mut text), 3);
        assert_eq!(text, "a\u{fffd}b");
        assert_eq!(decode(b"\xf0\x9f", true, &mut text), 2);
        assert_eq!(text, "a\u{fffd}b\u{fffd}");
    }

    #[tokio::test]
    async fn repeated_output_is_taken_once_and_a_gap_resyncs_the_viewer() {
        let terminal = terminal();
        let mut viewer = terminal.view();
        terminal.output(0, Bytes::from_static(b"abc"));
        terminal.output(1, Bytes::from_static(b"bcd"));
        assert_eq!(viewer.next().await, Some(View::Output("abcd".into())));
        terminal.output(10, Bytes::from_static(b"\nz"));
        assert_eq!(viewer.next().await, Some(View::Resync));
        assert_eq!(viewer.next().await, Some(View::Output("\u{1b}[0mz".into())));
    }

    #[tokio::test]
    async fn the_end_is_told_after_the_last_output() {
        let terminal = terminal();
        let mut viewer = terminal.view();
        terminal.set_status(SessionStatus::Terminated, Login::default());
        terminal.output(0, Bytes::from_static(b"bye"));
        terminal.finish();
        assert_eq!(viewer.next().await, Some(View::Output("bye".into())));
        assert_eq!(viewer.next().await, Some(View::Status { status: SessionStatus::Terminated, login: Login::default() }));
        assert_eq!(viewer.next().await, None);
    }

    #[tokio::test]
    async fn output_shows_that_a_process_lives_and_silence_only_counts_while_it_would_be_heard() {
        let (on_its_way, silence) = (Duration::from_millis(200), Duration::from_millis(400));
        let terminal = terminal();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Nothing);
        terminal.set_connected(true);
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence);
        let print = |after: u64| {
            let terminal = Arc::clone(&terminal);
            async move {
                sleep(Duration::from_millis(after)).await;
                terminal.output(terminal.end(), Bytes::from_static(b"x"));
            }
        };
        assert_eq!(tokio::join!(terminal.listen(on_its_way, silence), print(50)).0, Heard::Silence, "it was on its way");
        assert_eq!(tokio::join!(terminal.listen(on_its_way, silence), print(300)).0, Heard::Output);
        terminal.notice("our own words do not count");
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence);
        terminal.set_connected(false);
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Nothing);
        terminal.set_exited();
        assert_eq!(terminal.listen(on_its_way, silence).await, Heard::Silence);
    }

    #[tokio::test]
    async fn that_there_is_nothing_to_see_is_told_once_to_each_viewer() {
        let terminal = terminal();
        let mut early = terminal.view();
        terminal.set_unsupported(true);
        terminal.set_unsupported(true);
        let mut late = terminal.view();
        assert_eq!((early.next().await, late.next().await), (Some(View::Unsupported), Some(View::Unsupported)));
        terminal.finish();
        assert_eq!((early.next().await, late.next().await), (None, None));
    }
}
