//! Access requests and decisions about them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{World, config};

/// Asks how a request stands.
async fn claim(world: &World, id: &str, secret: &str) -> crate::support::Answer {
    let body = json!({"workspaceId": world.workspace, "agentId": id, "claimSecret": secret});
    world.anonymous().post("/parallax-agents/access-request/claim", body).await
}

#[sqlx::test]
async fn a_request_waits_until_an_admin_approves_and_the_requester_collects_its_key_once(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let secret = world.pending_agent("scout").await;
    let pending = owner.get("/parallax-agents/pending").await.expect(StatusCode::OK);
    assert_eq!(pending["data"][0]["id"], "scout");
    assert_eq!(pending["data"][0]["requestedPermissions"], json!(["read:pages", "write:tasks"]));
    assert_eq!(claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"], json!({"status": "pending"}));

    let approved = owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    let first = claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(first["mcpApiKey"], approved["data"]["mcpApiKey"]);
    assert_eq!(first["grantedPermissions"], json!(["read:pages"]));
    let second = claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(second, json!({"status": "approved", "grantedPermissions": ["read:pages"]}), "the key is handed out once");
    world.with_key(first["mcpApiKey"].as_str().unwrap()).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    claim(&world, "scout", "agent_claim_guessed").await.expect_problem(StatusCode::FORBIDDEN, "CLAIM_REFUSED");
    claim(&world, "nobody", &secret).await.expect_problem(StatusCode::FORBIDDEN, "CLAIM_REFUSED");
    world.end().await;
}

#[sqlx::test]
async fn claiming_at_once_hands_the_key_to_one_only(pool: PgPool) {
    let world = World::new(pool).await;
    let secret = world.pending_agent("scout").await;
    world.owner().await.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    let (a, b) = tokio::join!(claim(&world, "scout", &secret), claim(&world, "scout", &secret));
    let keys = [a, b].into_iter().filter(|answer| answer.body["data"]["mcpApiKey"].is_string()).count();
    assert_eq!(keys, 1);
    world.end().await;
}

#[sqlx::test]
async fn a_denied_requester_learns_why_and_may_ask_again(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let secret = world.pending_agent("scout").await;
    let denied = owner.post("/parallax-agents/scout/deny", json!({"reason": "Not this quarter"})).await.expect(StatusCode::OK);
    assert_eq!(denied["data"]["status"], "denied");
    let told = claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(told, json!({"status": "denied", "denialReason": "Not this quarter"}));
    owner.post("/parallax-agents/scout/deny", json!({"reason": "Again"})).await.expect_problem(StatusCode::CONFLICT, "ILLEGAL_TRANSITION");

    let mut again = world.access_request("scout");
    again["claimSecret"] = json!(secret);
    let asked = world.control_plane().post("/parallax-agents/access-request", again).await.expect(StatusCode::CREATED);
    assert_eq!(asked["data"]["status"], "pending");
    assert_eq!(asked["data"]["requestVersion"], 2);
    assert_eq!(asked["data"]["claimSecret"], Value::Null, "the first secret stays good");
    world.end().await;
}

#[sqlx::test]
async fn without_the_webhook_secret_nobody_asks_unless_the_workspace_says_so(pool: PgPool) {
    let world = World::new(pool).await;
    let path = "/parallax-agents/access-request";
    world.anonymous().post(path, world.access_request("scout")).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    let http = reqwest::Client::new();
    let wrong = http.post(format!("{}/api{path}", world.base)).header("x-webhook-secret", "guess").json(&world.access_request("scout"));
    assert_eq!(wrong.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    sqlx::query(r#"UPDATE workspaces SET settings = '{"agent": {"allowPublicAgentRegistration": true}}'"#)
        .execute(&world.pool)
        .await
        .unwrap();
    let public = world.anonymous().post(path, world.access_request("scout")).await.expect(StatusCode::CREATED);
    let mut names: Vec<&String> = public["data"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["claimSecret", "id", "status"], "a stranger learns no more than it said");
    // Somebody else cannot replace the request between review and approval (D-06).
    world.anonymous().post(path, world.access_request("scout")).await.expect_problem(StatusCode::FORBIDDEN, "AGENT_ID_NOT_YOURS");
    world.end().await;
}

#[sqlx::test]
async fn with_no_webhook_secret_configured_every_runtime_route_refuses(pool: PgPool) {
    let mut closed = config(None);
    closed.webhook_secret = None;
    let world = World::with_config(pool, closed, None).await;
    for path in ["/parallax-agents/access-request", "/parallax-agents/spawn-callback", "/parallax-agents/runtime/heartbeat"] {
        for secret in ["", "anything"] {
            let request = reqwest::Client::new().post(format!("{}/api{path}", world.base)).header("x-webhook-secret", secret);
            let answer = request.json(&world.access_request("scout")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    world.end().await;
}

#[sqlx::test]
async fn two_admins_approving_at_once_mint_one_key(pool: PgPool) {
    let world = World::new(pool).await;
    let (ada, bob) = (world.admin("ada").await, world.admin("bob").await);
    world.pending_agent("scout").await;

    let (a, b) = tokio::join!(ada.approve("scout", &["read:pages"]), bob.approve("scout", &["read:pages"]));

    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
    assert_eq!(world.live_keys("scout").await, 1);
    assert_eq!(world.events("agent.access_approved").await, 1);
    world.end().await;
}

#[sqlx::test]
async fn an_approval_of_a_request_that_changed_since_is_refused(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    world.pending_agent("scout").await;
    let seen = owner.agent("scout").await["requestVersion"].clone();
    world.pending_agent("scout").await;
    let body = json!({"grantedPermissions": ["read:pages"], "requestVersion": seen});
    owner.post("/parallax-agents/scout/approve", body).await.expect_problem(StatusCode::CONFLICT, "REQUEST_CHANGED");
    assert_eq!(world.live_keys("scout").await, 0);
    world.end().await;
}

#[sqlx::test]
async fn members_are_forbidden_and_other_workspaces_see_nothing(pool: PgPool) {
    let world = World::new(pool).await;
    world.pending_agent("scout").await;
    let (member, outsider) = (world.member("mia").await, world.outsider().await);
    let reason = json!({"reason": "because"});
    let grant = json!({"grantedPermissions": ["read:pages"]});
    for (path, body) in [("approve", grant), ("deny", reason.clone()), ("revoke", reason)] {
        let path = format!("/parallax-agents/scout/{path}");
        member.post(&path, body.clone()).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
        outsider.post(&path, body).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");
    }
    member.get("/parallax-agents/pending").await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    outsider.get("/parallax-agents/scout").await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");
    assert_eq!(outsider.get("/parallax-agents").await.expect(StatusCode::OK)["data"], json!([]));
    let seen = member.agent("scout").await;
    assert_eq!((&seen["metadata"], &seen["endpoint"]), (&json!({}), &Value::Null), "a member sees less");
    world.end().await;
}

#[sqlx::test]
async fn revoking_kills_the_key_and_keeps_the_agent_out(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);

    let receipt = owner.revoke("scout").await.receipt();

    let nothing_else = json!({"keys": 1, "sockets": 0, "streams": 0, "sessions": 0, "assignments": 0, "runs": 0, "processesEnded": 0});
    assert_eq!(receipt, nothing_else);
    world.with_key(&key).tool("agent_profile", json!({})).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    let agent = owner.agent("scout").await;
    assert_eq!((&agent["status"], &agent["grantedPermissions"]), (&json!("revoked"), &json!([])));
    let again = world.control_plane().post("/parallax-agents/access-request", world.access_request("scout")).await;
    again.expect_problem(StatusCode::FORBIDDEN, "AGENT_ID_NOT_YOURS");
    owner.revoke("scout").await.expect_problem(StatusCode::CONFLICT, "ILLEGAL_TRANSITION");
    assert_eq!(world.activities("access_revoked", Some("scout")).await, 1);

    // An admin may reinstate it, with a new key; the old one stays dead.
    owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    world.with_key(&key).tool("agent_profile", json!({})).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    assert_eq!(world.live_keys("scout").await, 1);
    world.end().await;
}

#[sqlx::test]
async fn a_revocation_takes_back_a_key_that_waits_to_be_claimed(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let secret = world.pending_agent("scout").await;
    owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    owner.revoke("scout").await.expect(StatusCode::OK);
    assert_eq!(claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"], json!({"status": "revoked"}));
    world.end().await;
}

#[sqlx::test]
async fn a_claim_secret_from_before_a_revocation_collects_no_later_key(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    let secret = world.pending_agent("scout").await;
    owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    assert!(claim(&world, "scout", &secret).await.expect(StatusCode::OK)["data"]["mcpApiKey"].is_string());
    owner.revoke("scout").await.expect(StatusCode::OK);
    // An account that was shut comes back with its agent: an approval that gave a dead key would be none.
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE agent_id = 'scout'").execute(&pool).await.unwrap();
    let again = owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    claim(&world, "scout", &secret).await.expect_problem(StatusCode::FORBIDDEN, "CLAIM_REFUSED");
    world.with_key(again["data"]["mcpApiKey"].as_str().unwrap()).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn the_limit_of_agents_holds_under_parallel_approvals(pool: PgPool) {
    let mut tight = config(None);
    tight.agents_per_workspace_max = 3;
    let world = World::with_config(pool, tight, None).await;
    let owner = world.owner().await;
    let ids: Vec<String> = (0..8).map(|number| format!("agent-{number}")).collect();
    for id in &ids {
        world.pending_agent(id).await;
    }
    let answers = futures_util::future::join_all(ids.iter().map(|id| owner.approve(id, &["read:pages"]))).await;
    let approved = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(approved, 3);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK || answer.body["code"] == "AGENT_LIMIT_REACHED"));

    // One out, one in: what counts is who can act.
    let denied = ids.iter().zip(&answers).find(|(_, answer)| answer.status != StatusCode::OK).unwrap().0;
    let admitted = ids.iter().zip(&answers).find(|(_, answer)| answer.status == StatusCode::OK).unwrap().0;
    owner.revoke(admitted).await.expect(StatusCode::OK);
    owner.approve(denied, &["read:pages"]).await.expect(StatusCode::OK);
    owner.approve(admitted, &["read:pages"]).await.expect_problem(StatusCode::CONFLICT, "AGENT_LIMIT_REACHED");
    world.end().await;
}

/// D-05, D-14, D-23, D-24, D-59.
#[sqlx::test]
async fn bad_requests_name_the_field_and_leave_nothing(pool: PgPool) {
    let world = World::new(pool).await;
    let bad = [
        ("agentId", json!("a/b")),
        ("agentId", json!("pending")),
        ("agentId", json!("all")),
        ("agentName", json!("")),
        ("requestedPermissions", json!([])),
        ("requestedPermissions", json!(["toString"])),
        ("capabilities", json!(["x".repeat(65)])),
        ("endpoint", json!("javascript:alert(1)")),
        ("endpoint", json!("http://169.254.169.254/latest/meta-data")),
        ("endpoint", json!("http://[fe80::1]/")),
        ("endpoint", json!("https://user:password@example.com/")),
        ("avatarUrl", json!("http://example.com/a.png")),
        ("avatarUrl", json!("https://169.254.169.254/a.png")),
        ("metadata", json!({"large": "x".repeat(20_000)})),
        ("metadata", json!("text")),
        ("workspaceId", json!("1")),
    ];
    for (field, value) in bad {
        let mut body = world.access_request("scout");
        body[field] = value;
        let problem = world
            .control_plane()
            .post("/parallax-agents/access-request", body)
            .await
            .expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"].as_str().unwrap().split(['[', '.']).next(), Some(field), "{problem}");
    }
    let mut unknown = world.access_request("scout");
    unknown["workspaceId"] = json!(uuid::Uuid::new_v4());
    world.control_plane().post("/parallax-agents/access-request", unknown).await.expect_problem(StatusCode::NOT_FOUND, "WORKSPACE_UNKNOWN");
    assert_eq!(world.owner().await.get("/parallax-agents").await.expect(StatusCode::OK)["data"], json!([]));
    world.end().await;
}

/// D-42: whichever comes first, the agent is whole or out.
#[sqlx::test]
async fn approving_and_revoking_at_once_leave_a_whole_agent_or_none(pool: PgPool) {
    let world = World::new(pool).await;
    let (ada, bob) = (world.admin("ada").await, world.admin("bob").await);
    for round in 0..8 {
        let id = format!("agent-{round}");
        world.pending_agent(&id).await;
        let (approved, revoked) = tokio::join!(ada.approve(&id, &["read:pages"]), bob.revoke(&id));
        assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
        let status = ada.agent(&id).await["status"].clone();
        let keys = world.live_keys(&id).await;
        match revoked.status {
            StatusCode::OK => assert_eq!((status, keys), (json!("revoked"), 0)),
            StatusCode::CONFLICT => assert_eq!((status, keys), (json!("approved"), 1)),
            other => panic!("{other}: {}", revoked.body),
        }
    }
    world.end().await;
}

/// D-07: calls in flight end with the revocation; none succeeds that began after it was answered.
#[sqlx::test]
async fn no_call_succeeds_that_begins_after_the_revocation_was_answered(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let revoked = std::sync::atomic::AtomicBool::new(false);
    let agent = world.with_key(&key);
    let caller = async || {
        loop {
            let began_after = revoked.load(std::sync::atomic::Ordering::SeqCst);
            let status = agent.tool("agent_profile", json!({})).await.status;
            assert!(!(began_after && status == StatusCode::OK), "a call succeeded after the revocation");
            if began_after {
                return;
            }
        }
    };
    let revoke = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        owner.revoke("scout").await.expect(StatusCode::OK);
        revoked.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(revoke, caller(), caller(), caller(), caller());
    world.end().await;
}

/// D-06: what the admin saw is what is approved, also when the requester changes it at that moment.
#[sqlx::test]
async fn asking_again_while_being_approved_never_grants_what_was_not_seen(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    for round in 0..8 {
        let id = format!("agent-{round}");
        let secret = world.pending_agent(&id).await;
        let mut more = world.access_request(&id);
        more["claimSecret"] = json!(secret);
        more["requestedPermissions"] = json!(["delete:pages"]);
        more["agentName"] = json!("Somebody else");
        let nobody = world.control_plane();
        let path = format!("/parallax-agents/{id}/approve");
        let approve = owner.post(&path, json!({"grantedPermissions": ["read:pages"], "requestVersion": 1}));
        let (approved, asked) = tokio::join!(approve, nobody.post("/parallax-agents/access-request", more));
        let agent = owner.agent(&id).await;
        if approved.status == StatusCode::OK {
            assert_eq!((&agent["name"], asked.status), (&json!(format!("Agent {id}")), StatusCode::CONFLICT), "{}", asked.body);
        } else {
            approved.expect_problem(StatusCode::CONFLICT, "REQUEST_CHANGED");
            assert_eq!((&agent["status"], &agent["requestVersion"]), (&json!("pending"), &json!(2)));
        }
    }
    world.end().await;
}
