//! Bring your own agent: invites and registration.

use chrono::TimeDelta;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::World;

#[sqlx::test]
async fn an_agent_registers_seed_style_and_its_key_works_at_once(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let token = owner.invite(Some(2)).await;

    let registered = world.anonymous().register(&token, "scout").await.expect(StatusCode::CREATED);
    let key = registered["mcpApiKey"].as_str().unwrap();
    assert!(key.starts_with("mcp_agent_") && key.len() == 74, "{key}");
    assert_eq!(registered["data"]["mcpApiKey"], key, "the envelope carries the same");
    assert_eq!(registered["agent"]["id"], "scout");
    assert_eq!(registered["agent"]["name"], "Seed");

    let agent = owner.agent("scout").await;
    assert_eq!(agent["status"], "approved");
    assert_eq!(agent["grantedPermissions"], json!(["read:pages", "read:tasks"]));
    assert_eq!(world.with_key(key).tool("agent_profile", json!({})).await.tool_text()["id"], "scout");
    assert_eq!(world.activities("access_approved", Some("scout")).await, 1);

    let invites = owner.get("/parallax-agents/invites").await.expect(StatusCode::OK);
    assert_eq!(invites["data"][0]["usesRemaining"], 1);
    assert_eq!(invites["data"][0]["usesCount"], 1);
    assert_eq!(invites["data"][0]["token"], token, "an admin may copy it while it can admit somebody");
    world.end().await;
}

#[sqlx::test]
async fn an_invite_that_admits_nobody_is_refused_alike_whatever_the_reason(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let (used, revoked, expired) = (owner.invite(Some(1)).await, owner.invite(None).await, owner.invite(None).await);
    world.anonymous().register(&used, "first").await.expect(StatusCode::CREATED);
    let invites = owner.get("/parallax-agents/invites").await.expect(StatusCode::OK);
    let id = invites["data"].as_array().unwrap().iter().find(|invite| invite["token"] == revoked.as_str()).unwrap()["id"].clone();
    owner.post(&format!("/parallax-agents/invites/{}/revoke", id.as_str().unwrap()), json!({})).await.expect(StatusCode::OK);
    sqlx::query("UPDATE agent_invites SET expires_at = now() + interval '1 hour' WHERE token_hash = encode(sha256($1::bytea), 'hex')")
        .bind(expired.as_bytes())
        .execute(&world.pool)
        .await
        .unwrap();
    world.clock.advance(TimeDelta::hours(2));

    let mut answers = Vec::new();
    for token in [used.as_str(), revoked.as_str(), expired.as_str(), "agent_inv_nobody-made-this"] {
        let mut body = world.anonymous().register(token, "late").await.expect_problem(StatusCode::FORBIDDEN, "INVITE_REFUSED");
        for varying in ["timestamp", "requestId"] {
            body[varying] = Value::Null;
        }
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let listed = owner.get("/parallax-agents/invites").await.expect(StatusCode::OK).to_string();
    assert!([used, revoked, expired].iter().all(|token| !listed.contains(token.as_str())), "spent tokens are masked");
    world.end().await;
}

#[sqlx::test]
async fn parallel_registrations_on_a_one_use_invite_give_exactly_one_success(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let token = owner.invite(Some(1)).await;
    let ids: Vec<String> = (0..20).map(|number| format!("racer-{number}")).collect();

    let answers = join_all(ids.iter().map(|id| async { world.anonymous().register(&token, id).await.status })).await;

    assert_eq!(answers.iter().filter(|status| **status == StatusCode::CREATED).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|status| matches!(*status, StatusCode::CREATED | StatusCode::FORBIDDEN)), "{answers:?}");
    assert_eq!(owner.get("/parallax-agents").await.expect(StatusCode::OK)["data"].as_array().unwrap().len(), 1);
    let count: i32 = sqlx::query_scalar("SELECT uses_count FROM agent_invites").fetch_one(&world.pool).await.unwrap();
    assert_eq!(count, 1);
    world.end().await;
}

