//! The tools, one function each.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    app::{App, StorageError},
    domain::{agents, assignments},
    model::{
        actor::AgentCaller,
        agent::AgentState,
        assignment::{Assignment, Target},
    },
    wire::{
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
}

/// Why a tool did not do what was asked.
struct ToolError {
    code: i32,
    message: String,
}

/// Calls a tool as the agent that the key belongs to. What the tool itself refuses is a result with
/// `isError`; only a fault of ours is an error.
pub(super) async fn call(app: &App, caller: &AgentCaller, name: &str, arguments: &Map<String, Value>) -> Result<ToolResult, Problem> {
    if let Err(error) = own_identity(caller, arguments) {
        return Ok(failed(&error));
    }
    let answer = match name {
        "agent_profile" | "agent.profile" => profile(app, caller).await?,
        "agent_my_assignments" | "agent.myAssignments" => my_assignments(app, caller, arguments).await?,
        _ => Err(ToolError { code: code::METHOD_NOT_FOUND, message: format!("unknown tool: {name}") }),
    };
    Ok(match answer {
        Ok(value) => succeeded(&value),
        Err(error) => failed(&error),
    })
}

/// Who calls is known from the key; arguments may repeat it and must not differ (D-28).
fn own_identity(caller: &AgentCaller, arguments: &Map<String, Value>) -> Result<(), ToolError> {
    let same = |name: &str, own: &str| arguments.get(name).is_none_or(|given| given.as_str() == Some(own));
    if same("agentId", caller.agent.as_str()) && same("workspaceId", &caller.workspace.to_string()) {
        return Ok(());
    }
    Err(ToolError { code: code::PERMISSION_DENIED, message: "agentId and workspaceId must be the caller's own".to_owned() })
}

/// `agent_profile`: what the service knows of the caller. Needs no permission.
async fn profile(app: &App, caller: &AgentCaller) -> Result<Result<Value, ToolError>, StorageError> {
    let Some(view) = agents::get(&mut *app.read().await?, caller.workspace, &caller.agent).await? else { return Ok(Err(gone())) };
    let agent = view.agent;
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
            return Ok(Err(ToolError { code: code::VALIDATION, message: "status must be pending, in_progress or completed".to_owned() }));
        }
    };
    let mut conn = app.read().await?;
    let Some(view) = agents::get(&mut conn, caller.workspace, &caller.agent).await? else { return Ok(Err(gone())) };
    let mut found = assignments::active(&mut conn, caller.workspace, &caller.agent).await?;
    if let Some(wanted) = wanted {
        found.retain(|assignment| matches!(assignment.target, Target::Project(_)) || task_status(assignment) == wanted);
    }
    let count = |project: bool| found.iter().filter(|assignment| matches!(assignment.target, Target::Project(_)) == project).count();
    Ok(Ok(json!({
        "agentId": caller.agent,
        "agentName": view.agent.profile.name,
        "totalProjects": count(true),
        "totalTasks": count(false),
        "assignments": found.iter().map(assignment_json).collect::<Vec<_>>(),
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

fn assignment_json(assignment: &Assignment) -> Value {
    let (kind, project, task) = match assignment.target {
        Target::Project(id) => ("project", Some(id), None),
        Target::Task(id) => ("task", None, Some(id)),
    };
    json!({
        "id": assignment.id,
        "agentId": assignment.agent,
        "workspaceId": assignment.workspace,
        "assignmentType": kind,
        "projectId": project,
        "taskId": task,
        "role": assignment.role,
        "assignedAt": Timestamp(assignment.assigned_at),
        "assignedBy": assignment.assigned_by,
        "unassignedAt": assignment.unassigned_at.map(Timestamp),
    })
}

fn gone() -> ToolError {
    ToolError { code: code::NOT_FOUND, message: "agent not found".to_owned() }
}

fn succeeded(value: &Value) -> ToolResult {
    ToolResult { content: vec![text(value)], is_error: false }
}

fn failed(error: &ToolError) -> ToolResult {
    ToolResult { content: vec![text(&json!({"code": error.code, "message": error.message}))], is_error: true }
}

fn text(value: &impl Serialize) -> Content {
    Content { kind: "text", text: serde_json::to_string_pretty(value).unwrap_or_default() }
}
