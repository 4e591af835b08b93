//! An agent with many open sockets is revoked: how long until the last of them is closed, as its clients see it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hyper::StatusCode;
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use super::Scenario;
use crate::{
    Plan, Report,
    http::{Connection, Request},
    report::{Revocation, Revocations},
    socket::Socket,
    stage::Stage,
    workspace::{Agent, Workspace},
};

/// Sockets that the agent has open.
const SOCKETS: usize = 200;

/// A socket that is open after this was not closed by the revocation.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let stage = Stage::alone(service).await?;
    let mut workspace = Workspace::set_up(&stage).await?;
    // One more than counts: the first finds everything cold.
    let agents = workspace.register_agents(plan.runs as usize + 1).await?;
    let mut revocations = Vec::new();
    for (index, agent) in agents.iter().enumerate() {
        let revocation = revoke(&stage, &mut workspace, agent).await?;
        if index > 0 {
            revocations.push(revocation);
        }
    }
    let report = Report::of_revocations(Scenario::Revoke, &Revocations { sockets: SOCKETS, revocations }, &stage, plan)?;
    stage.end().await?;
    Ok(report)
}

/// Opens the sockets, revokes the agent, and watches them close.
async fn revoke(stage: &Stage, workspace: &mut Workspace, agent: &Agent) -> Result<Revocation> {
    let address = stage.service.address();
    let mut sockets = JoinSet::new();
    let opening = Instant::now();
    let mut open = Vec::new();
    for _ in 0..SOCKETS {
        open.push(Socket::connect(address, "/mcp", &json!({"apiKey": agent.key}), "mcp:connected").await?);
    }
    let opened = opening.elapsed();
    for socket in open {
        sockets.spawn(socket.closed());
    }

    let cpu_before = stage.service.cpu()?;
    let sent = Instant::now();
    let receipt = workspace.post(&format!("/api/parallax-agents/{}/revoke", agent.id), &json!({"reason": "it is measured"})).await?;
    let answered = sent.elapsed();
    let mut closed = Vec::new();
    let watching = async {
        while let Some(at) = sockets.join_next().await {
            closed.push(at?? - sent);
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, watching).await.context("sockets are open still long after the revocation")??;
    let cpu = stage.service.cpu()?.saturating_sub(cpu_before);

    refused(stage, &agent.key).await?;
    let receipt = &receipt["data"]["receipt"];
    let number = |name: &str| receipt[name].as_u64().with_context(|| format!("the receipt has no {name}: {receipt}"));
    Ok(Revocation {
        opened,
        first_closed: closed.iter().min().copied().unwrap_or_default(),
        last_closed: closed.iter().max().copied().unwrap_or_default(),
        answered,
        told_ms: number("tookMs")?,
        told_sockets: number("sockets")?,
        cpu,
    })
}

/// The very next call with the key must be refused, or the measured time means nothing.
async fn refused(stage: &Stage, key: &str) -> Result<()> {
    let call = Request::post("/api/mcp-standard/call_tool", &json!({"name": "agent_profile", "arguments": {}})).bearer(key);
    let answer = Connection::open(stage.service.address()).await?.send(&call).await?;
    if answer.status != StatusCode::UNAUTHORIZED {
        bail!("a call with the revoked key was answered {}", answer.status);
    }
    Ok(())
}
