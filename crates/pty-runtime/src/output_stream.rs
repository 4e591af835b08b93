//! One agent's output as server-sent events, for clients that only read: `curl -N`, or a page.
//!
//! Like every viewer, the stream pulls from the agent's ring with a cursor of its own. Who reads
//! too slowly for the ring is told what was skipped; the agent does not wait.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use futures_util::stream;
use serde_json::json;
use terminal_screen::Decoder;
use tokio::{
    sync::watch,
    time::{Interval, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agents::{self, Agent},
    extract::{Named, Params},
    problem::Problem,
    ring::{Found, Progress},
    routes::Shared,
};

/// Output bytes in one event at the most, so that a slow line is never far behind its place.
const EVENT_BYTES_MAX: usize = 16 * 1024;
/// Shorter than the 30 s after which common proxies drop a silent connection.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// A comment, which clients skip.
const HEARTBEAT: Bytes = Bytes::from_static(b": alive\n\n");

/// Streams output from now on; with `replay=1` from the oldest that is held, with `since=` or the
/// header `Last-Event-ID` from that offset. Each event's id is the offset behind it.
pub(crate) async fn stream(State(app): Shared, Named(agent): Named, params: Params, headers: HeaderMap) -> Result<Response, Problem> {
    let since = match headers.get("last-event-id") {
        Some(id) => {
            Some(id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(|| Problem::invalid("Last-Event-ID", "must be an offset"))?)
        }
        None => params.number("since", 0..=u64::MAX)?,
    };
    let replay = params.flag("replay")? == Some(true);
    let (output, state) = (agent.output.subscribe(), agent.watch());
    let (oldest, end) = agent.output.bounds();
    let cursor = match since {
        // An offset from the future belongs to another agent of the same id.
        Some(offset) if offset <= end => offset,
        Some(_) => oldest,
        None if replay => oldest,
        None => end,
    };
    if agent.status().is_final() && cursor == end {
        // This keeps a page from opening the stream again and again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let reading =
        Reading { agent, cursor, output, state, decoder: Decoder::default(), heartbeats: heartbeats(), closing: app.closing.clone() };
    let events = stream::unfold(reading, async |mut reading| Some((Ok::<_, Infallible>(reading.next().await?), reading)));
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, Body::from_stream(events)).into_response())
}

fn heartbeats() -> Interval {
    let mut ticks = interval(HEARTBEAT_EVERY);
    ticks.reset();
    ticks
}

/// What one client has read and what comes next for it.
struct Reading {
    agent: Arc<Agent>,
    cursor: u64,
    output: watch::Receiver<Progress>,
    state: watch::Receiver<agents::State>,
    decoder: Decoder,
    heartbeats: Interval,
    closing: CancellationToken,
}

impl Reading {
    /// The next piece of the body; `None` once the agent has stopped or the runtime closes.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.state.mark_unchanged();
            self.output.mark_unchanged();
            // The end is looked at first: it comes after the last output.
            let ended = self.state.borrow().status.is_final();
            match self.agent.output.read(self.cursor, EVENT_BYTES_MAX) {
                Found::Bytes(bytes) => {
                    self.cursor += bytes.len() as u64;
                    let content = self.decoder.decode(&bytes);
                    if !content.is_empty() {
                        return Some(self.event("output", &content));
                    }
                }
                Found::Lost { start } => {
                    let skipped = start - self.cursor;
                    self.cursor = start;
                    self.decoder = Decoder::default();
                    return Some(self.event("skipped", &format!("{skipped} bytes were not read in time")));
                }
                Found::UpToDate if ended => {
                    let rest = self.decoder.finish();
                    return (!rest.is_empty()).then(|| self.event("output", rest));
                }
                Found::UpToDate => tokio::select! {
                    biased;
                    () = self.closing.cancelled() => return None,
                    changed = self.output.changed() => changed.ok()?,
                    changed = self.state.changed() => changed.ok()?,
                    _ = self.heartbeats.tick() => return Some(HEARTBEAT),
                },
            }
        }
    }

    /// One event whose id is the offset behind the last code point that is in it.
    fn event(&mut self, kind: &str, content: &str) -> Bytes {
        self.heartbeats.reset();
        let offset = self.cursor - self.decoder.pending().len() as u64;
        let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let data = json!({ "id": offset.to_string(), "type": kind, "content": content, "timestamp": timestamp });
        format!("id: {offset}\ndata: {data}\n\n").into()
    }
}
