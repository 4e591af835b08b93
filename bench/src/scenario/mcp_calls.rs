//! Agents call a tool as MCP clients do: over streamable HTTP, beside a server made with the official SDK for Node.js.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use hyper::StatusCode;
use serde_json::json;

use super::Scenario;
use crate::{
    Plan, Report,
    compare::{self, Case},
    http::Request,
    stage::Stage,
    workspace::Workspace,
};

/// The version of the protocol that both servers and today's clients speak.
const PROTOCOL_VERSION: &str = "2025-11-25";

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let stage = Stage::with_mcp_peer(service).await?;
    let mut workspace = Workspace::set_up(&stage).await?;
    let agents = workspace.register_agents(1).await?;
    let requests = agents.iter().map(|agent| call_with(&agent.key)).collect();
    let cases = [Case { name: "tools/call", requests, status: StatusCode::OK }];
    let (begun, written) = (Instant::now(), stage.key_writes().await?);
    let rows = compare::side_by_side(&stage, &cases, plan).await?;
    let (minutes, written) = (begun.elapsed().as_secs() / 60 + 1, stage.key_writes().await? - written);
    ensure!(u64::try_from(written)? <= minutes, "the key's row was written {written} times in {minutes} minutes");
    let about = "tools/call of agent_profile at /api/mcp, streamable HTTP, with one agent's key";
    let report = Report::of_servers(Scenario::McpCalls, about, &rows, &stage, plan)?;
    stage.end().await?;
    Ok(report)
}

fn call_with(key: &str) -> Request {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "agent_profile", "arguments": {}}});
    Request::post("/api/mcp", &call).mcp(PROTOCOL_VERSION).bearer(key)
}
