//! Tools by which a caller asks people. None of them decides: that is done by a person who is signed in, never
//! with a key (D-09, decision 0038).

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    super::{
        catalogue::{self, Annotations, Call, Category, Need, Tool, ToolError},
        pipeline,
    },
    fields,
};
use crate::{
    domain::tool_approvals::{self, Gate},
    model::{
        ids::ApprovalId,
        permission::{self, PermissionSet},
        tool_approval::{APPROVAL_ARGUMENT, ApprovalKind, GRANT_MINUTES, GRANT_MINUTES_MAX, LIFETIME},
    },
    wire::time::Timestamp,
};

/// How long a call that is asked for in advance waits when the caller does not say, in seconds (REST contract §5.5).
const TTL_SECONDS: i64 = 300;

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "approval_request",
        aliases: &[],
        method: "approval.request",
        category: Category::Approval,
        tags: &["permission", "person"],
        title: "Ask a person",
        description: "Asks the workspace's owners and admins for a permission that the caller lacks, to have it for some minutes, or to let \
            one call go on. Answers with an approvalId; approval_status says what became of it. A call that was approved is repeated \
            with exactly the same arguments and approvalId.",
        need: Need::Nothing,
        input: || {
            let known = permission::CATALOGUE.iter().map(|permission| permission.id);
            let known: Vec<&str> = known.filter(|permission| is_needed(permission)).collect();
            let permissions = format!("A permission to have for a while, one of {}.", known.join(", "));
            json!({"properties": {
                "permission": {"type": ["string", "null"], "description": permissions},
                "minutes": {"type": ["integer", "null"], "minimum": 1, "maximum": GRANT_MINUTES_MAX, "default": GRANT_MINUTES,
                            "description": "How long the permission is to last."},
                "method": {"type": ["string", "null"], "maxLength": 100, "description": "Name of the tool that is to be called."},
                "action": {"type": ["string", "null"], "maxLength": 100, "description": "The same as method."},
                "params": {"type": ["object", "null"], "description": "The arguments with which it is to be called."},
                "ttlSeconds": {"type": ["integer", "null"], "minimum": 30, "maximum": LIFETIME.num_seconds(), "default": TTL_SECONDS},
                "reason": {"type": ["string", "null"], "maxLength": 1000, "description": "What it is for, for the person who decides."},
                "message": {"type": ["string", "null"], "maxLength": 1000, "description": "The same as reason."},
                "resourceType": {"type": ["string", "null"], "maxLength": 100, "description": "What kind of thing it is about, for the person."},
                "resourceId": {"type": ["string", "null"], "maxLength": 100, "description": "Which one it is about, for the person."},
            }, "not": fields::none_of(&["permission", "method", "action"])})
        },
        annotations: Annotations::Sets,
        run: |call| Box::pin(request(call)),
    },
    Tool {
        name: "approval_status",
        aliases: &[],
        method: "approval.status",
        category: Category::Approval,
        tags: &["permission", "person"],
        title: "What became of a request",
        description: "Says whether something that the caller asked people for is pending, approved, rejected, consumed or expired.",
        need: Need::Nothing,
        input: || {
            let id = json!({"type": ["string", "null"], "description": "The approvalId that was told, which may also be given under that name."});
            json!({"properties": {"id": id}})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(status(call)),
    },
];

async fn request(call: &Call<'_>) -> Result<Value, ToolError> {
    match call.text("permission") {
        Some(permission) => request_permission(call, permission).await,
        None => request_call(call).await,
    }
}

async fn request_permission(call: &Call<'_>, permission: &str) -> Result<Value, ToolError> {
    let agent = call.agent()?;
    let known = PermissionSet::parse(&[permission]).map_err(|error| ToolError::invalid("permission", &error.to_string()))?;
    let permission = known.to_strings().pop().unwrap_or_default();
    if agent.permissions.contains(&permission) {
        return Ok(json!({"permission": permission, "status": "approved"}));
    }
    if !is_needed(&permission) {
        return Err(ToolError::invalid("permission", "is one that no tool here needs"));
    }
    let minutes = call.whole("minutes").and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(GRANT_MINUTES);
    let mut tx = call.begin().await?;
    let gate = tool_approvals::request_permission(&mut tx, call.caller, &permission, minutes, reason(call)).await?;
    tx.commit().await?;
    told(&gate, json!({"permission": permission}))
}

