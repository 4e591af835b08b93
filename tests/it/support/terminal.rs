//! A bare Socket.io client (Engine.IO 4, websocket only), for tests that need one from Rust.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{ClientRequestBuilder, Message},
};

use super::DEADLINE;

/// One connected namespace.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    namespace: &'static str,
    /// All terminal output so far.
    pub(crate) screen: String,
}

impl Socket {
    /// Connects with a cookie.
    pub(crate) async fn connect(base: &str, namespace: &'static str, cookie: &str) -> Self {
        Self::connect_from(base, namespace, cookie, base).await
    }

    /// Connects to the agents' namespace with an API key.
    pub(crate) async fn connect_with_key(base: &str, key: &str) -> Self {
        Self::open(base, "/mcp", "", base, &json!({"apiKey": key}).to_string()).await
    }

    /// Connects with a cookie, from a page of `origin`.
    pub(crate) async fn connect_from(base: &str, namespace: &'static str, cookie: &str, origin: &str) -> Self {
        Self::open(base, namespace, cookie, origin, "").await
    }

    /// Connects as a runtime that dials in for a session.
    pub(crate) async fn connect_runtime(base: &str, session: &str, auth: &Value) -> Self {
        Self::open_with(base, &format!("&runtimeSessionId={session}"), "/terminal", "", base, &auth.to_string()).await
    }

    async fn open(base: &str, namespace: &'static str, cookie: &str, origin: &str, auth: &str) -> Self {
        Self::open_with(base, "", namespace, cookie, origin, auth).await
    }

    async fn open_with(base: &str, query: &str, namespace: &'static str, cookie: &str, origin: &str, auth: &str) -> Self {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket{query}", base.replacen("http", "ws", 1));
        let request = ClientRequestBuilder::new(url.parse().unwrap()).with_header("cookie", cookie).with_header("origin", origin);
        let (stream, _) = connect_async(request).await.unwrap();
        let mut socket = Self { stream, namespace, screen: String::new() };
        assert!(socket.receive().await.starts_with('0'));
        let prefix = if namespace == "/" { "40".to_owned() } else { format!("40{namespace},") };
        socket.send(format!("{prefix}{auth}")).await;
        while !socket.receive().await.starts_with(&prefix) {}
        socket
    }

    pub(crate) async fn emit(&mut self, event: &str, payload: Value) {
        let prefix = if self.namespace == "/" { String::new() } else { format!("{},", self.namespace) };
        self.send(format!("42{prefix}{}", json!([event, payload]))).await;
    }

    /// Emits an event that is acknowledged, and returns the acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let prefix = if self.namespace == "/" { String::new() } else { format!("{},", self.namespace) };
        self.send(format!("42{prefix}7{}", json!([event, payload]))).await;
        let answer = format!("43{prefix}7");
        loop {
            if let Some(items) = self.receive().await.strip_prefix(&answer) {
                return serde_json::from_str::<Value>(items).unwrap()[0].take();
            }
        }
    }

    /// Emits an event that is acknowledged that many times at once, and returns the acknowledgements; `None` when the
    /// connection ends before all are there.
    pub(crate) async fn ask_all(&mut self, event: &str, payload: &Value, times: usize) -> Option<Vec<Value>> {
        let prefix = if self.namespace == "/" { String::new() } else { format!("{},", self.namespace) };
        let answer = format!("43{prefix}");
        let (mut write, mut read) = (&mut self.stream).split();
        let writing = async {
            for id in 0..times {
                if write.send(Message::Text(format!("42{prefix}{id}{}", json!([event, payload])).into())).await.is_err() {
                    return;
                }
            }
        };
        let reading = async {
            let mut answers = Vec::new();
            while answers.len() < times {
                let message = read.next().await?.ok()?;
                let items = message
                    .to_text()
                    .ok()
                    .and_then(|text| text.strip_prefix(&answer))
                    .and_then(|text| text.find('[').map(|at| &text[at..]));
                answers.extend(items.map(|items| serde_json::from_str::<Value>(items).unwrap()[0].take()));
            }
            Some(answers)
        };
        timeout(DEADLINE, futures_util::future::join(writing, reading)).await.expect("calls were not answered in time").1
    }

    /// The next event; answers pings on the way.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        loop {
            let text = self.receive().await;
            if let Some(event) = self.take(&text) {
                return event;
            }
        }
    }

    /// Reads for ever whatever comes, however long nothing does: to be stopped by whoever waits for something else.
    pub(crate) async fn follow(&mut self) {
        while let Some(message) = self.stream.next().await {
            match message.unwrap() {
                Message::Text(text) if text.as_str() == "2" => self.send("3".to_owned()).await,
                Message::Text(text) => drop(self.take(text.as_str())),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        panic!("the socket closed");
    }

    /// Waits for an event of this name.
    pub(crate) async fn until(&mut self, wanted: &str) -> Value {
        let search = async {
            loop {
                let (event, payload) = self.next().await;
                if event == wanted {
                    return payload;
                }
            }
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("no {wanted} in time"))
    }

    /// Waits until the service has closed the namespace, or the connection.
    pub(crate) async fn until_closed(&mut self) {
        let prefix = if self.namespace == "/" { "41".to_owned() } else { format!("41{}", self.namespace) };
        let search = async {
            while let Some(Ok(message)) = self.stream.next().await {
                if message.to_text().is_ok_and(|text| text.starts_with(&prefix)) {
                    return;
                }
            }
        };
        timeout(DEADLINE, search).await.expect("the socket was not closed in time");
    }

    /// Attaches to an agent's terminal.
    pub(crate) async fn attach(&mut self, agent: &str) -> Value {
        self.emit("attach", json!({"agentId": agent})).await;
        self.until("attached").await
    }

    /// Waits until the screen holds `text`.
    pub(crate) async fn until_shows(&mut self, text: &str) {
        let search = async {
            while !self.screen.contains(text) {
                self.next().await;
            }
        };
        let found = timeout(DEADLINE, search).await.is_ok();
        assert!(found, "the terminal does not show {text:?} but {:?}", self.screen);
    }

    /// Waits until the server disconnects the namespace; the events on the way.
    pub(crate) async fn until_disconnected(&mut self) -> Vec<String> {
        let goodbye = if self.namespace == "/" { "41".to_owned() } else { format!("41{},", self.namespace) };
        let mut events = Vec::new();
        loop {
            let text = self.receive().await;
            if text == goodbye {
                return events;
            }
            events.push(text);
        }
    }

    /// Takes in a packet; its event, if it is one.
    fn take(&mut self, text: &str) -> Option<(String, Value)> {
        let packet = text.strip_prefix("42")?;
        let json = packet.find('[').map(|start| &packet[start..]).unwrap();
        let items: Vec<Value> = serde_json::from_str(json).unwrap();
        let payload = items.get(1).cloned().unwrap_or(Value::Null);
        let event = items[0].as_str().unwrap().to_owned();
        if event == "data" {
            self.screen.push_str(payload.as_str().unwrap());
        }
        if event == "clear" {
            self.screen.clear();
        }
        Some((event, payload))
    }

    async fn send(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    async fn receive(&mut self) -> String {
        loop {
            let message = timeout(DEADLINE, self.stream.next()).await.expect("the socket is silent").expect("the socket closed").unwrap();
            match message {
                Message::Text(text) if text.as_str() == "2" => self.send("3".to_owned()).await,
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
    }
}
