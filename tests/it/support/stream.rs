//! A reader of server-sent events.

use serde_json::Value;
use tokio::time::timeout;

use super::DEADLINE;

/// One stream.
pub(crate) struct Stream {
    response: reqwest::Response,
    unread: String,
    /// The last position that was told.
    pub(crate) position: String,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Stream {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { response, unread: String::new(), position: String::new() }
    }

    /// Waits until the stream has begun: what is committed from now on is told.
    pub(crate) async fn begun(mut self) -> Self {
        let begun = async { while self.frame().await.is_some_and(|frame| !frame.contains("connected")) {} };
        timeout(DEADLINE, begun).await.expect("the stream did not begin in time");
        self
    }

    /// The next event; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        timeout(DEADLINE, self.read()).await.expect("the stream is silent")
    }

    /// All events until the first of this name, and that one.
    pub(crate) async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut heard = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended without {name}: {heard:?}"));
            heard.push(event);
            if heard.last().is_some_and(|event| event.name == name) {
                return heard;
            }
        }
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            let frame = self.frame().await?;
            let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
            if let Some(data) = field("data") {
                let data = serde_json::from_str(&data).unwrap();
                return Some(Event { id: self.position.clone(), name: field("event").unwrap(), data });
            }
        }
    }

    async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.unread.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.unread = rest;
                if let Some(id) = frame.lines().find_map(|line| line.strip_prefix("id: ")) {
                    id.clone_into(&mut self.position);
                }
                return Some(frame);
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
