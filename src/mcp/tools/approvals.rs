//! Tools by which a caller asks people. None of them decides: that is done by a person who is signed in, never
//! with a key (D-09, decision 0038).

use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use super::{
    super::catalogue::{self, Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::tool_approvals::{self, Gate},
    model::{
        ids::ApprovalId,
        permission::PermissionSet,
        tool_approval::{ApprovalKind, GRANT_MINUTES, GRANT_MINUTES_MAX, LIFETIME},
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
            json!({"properties": {
                "permission": {"type": ["string", "null"], "description": "A permission to have for a while, such as write:tasks."},
                "minutes": {"type": ["integer", "null"], "minimum": 1, "maximum": GRANT_MINUTES_MAX, "default": GRANT_MINUTES,
                            "description": "How long the permission is to last."},
                "method": {"type": ["string", "null"], "maxLength": 100, "description": "Name of the tool that is to be called."},
                "params": {"type": ["object", "null"], "description": "The arguments with which it is to be called."},
                "ttlSeconds": {"type": ["integer", "null"], "minimum": 30, "maximum": LIFETIME.num_seconds(), "default": TTL_SECONDS},
                "reason": {"type": ["string", "null"], "maxLength": 1000, "description": "What it is for, for the person who decides."},
            }, "not": fields::none_of(&["permission", "method"])})
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
        input: || json!({"properties": {"id": {"type": "string", "description": "The approvalId that was told."}}, "required": ["id"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(status(call)),
    },
];

async fn request(call: &Call<'_>) -> Result<Value, ToolError> {
    let reason = call.text("reason").map(str::to_owned);
    let mut tx = call.begin().await?;
    let (gate, asked_for) = if let Some(permission) = call.text("permission") {
        call.agent()?;
        let known = PermissionSet::parse(&[permission]).map_err(|error| ToolError::invalid("permission", &error.to_string()))?;
        let permission = known.to_strings().pop().unwrap_or_default();
        let minutes = call.whole("minutes").and_then(|minutes| u32::try_from(minutes).ok()).unwrap_or(GRANT_MINUTES);
        let gate = tool_approvals::request_permission(&mut tx, call.caller, &permission, minutes, reason).await?;
        (gate, json!({"permission": permission, "minutes": minutes}))
    } else {
        let name = call.text("method").ok_or_else(|| ToolError::invalid("method", "is missing"))?;
        let entry = catalogue::find(name).ok_or_else(|| ToolError::invalid("method", "must be the name of a tool"))?;
        let arguments = call.arguments.get("params").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
        entry.check(&arguments)?;
        let lasts = TimeDelta::seconds(call.whole("ttlSeconds").unwrap_or(TTL_SECONDS));
        let gate = tool_approvals::request_call(&mut tx, call.caller, entry.tool.method, &arguments, reason, lasts).await?;
        (gate, json!({"method": entry.tool.method}))
    };
    tx.commit().await?;
    match gate {
        Gate::Waits { id, expires_at } => {
            let mut told = json!({"approvalId": id, "status": "pending", "expiresAt": Timestamp(expires_at)});
            if let (Some(told), Some(asked_for)) = (told.as_object_mut(), asked_for.as_object()) {
                told.extend(asked_for.clone());
            }
            Ok(told)
        }
        Gate::TooMany { limit } => Err(ToolError::denied(format!("{limit} requests of yours wait already"))),
        Gate::Refused(why) => Err(ToolError::denied(why)),
        Gate::Open => Ok(json!({"status": "approved"})),
    }
}

async fn status(call: &Call<'_>) -> Result<Value, ToolError> {
    let id: ApprovalId = call.required_id("id")?;
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
