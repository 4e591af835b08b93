//! A viewer of an agent's terminal, and a listener of the runtime's events.

use futures_util::{SinkExt as _, StreamExt as _};
use runtime_protocol::{TERMINAL_PROTOCOL, default_framing};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{ClientRequestBuilder, Error, Message},
};

use crate::{target::Target, trouble::Trouble};

/// How output and control share a terminal's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Default,
    Negotiated,
}

impl Framing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Negotiated => "negotiated",
        }
    }
}

/// One viewer.
pub(crate) struct Terminal<'t> {
    target: &'t Target,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    framing: Framing,
    pub(crate) greeting: Value,
    /// Output that the scenario has not taken yet.
    pub(crate) seen: Vec<u8>,
    /// Control frames after the greeting.
    pub(crate) controls: Vec<Value>,
    /// Code and reason of the runtime's close frame.
    pub(crate) closed: Option<(u16, String)>,
    /// Where in all of the agent's output the next byte stands; told in the negotiated framing only.
    position: u64,
    /// Bytes that the runtime said were lost to this viewer.
    pub(crate) missed: u64,
}

impl<'t> Terminal<'t> {
    /// Attaches to an agent; `query` starts with `?` or is empty.
    pub(crate) async fn open(target: &'t Target, agent: &str, framing: Framing, query: &str) -> Result<Self, Trouble> {
        let request = target.upgrade(&format!("/ws/agents/{agent}/terminal{query}"))?;
        let request = if framing == Framing::Negotiated { request.with_sub_protocol(TERMINAL_PROTOCOL) } else { request };
        let socket = open(target, request).await?;
        let (greeting, seen, controls) = (Value::Null, Vec::new(), Vec::new());
        let mut terminal = Self { target, socket, framing, greeting, seen, controls, closed: None, position: 0, missed: 0 };
        if let Some(Message::Text(text)) = terminal.receive().await? {
            terminal.greeting = serde_json::from_str(&text).unwrap_or(Value::String(text.as_str().to_owned()));
            terminal.position = terminal.greeting["offset"].as_u64().unwrap_or_default();
        }
        Ok(terminal)
    }

    /// Reads one frame; `false` once the runtime has closed the terminal.
    pub(crate) async fn step(&mut self) -> Result<bool, Trouble> {
        match self.receive().await? {
            Some(Message::Binary(bytes)) => {
                self.position += bytes.len() as u64;
                self.seen.extend_from_slice(&bytes);
            }
            Some(Message::Text(text)) if self.framing == Framing::Negotiated => {
                let control: Value = serde_json::from_str(&text).unwrap_or(Value::String(text.as_str().to_owned()));
                if let Some(offset) = control["offset"].as_u64().filter(|_| control["type"] == "lagged") {
                    self.missed += offset.saturating_sub(self.position);
                    self.position = offset;
                }
                self.controls.push(control);
            }
            // A frame that would start with a brace gets a NUL in front, for clients that take it for control.
            Some(Message::Text(text)) => {
                let output = if text.starts_with("\0{") { &text[1..] } else { text.as_str() };
                self.seen.extend_from_slice(output.as_bytes());
            }
            Some(_) => {}
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Reads until the output has `text`, and takes everything up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> Result<Vec<u8>, Trouble> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.seen[searched..], text.as_bytes()) {
                let rest = self.seen.split_off(searched + at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            searched = self.seen.len().saturating_sub(text.len());
            if !self.step().await? {
                let seen = format!("the end {:?} after {:?}", self.closed, tail(&self.seen));
                return Err(Trouble::unexpected(format!("{text:?} in the terminal"), seen));
            }
        }
    }

    /// Reads until the runtime closes the terminal; the close code.
    pub(crate) async fn read_to_end(&mut self) -> Result<Option<u16>, Trouble> {
        while self.step().await? {}
        Ok(self.closed.as_ref().map(|(code, _)| *code))
    }

    /// Types, as a client does that keeps its input from being taken for control.
    pub(crate) async fn type_keys(&mut self, keys: &str) -> Result<(), Trouble> {
        match self.framing {
            Framing::Negotiated => self.send(Message::binary(keys.as_bytes().to_vec())).await,
            Framing::Default => {
                for frame in default_framing::input_frames(keys) {
                    self.send(Message::text(frame)).await?;
                }
                Ok(())
            }
        }
    }

    /// Sends one text frame as it is.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), Trouble> {
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Trouble> {
        let sent = timeout(self.target.patience(), self.socket.send(message)).await;
        Ok(sent.map_err(|_| self.target.late("room for input", ""))??)
    }

    async fn receive(&mut self) -> Result<Option<Message>, Trouble> {
        receive(self.target, &mut self.socket, &mut self.closed, &tail(&self.seen)).await
    }
}

/// One listener on `/ws/events`.
pub(crate) struct Events<'t> {
    target: &'t Target,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    closed: Option<(u16, String)>,
    /// All events so far.
    pub(crate) heard: Vec<Value>,
}

