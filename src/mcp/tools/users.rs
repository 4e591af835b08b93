//! Tools for the people of the workspace (REST contract §5.7).

use serde_json::{Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::spaces,
    model::{account::Account, workspace::User},
    wire::time::Timestamp,
};

/// Items of a list when the caller does not say.
const LIMIT: i64 = 50;
/// What it takes to be told addresses of people.
pub(super) const READ_USERS: &str = "read:users";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "user_list",
        aliases: &["list_users"],
        method: "user.list",
        category: Category::User,
        tags: &["people", "list"],
        title: "List people",
        description: "Lists the people of the workspace, by name.",
        need: Need::Permission(READ_USERS),
        input: people,
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call, "users")),
    },
    Tool {
        name: "user_get",
        aliases: &["get_user"],
        method: "user.get",
        category: Category::User,
        tags: &["people", "read"],
        title: "Read about somebody",
        description: "Reads one account of the workspace, a person's or an agent's.",
        need: Need::Permission(READ_USERS),
        input: || json!({"properties": {"userId": fields::id("Id of the account.")}, "required": ["userId"]}),
        annotations: Annotations::Reads,
        run: |call| Box::pin(get(call)),
    },
    Tool {
        name: "workspace_members",
        aliases: &["workspace_listMembers"],
        method: "workspace.members",
        category: Category::Workspace,
        tags: &["people", "list", "workspace"],
        title: "List members of the workspace",
        description: "Lists the people of the workspace, by name.",
        need: Need::Permission(READ_USERS),
        input: people,
        annotations: Annotations::Reads,
        run: |call| Box::pin(list(call, "members")),
    },
];

fn people() -> Value {
    json!({"properties": fields::leafed(json!({"query": fields::optional_text(100, "Only people whose name or address holds this.")}), LIMIT)})
}

async fn list(call: &Call<'_>, name: &str) -> Result<Value, ToolError> {
    let (account, request) = (Account::from(call.caller), fields::request(call, LIMIT));
    let found = spaces::people_of(&mut *call.read().await?, &account, &request).await?;
    Ok(fields::listed(name, &found, &request, |user| told(&account, user)))
}

async fn get(call: &Call<'_>) -> Result<Value, ToolError> {
    let account = Account::from(call.caller);
    let user = spaces::person(&mut *call.read().await?, &account, call.required_id("userId")?).await?;
    Ok(told(&account, &user))
}

/// An account as tools tell it. Its address is for who may read users; agents have none that anybody reads.
pub(super) fn told(account: &Account, user: &User) -> Value {
    let mut told = json!({
        "id": user.id,
        "name": user.name,
        "avatarUrl": user.avatar_url,
        "role": user.role,
        "agentId": user.agent_id,
        "timezone": user.timezone,
        "createdAt": Timestamp(user.created_at),
    });
    if account.may(READ_USERS) && user.agent_id.is_none() {
        told["email"] = json!(user.email);
    }
    told
}
