//! What is in the database: one workspace with its owner and approved agents, made through the REST API.

use anyhow::{Context as _, Result, bail};
use hyper::header::SET_COOKIE;
use serde_json::{Value, json};

use crate::{
    http::{Answer, Connection, Request},
    stage::Stage,
};

/// An approved agent.
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// The workspace, as its owner sees it.
pub(crate) struct Workspace {
    connection: Connection,
    token: String,
}

impl Workspace {
    /// Makes the workspace as the first visit does.
    pub(crate) async fn set_up(stage: &Stage) -> Result<Self> {
        let mut connection = Connection::open(stage.service.address()).await?;
        let body = json!({"workspaceName": "Acme", "name": "Ada", "email": "ada@example.com", "password": "correct horse battery"});
        let answer = connection.send(&Request::post("/api/auth/setup", &body)).await?;
        let cookie = answer.headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
        let token = cookie.split(';').next().and_then(|pair| pair.strip_prefix("authToken="));
        let token = token.with_context(|| format!("the setup gave no token: {}", answer.json()))?.to_owned();
        Ok(Self { connection, token })
    }

    /// The owner's access token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The workspace's id.
    pub(crate) async fn id(&mut self) -> Result<String> {
        let answer = self.connection.send(&Request::get("/api/parallax-agents").bearer(&self.token)).await?.json();
        let id = answer["data"][0]["workspaceId"].as_str().map(str::to_owned);
        id.with_context(|| format!("the workspace has no agent that says where it is: {answer}"))
    }

    /// Registers this many agents by an invite, which approves them.
    pub(crate) async fn register_agents(&mut self, count: usize) -> Result<Vec<Agent>> {
        self.register_agents_from(0, count).await
    }

    /// As [`Self::register_agents`], with numbers from `first` on.
    pub(crate) async fn register_agents_from(&mut self, first: usize, count: usize) -> Result<Vec<Agent>> {
        let permissions = ["read:pages", "read:tasks", "write:tasks"];
        let invite = self.post("/api/parallax-agents/invites", &json!({"name": "bench", "permissions": permissions})).await?;
        let token = invite["data"]["token"].as_str().with_context(|| format!("the invite has no token: {invite}"))?.to_owned();
        let mut agents = Vec::new();
        for number in first..first + count {
            let id = format!("agent-{number:03}");
            let body = json!({
                "inviteToken": token, "agentId": id, "name": format!("Agent {number}"), "capabilities": ["code", "review"],
                "description": "Answers questions about the documents and keeps tasks up to date",
                "requestedPermissions": permissions, "metadata": {"model": "large", "region": "eu"},
            });
            let registered = self.post("/api/parallax-agents/register", &body).await?;
            let key = registered["data"]["mcpApiKey"].as_str().with_context(|| format!("the agent has no key: {registered}"))?;
            agents.push(Agent { id, key: key.to_owned() });
        }
        Ok(agents)
    }

    /// Says whether the terminals of sessions from now on are recorded.
    pub(crate) async fn record(&mut self, enabled: bool) -> Result<()> {
        let recording = json!({"enabled": enabled, "keepDays": 30, "maxMegabytes": 10_240, "input": false});
        self.post("/api/workspace/agent-settings/update", &json!({"recording": recording})).await?;
        Ok(())
    }

    /// Offers a terminal session as a runtime does.
    pub(crate) async fn offer(&mut self, offer: &Value, secret: &str) -> Result<Value> {
        let answer = self.connection.send(&Request::post("/api/terminal/sessions", offer).webhook(secret)).await?;
        if !answer.status.is_success() {
            bail!("a session was not taken: {} {}", answer.status, answer.json());
        }
        Ok(answer.json())
    }

    /// Calls the service as the owner; anything but success is an error.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let answer: Answer = self.connection.send(&Request::post(path, body).bearer(&self.token)).await?;
        if !answer.status.is_success() {
            bail!("POST {path} was answered {}: {}", answer.status, answer.json());
        }
        Ok(answer.json())
    }
}
