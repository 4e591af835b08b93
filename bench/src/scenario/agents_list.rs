//! A person lists the agents of the workspace: a signed token, the account behind it, and twenty rows.

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

/// Agents in the workspace; what a list shows at most on one page of the console.
const AGENTS: usize = 20;

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let stage = Stage::with_peer(service).await?;
    let mut workspace = Workspace::set_up(&stage).await?;
    workspace.register_agents(AGENTS).await?;

    let request = Request::get("/api/parallax-agents").bearer(workspace.token());
    let cases = [Case { name: "20 agents", requests: vec![request], status: StatusCode::OK }];
    let rows = compare::side_by_side(&stage, &cases, plan).await?;
    let report = Report::of_servers(
        Scenario::AgentsList,
        "GET /api/parallax-agents with a person's token, 20 approved agents",
        &rows,
        &stage,
        plan,
    )?;
    stage.end().await?;
    Ok(report)
}
