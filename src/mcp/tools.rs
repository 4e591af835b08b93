//! The tools, one function each.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    app::{App, StorageError},
    domain::{
        agents, assignments,
        tool_approvals::{self, Gate},
        tool_calls::{self, ToolCall},
    },
    model::{
        actor::{AgentCaller, KeyHolder},
        agent::AgentState,
        assignment::{Assignment, Target},
    },
    wire::{
        self,
        mcp::{Content, ToolResult},
        problem::Problem,
        time::Timestamp,
    },
};

/// JSON-RPC codes of what can go wrong in a tool (REST contract §5.3).
mod code {
    pub(super) const METHOD_NOT_FOUND: i32 = -32601;
    pub(super) const NOT_FOUND: i32 = -32001;
    pub(super) const PERMISSION_DENIED: i32 = -32002;
    pub(super) const VALIDATION: i32 = -32003;
    pub(super) const APPROVAL_REQUIRED: i32 = -32005;
}

/// Why a tool did not do what was asked.
struct ToolError {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl ToolError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// The tools, by every name that callers know, with the dotted name that policies use.
const TOOLS: [(&str, &str); 4] = [
    ("agent_profile", "agent.profile"),
    ("agent.profile", "agent.profile"),
    ("agent_my_assignments", "agent.myAssignments"),
    ("agent.myAssignments", "agent.myAssignments"),
];

/// Calls a tool as whoever the key belongs to. What the tool itself refuses is a result with
/// `isError`; only a fault of ours is an error. Each call of a tool that there is goes on record.
pub(super) async fn call(app: &App, caller: &KeyHolder, name: &str, arguments: &Map<String, Value>) -> Result<ToolResult, Problem> {
    let started = Instant::now();
    let answer = match TOOLS.iter().find(|(known, _)| *known == name) {
        None => Err(ToolError::new(code::METHOD_NOT_FOUND, format!("unknown tool: {name}"))),
        Some((_, method)) => {
            let answer = carry_out(app, caller, method, arguments).await?;
            let outcome = answer.as_ref().map(|_| "done").map_err(|error| error.message.as_str());
            let call = ToolCall { tool: method, arguments, took: started.elapsed(), outcome };
            let mut tx = app.begin().await?;
            tool_calls::record(&mut tx, caller, &call).await?;
            tx.commit().await?;
            answer
        }
    };
    Ok(match answer {
        Ok(value) => succeeded(&value),
        Err(error) => failed(&error),
    })
}

async fn carry_out(
    app: &App,
    caller: &KeyHolder,
    method: &str,
    arguments: &Map<String, Value>,
) -> Result<Result<Value, ToolError>, StorageError> {
    let KeyHolder::Agent(agent) = caller else {
        return Ok(Err(ToolError::new(code::PERMISSION_DENIED, "this tool is for agents; the key is a person's")));
    };
    if let Err(error) = own_identity(agent, arguments) {
        return Ok(Err(error));
    }
    if let Err(error) = pass_gate(app, caller, method, arguments).await? {
        return Ok(Err(error));
    }
    match method {
        "agent.profile" => profile(app, agent).await,
        _ => my_assignments(app, agent, arguments).await,
    }
}

/// Whether a call that may need a person's approval goes on.
async fn pass_gate(
    app: &App,
    caller: &KeyHolder,
    method: &str,
    arguments: &Map<String, Value>,
) -> Result<Result<(), ToolError>, StorageError> {
    if !app.policy.tool_approvals.covers(method) {
        return Ok(Ok(()));
    }
    let mut tx = app.begin().await?;
    let gate = tool_approvals::pass(&mut tx, &app.policy, caller, method, arguments).await?;
    tx.commit().await?;
    Ok(match gate {
        Gate::Open => Ok(()),
        Gate::Waits { id, expires_at } => Err(ToolError {
            code: code::APPROVAL_REQUIRED,
            message: format!("{method} needs a person's approval; repeat the call with approvalId once it is given"),
            data: Some(json!({"approvalId": id, "expiresAt": Timestamp(expires_at), "method": method})),
        }),
        Gate::Refused(why) => Err(ToolError::new(code::PERMISSION_DENIED, why)),
        Gate::TooMany { limit } => {
            Err(ToolError::new(code::PERMISSION_DENIED, format!("{limit} calls of yours wait for approval already")))
        }
    })
}

/// Who calls is known from the key; arguments may repeat it and must not differ (D-28).
fn own_identity(caller: &AgentCaller, arguments: &Map<String, Value>) -> Result<(), ToolError> {
    let same = |name: &str, own: &str| arguments.get(name).is_none_or(|given| given.as_str() == Some(own));
    if same("agentId", caller.agent.as_str()) && same("workspaceId", &caller.workspace.to_string()) {
        return Ok(());
    }
    Err(ToolError::new(code::PERMISSION_DENIED, "agentId and workspaceId must be the caller's own"))
}

/// `agent_profile`: what the service knows of the caller. Needs no permission.
async fn profile(app: &App, caller: &AgentCaller) -> Result<Result<Value, ToolError>, StorageError> {
    let Some(agent) = agents::find(&mut *app.read().await?, caller.workspace, &caller.agent).await? else { return Ok(Err(gone())) };
    let (resolved_at, resolved_by) = match &agent.state {
        AgentState::Approved { by, at, .. } => (Some(Timestamp(*at)), *by),
        AgentState::Pending | AgentState::Denied { .. } | AgentState::Revoked { .. } => (None, None),
    };
    Ok(Ok(json!({
        "id": agent.id,
        "name": agent.profile.name,
        "capabilities": agent.profile.capabilities,
        "requestedPermissions": agent.profile.requested.to_strings(),
        "grantedPermissions": agent.granted().to_strings(),
        "status": agent.state.status().as_str(),
        "metadata": agent.profile.metadata,
        "endpoint": agent.profile.endpoint,
        "resolvedAt": resolved_at,
        "resolvedBy": resolved_by,
        "createdAt": Timestamp(agent.created_at),
    })))
}

/// `agent_my_assignments`: the caller's projects and tasks, optionally by task status. Needs no permission.
async fn my_assignments(app: &App, caller: &AgentCaller, arguments: &Map<String, Value>) -> Result<Result<Value, ToolError>, StorageError> {
    let wanted = match arguments.get("status") {
        None | Some(Value::Null) => None,
        Some(Value::String(status)) if ["pending", "in_progress", "completed"].contains(&status.as_str()) => Some(status.clone()),
        Some(_) => {
            return Ok(Err(ToolError::new(code::VALIDATION, "status must be pending, in_progress or completed")));
        }
    };
    let mut conn = app.read().await?;
    let Some(agent) = agents::find(&mut conn, caller.workspace, &caller.agent).await? else { return Ok(Err(gone())) };
    let mut found = assignments::active(&mut conn, caller.workspace, &caller.agent).await?;
    if let Some(wanted) = wanted {
        found.retain(|assignment| matches!(assignment.target, Target::Project(_)) || task_status(assignment) == wanted);
    }
    let count = |project: bool| found.iter().filter(|assignment| matches!(assignment.target, Target::Project(_)) == project).count();
    Ok(Ok(json!({
        "agentId": caller.agent,
        "agentName": agent.profile.name,
        "totalProjects": count(true),
        "totalTasks": count(false),
        "assignments": found.iter().map(wire::assignments::Assignment::from).collect::<Vec<_>>(),
    })))
}

/// A task's status in the words of the tool.
fn task_status(assignment: &Assignment) -> &'static str {
    match assignment.task_status.as_deref() {
        Some("todo") | None => "pending",
        Some("done") => "completed",
        Some(_) => "in_progress",
    }
}

fn gone() -> ToolError {
    ToolError::new(code::NOT_FOUND, "agent not found")
}

fn succeeded(value: &Value) -> ToolResult {
    ToolResult { content: vec![text(value)], is_error: false }
}

fn failed(error: &ToolError) -> ToolResult {
    let mut told = json!({"code": error.code, "message": error.message});
    if let Some(data) = &error.data {
        told["data"] = data.clone();
    }
    ToolResult { content: vec![text(&told)], is_error: true }
}

fn text(value: &impl Serialize) -> Content {
    Content { kind: "text", text: serde_json::to_string_pretty(value).unwrap_or_default() }
}
