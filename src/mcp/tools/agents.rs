//! Tools about the agent that calls and its colleagues (REST contract §5.5).

use serde_json::{Map, Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::{
        activity::{self, LogError, Note},
        agents::{self, OwnStatus},
        assignments::{self, AssignmentError},
    },
    model::{
        agent::{Agent, AgentState},
        assignment::{Assignment, Target},
        ids::AgentId,
    },
    wire::{self, time::Timestamp},
};

/// Rows of the feed that one call tells at the most.
const ACTIVITIES_MAX: i64 = 200;
/// Rows of the feed when the caller does not say.
const ACTIVITIES: i64 = 50;

/// How an agent may say that it stands (REST contract §4.3).
const WORKING_STATUSES: [&str; 4] = ["idle", "working", "paused", "error"];

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "agent_my_assignments",
        aliases: &["agent_myAssignments"],
        method: "agent.myAssignments",
        category: Category::Agent,
        tags: &["task", "project", "work"],
        title: "Own assignments",
        description: "Lists the projects and tasks that the calling agent works on, optionally only tasks of one status.",
        need: Need::Own,
        input: || {
            json!({"properties": {
                "status": {"enum": ["pending", "in_progress", "completed", null], "description": "Only tasks that stand so; projects stay."},
            }})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(my_assignments(call)),
    },
    Tool {
        name: "agent_update_status",
        aliases: &["agent_updateStatus"],
        method: "agent.updateStatus",
        category: Category::Agent,
        tags: &["status", "report"],
        title: "Say how one stands",
        description: "Tells the workspace whether the calling agent is idle, working, paused or stuck, and what it works on.",
        need: Need::Own,
        input: || {
            json!({"properties": {
                "status": {"enum": WORKING_STATUSES},
                "currentTask": {"type": ["string", "null"], "maxLength": 500, "description": "What the agent works on."},
                "message": {"type": ["string", "null"], "maxLength": 1000},
                "reason": {"type": ["string", "null"], "maxLength": 1000},
            }, "required": ["status"]})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(update_status(call)),
    },
    Tool {
        name: "agent_log_activity",
        aliases: &["agent_logActivity"],
        method: "agent.logActivity",
        category: Category::Agent,
        tags: &["report", "activity"],
        title: "Note what was done",
        description: "Writes into the workspace's feed what the calling agent did, with the task, page or project that it is about.",
        need: Need::Own,
        input: || {
            let id = json!({"type": ["string", "null"]});
            let kind = json!({"type": ["string", "null"], "pattern": "^[A-Za-z0-9_.:-]{1,100}$", "description": "Such as task_completed."});
            json!({"properties": {
                "actionType": kind, "activityType": kind,
                "description": {"type": ["string", "null"], "maxLength": 2000},
                "details": {"type": ["object", "null"], "maxProperties": 50},
                "metadata": {"type": ["object", "null"], "maxProperties": 50},
                "projectId": id, "taskId": id, "relatedTaskId": id, "pageId": id, "relatedPageId": id,
            }, "not": fields::none_of(&["actionType", "activityType"])})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(log_activity(call)),
    },
    Tool {
        name: "agent_list_workspace",
        aliases: &["agent_listWorkspace"],
        method: "agent.listWorkspace",
        category: Category::Agent,
        tags: &["colleagues", "capabilities"],
        title: "List agents",
        description: "Lists the approved agents of the workspace, optionally only those with certain capabilities or of one working status.",
        need: Need::Nothing,
        input: || {
            json!({"properties": {
                "capabilities": {"type": ["array", "null"], "items": {"type": "string", "maxLength": 100}, "maxItems": 50},
                "status": fields::optional_word(&WORKING_STATUSES, "Only agents that say so."),
            }})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(list_workspace(call)),
    },
    Tool {
        name: "agent_claim_task",
        aliases: &["agent_claimTask"],
        method: "agent.claimTask",
        category: Category::Agent,
        tags: &["task", "work"],
        title: "Take a task",
        description: "Claims a task that is open to agents and that no other agent works on. Of two that claim it at once one gets it.",
        need: Need::OwnWith("write:tasks"),
        input: || json!({"properties": {"taskId": {"type": "string"}}, "required": ["taskId"]}),
        annotations: Annotations::Writes,
        run: |call| Box::pin(claim_task(call)),
    },
    Tool {
        name: "agent_delegate_task",
        aliases: &["agent_delegate", "agent_delegateTask", "agent.delegateTask"],
        method: "agent.delegate",
        category: Category::Agent,
        tags: &["task", "colleagues"],
        title: "Give a task away",
        description: "Gives a task of the calling agent, or one that is open and nobody's, to another agent of the workspace.",
        need: Need::OwnWith("delegate:agents"),
        input: || {
            json!({"properties": {
                "taskId": {"type": "string"},
                "toAgentId": {"type": ["string", "null"], "description": "Who gets it."},
                "targetAgentId": {"type": ["string", "null"], "description": "The same as toAgentId."},
                "fromAgentId": {"type": ["string", "null"], "description": "The caller's own id. May be left out: the key says it."},
                "reason": {"type": ["string", "null"], "maxLength": 1000},
            }, "required": ["taskId"], "not": fields::none_of(&["toAgentId", "targetAgentId"])})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(delegate_task(call)),
    },
    Tool {
        name: "agent_activity",
        aliases: &[],
        method: "agent.activity",
        category: Category::Agent,
        tags: &["activity"],
        title: "Own activity",
        description: "Lists what the calling agent did and what was done about it, newest first.",
        need: Need::Own,
        input: || json!({"properties": {"limit": {"type": ["integer", "null"], "minimum": 1, "maximum": ACTIVITIES_MAX, "default": ACTIVITIES}}}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(own_activity(call)),
    },
    Tool {
        name: "agent_profile",
        aliases: &[],
        method: "agent.profile",
        category: Category::Agent,
        tags: &["identity", "permission"],
        title: "Own profile",
        description: "Tells what the service knows of the calling agent: its name, capabilities and what it may do, also what it was granted for a while.",
        need: Need::Own,
        input: || json!({"properties": {}}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(profile(call)),
    },
];

async fn profile(call: &Call<'_>) -> Result<Value, ToolError> {
    let caller = call.agent()?;
    let agent = agents::calling(&mut *call.read().await?, caller, call.at).await?.ok_or_else(gone)?;
    let (resolved_at, resolved_by) = match &agent.state {
        AgentState::Approved { by, at, .. } => (Some(Timestamp(*at)), *by),
        AgentState::Pending | AgentState::Denied { .. } | AgentState::Revoked { .. } => (None, None),
    };
    Ok(json!({
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
    }))
}

async fn my_assignments(call: &Call<'_>) -> Result<Value, ToolError> {
    let caller = call.agent()?;
    let mut conn = call.read().await?;
    let agent = agents::find(&mut conn, caller.workspace, &caller.agent).await?.ok_or_else(gone)?;
    let mut found = assignments::own(&mut conn, caller).await?;
    if let Some(wanted) = call.text("status") {
        found.retain(|assignment| matches!(assignment.target, Target::Project(_)) || task_status(assignment) == wanted);
    }
    let count = |project: bool| found.iter().filter(|assignment| matches!(assignment.target, Target::Project(_)) == project).count();
    Ok(json!({
        "agentId": caller.agent,
        "agentName": agent.profile.name,
        "totalProjects": count(true),
        "totalTasks": count(false),
        "assignments": found.iter().map(wire::assignments::Assignment::from).collect::<Vec<_>>(),
    }))
}

/// A task's status in the words of the tool.
fn task_status(assignment: &Assignment) -> &'static str {
    match assignment.task_status.as_deref() {
        Some("todo") | None => "pending",
        Some("done") => "completed",
        Some(_) => "in_progress",
    }
}

async fn update_status(call: &Call<'_>) -> Result<Value, ToolError> {
    let owned = |name: &str| call.text(name).map(str::to_owned);
    let status = owned("status").ok_or_else(|| ToolError::invalid("status", "is missing"))?;
    let own = OwnStatus { status, current_task: owned("currentTask"), message: owned("message"), reason: owned("reason") };
    let mut tx = call.begin().await?;
    let agent = agents::set_status(&mut tx, call.agent()?, own).await?.ok_or_else(gone)?;
    tx.commit().await?;
    Ok(json!({"agentId": agent.id, "status": agent.profile.metadata["workingStatus"], "updatedAt": Timestamp(agent.updated_at)}))
}

async fn log_activity(call: &Call<'_>) -> Result<Value, ToolError> {
    let kind = fields::either(call, ["actionType", "activityType"])?;
    let activity_type = call.text(kind).ok_or_else(|| ToolError::invalid(kind, "is missing"))?.to_owned();
    let object = |name: &str| call.arguments.get(name).and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    let mut details = object("details");
    details.extend(object("metadata"));
    let note = Note {
        description: call.text("description").map_or_else(|| activity_type.replace('_', " "), str::to_owned),
        activity_type,
        details: Value::Object(details),
        project: call.id("projectId")?,
        task: call.id(fields::either(call, ["taskId", "relatedTaskId"])?)?,
        page: call.id(fields::either(call, ["pageId", "relatedPageId"])?)?,
    };
    let mut tx = call.begin().await?;
    let (id, at) = activity::log(&mut tx, call.agent()?, note).await?;
    tx.commit().await?;
    Ok(json!({"success": true, "activityId": id, "timestamp": Timestamp(at)}))
}

async fn list_workspace(call: &Call<'_>) -> Result<Value, ToolError> {
    let capabilities = call.texts("capabilities").into_iter().map(str::to_owned).collect();
    let found = agents::approved(&mut *call.read().await?, call.workspace(), capabilities).await?;
    let wanted = call.text("status");
    let working_status = |agent: &Agent| agent.profile.metadata.get("workingStatus").and_then(Value::as_str).map(str::to_owned);
    let listed: Vec<Value> = found
        .iter()
        .filter(|agent| wanted.is_none() || working_status(agent).as_deref().unwrap_or("idle") == wanted.unwrap_or_default())
        .map(|agent| {
            json!({"id": agent.id, "name": agent.profile.name, "capabilities": agent.profile.capabilities,
                   "status": agent.state.status().as_str(), "workingStatus": working_status(agent),
                   "grantedPermissions": agent.granted().to_strings()})
        })
        .collect();
    Ok(json!({"total": listed.len(), "agents": listed}))
}

async fn claim_task(call: &Call<'_>) -> Result<Value, ToolError> {
    let task = call.required_id("taskId")?;
    let mut tx = call.begin().await?;
    let assignment = assignments::claim(&mut tx, call.agent()?, task).await?;
    tx.commit().await?;
    Ok(json!({"success": true, "assignment": wire::assignments::Assignment::from(&assignment)}))
}

async fn delegate_task(call: &Call<'_>) -> Result<Value, ToolError> {
    let caller = call.agent()?;
    let from = call.text("fromAgentId");
    if from.is_some_and(|from| from != caller.agent.as_str()) {
        return Err(ToolError::denied("fromAgentId must be the caller's own"));
    }
    let to: AgentId = call.required_id(fields::either(call, ["toAgentId", "targetAgentId"])?)?;
    let reason = call.text("reason").map(str::to_owned);
    let task = call.required_id("taskId")?;
    let mut tx = call.begin().await?;
    let delegated = assignments::delegate(&mut tx, caller, &to, task, reason).await?;
    tx.commit().await?;
    let brief = |agent: &Agent| json!({"id": agent.id, "name": agent.profile.name});
    Ok(json!({"success": true, "delegation": {
        "fromAgent": brief(&delegated.from), "toAgent": brief(&delegated.to), "taskId": task,
        "assignment": wire::assignments::Assignment::from(&delegated.assignment),
    }}))
}

async fn own_activity(call: &Call<'_>) -> Result<Value, ToolError> {
    let caller = call.agent()?;
    let limit = call.whole("limit").unwrap_or(ACTIVITIES).clamp(1, ACTIVITIES_MAX).unsigned_abs();
    let found = activity::own(&mut *call.read().await?, caller, limit).await?;
    let told: Vec<wire::activity::Activity> = found.into_iter().map(Into::into).collect();
    Ok(json!({"agentId": caller.agent, "total": told.len(), "activities": told}))
}

fn gone() -> ToolError {
    ToolError::not_found("agent not found")
}

impl From<AssignmentError> for ToolError {
    fn from(error: AssignmentError) -> Self {
        match error {
            AssignmentError::Storage(storage) => storage.into(),
            AssignmentError::AgentNotFound | AssignmentError::TargetNotFound(_) | AssignmentError::NotFound => {
                Self::not_found(error.to_string())
            }
            AssignmentError::Forbidden => Self::denied(error.to_string()),
            AssignmentError::Already(_) | AssignmentError::Taken => Self::exists(error.to_string()),
            AssignmentError::Illegal(_)
            | AssignmentError::Ended
            | AssignmentError::AgentLimit { .. }
            | AssignmentError::ProjectLimit { .. }
            | AssignmentError::NotLive => Self::invalid("taskId", &error.to_string()),
        }
    }
}

impl From<LogError> for ToolError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Storage(storage) => storage.into(),
            LogError::NotFound(_) | LogError::AgentNotFound => Self::not_found(error.to_string()),
            LogError::Reserved => Self::invalid("actionType", &error.to_string()),
            LogError::TooLong => Self::invalid("details", &error.to_string()),
        }
    }
}
