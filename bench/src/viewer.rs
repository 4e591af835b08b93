//! A viewer of a terminal (Engine.IO 4, websocket only) with as little work as can be: as the stock client is one, whose
//! output is text, or as the console is one, whose output is bytes.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::script::{Reader, keep_last};

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server says of a terminal.
pub(crate) enum Said {
    Attached,
    Clear,
    Data(String),
    /// To the console, in place of `Clear` and what follows it: the whole screen.
    Screen(String),
    Detached,
    /// Something that makes no difference here.
    Other,
}

/// One socket on `/terminal`.
pub(crate) struct Viewer {
    stream: WebSocketStream<TcpStream>,
    /// Bytes of all messages so far, without the framing of `WebSocket`.
    pub(crate) received: u64,
}

impl Viewer {
    /// Connects with a person's token.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (stream, _) = client_async(format!("ws://{address}/socket.io/?EIO=4&transport=websocket"), stream).await?;
            let mut viewer = Self { stream, received: 0 };
            viewer.stream.send(Message::text(format!("40/terminal,{}", json!({"token": token})))).await?;
            loop {
                let packet = viewer.packet().await?;
                if packet.starts_with("40/terminal,") {
                    return Ok(viewer);
                }
                if packet.starts_with("44/terminal,") {
                    bail!("a viewer was refused: {packet}");
                }
            }
        };
        timeout(PATIENCE, connecting).await.context("a viewer was not connected in time")?
    }

    /// Connects and attaches.
    pub(crate) async fn attached(address: SocketAddr, token: &str, session: &str) -> Result<Self> {
        let mut viewer = Self::connect(address, token).await?;
        viewer.attach(session).await?;
        Ok(viewer)
    }

    /// Attaches as the stock client; what is shown comes next.
    pub(crate) async fn attach(&mut self, session: &str) -> Result<()> {
        self.attach_with(&json!({"sessionId": session})).await
    }

    /// Attaches as the console, to be sent bytes.
    pub(crate) async fn attach_as_console(&mut self, session: &str) -> Result<()> {
        self.attach_with(&json!({"sessionId": session, "binary": true})).await
    }

    async fn attach_with(&mut self, wanted: &Value) -> Result<()> {
        self.emit(&json!(["attach", wanted])).await?;
        self.until(|said| matches!(said, Said::Attached)).await
    }

    pub(crate) async fn detach(&mut self) -> Result<()> {
        self.emit(&json!(["detach"])).await?;
        self.until(|said| matches!(said, Said::Detached)).await
    }

    pub(crate) async fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.emit(&json!(["input", keys])).await
    }

    /// What the server says next.
    pub(crate) async fn next(&mut self) -> Result<Said> {
        timeout(PATIENCE, self.hear()).await.context("the server said nothing in time")?
    }

    /// The next output.
    pub(crate) async fn output(&mut self) -> Result<String> {
        loop {
            if let Said::Data(text) | Said::Screen(text) = self.next().await? {
                return Ok(text);
            }
        }
    }

    /// Waits until something was said.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Said) -> bool) -> Result<()> {
        while !wanted(&self.next().await?) {}
        Ok(())
    }

    /// Waits until the terminal shows this.
    pub(crate) async fn until_shows(&mut self, text: &str) -> Result<()> {
        let showing = async {
            let mut shown = String::new();
            while !shown.contains(text) {
                shown.push_str(&self.output().await?);
                if !shown.contains(text) {
                    // What is looked for may be cut.
                    keep_last(&mut shown, text.len());
                }
            }
            Ok(())
        };
        // The server may say other things all the time.
        timeout(PATIENCE, showing).await.with_context(|| format!("the terminal did not show {text:?} in time"))?
    }

    /// Lets a reader see the next thing that is said.
    pub(crate) async fn show(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        match self.next().await? {
            Said::Data(text) => reader.take(&text),
            Said::Clear => {
                reader.clear();
                Ok(())
            }
            Said::Screen(text) => {
                reader.clear();
                reader.take(&text)
            }
            Said::Attached | Said::Detached | Said::Other => Ok(()),
        }
    }

    async fn emit(&mut self, event: &Value) -> Result<()> {
        Ok(self.stream.send(Message::text(format!("42/terminal,{event}"))).await?)
    }

    async fn hear(&mut self) -> Result<Said> {
        let packet = self.packet().await?;
        if let Some(event) = packet.strip_prefix("451-/terminal,") {
            let text = String::from_utf8(self.attachment().await?.into()).context("this terminal prints text only")?;
            return Ok(if event.starts_with("[\"screen\"") { Said::Screen(text) } else { Said::Data(text) });
        }
        let Some(event) = packet.strip_prefix("42/terminal,") else {
            if packet.starts_with("41") {
                bail!("the server showed a viewer out");
            }
            return Ok(Said::Other);
        };
        if let Some(data) = event.strip_prefix("[\"data\",").and_then(|data| data.strip_suffix(']')) {
            return Ok(Said::Data(serde_json::from_str(data).context("data must be a string")?));
        }
        let event: Value = serde_json::from_str(event)?;
        match event[0].as_str() {
            Some("attached") => Ok(Said::Attached),
            Some("clear") => Ok(Said::Clear),
            Some("detached") => Ok(Said::Detached),
            Some("error") => bail!("the server told a viewer: {event}"),
            Some(_) | None => Ok(Said::Other),
        }
    }

    /// The next packet of text.
    async fn packet(&mut self) -> Result<String> {
        loop {
            if let Message::Text(text) = self.message().await? {
                return Ok(text.as_str().to_owned());
            }
        }
    }

    /// The bytes that a packet announced.
    async fn attachment(&mut self) -> Result<Bytes> {
        loop {
            if let Message::Binary(bytes) = self.message().await? {
                return Ok(bytes);
            }
        }
    }

    /// The next message; answers pings on the way.
    async fn message(&mut self) -> Result<Message> {
        loop {
            let message = self.stream.next().await.context("the server closed the socket of a viewer")??;
            match &message {
                Message::Text(text) if text.as_str() == "2" => self.stream.send(Message::text("3")).await?,
                Message::Text(_) | Message::Binary(_) => {
                    self.received += message.len() as u64;
                    return Ok(message);
                }
                Message::Close(_) => bail!("the server closed the socket of a viewer"),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}
