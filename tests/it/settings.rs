//! Agent settings, their secrets, and what may be called over them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{WEBHOOK_SECRET, World, config};

/// D-57: what is set is kept, what is absent stays, what is wrong changes nothing.
#[sqlx::test]
async fn settings_have_defaults_and_change_field_by_field(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    let read = async || member.post("/workspace/agent-settings", json!({})).await.expect(StatusCode::OK)["data"].clone();
    let defaults = read().await;
    assert_eq!((&defaults["enabled"], &defaults["chatDraftLimit"], &defaults["hostingMode"]), (&json!(true), &json!(300), &json!("local")));
    assert_eq!((&defaults["autonomySchedule"]["dailyHour"], &defaults["parallax"]["maxAgentsPerProject"]), (&json!(7), &json!(10)));

    let changes = json!({"enableActivityTracking": false, "policy": {"deny": ["page.delete"]}, "autonomySchedule": {"dailyHour": 9},
                         "parallax": {"maxAgents": 5}, "runtimeStatus": {"connected": true}, "unknown": 1});
    owner.patch_settings(changes).await.expect(StatusCode::OK);
    let changed = read().await;
    assert_eq!((&changed["enableActivityTracking"], &changed["policy"]["deny"]), (&json!(false), &json!(["page.delete"])));
    assert_eq!((&changed["autonomySchedule"]["dailyHour"], &changed["enabled"]), (&json!(9), &json!(true)));
    assert_eq!((&changed["parallax"]["maxAgents"], &changed["runtimeStatus"]["connected"]), (&json!(5), &json!(false)));
    let me = member.post("/users/me", json!({})).await.expect(StatusCode::OK);
    assert_eq!(me["data"]["workspace"]["settings"]["agent"]["enableActivityTracking"], false);

    owner.patch_settings(json!({"recording": {"keepDays": 7, "input": true}})).await.expect(StatusCode::OK);
    owner.patch_settings(json!({"recording": {"maxMegabytes": 2}})).await.expect(StatusCode::OK);
    assert_eq!(read().await["recording"], json!({"enabled": true, "keepDays": 7, "maxMegabytes": 2, "input": true}));
    let changed = read().await;

    for bad in [
        json!({"recording": {"keepDays": 0}}),
        json!({"chatDraftLimit": 10}),
        json!({"hostingMode": "moon"}),
        json!({"enabled": "yes"}),
        json!({"autonomySchedule": {"dailyHour": 24}}),
        json!({"parallax": {"maxAgents": 21}}),
        json!({"parallax": {"defaultPermissions": ["root"]}}),
    ] {
        owner.patch_settings(bad).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    assert_eq!(read().await, changed);
    member.patch_settings(json!({"enabled": false})).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    world.end().await;
}

/// D-19.
#[sqlx::test]
async fn a_secret_setting_is_written_encrypted_and_never_read(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    let other = r#"{"slack": {"botToken": "xoxb-secret"}, "agent": {"runtimeApiKey": "plain-from-before"}}"#;
    sqlx::query("UPDATE workspaces SET settings = $1::jsonb").bind(other).execute(&pool).await.unwrap();
    let set = owner.patch_settings(json!({"runtimeApiKey": "hunter2hunter2"})).await.expect(StatusCode::OK);
    assert_eq!(set["data"]["runtimeApiKeySet"], true);
    let told = [
        set,
        owner.post("/workspace/agent-settings", json!({})).await.expect(StatusCode::OK),
        owner.post("/users/me", json!({})).await.expect(StatusCode::OK),
        owner.get("/parallax-agents/activity/workspace").await.expect(StatusCode::OK),
    ];
    let stored: Value = sqlx::query_scalar("SELECT settings FROM workspaces").fetch_one(&pool).await.unwrap();
    for text in told.iter().map(ToString::to_string).chain([stored.to_string()]) {
        assert!(!text.contains("hunter2") && !text.contains("plain-from-before"), "{text}");
    }
    assert!(told.iter().all(|told| !told.to_string().contains("xoxb")));
    assert_eq!(stored["slack"]["botToken"], "xoxb-secret", "what other programs keep there stays");
    let removed = owner.patch_settings(json!({"runtimeApiKey": ""})).await.expect(StatusCode::OK);
    assert_eq!(removed["data"]["runtimeApiKeySet"], false);
    world.end().await;
}

/// D-18 and the switch for all agents.
#[sqlx::test]
async fn the_switches_for_registration_are_obeyed(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let ask = async |id: &str| world.anonymous().post("/parallax-agents/access-request", world.access_request(id)).await;
    ask("a").await.expect(StatusCode::UNAUTHORIZED);
    owner.patch_settings(json!({"allowPublicAgentRegistration": true})).await.expect(StatusCode::OK);
    ask("b").await.expect(StatusCode::CREATED);
    let token = owner.invite(None).await;
    owner.patch_settings(json!({"parallax": {"enabled": false}})).await.expect(StatusCode::OK);
    ask("c").await.expect_problem(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF");
    owner.approve("b", &["read:pages"]).await.expect_problem(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF");
    owner.register(&token, "d").await.expect_problem(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF");
    let order = json!({"agentType": "custom", "config": {"command": "bash"}});
    owner.post("/parallax-agents/spawn", order).await.expect_problem(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF");
    world.end().await;
}

#[sqlx::test]
async fn a_workspaces_own_limit_and_default_permissions_count(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let settings = json!({"parallax": {"maxAgents": 2, "defaultPermissions": ["read:tasks"]}});
    owner.patch_settings(settings).await.expect(StatusCode::OK);
    let id = owner.spawn_shell().await;
    assert_eq!(owner.agent(&id).await["grantedPermissions"], json!(["read:tasks"]));
    assert_eq!(owner.get("/parallax-agents/permissions").await.expect(StatusCode::OK)["data"]["defaults"], json!(["read:tasks"]));
    world.approved_agent("scout").await;
    world.pending_agent("third").await;
    owner.approve("third", &["read:pages"]).await.expect_problem(StatusCode::CONFLICT, "AGENT_LIMIT_REACHED");
    let back = owner.patch_settings(json!({"parallax": {"maxAgents": 0}})).await.expect(StatusCode::OK);
    assert_eq!(back["data"]["parallax"]["maxAgents"], Value::Null, "the operator's again");
    owner.approve("third", &["read:pages"]).await.expect(StatusCode::OK);
    world.end().await;
}

/// D-14.
#[sqlx::test]
async fn nobody_has_the_service_call_an_address_that_the_operator_did_not_name(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let test = async |endpoint: Value| owner.post("/parallax-agents/runtime/test", json!({"endpoint": endpoint})).await;
    let own = test(Value::Null).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(own["connected"], true, "{own}");
    assert!(own["latency"].is_u64() && own["version"].is_string(), "{own}");
    for endpoint in
        ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:1", "file:///etc/passwd", "gopher://x", "http://user:pw@localhost"]
    {
        test(json!(endpoint)).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
        owner.patch_settings(json!({"runtimeEndpoint": endpoint})).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    world.member("mel").await.post("/parallax-agents/runtime/test", json!({})).await.expect(StatusCode::FORBIDDEN);
    let health = owner.post("/workspace/agent-settings/runtime-health", json!({})).await.expect(StatusCode::OK);
    assert_eq!(health["data"]["connected"], true);
    world.end().await;
}

#[sqlx::test]
async fn a_named_origin_may_be_tested_without_our_token_and_tells_nothing_of_its_errors(pool: PgPool) {
    // A server of somebody's that answers what it was sent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let echo = axum::Router::new().fallback(async |headers: axum::http::HeaderMap| {
        (axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("secret page, {headers:?}"))
    });
    tokio::spawn(axum::serve(listener, echo).into_future());
    let mut settings = config(None);
    settings.runtime_origins = vec![origin.clone()];
    let world = World::with_config(pool, settings, None).await;
    let answer = world.owner().await.post("/parallax-agents/runtime/test", json!({"endpoint": format!("{origin}/base")})).await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(answer["data"]["connected"], false);
    assert!(!answer.to_string().contains("secret page") && !answer.to_string().contains(WEBHOOK_SECRET), "{answer}");
    world.end().await;
}

/// D-17: what another runtime says is not mixed with what is known of the one that is used.
#[sqlx::test]
async fn the_status_is_that_of_the_runtime_that_the_workspace_uses(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let beat = json!({"workspaceId": world.workspace, "runtimeId": "host-1", "activeAgents": 7, "version": "9.9"});
    world.control_plane().post("/parallax-agents/runtime/heartbeat", beat).await.expect(StatusCode::OK);
    let status = async || owner.post("/workspace/agent-settings", json!({})).await.expect(StatusCode::OK)["data"]["runtimeStatus"].clone();
    let known = world.until("the runtime is known", async || Some(status().await).filter(|status| status["activeAgents"] != 7)).await;
    assert!(known["version"] != "9.9" && known["lastHeartbeat"].is_null(), "{known}");
    world.end().await;
}

/// D-17.
#[sqlx::test]
async fn a_heartbeat_shows_and_its_absence_too(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let beat = json!({"workspaceId": world.workspace, "runtimeId": "host-1", "activeAgents": 2, "version": "9.9"});
    world.control_plane().post("/parallax-agents/runtime/heartbeat", beat).await.expect(StatusCode::OK);
    let status = async || owner.post("/workspace/agent-settings", json!({})).await.expect(StatusCode::OK)["data"]["runtimeStatus"].clone();
    let seen = status().await;
    assert_eq!((&seen["connected"], &seen["activeAgents"], &seen["version"]), (&json!(true), &json!(2), &json!("9.9")));
    world.clock.advance(chrono::TimeDelta::seconds(91));
    assert_eq!(status().await["connected"], false, "silent for too long");
    world.end().await;
}
