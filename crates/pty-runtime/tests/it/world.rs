//! One runtime per test on a port of its own, and callers that read like sentences.

use std::{fmt::Debug, time::Duration};

use futures_util::{SinkExt, StreamExt};
use pty_runtime::{Config, Handle, Runtime};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    net::TcpStream,
    time::{timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{ClientRequestBuilder, Error, Message, http::Uri},
};

/// How long anything awaited may take; far above what it takes, even on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) runtime: Handle,
    pub(crate) client: Client,
    pub(crate) root: TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path().into());
        adjust(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let runtime = Runtime::start(config, listener).unwrap();
        let client = Client::builder().no_proxy().timeout(SOON).build().unwrap();
        Self { runtime, client, root }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.runtime.addr())
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        reply(self.client.post(self.url(path)).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        reply(self.client.request(Method::DELETE, self.url(path))).await
    }

    pub(crate) async fn spawn(&self, request: &Value) -> String {
        let reply = self.post("/api/spawn", request).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body["agents"][0]["id"].as_str().unwrap().to_owned()
    }

    /// An agent that runs a script of bash, with the terminal left as it is.
    pub(crate) async fn script(&self, script: &str) -> String {
        self.spawn(&scripted(script)).await
    }

    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Value {
        let path = format!("/api/agents/{id}");
        eventually(status, async || {
            let agent = self.get(&path).await.body;
            if agent["status"] == status { Ok(agent) } else { Err(agent) }
        })
        .await
    }

    pub(crate) async fn until_logs(&self, id: &str, text: &str) -> String {
        let path = format!("/api/agents/{id}/logs");
        eventually(text, async || {
            let logs = self.get(&path).await.body["logs"].clone();
            let joined: Vec<_> = logs.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
            let joined = joined.join("\n");
            if joined.contains(text) { Ok(joined) } else { Err(joined) }
        })
        .await
    }

    pub(crate) fn socket(&self, path: &str) -> ClientRequestBuilder {
        let uri: Uri = format!("ws://{}{path}", self.runtime.addr()).parse().unwrap();
        ClientRequestBuilder::new(uri)
    }

    /// A terminal in the negotiated framing; `query` starts with `?` or is empty.
    pub(crate) async fn negotiated(&self, id: &str, query: &str) -> Viewer {
        let request = self.socket(&format!("/ws/agents/{id}/terminal{query}"));
        Viewer::open(request.with_sub_protocol(runtime_protocol::TERMINAL_PROTOCOL)).await
    }

    pub(crate) async fn default_framing(&self, id: &str, query: &str) -> Viewer {
        Viewer::open(self.socket(&format!("/ws/agents/{id}/terminal{query}"))).await
    }

    /// The status with which a terminal without a subprotocol is refused.
    pub(crate) async fn default_framing_refused(&self, id: &str, query: &str) -> u16 {
        match connect_async(self.socket(&format!("/ws/agents/{id}/terminal{query}"))).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            other => panic!("not refused but {other:?}"),
        }
    }

    pub(crate) async fn events(&self, query: &str) -> Viewer {
        Viewer::open(self.socket(&format!("/ws/events{query}"))).await
    }
}

pub(crate) fn scripted(script: &str) -> Value {
    json!({
        "agentType": "custom",
        "workspaceId": "w1",
        "config": { "command": "bash", "args": ["-c", script] },
    })
}

pub(crate) async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    Reply { status, body }
}

/// Asks again and again until the answer is right.
pub(crate) async fn eventually<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => assert!(tokio::time::Instant::now() < deadline, "never came: {what}; last seen: {last:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client of either kind of socket.
pub(crate) struct Viewer {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) greeting: Value,
    /// Output so far, of whichever frames carry it.
    pub(crate) seen: Vec<u8>,
    /// Control frames after the greeting, in the negotiated framing.
    pub(crate) controls: Vec<Value>,
    pub(crate) closed: Option<u16>,
    negotiated: bool,
}

impl Viewer {
    pub(crate) async fn open(request: ClientRequestBuilder) -> Self {
        let (socket, response) = timeout(SOON, connect_async(request)).await.unwrap().unwrap();
        let negotiated = response.headers().contains_key("sec-websocket-protocol");
        let mut viewer = Self { socket, greeting: Value::Null, seen: Vec::new(), controls: Vec::new(), closed: None, negotiated };
        match viewer.next().await {
            Some(Message::Text(greeting)) => viewer.greeting = serde_json::from_str(&greeting).unwrap(),
            other => assert!(viewer.closed.is_some(), "no greeting but {other:?}"),
        }
        viewer
    }

    pub(crate) async fn next(&mut self) -> Option<Message> {
        // Pings keep a socket alive, but are nothing to wait for.
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            match timeout_at(deadline, self.socket.next()).await.expect("nothing came") {
                Some(Ok(Message::Close(frame))) => self.closed = Some(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Reads one frame into `seen` or `controls`; false at the end.
    pub(crate) async fn step(&mut self) -> bool {
        match self.next().await {
            Some(Message::Binary(bytes)) => self.seen.extend_from_slice(&bytes),
            Some(Message::Text(text)) if self.negotiated => self.controls.push(serde_json::from_str(&text).unwrap()),
            Some(Message::Text(text)) => self.seen.extend_from_slice(text.as_bytes()),
            Some(other) => panic!("unexpected {other:?}"),
            None => return false,
        }
        true
    }

    pub(crate) async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(self.step().await, "closed with {:?} before {text:?}: {:?}", self.closed, self.text());
        }
    }

    /// Reads to the end and gives the close code.
    pub(crate) async fn read_to_end(&mut self) -> Option<u16> {
        while self.step().await {}
        self.closed
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.greeting["offset"].as_u64().unwrap()
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next event frame.
    pub(crate) async fn event(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("no event but {other:?}, closed {:?}", self.closed),
        }
    }

    pub(crate) async fn until_event(&mut self, name: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["event"] == name {
                return event;
            }
        }
    }
}
