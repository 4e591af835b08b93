//! The runtime under test with the agents that a scenario started on it.

use std::sync::Mutex;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    AgentType, Plan, Profile,
    target::{Reply, Target},
    terminal::{Framing, Terminal},
    trouble::Trouble,
};

/// Printed by every script before anything else: what comes before it is a shell's business.
const MARK: &str = "\u{2}BEGIN\u{3}";
const PRINT_MARK: &str = r"printf '\002BEGIN\003'";

/// See the module.
pub(crate) struct Stage<'t> {
    pub(crate) target: &'t Target,
    pub(crate) plan: &'t Plan,
    started: Mutex<Vec<String>>,
}

/// An agent that plays a script as soon as somebody who watches it says so.
pub(crate) struct Actor {
    pub(crate) id: String,
    /// Typed into a shell that is there already; the script waits for a line otherwise.
    cue: Option<String>,
}

impl<'t> Stage<'t> {
    pub(crate) fn new(target: &'t Target, plan: &'t Plan) -> Self {
        Self { target, plan, started: Mutex::default() }
    }

    pub(crate) fn is(&self, profile: Profile) -> bool {
        self.plan.profile == profile
    }

    /// Starts an agent that will play a script of bash.
    pub(crate) async fn actor(&self, script: &str) -> Result<Actor, Trouble> {
        match self.plan.agent_type {
            AgentType::Custom => {
                let script = format!("read -r _; {PRINT_MARK}; {script}");
                let options = json!({ "command": "bash", "args": ["-c", script] });
                Ok(Actor { id: self.agent("custom", &options).await?, cue: None })
            }
            AgentType::Echo => {
                let script = BASE64_STANDARD.encode(format!("{PRINT_MARK}; {script}"));
                // Encoded, so that its echo is nothing that anybody waits for.
                let cue = format!(" exec bash -c \"$(echo {script} | base64 -d)\"\n");
                Ok(Actor { id: self.agent("echo", &json!({})).await?, cue: Some(cue) })
            }
        }
    }

    /// Starts an agent in the dialect of the runtime; its id.
    pub(crate) async fn agent(&self, agent_type: &str, options: &Value) -> Result<String, Trouble> {
        let reply = self.ask_for(agent_type, options).await?;
        let agent = match self.plan.profile {
            Profile::Raven => &reply.body["agents"][0],
            Profile::Parallax => &reply.body,
        };
        match agent["id"].as_str() {
            Some(id) if reply.status == 201 => {
                self.remember(id);
                Ok(id.to_owned())
            }
            Some(_) | None => Err(Trouble::unexpected(format!("an agent of type {agent_type}"), told(&reply))),
        }
    }

    /// Asks for one agent, whatever comes of it.
    pub(crate) async fn ask_for(&self, agent_type: &str, options: &Value) -> Result<Reply, Trouble> {
        match self.plan.profile {
            Profile::Raven => {
                let workspace = self.target.workspace();
                let body = json!({ "agentType": agent_type, "count": 1, "workspaceId": workspace, "config": options });
                self.target.post("/api/spawn", &body).await
            }
            Profile::Parallax => {
                self.target.post("/api/agents", &json!({ "type": agent_type, "name": "conformance", "capabilities": [] })).await
            }
        }
    }

    /// Has an agent that was started otherwise ended with the rest.
    pub(crate) fn remember(&self, id: &str) {
        self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(id.to_owned());
    }

    /// Attaches to an actor and has it play; everything that it prints comes after this.
    pub(crate) async fn curtain(&self, actor: &Actor, framing: Framing) -> Result<Terminal<'t>, Trouble> {
        let mut terminal = Terminal::open(self.target, &actor.id, framing, "").await?;
        match &actor.cue {
            None => terminal.type_keys("\n").await?,
            Some(cue) => {
                // A shell that has drawn its prompt reads key by key: a long line comes in whole.
                terminal.type_keys("\n").await?;
                if terminal.seen.is_empty() {
                    terminal.step().await?;
                }
                terminal.type_keys(cue).await?;
            }
        }
        terminal.until(MARK).await?;
        Ok(terminal)
    }

    /// What the runtime says of an agent.
    pub(crate) async fn handle(&self, id: &str) -> Result<Reply, Trouble> {
        self.target.get(&format!("/api/agents/{id}")).await
    }

    /// Waits until an agent has this status.
    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Result<Value, Trouble> {
        let ask = async || {
            let reply = self.handle(id).await?;
            Ok(if reply.body["status"] == status { Ok(reply.body) } else { Err(told(&reply)) })
        };
        self.target.until(&format!("status {status}"), ask).await
    }

    /// Ends every agent that was started; what is gone already is no concern.
    pub(crate) async fn clear(&self) {
        let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for id in started {
            if let Err(trouble) = self.target.delete(&format!("/api/agents/{id}?force=true")).await {
                eprintln!("agent {id} could not be ended: {trouble}");
            }
        }
    }
}

/// An answer in a message.
pub(crate) fn told(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.body)
}
