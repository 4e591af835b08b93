//! Agents call a tool with their keys: one key all the time, many keys in turn, and a mistyped one.

use std::path::Path;

use anyhow::Result;
use hyper::StatusCode;

use super::Scenario;
use crate::{
    Plan, Report,
    compare::{self, Case},
    http::Request,
    stage::Stage,
    workspace::Workspace,
};

/// Keys that call in turn.
const KEYS: usize = 200;

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let stage = Stage::with_peer(service).await?;
    let mut workspace = Workspace::set_up(&stage).await?;
    let keys: Vec<String> = workspace.register_agents(KEYS).await?.into_iter().map(|agent| agent.key).collect();

    let cases = [
        Case { name: "1 key", requests: vec![call_with(&keys[0])], status: StatusCode::OK },
        Case { name: "200 keys", requests: keys.iter().map(|key| call_with(key)).collect(), status: StatusCode::OK },
        Case { name: "mistyped key", requests: vec![call_with(&mistyped(&keys[0]))], status: StatusCode::UNAUTHORIZED },
    ];
    let rows = compare::side_by_side(&stage, &cases, plan).await?;
    let about = "POST /api/mcp-standard/call_tool, agent_profile, with agents' keys";
    let report = Report::of_servers(Scenario::KeyVerification, about, &rows, &stage, plan)?;
    stage.end().await?;
    Ok(report)
}

fn call_with(key: &str) -> Request {
    Request::post("/api/mcp-standard/call_tool", &serde_json::json!({"name": "agent_profile", "arguments": {}})).bearer(key)
}

/// The key with its last digit changed, so that its checksum is wrong.
fn mistyped(key: &str) -> String {
    let mut key = key.to_owned();
    let last = key.pop();
    key.push(if last == Some('0') { '1' } else { '0' });
    key
}

#[cfg(test)]
mod tests {
    use super::mistyped;

    #[test]
    fn a_mistyped_key_differs_in_its_last_digit() {
        assert_eq!(mistyped("mcp_agent_10"), "mcp_agent_11");
        assert_eq!(mistyped("mcp_agent_1f"), "mcp_agent_10");
    }
}
