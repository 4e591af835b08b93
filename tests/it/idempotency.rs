//! Requests that are sent again.

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{Answer, Caller, World, config};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn repeating(caller: Caller<'_>) -> Caller<'_> {
    caller.with_header("idempotency-key", KEY)
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

async fn uses(world: &World) -> i32 {
    sqlx::query_scalar("SELECT uses_count FROM agent_invites").fetch_one(&world.pool).await.unwrap()
}

async fn create_invite(caller: &Caller<'_>, name: &str) -> Answer {
    caller.post("/parallax-agents/invites", json!({"name": name, "permissions": ["read:pages"]})).await
}

/// Makes the answer of the only request look as if it was never noted.
async fn lose_answer(world: &World) {
    let lost = sqlx::query("UPDATE idempotency_keys SET status = NULL, answer_enc = NULL").execute(&world.pool).await.unwrap();
    assert_eq!(lost.rows_affected(), 1);
}

#[sqlx::test]
async fn registering_twice_with_one_key_gives_one_agent_its_one_key_twice(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(Some(5)).await;
    let agent = repeating(world.anonymous());
    let first = agent.register(&token, "scout").await;
    assert!(!is_replayed(&first));
    let second = agent.register(&token, "scout").await;
    assert!(is_replayed(&second));
    assert_ne!(first.headers["x-request-id"], second.headers["x-request-id"]);
    let (first, second) = (first.expect(StatusCode::CREATED), second.expect(StatusCode::CREATED));
    assert_eq!(first, second);
    assert_eq!((uses(&world).await, world.live_keys("scout").await), (1, 1));
    world.with_key(second["mcpApiKey"].as_str().unwrap()).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn two_at_once_with_one_key_register_one_agent(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(Some(5)).await;
    let agent = repeating(world.anonymous());
    let (first, second) = tokio::join!(agent.register(&token, "scout"), agent.register(&token, "scout"));
    for answer in [first, second] {
        if answer.status == StatusCode::CONFLICT {
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            answer.expect_problem(StatusCode::CONFLICT, "IDEMPOTENCY_KEY_IN_USE");
        } else {
            answer.expect(StatusCode::CREATED);
        }
    }
    let again = agent.register(&token, "scout").await;
    assert!(is_replayed(&again));
    again.expect(StatusCode::CREATED);
    assert_eq!((uses(&world).await, world.live_keys("scout").await), (1, 1));
    world.end().await;
}

#[sqlx::test]
async fn a_key_does_not_serve_for_another_body_and_is_free_for_other_callers(pool: PgPool) {
    let world = World::new(pool).await;
    let (ada, bob) = (repeating(world.admin("ada").await), repeating(world.admin("bob").await));
    let made = create_invite(&ada, "first").await.expect(StatusCode::CREATED);
    create_invite(&ada, "second").await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED");
    for other in [&bob, &repeating(world.outsider().await)] {
        let fresh = create_invite(other, "first").await;
        assert!(!is_replayed(&fresh));
        assert_ne!(fresh.expect(StatusCode::CREATED)["data"]["id"], made["data"]["id"]);
    }
    // The same key for another operation is another request.
    let body = json!({"agentType": "custom", "name": "shell"});
    ada.post("/parallax-agents/spawn", body).await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONFIGURED");
    world.end().await;
}

#[sqlx::test]
async fn a_key_that_cannot_be_one_is_named(pool: PgPool) {
    let world = World::new(pool).await;
    for bad in [" ", "two words", &"x".repeat(256)] {
        let ada = world.owner().await.with_header("idempotency-key", bad);
        let problem = create_invite(&ada, "ci").await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"], "Idempotency-Key");
    }
    world.end().await;
}

#[sqlx::test]
async fn errors_about_the_request_are_repeated_and_others_are_tried_again(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let token = owner.invite(None).await;
    world.anonymous().register(&token, "scout").await.expect(StatusCode::CREATED);
    let agent = repeating(world.anonymous());
    let bad = agent.register(&token, "no id").await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    let again = agent.register(&token, "no id").await;
    assert!(is_replayed(&again));
    assert_eq!(again.body, bad, "with the id of the first request");

    // What was in the way may be gone by now.
    let agent = world.anonymous().with_header("idempotency-key", "another");
    agent.register(&token, "scout").await.expect_problem(StatusCode::CONFLICT, "AGENT_ID_TAKEN");
    assert!(!is_replayed(&agent.register(&token, "scout").await));

    // Who asks is looked at anew each time.
    create_invite(&repeating(world.anonymous()), "ci").await.expect(StatusCode::UNAUTHORIZED);
    let ada = repeating(world.admin("ada").await);
    create_invite(&ada, "ci").await.expect(StatusCode::CREATED);
    sqlx::query("UPDATE users SET role = 'member' WHERE name = 'ada'").execute(&world.pool).await.unwrap();
    create_invite(&ada, "ci").await.expect(StatusCode::FORBIDDEN);

    let invite = owner.get("/parallax-agents/invites").await.expect(StatusCode::OK)["data"][0]["id"].clone();
    owner.post(&format!("/parallax-agents/invites/{}/revoke", invite.as_str().unwrap()), json!({})).await.expect(StatusCode::OK);
    let unknown = repeating(world.anonymous());
    for _ in 0..2 {
        let refused = unknown.register("agent_inv_unknown", "other").await;
        assert!(!is_replayed(&refused));
        refused.expect_problem(StatusCode::FORBIDDEN, "INVITE_REFUSED");
    }
    world.end().await;
}

#[sqlx::test]
async fn an_attempt_without_a_sign_of_life_is_taken_over_after_a_minute(pool: PgPool) {
    let world = World::new(pool).await;
    let ada = repeating(world.admin("ada").await);
    let first = create_invite(&ada, "ci").await.expect(StatusCode::CREATED);
    lose_answer(&world).await;
    let waiting = create_invite(&ada, "ci").await;
    assert_eq!(waiting.headers["retry-after"], "1");
    waiting.expect_problem(StatusCode::CONFLICT, "IDEMPOTENCY_KEY_IN_USE");
    world.clock.advance(TimeDelta::seconds(61));
    create_invite(&ada, "another").await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED");
    let second = create_invite(&ada, "ci").await.expect(StatusCode::CREATED);
    assert_ne!(first["data"]["id"], second["data"]["id"]);
    let again = create_invite(&ada, "ci").await;
    assert!(is_replayed(&again));
    assert_eq!(again.body, second);
    world.end().await;
}

#[sqlx::test]
async fn a_registration_that_is_taken_over_uses_no_second_use(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(Some(5)).await;
    let agent = repeating(world.anonymous());
    agent.register(&token, "scout").await.expect(StatusCode::CREATED);
    lose_answer(&world).await;
    world.clock.advance(TimeDelta::seconds(61));
    agent.register(&token, "scout").await.expect_problem(StatusCode::CONFLICT, "AGENT_ID_TAKEN");
    assert_eq!((uses(&world).await, world.live_keys("scout").await), (1, 1));
    world.end().await;
}

#[sqlx::test]
async fn answers_are_kept_for_a_day_and_sealed(pool: PgPool) {
    let world = World::new(pool).await;
    let ada = repeating(world.admin("ada").await);
    let made = create_invite(&ada, "ci").await.expect(StatusCode::CREATED);
    let row: String =
        sqlx::query_scalar("SELECT k::text || encode(answer_enc, 'escape') FROM idempotency_keys k").fetch_one(&world.pool).await.unwrap();
    assert!(!row.contains(made["data"]["token"].as_str().unwrap()) && !row.contains("agent_inv_") && !row.contains(KEY), "{row}");
    world.clock.advance(TimeDelta::hours(23));
    assert!(is_replayed(&create_invite(&ada, "ci").await));
    world.clock.advance(TimeDelta::hours(2));
    let fresh = create_invite(&ada, "of another day").await;
    assert!(!is_replayed(&fresh));
    fresh.expect(StatusCode::CREATED);
    world.end().await;
}

#[sqlx::test]
async fn a_caller_who_went_away_finds_the_answer_later(pool: PgPool) {
    let world = World::new(pool).await;
    let token = world.owner().await.invite(Some(5)).await;
    let body = json!({"inviteToken": token, "agentId": "scout", "name": "Seed", "capabilities": ["code"]}).to_string();
    let host = world.base.strip_prefix("http://").unwrap();
    let request = format!(
        "POST /api/parallax-agents/register HTTP/1.1\r\nhost: {host}\r\nidempotency-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    world
        .until("the request has begun", || async {
            let begun: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&world.pool).await.unwrap();
            (begun == 1).then_some(())
        })
        .await;
    drop(stream);
    let http = reqwest::Client::new();
    let found: Value = world
        .until("the answer is there", || async {
            let url = format!("{}/api/parallax-agents/register", world.base);
            let answer = http.post(url).header("idempotency-key", KEY).body(body.clone()).send().await.unwrap();
            if answer.status() == StatusCode::CREATED { Some(answer.json().await.unwrap()) } else { None }
        })
        .await;
    world.with_key(found["mcpApiKey"].as_str().unwrap()).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    assert_eq!(uses(&world).await, 1);
    world.end().await;
}

#[sqlx::test]
async fn asking_for_access_twice_with_one_key_asks_once(pool: PgPool) {
    let world = World::new(pool).await;
    let plane = repeating(world.control_plane());
    let request = world.access_request("scout");
    let first = plane.post("/parallax-agents/access-request", request.clone()).await.expect(StatusCode::CREATED);
    let second = plane.post("/parallax-agents/access-request", request.clone()).await;
    assert!(is_replayed(&second));
    assert_eq!(second.expect(StatusCode::CREATED), first, "claim secret included");
    assert_eq!(world.activities("access_requested", Some("scout")).await, 1);

    // Neither a wrong secret nor none opens what the right one was told.
    let guess = repeating(world.anonymous()).with_header("x-webhook-secret", "a guess");
    guess.post("/parallax-agents/access-request", request.clone()).await.expect(StatusCode::UNAUTHORIZED);
    let stranger = repeating(world.anonymous()).post("/parallax-agents/access-request", request).await;
    assert!(!is_replayed(&stranger));
    stranger.expect(StatusCode::UNAUTHORIZED);
    world.end().await;
}

#[sqlx::test]
async fn a_public_request_is_answered_again_where_it_came_from(pool: PgPool) {
    let mut config = config(None);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let world = World::with_config(pool, config, None).await;
    sqlx::query(r#"UPDATE workspaces SET settings = '{"agent": {"allowPublicAgentRegistration": true}}'"#)
        .execute(&world.pool)
        .await
        .unwrap();
    let from = |address: &str| repeating(world.anonymous()).with_header("x-forwarded-for", address);
    let ask = async |caller: Caller<'_>| caller.post("/parallax-agents/access-request", world.access_request("scout")).await;
    let first = ask(from("198.51.100.1")).await.expect(StatusCode::CREATED);
    assert!(first["data"]["claimSecret"].is_string());
    assert_eq!(ask(from("198.51.100.1")).await.expect(StatusCode::CREATED), first);
    ask(from("198.51.100.2")).await.expect_problem(StatusCode::FORBIDDEN, "AGENT_ID_NOT_YOURS");
    world.end().await;
}

#[sqlx::test]
async fn spawning_twice_with_one_key_spawns_once(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = repeating(world.owner().await);
    let first = owner.spawn_shell().await;
    let second = owner.spawn_shell().await;
    assert_eq!(first, second);
    let agents = owner.get("/parallax-agents").await.expect(StatusCode::OK);
    assert_eq!(agents["data"].as_array().unwrap().len(), 1);
    world.end().await;
}
