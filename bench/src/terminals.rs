//! The service and its peer in front of the same stand-in for a runtime, with as many terminals as a scenario wants.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    http::{Connection, Request},
    machine::Memory,
    program::Program,
    script::Script,
    stage::{Stage, WEBHOOK_SECRET},
    upstream::{Line, Upstream},
    viewer::Viewer,
    workspace::Workspace,
};

/// See the module. Each server has terminals of its own: what one is sent is no load of the other.
pub(crate) struct Terminals {
    pub(crate) stage: Stage,
    pub(crate) upstream: Upstream,
    pub(crate) script: Script,
    token: String,
    /// The service's sessions, by number; its peer's are named as their terminals.
    sessions: Vec<String>,
}

/// Which of the two servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Service,
    Peer,
}

impl Server {
    pub(crate) const BOTH: [Self; 2] = [Self::Service, Self::Peer];

    /// As shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Peer => "peer",
        }
    }

    fn terminal(self, number: usize) -> String {
        format!("{}-{number:03}", self.name())
    }
}

impl Terminals {
    /// Starts everything, with this many terminals of agents on each server.
    pub(crate) async fn start(service: &Path, count: usize) -> Result<Self> {
        let mut terminals = Self::without_sessions(service).await?;
        let mut workspace = Workspace::set_up(&terminals.stage).await?;
        workspace.token().clone_into(&mut terminals.token);
        terminals.open(&mut workspace, count).await?;
        Ok(terminals)
    }

    /// As [`Self::start`], with the sessions still to be opened: what they cost can be seen.
    pub(crate) async fn start_empty(service: &Path) -> Result<(Self, Workspace)> {
        let mut terminals = Self::without_sessions(service).await?;
        let workspace = Workspace::set_up(&terminals.stage).await?;
        workspace.token().clone_into(&mut terminals.token);
        Ok((terminals, workspace))
    }

    /// As [`Self::start`], in a workspace that does not record.
    pub(crate) async fn start_unrecorded(service: &Path, count: usize) -> Result<Self> {
        let (mut terminals, mut workspace) = Self::start_empty(service).await?;
        workspace.record(false).await?;
        terminals.open(&mut workspace, count).await?;
        Ok(terminals)
    }

    async fn without_sessions(service: &Path) -> Result<Self> {
        let upstream = Upstream::start().await?;
        let stage = Stage::with_terminals(service, &upstream.endpoint(), None).await?;
        Ok(Self { stage, upstream, script: Script::new(), token: String::new(), sessions: Vec::new() })
    }

    /// Adds terminals on both servers, and waits until each is connected to its runtime.
    pub(crate) async fn open(&mut self, workspace: &mut Workspace, count: usize) -> Result<()> {
        let first = self.sessions.len();
        let agents = workspace.register_agents_from(first, count).await?;
        let id = workspace.id().await?;
        let mut peer = Connection::open(self.address(Server::Peer)).await?;
        for (number, agent) in (first..).zip(agents) {
            let offer = json!({"workspaceId": id, "agentId": agent.id, "runtimeSessionId": Server::Service.terminal(number)});
            let made = workspace.offer(&offer, WEBHOOK_SECRET).await?;
            let session = made["data"]["id"].as_str().with_context(|| format!("no session was made: {made}"))?;
            self.sessions.push(session.to_owned());
            peer.send(&Request::get(&format!("/open/{}", Server::Peer.terminal(number)))).await?;
            for server in Server::BOTH {
                self.line(server, number).await?;
            }
        }
        Ok(())
    }

    /// The connection between a server and the stand-in.
    pub(crate) async fn line(&self, server: Server, number: usize) -> Result<Arc<Line>> {
        self.upstream.line(&server.terminal(number)).await
    }

    /// What viewers attach to.
    pub(crate) fn session(&self, server: Server, number: usize) -> String {
        match server {
            Server::Service => self.sessions[number].clone(),
            Server::Peer => server.terminal(number),
        }
    }

    pub(crate) fn address(&self, server: Server) -> SocketAddr {
        self.program(server).address()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn viewer(&self, server: Server, number: usize) -> Result<Viewer> {
        Viewer::attached(self.address(server), &self.token, &self.session(server, number)).await
    }

    /// A viewer of the service who is sent bytes.
    pub(crate) async fn console(&self, number: usize) -> Result<Viewer> {
        let mut viewer = Viewer::connect(self.address(Server::Service), &self.token).await?;
        viewer.attach_as_console(&self.session(Server::Service, number)).await?;
        Ok(viewer)
    }

    pub(crate) fn cpu(&self, server: Server) -> Result<Duration> {
        self.program(server).cpu()
    }

    pub(crate) fn memory(&self, server: Server) -> Result<Memory> {
        Memory::of(self.program(server).pid())
    }

    pub(crate) fn program(&self, server: Server) -> &Program {
        match server {
            Server::Service => &self.stage.service,
            Server::Peer => self.stage.peer.as_ref().expect("terminals are measured beside a peer"),
        }
    }

    pub(crate) async fn end(self) -> Result<()> {
        self.stage.end().await
    }
}