/// Whether a tool needs the permission: nobody is asked for one that is good for nothing.
fn is_needed(permission: &str) -> bool {
    super::ALL.iter().copied().flatten().any(|tool| tool.need.permissions().contains(&permission))
}

async fn request_call(call: &Call<'_>) -> Result<Value, ToolError> {
    let name = call.text("method").or_else(|| call.text("action")).ok_or_else(|| ToolError::invalid("method", "is missing"))?;
    let entry = catalogue::find(name).ok_or_else(|| ToolError::invalid("method", "must be the name of a tool"))?;
    let given = call.arguments.get("params").and_then(Value::as_object);
    let mut arguments = given.map(|given| entry.understood(given)).unwrap_or_default();
    arguments.remove(APPROVAL_ARGUMENT);
    entry.check(&arguments)?;
    pipeline::may_be_approved(call.app, call.caller, entry, &arguments).await?;
    let lasts = TimeDelta::seconds(call.whole("ttlSeconds").unwrap_or(TTL_SECONDS));
    let mut tx = call.begin().await?;
    let gate = tool_approvals::request_call(&mut tx, call.caller, entry.tool.method, &arguments, reason(call), lasts).await?;
    tx.commit().await?;
    told(&gate, json!({"method": entry.tool.method}))
}

/// What it is for, and what it is about, in one text for the person who decides.
fn reason(call: &Call<'_>) -> Option<String> {
    let about: Vec<&str> = ["resourceType", "resourceId"].into_iter().filter_map(|name| call.text(name)).collect();
    let reason = call.text("reason").or_else(|| call.text("message"));
    match (reason, about.is_empty()) {
        (reason, true) => reason.map(str::to_owned),
        (None, false) => Some(about.join(" ")),
        (Some(reason), false) => Some(format!("{reason} ({})", about.join(" "))),
    }
}

/// What became of a request, as its caller is told: of a permission also for how long it is asked for.
fn told(gate: &Gate, mut asked: Value) -> Result<Value, ToolError> {
    match gate {
        Gate::Waits { id, expires_at, lasts } => {
            asked["approvalId"] = json!(id);
            asked["status"] = json!("pending");
            asked["expiresAt"] = json!(Timestamp(*expires_at));
            if let Some(lasts) = lasts {
                asked["minutes"] = json!(lasts.num_minutes());
            }
            Ok(asked)
        }
        Gate::TooMany { limit } => Err(ToolError::denied(format!("{limit} requests of yours wait already"))),
        Gate::Refused(why) => Err(ToolError::denied(*why)),
        Gate::Open(id) => {
            asked["approvalId"] = json!(id);
            asked["status"] = json!("approved");
            Ok(asked)
        }
    }
}

async fn status(call: &Call<'_>) -> Result<Value, ToolError> {
    let named = call.text("id").or(call.named_approval).ok_or_else(|| ToolError::invalid("id", "is missing"))?;
    let id: ApprovalId = named.parse().map_err(|_| ToolError::invalid("id", "must be an id"))?;
    let mut tx = call.begin().await?;
    let found = tool_approvals::status(&mut tx, call.caller, id).await?;
    let (approval, status) = found.ok_or_else(|| ToolError::not_found("approval not found"))?;
    let mut told = json!({
        "approvalId": approval.id,
        "kind": approval.kind.as_str(),
        "status": status.as_str(),
        "method": approval.method,
        "expiresAt": Timestamp(approval.expires_at),
    });
    if approval.kind == ApprovalKind::Permission {
        told["permission"] = approval.params["permission"].clone();
    }
    Ok(told)
}
