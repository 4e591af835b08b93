//! API keys: whom they speak for, how they end, and what is remembered of them.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Caller, World, config};

/// A key of the caller's own: its id and plain text.
async fn own_key(caller: &Caller<'_>, body: Value) -> (String, String) {
    let created = caller.post("/api-keys", body).await.expect(StatusCode::CREATED);
    let text = |name: &str| created["data"][name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

async fn is_good(world: &World, key: &str) -> bool {
    world.with_key(key).tool("agent_profile", json!({})).await.status == StatusCode::OK
}

/// D-11.
#[sqlx::test]
async fn a_person_sees_a_key_once_lists_only_its_beginning_and_revokes_it(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, other) = (world.owner().await, world.admin("ada").await);
    let (id, key) = own_key(&owner, json!({"name": "Laptop"})).await;
    assert!(key.starts_with("mcp_") && key.len() == 4 + 64, "{key}");
    assert!(is_good(&world, &key).await);

    let listed = owner.get("/api-keys").await.expect(StatusCode::OK);
    assert_eq!(listed["data"]["keys"][0]["keyPrefix"], key[..12], "eight characters after the prefix");
    let text = listed.to_string();
    assert!(!text.contains(&key) && !text.contains("hashedKey"), "{text}");
    assert_eq!(other.get("/api-keys").await.expect(StatusCode::OK)["data"]["keys"], json!([]), "own keys only");

    other.delete(&format!("/api-keys/{id}")).await.expect_problem(StatusCode::NOT_FOUND, "API_KEY_NOT_FOUND");
    let gone = owner.delete(&format!("/api-keys/{id}")).await.expect(StatusCode::OK);
    assert_eq!(gone["data"]["receipt"]["keys"], 1);
    assert!(!is_good(&world, &key).await);
    owner.delete(&format!("/api-keys/{id}")).await.expect_problem(StatusCode::NOT_FOUND, "API_KEY_NOT_FOUND");
    assert_eq!((world.activities("key_created", None).await, world.activities("key_revoked", None).await), (1, 1));
    world.end().await;
}

/// D-10: one issuing policy, whatever the door.
#[sqlx::test]
async fn only_owners_and_admins_make_keys(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    member.post("/api-keys", json!({"name": "Laptop"})).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    member.post("/agent/handoff", json!({})).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    let handed = owner.post("/agent/handoff", json!({"name": "Pair"})).await.expect(StatusCode::OK);
    assert_eq!(handed["data"]["name"], "Pair");
    assert!(is_good(&world, handed["data"]["apiKey"].as_str().unwrap()).await);
    for bad in [json!({}), json!({"name": "ab"}), json!({"name": "   "}), json!({"name": "Old", "expiresAt": "2001-01-01T00:00:00Z"})] {
        owner.post("/api-keys", bad).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    world.end().await;
}

/// D-12.
#[sqlx::test]
async fn keys_for_others_are_made_with_the_operators_token_and_with_nothing_else(pool: PgPool) {
    let mut settings = config(None);
    settings.key_registration_token = Some("the registration token of the tests".to_owned());
    let world = World::with_config(pool.clone(), settings, None).await;
    let (_, user) = world.member_with_id("mel").await;
    let body = json!({"name": "Nightly", "userId": user, "workspaceId": world.workspace});
    let register = |token: &str| world.anonymous().with_header("x-registration-token", token);
    let made = register("the registration token of the tests").post("/api-keys/register", body.clone()).await.expect(StatusCode::CREATED);
    assert!(is_good(&world, made["data"]["key"].as_str().unwrap()).await);
    for token in ["", "the registration token of the test", crate::support::APP_SECRET] {
        register(token).post("/api-keys/register", body.clone()).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    let nobody = json!({"name": "Nightly", "userId": uuid::Uuid::now_v7(), "workspaceId": world.workspace});
    register("the registration token of the tests").post("/api-keys/register", nobody).await.expect(StatusCode::BAD_REQUEST);
    let world_workspace = world.workspace;
    world.end().await;

    // Without a configured token nobody may.
    let closed = World::taken_over(pool, world_workspace).await;
    closed.anonymous().with_header("x-registration-token", "").post("/api-keys/register", body).await.expect(StatusCode::UNAUTHORIZED);
    closed.end().await;
}

#[sqlx::test]
async fn a_rotated_key_stays_good_for_its_grace_period_and_no_longer(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let first = world.approved_agent("scout").await;
    let rotate = "/parallax-agents/scout/keys/rotate";

    let second = owner.post(rotate, json!({"graceSeconds": 3600})).await.expect(StatusCode::OK)["data"]["mcpApiKey"].clone();
    let second = second.as_str().unwrap();
    assert!(is_good(&world, &first).await && is_good(&world, second).await);
    world.clock.advance(TimeDelta::seconds(3601));
    assert!(!is_good(&world, &first).await, "the grace period is over");
    assert!(is_good(&world, second).await);

    let third = owner.post(rotate, json!({})).await.expect(StatusCode::OK)["data"]["mcpApiKey"].clone();
    assert!(!is_good(&world, second).await, "without grace the earlier key ends at once");
    assert!(is_good(&world, third.as_str().unwrap()).await);
    let keys = owner.get("/parallax-agents/scout/keys").await.expect(StatusCode::OK)["data"]["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 3);
    assert_eq!(world.activities("key_rotated", Some("scout")).await, 2);

    world.pending_agent("waiting").await;
    owner.post("/parallax-agents/waiting/keys/rotate", json!({})).await.expect_problem(StatusCode::CONFLICT, "ILLEGAL_TRANSITION");
    owner.post("/parallax-agents/nobody/keys/rotate", json!({})).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");
    owner.post(rotate, json!({"graceSeconds": 604_801})).await.expect(StatusCode::BAD_REQUEST);
    world.end().await;
}

#[sqlx::test]
async fn an_expired_key_is_refused_also_when_it_is_remembered(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let expires = chrono::Utc::now() + TimeDelta::hours(1);
    let (id, key) = own_key(&owner, json!({"name": "Visitor", "expiresAt": expires})).await;
    for _ in 0..3 {
        assert!(is_good(&world, &key).await);
    }
    let rotate = format!("/api-keys/{id}/rotate");
    let same_end = owner.post(&rotate, json!({"graceSeconds": 60})).await.expect(StatusCode::CREATED)["data"].clone();
    owner.post(&rotate, json!({"graceSeconds": 60})).await.expect_problem(StatusCode::NOT_FOUND, "API_KEY_NOT_FOUND");
    let rotate = format!("/api-keys/{}/rotate", same_end["id"].as_str().unwrap());
    let later = json!({"graceSeconds": 60, "expiresAt": expires + TimeDelta::hours(1)});
    let later = owner.post(&rotate, later).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let same_end = &same_end["key"];
    world.clock.advance(TimeDelta::minutes(61));
    assert!(!is_good(&world, &key).await);
    assert!(!is_good(&world, same_end.as_str().unwrap()).await, "it ends when the first would have");
    assert!(is_good(&world, later.as_str().unwrap()).await);
    owner.post(&format!("/api-keys/{id}/rotate"), json!({})).await.expect(StatusCode::NOT_FOUND);
    world.end().await;
}

/// D-07: the next call is refused, however often the key was used a moment before.
#[sqlx::test]
async fn a_key_that_is_remembered_dies_with_whatever_ends_it(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    let warm = async |key: &str| {
        // The first call proves that it is wanted, the later ones find it remembered.
        for _ in 0..20 {
            assert!(is_good(&world, key).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let key = world.approved_agent("scout").await;
    warm(&key).await;
    owner.revoke("scout").await.expect(StatusCode::OK);
    assert!(!is_good(&world, &key).await, "revoked");

    // By somebody else's hand in the database, such as Raven's own server: within the moment that the news takes.
    let statements = [
        "UPDATE parallax_agents SET status = 'denied', denial_reason = 'x', granted_permissions = '{}' WHERE id = $1",
        "UPDATE mcp_api_keys SET revoked_at = now() WHERE agent_id = $1",
        "UPDATE mcp_api_keys SET expires_at = now() WHERE agent_id = $1",
        "DELETE FROM mcp_api_keys WHERE agent_id = $1",
        "UPDATE users SET deactivated_at = now() WHERE agent_id = $1",
        "DELETE FROM parallax_agents WHERE id = $1",
    ];
    for (number, statement) in statements.into_iter().enumerate() {
        let id = format!("agent-{number}");
        let key = world.approved_agent(&id).await;
        warm(&key).await;
        sqlx::query(statement).bind(&id).execute(&pool).await.unwrap();
        world.until(statement, async || (!is_good(&world, &key).await).then_some(())).await;
    }
    world.end().await;
}

#[sqlx::test]
async fn changed_permissions_count_from_the_next_call_on(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let granted = async || world.with_key(&key).tool("agent_profile", json!({})).await.tool_text()["grantedPermissions"].clone();
    assert_eq!(granted().await, json!(["read:pages"]));
    let path = "/parallax-agents/scout/permissions";
    owner.post(path, json!({"permissions": ["write:pages", "write:pages"]})).await.expect(StatusCode::OK);
    assert_eq!(granted().await, json!(["write:pages"]));
    owner.post(path, json!({"permissions": ["write:pages"]})).await.expect(StatusCode::OK);
    assert_eq!(world.activities("permissions_updated", Some("scout")).await, 1, "the same again is no change");
    for bad in [json!({"permissions": []}), json!({"permissions": ["constructor"]}), json!({})] {
        owner.post(path, bad).await.expect(StatusCode::BAD_REQUEST);
    }
    world.member("mel").await.post(path, json!({"permissions": ["read:tasks"]})).await.expect(StatusCode::FORBIDDEN);
    owner.post("/parallax-agents/nobody/permissions", json!({"permissions": ["read:tasks"]})).await.expect(StatusCode::NOT_FOUND);
    world.end().await;
}

#[sqlx::test]
async fn the_last_use_is_written_once_a_minute_at_the_most(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    let last_use = async || {
        let at: Option<chrono::DateTime<chrono::Utc>> =
            sqlx::query_scalar("SELECT last_used_at FROM mcp_api_keys WHERE agent_id = 'scout'").fetch_one(&pool).await.unwrap();
        at
    };
    assert_eq!(last_use().await, None);
    assert!(is_good(&world, &key).await);
    let first = last_use().await;
    assert!(first.is_some());
    for _ in 0..50 {
        assert!(is_good(&world, &key).await);
    }
    assert_eq!(last_use().await, first);
    sqlx::query("UPDATE mcp_api_keys SET last_used_at = now() - interval '61 seconds'").execute(&pool).await.unwrap();
    // The change has the key looked up again.
    let path = "/parallax-agents/scout/permissions";
    world.owner().await.post(path, json!({"permissions": ["read:tasks"]})).await.expect(StatusCode::OK);
    assert!(is_good(&world, &key).await);
    assert!(last_use().await >= first);
    world.end().await;
}

#[sqlx::test]
async fn rotating_does_not_lead_around_a_limit(pool: PgPool) {
    let mut settings = config(None);
    settings.agents_per_workspace_max = 2;
    let world = World::with_config(pool, settings, None).await;
    let owner = world.owner().await;
    world.approved_agent("first").await;
    let key = owner.get("/parallax-agents/first/keys").await.expect(StatusCode::OK)["data"]["keys"][0]["id"].clone();
    owner.delete(&format!("/parallax-agents/first/keys/{}", key.as_str().unwrap())).await.expect(StatusCode::OK);
    world.approved_agent("second").await;
    world.approved_agent("third").await;
    owner.post("/parallax-agents/first/keys/rotate", json!({})).await.expect_problem(StatusCode::CONFLICT, "AGENT_LIMIT_REACHED");
    owner.post("/parallax-agents/second/keys/rotate", json!({})).await.expect(StatusCode::OK);

    let (mut id, _) = own_key(&owner, json!({"name": "Chain"})).await;
    let mut rotations = 0;
    loop {
        let rotated = owner.post(&format!("/api-keys/{id}/rotate"), json!({"graceSeconds": 3600})).await;
        if rotated.status != StatusCode::CREATED {
            rotated.expect_problem(StatusCode::CONFLICT, "API_KEY_LIMIT_REACHED");
            break;
        }
        id = rotated.body["data"]["id"].as_str().unwrap().to_owned();
        rotations += 1;
    }
    assert_eq!(rotations, 49, "with the first key they are as many as one person may hold");
    world.clock.advance(TimeDelta::hours(2));
    own_key(&owner, json!({"name": "Later"})).await;
    world.end().await;
}

/// §1.2: with the workspace everything in it is gone.
#[sqlx::test]
async fn nothing_opens_a_workspace_that_is_deleted(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    assert!(is_good(&world, &key).await);
    owner.get("/parallax-agents").await.expect(StatusCode::OK);
    sqlx::query("UPDATE workspaces SET deleted_at = now()").execute(&pool).await.unwrap();
    let closed = async || {
        let person = owner.get("/parallax-agents").await.status;
        (!is_good(&world, &key).await && person != StatusCode::OK).then_some(())
    };
    world.until("all doors are closed", closed).await;
    world.end().await;
}

/// A later version's permission, or one that somebody wrote by hand, grants nothing and hides nothing.
#[sqlx::test]
async fn a_stored_permission_that_is_not_known_grants_nothing(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    sqlx::query("UPDATE parallax_agents SET granted_permissions = '{read:pages,fly:moon}'").execute(&pool).await.unwrap();
    let granted = async || {
        let profile = world.with_key(&key).tool("agent_profile", json!({})).await.tool_text();
        (profile["grantedPermissions"] == json!(["read:pages"])).then_some(())
    };
    world.until("it is left out", granted).await;
    let listed = world.owner().await.get("/parallax-agents").await.expect(StatusCode::OK);
    assert_eq!(listed["data"][0]["grantedPermissions"], json!(["read:pages"]));
    world.end().await;
}

/// D-66: a fault of the database is no wrong key.
#[sqlx::test]
async fn without_the_database_a_key_is_not_called_wrong(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    world.lose_database().await;
    let answer = world.with_key(&key).tool("agent_profile", json!({})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    world.end().await;
}

#[sqlx::test]
async fn a_person_holds_a_bounded_number_of_keys_however_many_are_asked_for_at_once(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let asked = (0..60).map(|number| {
        let owner = owner.clone();
        async move { owner.post("/api-keys", json!({"name": format!("Key {number}")})).await.status }
    });
    let statuses = futures_util::future::join_all(asked).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CREATED).count(), 50);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 10);
    world.end().await;
}
