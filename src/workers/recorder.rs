//! Records what every terminal of this node shows: one task per terminal takes it off its tape and packs it into pieces, and
//! one writes the pieces of all. Nothing here is waited for by who prints or watches.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::pruning::{self, Pruning};
use crate::{
    app::{App, StorageError},
    domain::{
        recordings::{self, Addition, Findings, Progress, Recorded},
        terminals::{Tape, TapeEvent, Terminal},
    },
    model::{
        ids::{SessionId, WorkspaceId},
        leak::{Found, Masker},
        recording::{Draft, Mark, Moment, PIECE_BYTES, Piece, What},
        terminal::Size,
    },
};

/// Output is written down at the latest this long after it came.
const WRITE_EVERY: Duration = Duration::from_millis(250);
/// Beyond this many bytes of pieces nothing waits for [`WRITE_EVERY`].
const WRITE_AT_BYTES: usize = 1024 * 1024;
/// Bytes of pieces that one transaction writes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of pieces that may wait for the database, of one session and of all: what does not fit stays on the tape.
const SESSION_BYTES_MAX: usize = 8 * 1024 * 1024;
const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What is printed is gathered before it is taken: this many bytes, or for so long.
const TAKE_BYTES: usize = 64 * 1024;
const TAKE_AFTER: Duration = Duration::from_millis(5);
/// Bytes that are packed at once. What is less than the other is packed where it is: a change of threads would take longer.
const PACK_BYTES: usize = PIECE_BYTES;
const PACK_HERE_BYTES: usize = 4 * 1024;
/// What a recording says where it was not to be made for a while, and where what came before is not to be kept.
const SWITCHED_OFF: &str = "recording was switched off";
const DELETED: &str = "the recording was deleted";
/// Secrets that are looked up of one piece, and remembered of one session, at the most.
const SECRETS_PER_PIECE_MAX: usize = 256;
const SECRETS_KNOWN_MAX: usize = 1024;
/// A recording that the database refuses is taken up again after this long, and after twice as long each further time, up to
/// the other: what is wrong may be put right, and must not fill the log until then.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE_MAX: Duration = Duration::from_mins(5);
/// How often it is looked whether pieces are to be merged, or rules have changed unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long the end of the service waits for the last takes, and for the last write.
const LAST_TAKE_WITHIN: Duration = Duration::from_secs(1);
const LAST_WRITE_WITHIN: Duration = Duration::from_secs(3);

/// Tells the recorder what may concern it.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Shared>);

impl Recorder {
    /// The settings of a workspace have changed.
    pub(super) fn rules_changed(&self, workspace: WorkspaceId) {
        self.0.look.notify_one();
        self.0.pruning.look(workspace);
    }

    /// All that was recorded of a session was deleted; its terminal's output went on at `end` when that was heard.
    pub(super) fn deleted(&self, session: SessionId, at: DateTime<Utc>, end: u64) {
        self.0.delete(session, at, end);
    }
}

/// Starts the recorder. Unlike others it does its last work after the service was told to end.
pub(super) fn start(app: &App) -> Recorder {
    let shared = Arc::new(Shared::new());
    app.spawn(supervise(app.clone(), Arc::clone(&shared)));
    app.spawn(write(app.clone(), Arc::clone(&shared)));
    super::run(app, "merging of recordings", merge(app.clone()));
    super::run(app, "pruning of recordings", pruning::run(app.clone(), shared.pruning.clone()));
    Recorder(shared)
}

/// What the tasks share.
struct Shared {
    backlog: Mutex<Backlog>,
    /// One for each that may pack on a thread of its own: more would only take turns.
    packing: Semaphore,
    /// Wakes the writer.
    filled: Notify,
    /// Has the rules read again.
    look: Notify,
    /// Wakes whoever waits for room, for a decision about its recording, or for the rules.
    changed: watch::Sender<()>,
    pruning: Pruning,
}

#[derive(Default)]
struct Backlog {
    sessions: HashMap<SessionId, Waiting>,
    /// Bytes of all pieces, those that are being written included.
    bytes: usize,
    /// Workspaces that are recorded.
    recorded: HashSet<WorkspaceId>,
    /// Those where people's input is recorded, too.
    typed: HashSet<WorkspaceId>,
    /// Nothing comes any more.
    closed: bool,
}

/// What of one session waits to be written.
struct Waiting {
    workspace: WorkspaceId,
    expected: Progress,
    /// When the recording was deleted last, as far as the pieces know.
    deleted_at: Option<DateTime<Utc>>,
    /// It was deleted since, and its terminal's output went on here: what is in the pieces was shown before.
    live_from: Option<u64>,
    pieces: VecDeque<Queued>,
    bytes: usize,
    /// The session is over, and nothing comes behind the pieces.
    ended: bool,
    /// Its recording does not end where the pieces go on.
    lost: bool,
    /// The database refused it.
    refused: bool,
}

impl Waiting {
    /// Gives the pieces up, and says how many bytes they were.
    fn give_up(&mut self) -> usize {
        self.pieces.clear();
        self.lost = true;
        std::mem::take(&mut self.bytes)
    }
}

