//! Pages, tasks and spaces of the knowledge base, and agents that work on them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Caller, World, config};

impl World {
    /// A service in which no tool waits for a person's approval.
    pub(crate) async fn without_approvals(pool: PgPool) -> Self {
        let mut config = config(None);
        config.tool_approvals_enabled = false;
        Self::with_config(pool, config, None).await
    }

    /// An approved agent with these permissions, as a caller with its key.
    pub(crate) async fn agent_with(&self, id: &str, permissions: &[&str]) -> Caller<'_> {
        self.with_key(&self.agent_with_key(id, permissions).await)
    }

    /// As [`Self::agent_with`]: the key.
    pub(crate) async fn agent_with_key(&self, id: &str, permissions: &[&str]) -> String {
        let mut request = self.access_request(id);
        request["requestedPermissions"] = json!(permissions);
        self.control_plane().post("/parallax-agents/access-request", request).await.expect(StatusCode::CREATED);
        let approved = self.owner().await.approve(id, permissions).await.expect(StatusCode::OK);
        approved["data"]["mcpApiKey"].as_str().unwrap().to_owned()
    }

    /// The account that stands for an agent.
    pub(crate) async fn account_of(&self, agent: &str) -> Uuid {
        let id = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND agent_id = $2");
        id.bind(self.workspace.0).bind(agent).fetch_one(&self.pool).await.unwrap()
    }

    /// The space that everybody of the workspace belongs to; agents are writers in it.
    pub(crate) async fn first_space(&self) -> Uuid {
        let id = sqlx::query_scalar("SELECT default_space_id FROM workspaces WHERE id = $1");
        id.bind(self.workspace.0).fetch_one(&self.pool).await.unwrap()
    }

    /// A space of the workspace that nobody belongs to yet.
    pub(crate) async fn closed_space(&self, slug: &str) -> Uuid {
        let id = sqlx::query_scalar("INSERT INTO spaces (name, slug, workspace_id) VALUES ($2, $2, $1) RETURNING id");
        id.bind(self.workspace.0).bind(slug).fetch_one(&self.pool).await.unwrap()
    }

    /// A space of another workspace.
    pub(crate) async fn foreign_space(&self) -> Uuid {
        self.outsider().await;
        let id = sqlx::query_scalar("SELECT default_space_id FROM workspaces WHERE id <> $1");
        id.bind(self.workspace.0).fetch_one(&self.pool).await.unwrap()
    }

    /// Makes an account belong to a space.
    pub(crate) async fn join(&self, space: Uuid, account: Uuid, role: &str) {
        let insert = sqlx::query("INSERT INTO space_members (space_id, user_id, role) VALUES ($1, $2, $3)");
        insert.bind(space).bind(account).bind(role).execute(&self.pool).await.unwrap();
    }

    /// What a group may do in the first space, from now on; agents belong to it by that group alone.
    pub(crate) async fn set_group_role(&self, role: &str) {
        let update = sqlx::query("UPDATE space_members SET role = $1 WHERE group_id IS NOT NULL");
        update.bind(role).execute(&self.pool).await.unwrap();
    }

    /// A page that people made, of whatever workspace the space is in.
    pub(crate) async fn page_in(&self, space: Uuid, title: &str) -> Uuid {
        let id = sqlx::query_scalar(
            "INSERT INTO pages (slug_id, title, text_content, content, space_id, workspace_id)
             SELECT substr(md5(random()::text), 1, 10), $2, $2, '{\"type\": \"doc\", \"content\": []}', id, workspace_id FROM spaces WHERE id = $1
             RETURNING id",
        );
        id.bind(space).bind(title).fetch_one(&self.pool).await.unwrap()
    }

    /// A task that people made.
    pub(crate) async fn task_in(&self, space: Uuid, title: &str) -> Uuid {
        let id = sqlx::query_scalar(
            "INSERT INTO tasks (title, space_id, workspace_id) SELECT $2, id, workspace_id FROM spaces WHERE id = $1 RETURNING id",
        );
        id.bind(space).bind(title).fetch_one(&self.pool).await.unwrap()
    }

    /// A project that people made.
    pub(crate) async fn project_in(&self, space: Uuid, name: &str) -> Uuid {
        let id = sqlx::query_scalar(
            "INSERT INTO projects (name, space_id, workspace_id) SELECT $2, id, workspace_id FROM spaces WHERE id = $1 RETURNING id",
        );
        id.bind(space).bind(name).fetch_one(&self.pool).await.unwrap()
    }

    /// Keeps a row of `pages` or `tasks` from agents.
    pub(crate) async fn keep_from_agents(&self, table: &str, id: Uuid) {
        let update = format!("UPDATE {table} SET agent_accessible = false WHERE id = $1");
        sqlx::query(sqlx::AssertSqlSafe(update)).bind(id).execute(&self.pool).await.unwrap();
    }
}

impl Caller<'_> {
    /// What a tool answers when it does what was asked.
    #[track_caller]
    pub(crate) fn does(&self, name: &'static str, arguments: Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let body = self.tool(name, arguments).await.expect(StatusCode::OK);
            let told: Value = serde_json::from_str(body["content"][0]["text"].as_str().unwrap()).unwrap();
            assert_ne!(body["isError"], true, "{name} at {place}: {told}");
            told
        }
    }

    /// The error of a tool that does not do what was asked.
    #[track_caller]
    pub(crate) fn refused(&self, name: &'static str, arguments: Value) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let body = self.tool(name, arguments).await.expect(StatusCode::OK);
            let told: Value = serde_json::from_str(body["content"][0]["text"].as_str().unwrap()).unwrap();
            assert_eq!(body["isError"], true, "{name} at {place}: {told}");
            told
        }
    }

    /// Asserts that for each of these ids a tool answers alike that there is no such thing.
    #[track_caller]
    pub(crate) fn finds_none(&self, name: &'static str, field: &'static str, ids: &[Uuid], rest: Value) -> impl Future<Output = ()> {
        let (place, ids) = (std::panic::Location::caller(), ids.to_vec());
        async move {
            let mut told = Vec::new();
            for id in ids {
                let mut arguments = rest.clone();
                arguments[field] = json!(id);
                told.push(self.tool(name, arguments).await.tool_text());
            }
            assert!(told.iter().all(|error| error["code"] == -32001), "{name} at {place}: {told:?}");
            assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{name} at {place}: {told:?}");
        }
    }
}

/// Text of at least so many bytes that is all different words, in compounds: of each an index keeps the whole and its parts.
pub(crate) fn compounds(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    let mut number = 0;
    while text.len() < bytes {
        let after = if number % 200 == 0 { ' ' } else { '-' };
        text.extend([format!("ab{number:x}"), after.to_string()]);
        number += 1;
    }
    text
}

/// The titles, names or ids of a list.
pub(crate) fn each<'v>(list: &'v Value, field: &str) -> Vec<&'v str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}
