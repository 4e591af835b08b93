//! What the pages of Raven's own web UI call besides.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::World;

/// The calls of the web UI's start and settings pages (contract §8.2, §8.5), without body or content type.
const CALLS: [(&str, &str); 22] = [
    ("POST", "/workspace/public"),
    ("POST", "/users/me"),
    ("POST", "/auth/collab-token"),
    ("POST", "/spaces"),
    ("POST", "/pages/recent"),
    ("POST", "/version"),
    ("GET", "/parallax-agents/pending"),
    ("GET", "/parallax-agents"),
    ("GET", "/parallax-agents/invites/active"),
    ("GET", "/parallax-agents/invites"),
    ("GET", "/parallax-agents/activity/workspace?limit=50"),
    ("GET", "/api-keys"),
    ("POST", "/workspace/agent-settings"),
    ("POST", "/workspace/agent-settings/runtime-health"),
    ("POST", "/users/agent-providers"),
    ("POST", "/subscription/status"),
    ("POST", "/memory/query"),
    ("POST", "/workspace/integrations"),
    ("GET", "/integrations/github/status"),
    ("POST", "/workspace/members"),
    ("POST", "/groups"),
    ("POST", "/approvals/list"),
];

#[sqlx::test]
async fn every_call_of_the_pages_is_answered_in_its_envelope(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    for (method, path) in CALLS {
        let body = owner.call(method.parse::<Method>().unwrap(), path, None).await.expect(StatusCode::OK);
        assert_eq!((&body["success"], &body["status"], body.get("data").is_some()), (&json!(true), &json!(200), true), "{path}: {body}");
    }
    world.end().await;
}

#[sqlx::test]
async fn the_lists_hold_what_the_caller_belongs_to(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let (owner, (member, user)) = (world.owner().await, world.member_with_id("mel").await);
    let page = "INSERT INTO pages (slug_id, title, space_id, workspace_id) SELECT 'abc', 'Notes', default_space_id, id FROM workspaces";
    sqlx::query(page).execute(&pool).await.unwrap();
    // A space that nobody belongs to (D-55).
    let space = "INSERT INTO spaces (name, slug, workspace_id) VALUES ('Hidden', 'hidden', $1)";
    sqlx::query(space).bind(world.workspace.0).execute(&pool).await.unwrap();
    let items = async |path: &str, body: Value| member.post(path, body).await.expect(StatusCode::OK)["data"].clone();
    let spaces = items("/spaces", json!({"page": 1, "limit": 50})).await;
    assert_eq!((spaces["items"].as_array().unwrap().len(), &spaces["items"][0]["slug"]), (1, &json!("general")));
    assert_eq!(spaces["items"][0]["memberCount"], 2);
    assert_eq!(spaces["meta"], json!({"limit": 50, "page": 1, "hasNextPage": false, "hasPrevPage": false}));
    assert_eq!(items("/spaces", json!({"query": "hid"})).await["items"], json!([]));
    let pages = items("/pages/recent", json!({})).await;
    assert_eq!((&pages["items"][0]["title"], &pages["items"][0]["space"]["slug"]), (&json!("Notes"), &json!("general")));
    let first = items("/workspace/members", json!({"limit": 1})).await;
    assert_eq!((first["items"].as_array().unwrap().len(), &first["meta"]["hasNextPage"]), (1, &json!(true)));
    let second = items("/workspace/members", json!({"limit": 1, "page": 2})).await;
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(items("/groups", json!({})).await["items"][0]["memberCount"], 2);

    sqlx::query("DELETE FROM group_users WHERE user_id = $1").bind(user.0).execute(&pool).await.unwrap();
    assert_eq!(items("/spaces", json!({})).await["items"], json!([]));
    assert_eq!(items("/pages/recent", json!({})).await["items"], json!([]));
    for bad in [json!({"limit": 0}), json!({"page": 0}), json!({"limit": 101}), json!({"page": "x"})] {
        owner.post("/spaces", bad).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_deleted_group_opens_no_space_to_its_people(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let member = world.member("mel").await;
    let page = "INSERT INTO pages (slug_id, title, space_id, workspace_id) SELECT 'abc', 'Notes', default_space_id, id FROM workspaces";
    sqlx::query(page).execute(&pool).await.unwrap();
    let count = async |path: &str| {
        let body = member.post(path, json!({})).await.expect(StatusCode::OK);
        body["data"]["items"].as_array().unwrap().len()
    };
    assert_eq!((count("/spaces").await, count("/pages/recent").await), (1, 1));
    sqlx::query("UPDATE groups SET deleted_at = now()").execute(&pool).await.unwrap();
    assert_eq!((count("/spaces").await, count("/pages/recent").await), (0, 0));
    world.end().await;
}

#[sqlx::test]
async fn a_collaboration_token_signs_nobody_in(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.post("/auth/collab-token", json!({})).await.expect(StatusCode::OK)["data"]["token"].clone();
    world.with_key(token.as_str().unwrap()).get("/parallax-agents").await.expect(StatusCode::UNAUTHORIZED);
    world.end().await;
}