/// A piece and what was found in it.
struct Queued {
    piece: Piece,
    marks: Vec<Mark>,
    secrets: Vec<Found>,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.piece.moments.len()
    }
}

/// Pieces of one session on their way into the database.
struct Batch {
    session: SessionId,
    workspace: WorkspaceId,
    expected: Progress,
    deleted_at: Option<DateTime<Utc>>,
    pieces: Vec<Piece>,
    marks: Vec<Vec<Mark>>,
    secrets: Vec<Vec<Found>>,
    ended: bool,
}

impl Batch {
    /// Where the recording ends once the batch is written.
    fn after(&self) -> Progress {
        let offset = self.pieces.last().map_or(self.expected.offset, |piece| piece.to_offset);
        Progress { offset, seq: self.expected.seq + i64::try_from(self.pieces.len()).unwrap_or(i64::MAX) }
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.moments.len()).sum()
    }

    /// How many of its pieces are in a recording; `None` where that ends with none of them, or was deleted since.
    fn written_until(&self, Recorded { progress, deleted_at }: Recorded) -> Option<usize> {
        if deleted_at != self.deleted_at {
            return None;
        }
        let count = usize::try_from(progress.seq.checked_sub(self.expected.seq)?).ok()?;
        let last = self.pieces.get(count.checked_sub(1)?)?;
        (last.to_offset == progress.offset).then_some(count)
    }

    /// Parts it behind this many pieces and returns the rest, which has the end of the session.
    fn split_off(&mut self, count: usize) -> Self {
        let (pieces, marks, secrets) = (self.pieces.split_off(count), self.marks.split_off(count), self.secrets.split_off(count));
        let ended = std::mem::take(&mut self.ended);
        Self { expected: self.after(), pieces, marks, secrets, ended, ..*self }
    }
}

/// Why a recording was given up.
enum GivenUp {
    /// It was deleted, and the terminal's output went on here.
    Deleted { live_from: u64 },
    /// The database refused it.
    Refused,
    /// It does not end where we thought.
    Elsewhere,
}

