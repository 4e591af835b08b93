//! A bare Socket.io client (Engine.IO 4, websocket only) that waits for its end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connected namespace.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// The packet with which the server ends the namespace.
    goodbye: String,
}

impl Socket {
    /// Connects to a namespace with this as `auth`, and waits for the event by which the server lets a socket in.
    ///
    /// Errors: the server shows the socket out, or says nothing.
    pub(crate) async fn connect(address: SocketAddr, namespace: &str, auth: &Value, greeting: &str) -> Result<Self> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (stream, _) = client_async(format!("ws://{address}/socket.io/?EIO=4&transport=websocket"), stream).await?;
            let mut socket = Self { stream, goodbye: format!("41{namespace},") };
            socket.stream.send(Message::text(format!("40{namespace},{auth}"))).await?;
            let (welcome, refusal) = (format!("42{namespace},[\"{greeting}\""), format!("44{namespace},"));
            loop {
                let Some(packet) = socket.receive().await? else { bail!("the server closed a socket of {namespace} that connects") };
                if packet.starts_with(&refusal) || packet == socket.goodbye {
                    bail!("the server refused a socket of {namespace}: {packet}");
                }
                if packet.starts_with(&welcome) {
                    return Ok(socket);
                }
            }
        };
        timeout(PATIENCE, connecting).await.with_context(|| format!("no {greeting} came on {namespace} in time"))?
    }

    /// Waits until the server ends the namespace or the connection; when that was seen.
    pub(crate) async fn closed(mut self) -> Result<Instant> {
        while let Some(packet) = self.receive().await? {
            if packet == self.goodbye {
                break;
            }
        }
        Ok(Instant::now())
    }

    /// The next packet; answers pings on the way. `None` when the connection is closed.
    async fn receive(&mut self) -> Result<Option<String>> {
        while let Some(message) = self.stream.next().await {
            match message {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.stream.send(Message::text("3")).await?,
                Ok(Message::Text(text)) => return Ok(Some(text.as_str().to_owned())),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_)) => return Ok(None),
                Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(error) => return Err(error).context("a socket broke"),
            }
        }
        Ok(None)
    }
}
