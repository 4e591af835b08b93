//! The runtime by itself, with agents that run scripts, and a viewer of their terminals.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{net::TcpStream, process::Command, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{ClientRequestBuilder, Message, http::Uri},
};

use crate::{
    http::{Connection, Request},
    machine::{self, Memory},
    program::Program,
    stage::Folder,
};

/// What the runtime is called with.
pub(crate) const TOKEN: &str = "the token of the bench";
/// How long anything of the runtime may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// See the module. The program is dropped before its folder.
pub(crate) struct Runtime {
    program: Program,
    path: PathBuf,
    connection: Connection,
    agents: Vec<String>,
    _folder: Folder,
}

impl Runtime {
    pub(crate) async fn start(path: &Path) -> Result<Self> {
        let folder = Folder::create()?;
        let root = folder.path().join("agents").display().to_string();
        let settings = [
            ("RUNTIME_HOST", "127.0.0.1"),
            ("RUNTIME_TOKEN", TOKEN),
            ("RUNTIME_WORKDIR_ROOT", root.as_str()),
            ("MAX_AGENTS", "100"),
            ("LOG_LEVEL", "warn"),
        ];
        let program = Program::start("raven-runtime", Command::new(path), &settings, "/api/health", folder.path()).await?;
        let connection = Connection::open(program.address()).await?;
        Ok(Self { program, path: path.to_owned(), connection, agents: Vec::new(), _folder: folder })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.program.address())
    }

    /// Starts an agent that runs a script of bash; its id.
    pub(crate) async fn spawn(&mut self, script: &str) -> Result<String> {
        self.spawn_in("bench", script).await
    }

    /// As [`Self::spawn`], in this workspace: the service is shown no terminal of another.
    pub(crate) async fn spawn_in(&mut self, workspace: &str, script: &str) -> Result<String> {
        let config = json!({"command": "bash", "args": ["-c", script]});
        let body = json!({"agentType": "custom", "count": 1, "workspaceId": workspace, "config": config});
        let answer = self.connection.send(&Request::post("/api/spawn", &body).bearer(TOKEN)).await?;
        let id = answer.json()["agents"][0]["id"].as_str().map(str::to_owned);
        let id = id.with_context(|| format!("no agent was started: {} {}", answer.status, answer.json()))?;
        self.agents.push(id.clone());
        Ok(id)
    }

    /// Ends an agent and waits for that.
    pub(crate) async fn stop(&mut self, id: &str) -> Result<()> {
        let request = Request::delete(&format!("/api/agents/{id}?force=true")).bearer(TOKEN);
        let answer = self.connection.send(&request).await?;
        if answer.status != StatusCode::NO_CONTENT {
            bail!("an agent could not be ended: {} {}", answer.status, answer.json());
        }
        self.agents.retain(|agent| agent != id);
        Ok(())
    }

    pub(crate) async fn terminal(&self, id: &str) -> Result<Terminal> {
        self.open(&format!("/ws/agents/{id}/terminal"), Some("raven.terminal.v1")).await
    }

    pub(crate) async fn events(&self) -> Result<Terminal> {
        self.open("/ws/events", None).await
    }

    /// CPU of the runtime and of whatever it started from its own program.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut cpu = self.program.cpu()?;
        for pid in self.supervisors()? {
            cpu += machine::cpu_of(pid)?;
        }
        Ok(cpu)
    }

    /// Memory of the runtime.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.program.pid())
    }

    /// Memory of everything that it started from its own program.
    pub(crate) fn memory_of_supervisors(&self) -> Result<Vec<Memory>> {
        self.supervisors()?.into_iter().map(Memory::of).collect()
    }

    /// Ends the agents and then the runtime.
    pub(crate) async fn end(mut self) -> Result<()> {
        for id in self.agents.clone() {
            self.stop(&id).await?;
        }
        self.program.end().await
    }

    /// The measured program must run nowhere else on the machine.
    fn supervisors(&self) -> Result<Vec<u32>> {
        let mut processes = machine::processes_of(&self.path)?;
        processes.retain(|pid| *pid != self.program.pid());
        Ok(processes)
    }

    async fn open(&self, path: &str, protocol: Option<&str>) -> Result<Terminal> {
        let address = self.program.address();
        let uri: Uri = format!("ws://{address}{path}").parse()?;
        let request = ClientRequestBuilder::new(uri).with_header("authorization", format!("Bearer {TOKEN}"));
        let request = match protocol {
            Some(protocol) => request.with_sub_protocol(protocol),
            None => request,
        };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = timeout(PATIENCE, client_async(request, stream)).await.context("a socket was not opened in time")??;
        Ok(Terminal { socket, bytes: 0, position: 0, missed: 0, tail: Vec::new() })
    }
}

/// A viewer of a terminal, or a listener of events.
pub(crate) struct Terminal {
    socket: WebSocketStream<TcpStream>,
    bytes: u64,
    /// Where in all of the agent's output the next byte stands.
    position: u64,
    missed: u64,
    tail: Vec<u8>,
}

impl Terminal {
    pub(crate) async fn type_keys(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::binary(keys.to_vec())).await?)
    }

    /// Bytes that the runtime said were lost to this viewer, who was slower than the agent.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Reads until the output ends with `end`; the number of bytes since the last time, and when that was.
    pub(crate) async fn read_to(&mut self, end: &[u8]) -> Result<(u64, Instant)> {
        let reading = async {
            while !self.tail.ends_with(end) {
                match self.socket.next().await.context("the terminal was closed")?? {
                    Message::Binary(bytes) => {
                        self.bytes += bytes.len() as u64;
                        self.position += bytes.len() as u64;
                        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(end.len())..]);
                        self.tail.drain(..self.tail.len().saturating_sub(end.len()));
                    }
                    Message::Text(text) => self.hear(&text),
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    Message::Close(frame) => bail!("the terminal was closed: {frame:?}"),
                }
            }
            anyhow::Ok(Instant::now())
        };
        let at = timeout(PATIENCE, reading).await.context("the output did not end in time")??;
        self.tail.clear();
        Ok((std::mem::take(&mut self.bytes), at))
    }

    /// Takes in a control frame: where the output begins, or goes on behind a gap.
    fn hear(&mut self, text: &str) {
        let control: Value = serde_json::from_str(text).unwrap_or_default();
        let Some(offset) = control["offset"].as_u64() else { return };
        if control["type"] == "lagged" {
            self.missed += offset.saturating_sub(self.position);
        }
        self.position = offset;
    }

    /// Waits for an event of an agent; when it came.
    pub(crate) async fn event(&mut self, name: &str, agent: &str) -> Result<Instant> {
        let hearing = async {
            loop {
                let message = self.socket.next().await.context("the event stream was closed")??;
                let event: Value = message.to_text().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
                if event["event"] == name && event["data"]["agent"]["id"] == agent {
                    return anyhow::Ok(Instant::now());
                }
            }
        };
        timeout(PATIENCE, hearing).await.with_context(|| format!("no {name} came in time"))?
    }
}