/// D-27.
#[sqlx::test]
async fn a_hundred_at_once_on_three_uses_give_three_agents_and_one_answer_to_the_rest(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(Some(3)).await;
    let ids: Vec<String> = (0..100).map(|number| format!("racer-{number}")).collect();

    let answers = join_all(ids.iter().map(|id| async { world.anonymous().register(&token, id).await })).await;

    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(taken.len(), 3);
    let told: std::collections::BTreeSet<String> = refused
        .iter()
        .map(|answer| format!("{} {} {} {}", answer.status, answer.body["code"], answer.body["message"], answer.body["detail"]))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.first().unwrap().starts_with("403"), "{told:?}");
    let (count, left): (i32, i32) =
        sqlx::query_as("SELECT uses_count, uses_remaining FROM agent_invites").fetch_one(&world.pool).await.unwrap();
    assert_eq!((count, left), (3, 0));
    let agents: i64 = sqlx::query_scalar("SELECT count(*) FROM parallax_agents").fetch_one(&world.pool).await.unwrap();
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM mcp_api_keys").fetch_one(&world.pool).await.unwrap();
    assert_eq!((agents, keys), (3, 3));
    world.end().await;
}

/// D-45.
#[sqlx::test]
async fn sixty_at_once_against_a_limit_of_twenty_are_exactly_twenty(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let token = owner.invite(None).await;
    for number in 0..30 {
        world.pending_agent(&format!("asked-{number}")).await;
    }
    // By both doors at once.
    let by_invite = (0..30).map(|number| {
        let (world, token) = (&world, &token);
        async move { world.anonymous().register(token, &format!("invited-{number}")).await.status }
    });
    let by_admin = (0..30).map(|number| {
        let owner = owner.clone();
        async move { owner.approve(&format!("asked-{number}"), &["read:pages"]).await.status }
    });
    let (invited, approved) = tokio::join!(join_all(by_invite), join_all(by_admin));
    let good = |statuses: &[StatusCode]| statuses.iter().filter(|status| status.is_success()).count();
    assert_eq!(good(&invited) + good(&approved), 20);
    let refused = invited.iter().chain(&approved).filter(|status| **status == StatusCode::CONFLICT).count();
    assert_eq!(refused, 40);
    let acting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parallax_agents WHERE status = 'approved'").fetch_one(&world.pool).await.unwrap();
    assert_eq!(acting, 20);
    let uses: i32 = sqlx::query_scalar("SELECT uses_count FROM agent_invites").fetch_one(&world.pool).await.unwrap();
    assert_eq!(usize::try_from(uses).unwrap(), good(&invited), "a registration that failed gives its use back");
    world.end().await;
}

