//! Who may do what: the table of the contract (§4.6), role by role.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Caller, World};

/// Operations for owners and admins only, with a body that they would take.
fn managers_operations() -> Vec<(Method, &'static str, Value)> {
    let post = |path, body| (Method::POST, path, body);
    let get = |path| (Method::GET, path, Value::Null);
    vec![
        get("/parallax-agents/pending"),
        get("/parallax-agents/watchable"),
        get("/parallax-agents/activity/workspace"),
        get("/parallax-agents/activity/daily"),
        get("/parallax-agents/scout/activity"),
        get("/parallax-agents/scout/recent-activity"),
        get("/parallax-agents/scout/keys"),
        get("/parallax-agents/invites"),
        get("/parallax-agents/invites/active"),
        post("/parallax-agents/scout/approve", json!({"grantedPermissions": ["read:pages"]})),
        post("/parallax-agents/scout/deny", json!({"reason": "no"})),
        post("/parallax-agents/scout/revoke", json!({"reason": "no"})),
        post("/parallax-agents/scout/permissions", json!({"permissions": ["read:pages"]})),
        post("/parallax-agents/scout/keys/rotate", json!({})),
        (Method::DELETE, "/parallax-agents/scout/keys/some-key", Value::Null),
        post("/parallax-agents/invites", json!({"name": "ci", "permissions": ["read:pages"]})),
        post("/parallax-agents/invites/019a0000-0000-7000-8000-000000000001/revoke", json!({})),
        (Method::DELETE, "/parallax-agents/invites/019a0000-0000-7000-8000-000000000001", Value::Null),
        get("/parallax-agents/invites/019a0000-0000-7000-8000-000000000001"),
        post("/parallax-agents/spawn", json!({"agentType": "custom"})),
        post("/parallax-agents/scout/stop", json!({})),
        post("/parallax-agents/runtime/test", json!({})),
        post("/api-keys", json!({"name": "Laptop"})),
        post("/api-keys/some-key/rotate", json!({})),
        post("/agent/handoff", json!({})),
        post("/workspace/agent-settings/update", json!({"enabled": true})),
    ]
}

/// What every member may read.
const MEMBERS_READS: [&str; 5] =
    ["/parallax-agents", "/parallax-agents/available", "/parallax-agents/scout", "/parallax-agents/permissions", "/terminal/sessions"];

async fn call(caller: &Caller<'_>, (method, path, body): &(Method, &'static str, Value)) -> StatusCode {
    caller.call(method.clone(), path, (!body.is_null()).then(|| body.clone())).await.status
}

/// D-02, D-68: the server decides, not the page.
#[sqlx::test]
async fn members_manage_nothing_and_read_what_is_theirs(pool: PgPool) {
    let world = World::new(pool).await;
    world.approved_agent("scout").await;
    let member = world.member("mel").await;
    for operation in managers_operations() {
        assert_eq!(call(&member, &operation).await, StatusCode::FORBIDDEN, "{} {}", operation.0, operation.1);
    }
    for path in MEMBERS_READS {
        member.get(path).await.expect(StatusCode::OK);
    }
    assert_eq!(world.owner().await.agent("scout").await["status"], "approved", "nothing of it had an effect");
    world.end().await;
}

/// D-08: an agent's account signs in nowhere, and its key opens no door of people.
#[sqlx::test]
async fn agents_keys_open_no_door_of_people(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    let agent = world.with_key(&key);
    for operation in managers_operations() {
        assert_eq!(call(&agent, &operation).await, StatusCode::UNAUTHORIZED, "{} {}", operation.0, operation.1);
    }
    for path in MEMBERS_READS {
        agent.get(path).await.expect(StatusCode::UNAUTHORIZED);
    }
    let (role, email): (String, String) =
        sqlx::query_as("SELECT role, email FROM users WHERE agent_id = 'scout'").fetch_one(&pool).await.unwrap();
    assert_eq!(role, "agent");
    // D-52.
    let login = world.anonymous().post("/auth/login", json!({"email": email, "password": "whatever it is"})).await;
    login.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    let members = world.owner().await.post("/workspace/members", json!({})).await.expect(StatusCode::OK);
    assert_eq!(members["data"]["items"].as_array().unwrap().len(), 1, "agents are no members");
    world.end().await;
}

#[sqlx::test]
async fn admins_may_what_owners_may(pool: PgPool) {
    let world = World::new(pool).await;
    world.pending_agent("scout").await;
    let admin = world.admin("ada").await;
    for operation in managers_operations() {
        let status = call(&admin, &operation).await;
        assert!(!matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), "{} {}: {status}", operation.0, operation.1);
    }
    world.end().await;
}

/// D-25, D-56, and that a grant is no wish of the requester's alone.
#[sqlx::test]
async fn a_grant_stays_within_the_request_unless_the_admin_means_more(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    world.pending_agent("scout").await;
    for unknown in ["constructor", "toString", "READ:PAGES", ""] {
        owner.approve("scout", &[unknown]).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    let beyond = owner.approve("scout", &["read:pages", "delete:pages"]).await;
    let told = beyond.expect_problem(StatusCode::CONFLICT, "GRANT_EXCEEDS_REQUEST");
    assert!(told["detail"].as_str().unwrap().contains("delete:pages"), "{told}");
    assert_eq!(owner.agent("scout").await["status"], "pending");
    let meant = json!({"grantedPermissions": ["read:pages", "delete:pages"], "grantBeyondRequest": true});
    let approved = owner.post("/parallax-agents/scout/approve", meant).await.expect(StatusCode::OK);
    assert_eq!(approved["data"]["agent"]["grantedPermissions"], json!(["delete:pages", "read:pages"]));
    // What Raven's own page offers is understood (§4.2).
    let offered = json!({"name": "ci", "permissions": ["read:comments", "search"]});
    let invite = owner.post("/parallax-agents/invites", offered).await.expect(StatusCode::CREATED);
    assert_eq!(invite["data"]["permissions"], json!(["execute:search", "read:comments"]));
    world.end().await;
}