impl<'t> Events<'t> {
    pub(crate) async fn open(target: &'t Target) -> Result<Self, Trouble> {
        let socket = open(target, target.upgrade("/ws/events")?).await?;
        let mut events = Self { target, socket, closed: None, heard: Vec::new() };
        // The greeting: from now on nothing is missed.
        events.receive().await?;
        Ok(events)
    }

    /// Waits for an event of an agent; those on the way are kept.
    pub(crate) async fn until(&mut self, name: &str, agent: &str) -> Result<Value, Trouble> {
        loop {
            let event = self.receive().await?;
            let found = event["event"] == name && agent_of(&event) == agent;
            if event.get("event").is_some() {
                self.heard.push(event.clone());
            }
            if found {
                return Ok(event);
            }
        }
    }

    /// How many events of this name an agent had so far.
    pub(crate) fn count(&self, name: &str, agent: &str) -> usize {
        self.heard.iter().filter(|event| event["event"] == name && agent_of(event) == agent).count()
    }

    async fn receive(&mut self) -> Result<Value, Trouble> {
        let names = || self.heard.iter().map(|event| event["event"].to_string()).collect::<Vec<_>>().join(", ");
        match receive(self.target, &mut self.socket, &mut self.closed, &names()).await? {
            Some(Message::Text(text)) => Ok(serde_json::from_str(&text).unwrap_or_default()),
            Some(_) => Ok(Value::Null),
            None => Err(Trouble::unexpected("an event", format!("the end of the event stream ({:?})", self.closed))),
        }
    }
}

/// The agent that an event is about, as clients look for it.
pub(crate) fn agent_of(event: &Value) -> &str {
    let data = &event["data"];
    data["agent"]["id"].as_str().or_else(|| data["agentId"].as_str()).or_else(|| data["id"].as_str()).unwrap_or_default()
}

async fn open(target: &Target, request: ClientRequestBuilder) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Trouble> {
    let connecting = timeout(target.patience(), connect_async(request)).await;
    let (socket, _) = connecting.map_err(|_| target.late("the answer to an upgrade", ""))??;
    Ok(socket)
}

/// The next message that means something; `None` at the end.
async fn receive(
    target: &Target,
    socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    closed: &mut Option<(u16, String)>,
    seen: &str,
) -> Result<Option<Message>, Trouble> {
    loop {
        let Ok(message) = timeout(target.patience(), socket.next()).await else {
            return Err(target.late("the next frame", seen));
        };
        match message {
            Some(Ok(Message::Close(frame))) => {
                *closed = Some(frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_owned())));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(message)) => return Ok(Some(message)),
            Some(Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_))) | None => return Ok(None),
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The end of what was seen, for a message.
fn tail(seen: &[u8]) -> String {
    const SHOWN: usize = 200;
    String::from_utf8_lossy(&seen[seen.len().saturating_sub(SHOWN)..]).into_owned()
}