#[sqlx::test]
async fn invites_are_shown_one_by_one_ended_and_deleted(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    let token = owner.invite(Some(2)).await;
    let listed = owner.get("/parallax-agents/invites/active").await.expect(StatusCode::OK)["data"][0].clone();
    let path = format!("/parallax-agents/invites/{}", listed["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.expect(StatusCode::OK)["data"]["token"], json!(token));
    outsider.get(&path).await.expect_problem(StatusCode::NOT_FOUND, "INVITE_NOT_FOUND");
    outsider.delete(&path).await.expect(StatusCode::NOT_FOUND);
    owner.post(&format!("{path}/revoke"), json!({})).await.expect(StatusCode::OK);
    let first = owner.get(&path).await.expect(StatusCode::OK)["data"]["revokedAt"].clone();
    owner.post(&format!("{path}/revoke"), json!({})).await.expect(StatusCode::OK);
    assert_eq!(owner.get(&path).await.expect(StatusCode::OK)["data"]["revokedAt"], first, "the first time stays (D-67)");
    assert_eq!(owner.get("/parallax-agents/invites/active").await.expect(StatusCode::OK)["data"], json!([]));
    assert_eq!(owner.get("/parallax-agents/invites").await.expect(StatusCode::OK)["data"], json!([]));
    assert_eq!(owner.get("/parallax-agents/invites?includeRevoked=true").await.expect(StatusCode::OK)["data"][0]["id"], listed["id"]);
    owner.delete(&path).await.expect(StatusCode::OK);
    owner.get(&path).await.expect(StatusCode::NOT_FOUND);
    owner.delete(&path).await.expect(StatusCode::NOT_FOUND);
    world.end().await;
}

#[sqlx::test]
async fn two_registrations_of_one_id_at_once_make_one_agent_with_one_key(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(None).await;
    let nobody = world.anonymous();
    let (a, b) = tokio::join!(nobody.register(&token, "twin"), nobody.register(&token, "Twin"));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "ids differ in more than case");
    let count: i32 = sqlx::query_scalar("SELECT uses_count FROM agent_invites").fetch_one(&world.pool).await.unwrap();
    assert_eq!(count, 1, "a registration that failed gives its use back");
    world.end().await;
}

#[sqlx::test]
async fn an_invite_neither_brings_back_the_revoked_nor_takes_over_the_pending(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let token = owner.invite(None).await;
    let nobody = world.anonymous();
    nobody.register(&token, "scout").await.expect(StatusCode::CREATED);
    nobody.register(&token, "scout").await.expect_problem(StatusCode::CONFLICT, "AGENT_ID_TAKEN");
    owner.revoke("scout").await.expect(StatusCode::OK);
    nobody.register(&token, "scout").await.expect_problem(StatusCode::FORBIDDEN, "AGENT_REVOKED");

    let secret = world.pending_agent("waiting").await;
    nobody.register(&token, "waiting").await.expect_problem(StatusCode::CONFLICT, "AGENT_ID_TAKEN");
    let own = json!({"inviteToken": token, "agentId": "waiting", "name": "Waiting", "claimSecret": secret});
    nobody.post("/parallax-agents/register", own).await.expect(StatusCode::CREATED);
    world.end().await;
}

#[sqlx::test]
async fn only_a_hash_and_a_ciphertext_of_the_token_are_stored(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(None).await;
    let registered = world.anonymous().register(&token, "scout").await.expect(StatusCode::CREATED);
    let key = registered["mcpApiKey"].as_str().unwrap();
    let everything: Vec<String> = sqlx::query_scalar(
        "SELECT i::text FROM agent_invites i UNION ALL SELECT k::text FROM mcp_api_keys k UNION ALL SELECT a::text FROM parallax_agents a
         UNION ALL SELECT o::text FROM outbox o UNION ALL SELECT x::text FROM parallax_agent_activity x",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let bytes = |secret: &str| {
        secret.bytes().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect::<String>()
    };
    for secret in [token.as_str(), key] {
        assert!(everything.iter().all(|row| !row.contains(secret) && !row.contains(&bytes(secret))), "a secret is stored in clear");
    }
    world.end().await;
}

#[sqlx::test]
async fn bad_invites_are_refused_with_the_field_named(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let bad = [
        (json!({"permissions": ["read:pages"]}), "name"),
        (json!({"name": " ", "permissions": ["read:pages"]}), "name"),
        (json!({"name": "x", "permissions": []}), "permissions"),
        (json!({"name": "x", "permissions": ["constructor"]}), "permissions"),
        (json!({"name": "x", "permissions": ["read:pages"], "usesRemaining": 0}), "usesRemaining"),
        (json!({"name": "x", "permissions": ["read:pages"], "usesRemaining": 1.5}), "usesRemaining"),
        (json!({"name": "x", "permissions": ["read:pages"], "expiresAt": "2020-01-01T00:00:00Z"}), "expiresAt"),
        (json!({"name": "x", "permissions": ["read:pages"], "expiresAt": "soon"}), "expiresAt"),
    ];
    for (body, field) in bad {
        let problem =
            owner.post("/parallax-agents/invites", body.clone()).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
        assert!(problem.to_string().contains(field), "{body} → {problem}");
    }
    assert_eq!(owner.get("/parallax-agents/invites").await.expect(StatusCode::OK)["data"], json!([]));
    world.end().await;
}
