//! What happens, as server-sent events: the same as sockets hear, for programs without Socket.io.
//!
//! One reader of the outbox feeds every stream of this process. Only a stream that goes on after a break reads the
//! database, once, for what it missed. A stream that cannot keep up is told of a gap.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{callers::Listening, input::Params};
use crate::{
    app::{
        App, StorageError,
        connections::{Connection, Holder},
    },
    domain::{credentials::Credential, events, listeners},
    model::{
        actor::Subject,
        listener::{Listener, Published, Room},
    },
    wire::{
        events::{self as told, Selection, StreamQuery},
        problem::{Problem, ProblemBody},
    },
};

/// Where a client says how far it came.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Proxies that gather answers before they pass them on are told not to.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Streams of one person, with all their keys, or one agent: a program needs one, and a browser with many tabs one each.
const STREAMS_MAX: usize = 20;
/// Frames that wait between the reader and the connection, which has buffers of its own.
const FRAMES_WAITING_MAX: usize = 16;
/// How often something is sent where nothing happens: less than proxies wait by default.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How soon what the database could not say is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Stream what happens.
///
/// Server-sent events: `id` is a position to go on from, `event` the type and `data` the same JSON that sockets get.
/// After a break send the last position as `Last-Event-ID` or `cursor`. Where it is older than 24 hours, or the reader
/// is too slow, `event: gap` with the newest position says that events are missing: ask for what they changed. A person
/// with all their keys, and an agent, may have 20 streams; a stream ends with the credential.
#[utoipa::path(get, path = "/api/events", operation_id = "streamEvents", tag = "activity", params(StreamQuery),
    security(("person" = []), ("cookie" = []), ("agent" = [])), responses(
    (status = 200, body = String, content_type = "text/event-stream", description = "Events, for as long as the connection lasts",
        example = "id: AAAAAAAAAAc\nevent: agent.status_changed\ndata: {\"type\":\"agent.status_changed\",\"agentId\":\"scout\"}\n\n"),
    (status = 400, body = ProblemBody, description = "The query breaks a rule"),
    (status = 401, body = ProblemBody, description = "No credential, or one that is not good"),
    (status = 404, body = ProblemBody, description = "No such agent, or not one that the caller may hear of"),
    (status = 429, body = ProblemBody, description = "Too many streams or requests; `Retry-After` says when to try again"),
    (status = 503, body = ProblemBody, description = "The database cannot be reached; try again"),
))]
pub(super) async fn stream(
    State(app): State<App>,
    Listening { holder, credential, ticket }: Listening,
    Params(query): Params<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let selection = query.selection()?;
    let cursor = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let cursor = cursor.map(str::to_owned).or(query.cursor);
    // Before anything is looked up: what happens from now on is not missed.
    let (live, changes) = (app.live_events.listen(), app.live_events.changes());
    let mut conn = app.read().await?;
    let listener = listeners::refreshed(&mut conn, &holder.listener()).await?;
    if let Some(agent) = &selection.agent
        && !listeners::may_enter(&mut conn, &listener, &Room::Agent(agent.clone())).await?
    {
        return Err(Problem::new(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND", "agent not found"));
    }
    let newest = events::last(&mut conn).await?;
    let start = match cursor {
        None => Start::Now,
        Some(cursor) => match told::position(&cursor) {
            Some(seq) if events::reaches_back_to(&mut conn, seq).await? => Start::After(seq),
            Some(_) | None => Start::Gap,
        },
    };
    drop(conn);
    let connection = app.connections.enter_stream(holder.clone(), STREAMS_MAX).ok_or_else(|| {
        let message = format!("at most {STREAMS_MAX} streams of one person or agent are open at the same time");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", message).retry_after(1)
    })?;
    // Whoever changed rights before this was entered could not close it.
    if app.access_cache.changed_since(ticket) && !credential.still_admits(&mut *app.read().await?, app.judges(), &holder).await? {
        return Err(Problem::unauthorized());
    }
    let (frames, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
    let rights = Rights { app: app.clone(), holder, credential, listener: Arc::new(Mutex::new(listener)) };
    let reader = Reader { app: app.clone(), listener: Arc::clone(&rights.listener), selection, frames, live, last: newest };
    app.spawn(serve(connection, rights, changes, reader, start));
    Ok(answer(waiting))
}

/// The answer whose body is what comes out of the channel.
fn answer(waiting: mpsc::Receiver<Bytes>) -> Response {
    let frames = stream::unfold(waiting, async |mut waiting| {
        let frame = waiting.recv().await?;
        Some((Ok::<_, Infallible>(frame), waiting))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// From where a stream goes on.
enum Start {
    Now,
    After(i64),
    /// What the client saw last is too old, or was never there.
    Gap,
}

/// Serves one stream until its client or its credential is gone, or the service ends.
async fn serve(connection: Connection, rights: Rights, changes: broadcast::Receiver<Subject>, reader: Reader, start: Start) {
    let (frames, shutdown) = (reader.frames.clone(), rights.app.shutdown.clone());
    tokio::select! {
        biased;
        () = connection.ended() => {}
        () = shutdown.cancelled() => {}
        () = frames.closed() => {}
        () = rights.watch(changes) => {}
        read = reader.run(start) => {
            if let Err(Ended::Storage(error)) = read {
                // The client comes back with its last position.
                tracing::warn!(error = &error as &dyn std::error::Error, "a stream could not be read");
            }
        }
    }
}

/// What the listener of a stream may hear, kept true.
struct Rights {
    app: App,
    holder: Holder,
    credential: Credential,
    listener: Arc<Mutex<Listener>>,
}

impl Rights {
    /// Ends when the credential does. Everybody else's end is told by [`Connection::ended`].
    async fn watch(&self, mut changes: broadcast::Receiver<Subject>) {
        let mut check_at = Instant::now();
        loop {
            let concerned = tokio::select! {
                change = changes.recv() => match change {
                    Ok(subject) => self.holder.is_concerned(&subject),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(check_at) => true,
            };
            if !concerned {
                continue;
            }
            check_at = match self.check().await {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a stream could not be checked");
                    Instant::now() + RETRY
                }
            };
        }
    }

    /// Looks up what the listener may hear; returns when to do so again, or `None` when the credential is no good.
    async fn check(&self) -> Result<Option<Instant>, StorageError> {
        let mut conn = self.app.read().await?;
        let Some((holder, again)) = self.credential.check_now(&mut conn, self.app.judges()).await? else { return Ok(None) };
        if holder.role() != self.holder.role() {
            return Ok(None);
        }
        let listener = listeners::refreshed(&mut conn, &holder.listener()).await?;
        *lock(&self.listener) = listener;
        Ok(Some(Instant::now() + again))
    }
}

fn lock(listener: &Mutex<Listener>) -> MutexGuard<'_, Listener> {
    // It is replaced as a whole, so a panic elsewhere leaves it whole.
    listener.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a stream is not read any more.
enum Ended {
    ClientGone,
    Storage(StorageError),
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

struct Reader {
    app: App,
    listener: Arc<Mutex<Listener>>,
    selection: Selection,
    frames: mpsc::Sender<Bytes>,
    live: broadcast::Receiver<Arc<Published>>,
    /// Position of the last event that was looked at.
    last: i64,
}

impl Reader {
    async fn run(mut self, start: Start) -> Result<(), Ended> {
        let (mut catching_up, mut has_gap) = (false, false);
        match start {
            Start::Now => self.send(told::greeting(self.last)).await?,
            Start::Gap => self.send(told::gap(self.last)).await?,
            Start::After(seq) => {
                self.last = seq;
                self.send(told::greeting(seq)).await?;
                self.catch_up().await?;
                catching_up = true;
            }
        }
        let mut beats = interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                heard = self.live.recv() => heard,
                _ = beats.tick() => {
                    self.send(told::heartbeat(self.last)).await?;
                    continue;
                }
            };
            match heard {
                Ok(event) => {
                    catching_up = false;
                    if std::mem::take(&mut has_gap) {
                        self.last = event.seq - 1;
                        self.send(told::gap(self.last)).await?;
                    }
                    self.pass_on(&event).await?;
                }
                // While the missed was read, more came than waits for a stream: it is in the database too.
                Err(RecvError::Lagged(_)) if catching_up => self.catch_up().await?,
                // What waits still is told; what came before it is not.
                Err(RecvError::Lagged(_)) => has_gap = true,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Tells what was committed after the last position.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        let workspace = lock(&self.listener).workspace;
        loop {
            let missed = events::missed(&mut *self.app.read().await?, workspace, self.last).await?;
            if missed.is_empty() {
                return Ok(());
            }
            for event in missed {
                match event {
                    Ok(event) => {
                        if let Some(event) = told::publish(event.seq, &event.entry) {
                            self.pass_on(&event).await?;
                        }
                        self.last = self.last.max(event.seq);
                    }
                    Err(seq) => self.last = seq,
                }
            }
        }
    }

    /// Tells an event, if it is one that comes next, may be heard and was asked for.
    async fn pass_on(&mut self, event: &Published) -> Result<(), Ended> {
        if event.seq <= self.last {
            return Ok(());
        }
        self.last = event.seq;
        let heard = lock(&self.listener).hears(event);
        match heard.and_then(|event| self.selection.frame(event)) {
            Some(frame) => self.send(frame).await,
            None => Ok(()),
        }
    }

    async fn send(&self, frame: Bytes) -> Result<(), Ended> {
        self.frames.send(frame).await.map_err(|_| Ended::ClientGone)
    }
}
