//! Tools for spaces and the workspace around them (REST contract §5.7).

use serde_json::{Value, json};

use super::{
    super::{
        catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
        pipeline,
    },
    fields, users,
};
use crate::{
    domain::spaces,
    model::{account::Account, ids::SpaceId},
    wire::{lists::Space, time::Timestamp},
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 50;

const SPACE_ID: &str = "Id of the space.";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "space_list",
        aliases: &["list_spaces"],
        method: "space.list",
        category: Category::Space,
        tags: &["spaces", "list"],
        title: "List spaces",
        description: "Lists the spaces that the caller belongs to, by name.",
        need: Need::Permission("read:spaces"),
        input: || json!({"properties": fields::leafed(json!({"query": fields::optional_text(100, "Only spaces whose name holds this.")}), LIMIT)}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call)),
    },
    Tool {
        name: "space_get",
        aliases: &["get_space", "space_info"],
        method: "space.get",
        category: Category::Space,
        tags: &["spaces", "read"],
        title: "Read a space",
        description: "Reads one space, with what the caller may do in it.",
        need: Need::Permission("read:spaces"),
        input: || json!({"properties": {"spaceId": fields::id(SPACE_ID)}, "required": ["spaceId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "space_members",
        aliases: &["space_listMembers"],
        method: "space.members",
        category: Category::Space,
        tags: &["spaces", "people"],
        title: "List people of a space",
        description: "Lists the people who belong to a space, with what they may do there.",
        need: Need::Permission("read:spaces"),
        input: || {
            let properties =
                json!({"spaceId": fields::id(SPACE_ID), "query": fields::optional_text(100, "Only people whose name holds this.")});
            json!({"properties": fields::leafed(properties, LIMIT), "required": ["spaceId"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(members(call)),
    },
    Tool {
        name: "workspace_get",
        aliases: &["get_workspace"],
        method: "workspace.get",
        category: Category::Workspace,
        tags: &["workspace", "read"],
        title: "Read the workspace",
        description: "Reads the workspace's name and description. Its settings are not told.",
        need: Need::Permission("read:spaces"),
        input: || json!({"properties": {}}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(workspace(call)),
    },
];

async fn list(call: &Call<'_>) -> Result<Value, ToolError> {
    let request = fields::request(call, LIMIT);
    let found = spaces::of_account(&mut *call.read().await?, &Account::from(call.caller), &request).await?;
    Ok(fields::listed("spaces", &found, &request, |space| json!(Space::from(space.clone()))))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let account = Account::from(call.caller);
    let (space, role) = spaces::find(&mut *call.read().await?, &account, space_id(call)?).await?;
    let mut told = json!(Space::from(space));
    told["role"] = json!(role.as_str());
    Ok(told)
}

async fn members(call: &Call<'_>) -> Result<Value, ToolError> {
    let (account, request) = (pipeline::account(call, &[users::READ_USERS]).await?, fields::request(call, LIMIT));
    let found = spaces::members(&mut *call.read().await?, &account, space_id(call)?, &request).await?;
    Ok(fields::listed("members", &found, &request, |member| {
        let mut told = users::told(&account, &member.user);
        told["spaceRole"] = json!(member.role.as_str());
        told
    }))
}

async fn workspace(call: &Call<'_>) -> Result<Value, ToolError> {
    let workspace = spaces::workspace_of(&mut *call.read().await?, &Account::from(call.caller)).await?;
    Ok(json!({
        "id": workspace.id,
        "name": workspace.name,
        "description": workspace.description,
        "logo": workspace.logo,
        "hostname": workspace.hostname,
        "defaultSpaceId": workspace.default_space_id,
        "createdAt": Timestamp(workspace.created_at),
        "updatedAt": Timestamp(workspace.updated_at),
    }))
}

fn space_id(call: &Call<'_>) -> Result<SpaceId, ToolError> {
    call.required_id("spaceId")
}
