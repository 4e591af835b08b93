//! Resources: what a client may attach to a conversation without calling a tool. Each is a tool's answer
//! under an address, so that the same rules decide who reads it.

use serde_json::{Map, Value, json};

use super::{
    catalogue::{self, ToolError, code},
    listing, pipeline,
};
use crate::{
    app::App,
    model::{actor::KeyHolder, tool_approval::APPROVAL_ARGUMENT},
    wire::mcp::{ResourceContent, ResourceDescription},
};

/// Stands between the address of a resource and the id of the approval by which it is read.
const APPROVED_BY: &str = "?approvalId=";
/// What all resources are.
const JSON: &str = "application/json";

/// One resource, and the tool that reads it.
struct Resource {
    uri: &'static str,
    name: &'static str,
    description: &'static str,
    tool: &'static str,
}

const RESOURCES: [Resource; 7] = [
    Resource { uri: "ravendocs://spaces", name: "Spaces", description: "The spaces that the caller belongs to", tool: "space_list" },
    Resource { uri: "ravendocs://pages", name: "Pages", description: "Pages that changed last", tool: "page_recent" },
    Resource { uri: "ravendocs://projects", name: "Projects", description: "Projects of the caller's spaces", tool: "project_list" },
    Resource { uri: "ravendocs://tasks", name: "Tasks", description: "Tasks of the caller's spaces", tool: "task_list" },
    Resource { uri: "ravendocs://users", name: "People", description: "People of the workspace", tool: "user_list" },
    Resource { uri: "ravendocs://agent", name: "Profile", description: "What the service knows of the caller", tool: "agent_profile" },
    Resource {
        uri: "ravendocs://assignments",
        name: "Assignments",
        description: "Projects and tasks that the caller works on",
        tool: "agent_my_assignments",
    },
];

/// The resources that a key may read.
pub(super) async fn list(app: &App, caller: &KeyHolder) -> Result<Vec<ResourceDescription>, ToolError> {
    let allowed = listing::allowed(app, Some(caller)).await?;
    let readable = |resource: &&Resource| allowed.iter().any(|entry| entry.tool.name == resource.tool);
    let described = RESOURCES.iter().filter(readable).map(|resource| ResourceDescription {
        uri: resource.uri,
        name: resource.name,
        description: resource.description,
        mime_type: JSON,
    });
    Ok(described.collect())
}

/// Reads one. Behind its address may be `?approvalId=` and the id of an approval: who reads has no other place to name it.
///
/// Errors: there is none at the address, or what the tool refuses.
pub(super) async fn read(app: &App, caller: &KeyHolder, uri: &str) -> Result<ResourceContent, ToolError> {
    let (address, approval) = uri.split_once(APPROVED_BY).map_or((uri, None), |(address, id)| (address, Some(id)));
    let resource = RESOURCES.iter().find(|resource| resource.uri == address && catalogue::find(resource.tool).is_some());
    let Some(resource) = resource else {
        return Err(ToolError::not_found("there is no such resource").with(json!({"uri": uri})));
    };
    let arguments: Map<String, Value> = approval.map(|id| (APPROVAL_ARGUMENT.to_owned(), json!(id))).into_iter().collect();
    let done = pipeline::call(app, caller, resource.tool, arguments).await;
    let value = done.map_err(|error| with_address(resource, error))?;
    Ok(ResourceContent { uri: resource.uri, mime_type: JSON, text: pretty(&value) })
}

/// Of a resource that waits for a person's approval, the address at which it is read once that was given.
fn with_address(resource: &Resource, error: ToolError) -> ToolError {
    let id = error.data.as_ref().and_then(|data| data.get(APPROVAL_ARGUMENT)).and_then(Value::as_str);
    let Some(address) = id.filter(|_| error.code == code::APPROVAL_REQUIRED).map(|id| format!("{}{APPROVED_BY}{id}", resource.uri)) else {
        return error;
    };
    let mut data = error.data.unwrap_or_default();
    data["uri"] = json!(address);
    ToolError::new(error.code, format!("{} needs a person's approval; read {address} once it is given", resource.uri)).with(data)
}

/// JSON for a model to read.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