impl Shared {
    fn new() -> Self {
        Self {
            backlog: Mutex::default(),
            packing: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            filled: Notify::new(),
            look: Notify::new(),
            changed: watch::Sender::default(),
            pruning: Pruning::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        // Every change leaves the backlog whole, so a panic elsewhere does not spoil it.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_recorded(&self, workspace: WorkspaceId) -> bool {
        self.lock().recorded.contains(&workspace)
    }

    fn begin(&self, session: SessionId, workspace: WorkspaceId, recorded: Recorded) {
        let waiting = Waiting {
            workspace,
            expected: recorded.progress,
            deleted_at: recorded.deleted_at,
            live_from: None,
            pieces: VecDeque::new(),
            bytes: 0,
            ended: false,
            lost: false,
            refused: false,
        };
        self.lock().sessions.insert(session, waiting);
    }

    /// Has what waits of a session be given up, where it does not know of a deletion yet.
    fn delete(&self, session: SessionId, at: DateTime<Utc>, end: u64) {
        let mut backlog = self.lock();
        let waiting = backlog.sessions.get_mut(&session);
        let Some(waiting) = waiting.filter(|waiting| waiting.deleted_at.is_none_or(|known| known < at)) else { return };
        waiting.live_from.get_or_insert(end);
        drop(backlog);
        self.changed.send_replace(());
        self.filled.notify_one();
    }

    /// Waits until all of a session is written that has ended; `false` when its recording is given up.
    async fn is_written(&self, session: SessionId) -> bool {
        let mut changed = self.changed.subscribe();
        loop {
            let lost = self.lock().sessions.get(&session).map(|waiting| waiting.lost);
            match lost {
                None => return true,
                Some(true) => return false,
                Some(false) => {}
            }
            // Fails only when the sender is gone, and we hold it.
            if changed.changed().await.is_err() {
                return true;
            }
        }
    }

    /// Lets go of what there is of a session.
    fn forget(&self, session: SessionId) -> Option<Waiting> {
        let forgotten = self.lock().sessions.remove(&session);
        self.changed.send_replace(());
        forgotten
    }

    /// Waits until a recording that is lost to us is given up, lets go of it, and says why it was.
    async fn given_up(&self, session: SessionId) -> GivenUp {
        self.is_written(session).await;
        match self.forget(session) {
            Some(Waiting { live_from: Some(live_from), .. }) => GivenUp::Deleted { live_from },
            Some(Waiting { refused: true, .. }) => GivenUp::Refused,
            Some(_) | None => GivenUp::Elsewhere,
        }
    }

    /// Whether more of a session may wait, and whether its recording is still ours to write.
    fn state(&self, session: SessionId) -> (bool, bool) {
        let backlog = self.lock();
        let waiting = backlog.sessions.get(&session);
        let has_room = backlog.bytes < ALL_BYTES_MAX && waiting.is_none_or(|waiting| waiting.bytes < SESSION_BYTES_MAX);
        (has_room, waiting.is_some_and(|waiting| !waiting.lost && waiting.live_from.is_none()))
    }

    fn push(&self, session: SessionId, queued: Queued) {
        let mut backlog = self.lock();
        let bytes = queued.bytes();
        let Some(waiting) = backlog.sessions.get_mut(&session).filter(|waiting| !waiting.lost) else { return };
        waiting.pieces.push_back(queued);
        waiting.bytes += bytes;
        backlog.bytes += bytes;
        drop(backlog);
        self.filled.notify_one();
    }

    fn end(&self, session: SessionId) {
        if let Some(waiting) = self.lock().sessions.get_mut(&session) {
            waiting.ended = true;
        }
        self.filled.notify_one();
    }

    /// What is to be written next. It stays counted until it is written or given back.
    fn next(&self) -> Vec<Batch> {
        self.give_up_deleted();
        let mut batches = Vec::new();
        let mut room = BATCH_BYTES;
        for (session, waiting) in &mut self.lock().sessions {
            if room == 0 {
                break;
            }
            let (mut pieces, mut marks, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
            while let Some(queued) = waiting.pieces.pop_front_if(|queued| pieces.is_empty() || queued.bytes() <= room) {
                room = room.saturating_sub(queued.bytes());
                pieces.push(queued.piece);
                marks.push(queued.marks);
                secrets.push(queued.secrets);
            }
            let ended = waiting.ended && !waiting.lost && waiting.pieces.is_empty();
            if !pieces.is_empty() || ended {
                let (session, workspace, expected, deleted_at) = (*session, waiting.workspace, waiting.expected, waiting.deleted_at);
                batches.push(Batch { session, workspace, expected, deleted_at, pieces, marks, secrets, ended });
            }
        }
        batches
    }

    /// Gives up what was shown before its recording was deleted. Nothing is being written now.
    fn give_up_deleted(&self) {
        let mut backlog = self.lock();
        let (mut bytes, mut is_awaited) = (0, false);
        for waiting in backlog.sessions.values_mut().filter(|waiting| waiting.live_from.is_some() && !waiting.lost) {
            bytes += waiting.give_up();
            is_awaited = true;
        }
        backlog.bytes -= bytes;
        drop(backlog);
        if is_awaited {
            self.changed.send_replace(());
        }
    }

    fn give_back(&self, batches: Vec<Batch>) {
        let mut backlog = self.lock();
        for batch in batches {
            let Some(waiting) = backlog.sessions.get_mut(&batch.session) else { continue };
            let parts = batch.pieces.into_iter().zip(batch.marks).zip(batch.secrets);
            for ((piece, marks), secrets) in parts.rev() {
                waiting.pieces.push_front(Queued { piece, marks, secrets });
            }
        }
    }

    /// Notes that a batch was written. Only who may wait for that is woken: of hundreds of terminals that print a little,
    /// all would be, with each of the others' batches.
    fn written(&self, batch: &Batch) {
        let mut backlog = self.lock();
        let mut is_awaited = batch.ended || backlog.bytes >= ALL_BYTES_MAX;
        backlog.bytes -= batch.bytes();
        if let Some(waiting) = backlog.sessions.get_mut(&batch.session) {
            is_awaited |= waiting.bytes >= SESSION_BYTES_MAX;
            waiting.bytes -= batch.bytes();
            waiting.expected = batch.after();
            if batch.ended {
                backlog.sessions.remove(&batch.session);
            }
        }
        drop(backlog);
        self.pruning.written(batch.workspace, batch.bytes());
        if is_awaited {
            self.changed.send_replace(());
        }
    }

    /// Goes on behind what a recording has of a batch that was not added to it: some of it may have been before, by a commit
    /// whose confirmation was lost. Gives the session's pieces up where the recording ends elsewhere.
    fn take_up(&self, mut batch: Batch, recorded: Option<Recorded>) {
        match recorded.and_then(|recorded| batch.written_until(recorded)) {
            Some(count) => {
                let rest = batch.split_off(count);
                self.written(&batch);
                self.give_back(vec![rest]);
            }
            None => self.lose(&batch, false),
        }
    }

    /// Gives a session's pieces up: its recording goes on elsewhere, or cannot.
    fn lose(&self, batch: &Batch, refused: bool) {
        let mut backlog = self.lock();
        let mut bytes = batch.bytes();
        if let Some(waiting) = backlog.sessions.get_mut(&batch.session) {
            bytes = waiting.give_up();
            waiting.refused = refused;
        }
        backlog.bytes -= bytes;
        drop(backlog);
        self.changed.send_replace(());
    }
}

/// Has a task for every terminal, until the service ends; then has the last pieces written.
async fn supervise(app: App, shared: Arc<Shared>) {
    let mut opened = app.terminals.opened();
    let mut known = HashSet::new();
    let mut takers = JoinSet::new();
    let mut looked_at = None;
    loop {
        let terminals = app.terminals.all();
        let workspaces: HashSet<WorkspaceId> = terminals.iter().map(|(_, terminal)| terminal.workspace()).collect();
        if app.shutdown.is_cancelled() {
            break;
        }
        if looked_at.is_none_or(|at: Instant| at.elapsed() >= LOOK_EVERY) || !workspaces.is_subset(&known_workspaces(&known)) {
            match read_rules(&app, &shared, &workspaces).await {
                Ok(()) => looked_at = Some(Instant::now()),
                Err(error) => {
                    super::pause_after("recorder", &error).await;
                    continue;
                }
            }
        }
        known.retain(|(session, _)| terminals.iter().any(|(live, _)| live == session));
        for (session, terminal) in terminals {
            terminal.record_input(shared.lock().typed.contains(&terminal.workspace()));
            if known.insert((session, terminal.workspace())) {
                takers.spawn(take(app.clone(), Arc::clone(&shared), terminal));
            }
        }
        tokio::select! {
            () = app.shutdown.cancelled() => break,
            // Fails only when the terminals are gone, and we hold them.
            _ = opened.changed() => {}
            () = shared.look.notified() => looked_at = None,
            () = sleep(LOOK_EVERY) => {}
            Some(_) = takers.join_next() => {}
        }
    }
    let all = async { while takers.join_next().await.is_some() {} };
    if timeout(LAST_TAKE_WITHIN, all).await.is_err() {
        tracing::warn!("some terminals were not recorded to the end");
    }
    shared.lock().closed = true;
    shared.filled.notify_one();
}

fn known_workspaces(known: &HashSet<(SessionId, WorkspaceId)>) -> HashSet<WorkspaceId> {
    known.iter().map(|(_, workspace)| *workspace).collect()
}

async fn read_rules(app: &App, shared: &Shared, workspaces: &HashSet<WorkspaceId>) -> Result<(), StorageError> {
    let mut conn = app.read().await?;
    let (mut recorded, mut typed) = (HashSet::new(), HashSet::new());
    for workspace in workspaces {
        let rules = recordings::rules(&mut conn, *workspace).await?;
        if rules.enabled {
            recorded.insert(*workspace);
            typed.extend(rules.input.then_some(*workspace));
        }
    }
    let mut backlog = shared.lock();
    backlog.typed = typed;
    if backlog.recorded != recorded {
        backlog.recorded = recorded;
        drop(backlog);
        shared.changed.send_replace(());
    }
    Ok(())
}

/// How the recording of a terminal was interrupted.
enum Interrupted {
    /// The terminal is over, and all of it was taken.
    Over,
    /// The service ends.
    Shutdown,
    /// The workspace is not to be recorded any more.
    SwitchedOff,
    /// The recording does not end where we thought.
    Lost,
}

/// What of a terminal's output is not to be recorded.
struct LeftOut {
    to: u64,
    why: &'static str,
}

/// Records one terminal to its end.
async fn take(app: App, shared: Arc<Shared>, terminal: Arc<Terminal>) {
    let (session, workspace) = (terminal.session(), terminal.workspace());
    // It is held all the time, so that nothing is lost while the database is waited for.
    let mut tape = terminal.follow();
    let mut left_out = LeftOut { to: 0, why: SWITCHED_OFF };
    let mut pause = REFUSED_PAUSE;
    // A recording that was given up, and when it had been deleted last.
    let mut given_up: Option<Recorded> = None;
    loop {
        while !shared.is_recorded(workspace) {
            tape.let_go();
            let mut changed = shared.changed.subscribe();
            let is_over = tape.is_finished();
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                _ = changed.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
            left_out = LeftOut { to: terminal.end(), why: SWITCHED_OFF };
            tape.go_on_at(left_out.to);
            if is_over {
                return;
            }
        }
        // What was recorded before it was switched off comes first.
        if !shared.is_written(session).await {
            shared.forget(session);
        }
        let recorded = match begin(&app, session).await {
            Begun::At(recorded) => recorded,
            Begun::Refused if rest(&app, &mut tape, &mut pause).await => continue,
            Begun::Refused | Begun::Never => return,
        };
        if given_up.take().is_some_and(|before| before.deleted_at != recorded.deleted_at) {
            left_out = LeftOut { to: tape.end(), why: DELETED };
        }
        let (began, position) = (Instant::now(), recorded.progress.offset);
        shared.begin(session, workspace, recorded);
        let mut packer = Box::new(Packer::new(&shared, session, &app.policy.agent_key_prefix, position, terminal.size()));
        tape.go_on_at(position.max(left_out.to));
        if left_out.to > position {
            packer.leave_out(&left_out);
        }
        let (interrupted, mut packer) = follow(&app, &shared, session, workspace, &mut tape, packer).await;
        if began.elapsed() >= REFUSED_PAUSE_MAX {
            pause = REFUSED_PAUSE;
        }
        match interrupted {
            Interrupted::Over => {
                packer.finish();
                packer.finish_input();
                packer.seal();
                shared.end(session);
                if shared.is_written(session).await {
                    return;
                }
            }
            Interrupted::Shutdown => {
                // What may be the start of a secret is left to the runtime, which has it still; what is typed it has not.
                packer.finish_input();
                packer.seal();
                return;
            }
            Interrupted::SwitchedOff => {
                packer.finish();
                packer.finish_input();
                packer.seal();
                shared.end(session);
                left_out = LeftOut { to: tape.position(), why: SWITCHED_OFF };
                continue;
            }
            Interrupted::Lost => {}
        }
        match shared.given_up(session).await {
            GivenUp::Deleted { live_from } => left_out = LeftOut { to: live_from, why: DELETED },
            GivenUp::Refused if rest(&app, &mut tape, &mut pause).await => {}
            GivenUp::Refused => return,
            GivenUp::Elsewhere => {
                given_up = Some(recorded);
                tracing::info!(session.id = %session, "a recording was continued elsewhere, taking it up where it ends");
            }
        }
    }
}

/// Waits before a recording that was refused is taken up again; whether it is to be. That of a terminal that is over is given
/// up once the waits are as long as they get.
async fn rest(app: &App, tape: &mut Tape, pause: &mut Duration) -> bool {
    if tape.is_finished() && *pause >= REFUSED_PAUSE_MAX {
        return false;
    }
    // The ring goes on, while the room for all is for those that can be recorded.
    tape.let_go();
    tokio::select! {
        () = app.shutdown.cancelled() => return false,
        () = sleep(*pause) => {}
    }
    *pause = (*pause * 2).min(REFUSED_PAUSE_MAX);
    tape.go_on_at(tape.position());
    true
}

/// What became of the attempt to begin or continue a recording.
enum Begun {
    /// It goes on here.
    At(Recorded),
    /// The database refused it.
    Refused,
    /// The session is gone, or the service ends.
    Never,
}

/// Begins or continues a recording, as soon as the database can.
async fn begin(app: &App, session: SessionId) -> Begun {
    loop {
        let begun = async {
            let mut tx = app.begin().await?;
            let recorded = recordings::begin(&mut tx, session).await?;
            tx.commit().await?;
            Ok(recorded)
        };
        let begun: Result<Option<Recorded>, StorageError> = begun.await;
        match begun {
            Ok(recorded) => return recorded.map_or(Begun::Never, Begun::At),
            Err(error) => {
                let again = tokio::select! {
                    () = app.shutdown.cancelled() => return Begun::Never,
                    again = super::try_again("recorder", &error) => again,
                };
                if !again {
                    return Begun::Refused;
                }
            }
        }
    }
}

/// Takes what comes, and closes a piece when it is full or due.
async fn follow(
    app: &App,
    shared: &Shared,
    session: SessionId,
    workspace: WorkspaceId,
    tape: &mut Tape,
    mut packer: Box<Packer>,
) -> (Interrupted, Box<Packer>) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        if !shared.is_recorded(workspace) {
            return (Interrupted::SwitchedOff, pack_rest(shared, tape, packer).await);
        }
        let (has_room, is_ours) = shared.state(session);
        if !is_ours {
            return (Interrupted::Lost, packer);
        }
        if has_room {
            let events = tape.take(PACK_BYTES);
            let took = !events.is_empty();
            packer = pack(shared, packer, events).await;
            if packer.due.is_some_and(|due| due <= Instant::now()) {
                packer.seal();
            }
            if took {
                tokio::task::yield_now().await;
                continue;
            }
            if tape.is_over() {
                return (Interrupted::Over, packer);
            }
        }
        let due = packer.due;
        let is_due = async {
            match due.filter(|_| has_room) {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => {
                return (Interrupted::Shutdown, pack_rest(shared, tape, packer).await);
            }
            () = tape.gathered(TAKE_BYTES, TAKE_AFTER), if has_room && !tape.is_over() => {}
            _ = changed.changed() => {}
            () = is_due => {}
        }
    }
}

/// Packs all that is on the tape now, whatever is printed meanwhile.
async fn pack_rest(shared: &Shared, tape: &mut Tape, mut packer: Box<Packer>) -> Box<Packer> {
    let end = tape.end();
    loop {
        let events = tape.take(PACK_BYTES);
        packer = pack(shared, packer, events).await;
        if tape.position() >= end {
            return packer;
        }
    }
}

/// Packs what was taken; much of it on a thread of its own.
async fn pack(shared: &Shared, mut packer: Box<Packer>, events: Vec<TapeEvent>) -> Box<Packer> {
    if events.iter().map(output_bytes).sum::<usize>() <= PACK_HERE_BYTES {
        packer.pack(events);
        return packer;
    }
    // Fails only when it is closed, and nobody closes it.
    let _turn = shared.packing.acquire().await;
    let packing = tokio::task::spawn_blocking(move || {
        packer.pack(events);
        packer
    });
    match packing.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(packer) => packer,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The service ends, and this task with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// The piece that is being made of what one terminal shows.
struct Packer {
    shared: Arc<Shared>,
    session: SessionId,
    masker: Masker,
    /// Masks what people type, which comes in pieces as small as a key.
    input_masker: Masker,
    draft: Option<Draft>,
    /// Position behind what went into pieces, and the size there.
    position: u64,
    size: Size,
    /// When the piece is to be closed.
    due: Option<Instant>,
    marks: Vec<Mark>,
    secrets: Vec<Found>,
    /// Hashes of the secrets that were looked up.
    known: HashSet<String>,
}

impl Packer {
    fn new(shared: &Arc<Shared>, session: SessionId, agent_prefix: &str, position: u64, size: Size) -> Self {
        Self {
            shared: Arc::clone(shared),
            session,
            masker: Masker::new(agent_prefix, position),
            input_masker: Masker::new(agent_prefix, 0),
            draft: None,
            position,
            size,
            due: None,
            marks: Vec::new(),
            secrets: Vec::new(),
            known: HashSet::new(),
        }
    }

    /// Packs what happened, and closes each piece that is full.
    fn pack(&mut self, events: Vec<TapeEvent>) {
        for event in events {
            self.take(event);
            if self.is_full() {
                self.seal();
            }
        }
    }

    fn take(&mut self, event: TapeEvent) {
        match event {
            TapeEvent::Output { at, bytes, .. } => {
                for (at, part) in self.masker.push(at, &bytes) {
                    self.add(at, What::Output(part));
                }
                let found = self.masker.take_found();
                self.note(found);
            }
            TapeEvent::Gap { from, to, at } => {
                self.finish();
                self.add(at, What::Gap(to - from));
                self.masker.skip_to(to);
            }
            TapeEvent::Resized { at, size } => {
                if size != self.size {
                    self.add(at, What::Resized(size));
                    self.size = size;
                }
            }
            TapeEvent::Marker { at, text } => self.add(at, What::Marker(text)),
            TapeEvent::Input { at, bytes } => {
                for (at, part) in self.input_masker.push(at, &bytes) {
                    self.add(at, What::Input(part));
                }
                // Positions are of the output, which was here when it was typed.
                let offset = self.position;
                let found = self.input_masker.take_found();
                self.note(found.into_iter().map(|found| Found { offset, ..found }).collect());
            }
        }
    }

    /// Says what is left out of the recording.
    fn leave_out(&mut self, left_out: &LeftOut) {
        self.finish();
        #[expect(clippy::disallowed_methods, reason = "when something was left out needs no transaction")]
        let now = chrono::Utc::now();
        self.add(now, What::Marker(left_out.why.to_owned()));
        self.add(now, What::Gap(left_out.to - self.position));
        self.masker.skip_to(left_out.to);
    }

    /// Takes in what was held back.
    fn finish(&mut self) {
        for (at, part) in self.masker.finish() {
            self.add(at, What::Output(part));
        }
    }

    /// Takes in what is held back of what was typed.
    fn finish_input(&mut self) {
        for (at, part) in self.input_masker.finish() {
            self.add(at, What::Input(part));
        }
    }

    /// Has secrets looked up that were not yet.
    fn note(&mut self, found: Vec<Found>) {
        for found in found {
            if self.secrets.len() < SECRETS_PER_PIECE_MAX && !self.known.contains(&found.hash) {
                if self.known.len() >= SECRETS_KNOWN_MAX {
                    self.known.clear();
                }
                self.known.insert(found.hash.clone());
                self.secrets.push(found);
            }
        }
    }

    fn add(&mut self, at: DateTime<Utc>, what: What) {
        let (position, size) = (self.position, self.size);
        let moment = Moment { at, offset: position, what };
        self.marks.extend(Mark::of(&moment));
        let draft = self.draft.get_or_insert_with(|| Draft::new(position, at, size));
        draft.push(at, &moment.what);
        self.position = draft.end();
        self.due.get_or_insert_with(|| Instant::now() + WRITE_EVERY);
    }

    fn is_full(&self) -> bool {
        self.draft.as_ref().is_some_and(|draft| draft.len() >= PIECE_BYTES)
    }

    /// Closes the piece and has it written.
    fn seal(&mut self) {
        self.due = None;
        let Some(piece) = self.draft.take().and_then(Draft::seal) else { return };
        let (marks, secrets) = (std::mem::take(&mut self.marks), std::mem::take(&mut self.secrets));
        self.shared.push(self.session, Queued { piece, marks, secrets });
    }
}

fn output_bytes(event: &TapeEvent) -> usize {
    match event {
        TapeEvent::Output { bytes, .. } => bytes.len(),
        TapeEvent::Resized { .. } | TapeEvent::Gap { .. } | TapeEvent::Marker { .. } | TapeEvent::Input { .. } => 0,
    }
}

/// Writes pieces as they come, until nothing comes any more.
async fn write(app: App, shared: Arc<Shared>) {
    let mut last = Instant::now();
    loop {
        shared.filled.notified().await;
        let (is_closed, bytes) = {
            let backlog = shared.lock();
            (backlog.closed, backlog.bytes)
        };
        if !is_closed && bytes < WRITE_AT_BYTES {
            // Pieces of other terminals come along; the end of the service comes first.
            tokio::select! {
                () = sleep_until(last + WRITE_EVERY) => {}
                () = app.shutdown.cancelled() => {}
            }
        }
        last = Instant::now();
        if is_closed {
            let all = async { while !matches!(write_next(&app, &shared).await, Ok(false)) {} };
            if timeout(LAST_WRITE_WITHIN, all).await.is_err() {
                tracing::warn!("the last of some recordings was not written");
            }
            return;
        }
        match write_next(&app, &shared).await {
            Ok(true) => shared.filled.notify_one(),
            Ok(false) => {}
            Err(error) => {
                tokio::select! {
                    () = super::pause_after("recorder", &error) => {}
                    () = app.shutdown.cancelled() => {}
                }
                shared.filled.notify_one();
            }
        }
    }
}

/// Writes one batch; whether there may be more.
async fn write_next(app: &App, shared: &Shared) -> Result<bool, StorageError> {
    let batches = shared.next();
    if batches.is_empty() {
        return Ok(false);
    }
    match write_batches(app, &batches).await {
        Ok(written) => return settle(app, shared, batches, &written).await.map(|()| true),
        Err(error) if error.is_transient() => {
            shared.give_back(batches);
            return Err(error);
        }
        // One of them cannot be written: it must not keep the others from it.
        Err(_) => {}
    }
    let mut outcome = Ok(true);
    for batch in batches {
        match write_batches(app, std::slice::from_ref(&batch)).await {
            Ok(written) => {
                if let Err(error) = settle(app, shared, vec![batch], &written).await {
                    outcome = Err(error);
                }
            }
            Err(error) if error.is_transient() => {
                shared.give_back(vec![batch]);
                outcome = Err(error);
            }
            Err(error) => {
                tracing::error!(session.id = %batch.session, error = &error as &dyn std::error::Error, "the recording of a session was refused");
                shared.lose(&batch, true);
            }
        }
    }
    outcome
}

/// Writes batches in one transaction; returns the sessions whose recordings went on where the batches begin.
async fn write_batches(app: &App, batches: &[Batch]) -> Result<Vec<SessionId>, StorageError> {
    let additions: Vec<Addition> =
        batches.iter().map(|batch| Addition { session: batch.session, expected: batch.expected, pieces: &batch.pieces }).collect();
    let found: Vec<(Vec<Mark>, Vec<Found>)> = batches.iter().map(|batch| (batch.marks.concat(), batch.secrets.concat())).collect();
    let findings: Vec<Findings> = batches
        .iter()
        .zip(&found)
        .map(|(batch, (marks, secrets))| Findings { session: batch.session, workspace: batch.workspace, marks, secrets })
        .collect();
    let mut tx = app.begin().await?;
    let mut written = recordings::append(&mut tx, &additions, &findings).await?;
    for batch in batches.iter().filter(|batch| batch.ended) {
        if batch.pieces.is_empty() {
            written.push(batch.session);
        }
        if written.contains(&batch.session) {
            recordings::end(&mut tx, batch.session).await?;
        }
    }
    tx.commit().await?;
    Ok(written)
}

/// Notes what became of batches. Where one was not added, its recording says whether that is so because it has it.
async fn settle(app: &App, shared: &Shared, batches: Vec<Batch>, written: &[SessionId]) -> Result<(), StorageError> {
    let mut settled = Ok(());
    for batch in batches {
        if written.contains(&batch.session) {
            shared.written(&batch);
            continue;
        }
        let recorded = async { recordings::progress(&mut *app.read().await?, batch.session).await };
        let recorded: Result<Option<Recorded>, StorageError> = recorded.await;
        match recorded {
            Ok(recorded) => shared.take_up(batch, recorded),
            Err(error) => {
                shared.give_back(vec![batch]);
                settled = Err(error);
            }
        }
    }
    settled
}

/// Merges small pieces every so often.
async fn merge(app: App) {
    loop {
        let merged = async {
            let mut tx = app.begin().await?;
            let sessions = recordings::to_merge(&mut tx).await?;
            tx.commit().await?;
            for session in sessions {
                let mut tx = app.begin().await?;
                recordings::merge(&mut tx, session).await?;
                tx.commit().await?;
            }
            Ok(())
        };
        let merged: Result<(), StorageError> = merged.await;
        match merged {
            Ok(()) => sleep(LOOK_EVERY).await,
            Err(error) => super::pause_after("merging of recordings", &error).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;

    /// A backlog of one session, whose pieces are of four bytes each.
    fn backlog(pieces: usize) -> (Arc<Shared>, SessionId) {
        let (shared, session) = (Arc::new(Shared::new()), SessionId::generate());
        shared.begin(session, WorkspaceId::generate(), recorded(0, 0));
        queue(&shared, session, 0, pieces);
        (shared, session)
    }

    fn recorded(offset: u64, seq: i64) -> Recorded {
        Recorded { progress: Progress { offset, seq }, deleted_at: None }
    }

    fn queue(shared: &Shared, session: SessionId, offset: u64, pieces: usize) {
        for offset in (offset..).step_by(4).take(pieces) {
            let (at, size) = (DateTime::UNIX_EPOCH, Size::new(80, 24).unwrap());
            let mut draft = Draft::new(offset, at, size);
            draft.push(at, &What::Output(vec![b'x'; 4]));
            let marks = vec![Mark { at, offset, kind: crate::model::recording::MarkKind::Gap(0) }];
            shared.push(session, Queued { piece: draft.seal().unwrap(), marks, secrets: Vec::new() });
        }
    }

    fn next(shared: &Shared) -> Batch {
        let mut batches = shared.next();
        assert_eq!(batches.len(), 1);
        batches.pop().unwrap()
    }

    /// Bytes that wait, of all and of one session.
    fn counted(shared: &Shared, session: SessionId) -> (usize, Option<usize>) {
        let backlog = shared.lock();
        (backlog.bytes, backlog.sessions.get(&session).map(|waiting| waiting.bytes))
    }

    #[test]
    fn after_a_commit_whose_confirmation_was_lost_only_the_rest_is_written() {
        let (shared, session) = backlog(2);
        // The commit of this was carried out, and its connection broke.
        shared.give_back(vec![next(&shared)]);
        queue(&shared, session, 8, 1);
        shared.end(session);
        shared.take_up(next(&shared), Some(recorded(8, 2)));
        let rest = next(&shared);
        let offsets: Vec<u64> = rest.pieces.iter().map(|piece| piece.from_offset).collect();
        assert_eq!((offsets, rest.expected, rest.ended), (vec![8], Progress { offset: 8, seq: 2 }, true));
        assert_eq!((rest.marks.len(), rest.secrets.len(), rest.marks[0][0].offset), (1, 1, 8));
        assert_eq!(counted(&shared, session), (rest.bytes(), Some(rest.bytes())));

        // Of all that is there, only the end is left.
        shared.take_up(rest, Some(recorded(12, 3)));
        let end = next(&shared);
        assert!(end.pieces.is_empty() && end.ended);
        shared.written(&end);
        assert_eq!(counted(&shared, session), (0, None));
    }

    #[test]
    fn a_recording_that_ends_where_no_piece_does_was_continued_elsewhere() {
        for progress in [None, Some((0, 0)), Some((8, 1)), Some((6, 2)), Some((12, 3)), Some((0, -1))] {
            let (shared, session) = backlog(2);
            shared.take_up(next(&shared), progress.map(|(offset, seq)| recorded(offset, seq)));
            assert_eq!((counted(&shared, session), shared.state(session).1), ((0, Some(0)), false), "{progress:?}");
            assert!(shared.forget(session).is_some_and(|waiting| waiting.lost && !waiting.refused), "{progress:?}");
        }
    }

    #[tokio::test]
    async fn what_waits_is_given_up_with_the_deletion_of_its_recording_and_once() {
        let (shared, session) = backlog(2);
        let (before, at) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1));
        let batch = next(&shared);
        shared.delete(session, at, 100);
        assert!(!shared.state(session).1, "nothing more is taken for it");
        // What was on its way was written before, or is not any more.
        shared.take_up(batch, Some(Recorded { deleted_at: Some(at), ..recorded(4, 1) }));
        assert!(shared.next().is_empty());
        assert!(matches!(shared.given_up(session).await, GivenUp::Deleted { live_from: 100 }));

        shared.begin(session, WorkspaceId::generate(), Recorded { deleted_at: Some(at), ..recorded(0, 3) });
        queue(&shared, session, 0, 1);
        for known in [before, at] {
            shared.delete(session, known, 200);
            assert!(shared.state(session).1, "it knows of that");
        }
        shared.delete(session, at + chrono::TimeDelta::seconds(1), 300);
        assert!(shared.next().is_empty());
        assert_eq!(counted(&shared, session), (0, Some(0)));
        assert!(matches!(shared.given_up(session).await, GivenUp::Deleted { live_from: 300 }));
    }

    #[test]
    fn a_key_that_is_typed_key_by_key_is_masked_and_looked_up() {
        let at = DateTime::UNIX_EPOCH;
        let (key, size) = (Secret::api_key("mcp_agent_"), Size::new(80, 24).unwrap());
        let mut packer = Packer::new(&Arc::new(Shared::new()), SessionId::generate(), "mcp_agent_", 0, size);
        for byte in format!("use {}\rx", key.expose()).bytes() {
            packer.take(TapeEvent::Input { at, bytes: vec![byte].into() });
        }
        packer.finish_input();
        assert_eq!(packer.secrets.iter().map(|found| &found.hash).collect::<Vec<_>>(), [&key.hash()]);
        let moments = packer.draft.take().and_then(Draft::seal).unwrap().unpack().unwrap();
        let typed: Vec<u8> = moments
            .into_iter()
            .flat_map(|moment| match moment.what {
                What::Input(bytes) => bytes,
                What::Output(_) | What::Resized(_) | What::Gap(_) | What::Marker(_) => Vec::new(),
            })
            .collect();
        assert_eq!(String::from_utf8(typed).unwrap(), format!("use {}\rx", "*".repeat(key.expose().len())));
    }
}
