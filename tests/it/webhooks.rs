//! Webhooks in: the secret, the signature, and what a repeat does.

use chrono::Utc;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::PgPool;

use crate::support::{Answer, WEBHOOK_SECRET, World, config};

fn signature(secret: &str, timestamp: i64, id: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{id}.{body}").as_bytes());
    format!("sha256={}", raven_agents::model::hex(&mac.finalize().into_bytes()))
}

/// Posts a body with a signature over what is given.
async fn signed(world: &World, id: &str, timestamp: i64, secret: &str, body: &Value) -> Answer {
    let caller = world.anonymous().with_header("x-webhook-id", id).with_header("x-webhook-timestamp", &timestamp.to_string());
    let caller = caller.with_header("x-webhook-signature", &signature(secret, timestamp, id, &body.to_string()));
    caller.post(REQUEST, body.clone()).await
}

const REQUEST: &str = "/parallax-agents/access-request";

/// D-01.
#[sqlx::test]
async fn a_signed_delivery_counts_once_and_only_while_it_is_fresh(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let now = Utc::now().timestamp();
    let body = world.access_request("scout");
    signed(&world, "d1", now, WEBHOOK_SECRET, &body).await.expect(StatusCode::CREATED);
    signed(&world, "d1", now, WEBHOOK_SECRET, &body).await.expect_problem(StatusCode::CONFLICT, "WEBHOOK_REPLAYED");
    assert_eq!(world.activities("access_requested", Some("scout")).await, 1);
    for (id, at, secret) in [("d2", now - 301, WEBHOOK_SECRET), ("d3", now + 360, WEBHOOK_SECRET), ("d4", now, "another secret")] {
        let refused = signed(&world, id, at, secret, &world.access_request("other")).await;
        refused.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    // A signature that is wrong is not made good by the secret beside it.
    let caller = world.control_plane().with_header("x-webhook-signature", "sha256=00");
    caller.post(REQUEST, world.access_request("other")).await.expect(StatusCode::UNAUTHORIZED);
    // What was refused for its content may be sent again under its id.
    let mut wrong = world.access_request("later");
    wrong["requestedPermissions"] = json!(["root"]);
    signed(&world, "d5", now, WEBHOOK_SECRET, &wrong).await.expect(StatusCode::BAD_REQUEST);
    signed(&world, "d5", now, WEBHOOK_SECRET, &world.access_request("later")).await.expect(StatusCode::CREATED);
    world.end().await;
}

#[sqlx::test]
async fn two_deliveries_of_one_id_at_once_are_taken_in_once(pool: PgPool) {
    let world = World::new(pool).await;
    let (now, body) = (Utc::now().timestamp(), world.access_request("scout"));
    let send = || signed(&world, "d1", now, WEBHOOK_SECRET, &body);
    let (a, b, c) = tokio::join!(send(), send(), send());
    let taken = [a, b, c].iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(taken, 1);
    world.end().await;
}

#[sqlx::test]
async fn a_delivery_whose_sender_hangs_up_is_taken_in_all_the_same(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT id FROM workspaces FOR UPDATE").execute(&mut *holder).await.unwrap();
    let (now, body) = (Utc::now().timestamp(), world.access_request("scout"));
    let cut_off = signed(&world, "d1", now, WEBHOOK_SECRET, &body);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), cut_off).await.is_err(), "it waits for the workspace");
    holder.rollback().await.unwrap();
    let asked = async || (world.activities("access_requested", Some("scout")).await == 1).then_some(());
    world.until("it is taken in", asked).await;
    world.end().await;
}

#[sqlx::test]
async fn a_delivery_that_the_process_did_not_survive_may_come_again(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let (now, body) = (Utc::now().timestamp(), world.access_request("scout"));
    let begun = "INSERT INTO webhook_deliveries (id, received_at) VALUES ('d1', now() - interval '61 seconds'), ('d2', now())";
    sqlx::query(begun).execute(&pool).await.unwrap();
    signed(&world, "d2", now, WEBHOOK_SECRET, &body).await.expect_problem(StatusCode::CONFLICT, "WEBHOOK_REPLAYED");
    signed(&world, "d1", now, WEBHOOK_SECRET, &body).await.expect(StatusCode::CREATED);
    signed(&world, "d1", now, WEBHOOK_SECRET, &body).await.expect_problem(StatusCode::CONFLICT, "WEBHOOK_REPLAYED");
    world.end().await;
}

/// D-01: missing configuration fails closed.
#[sqlx::test]
async fn without_a_configured_secret_no_signature_is_good(pool: PgPool) {
    let mut closed = config(None);
    closed.webhook_secret = None;
    let world = World::with_config(pool, closed, None).await;
    let now = Utc::now().timestamp();
    for secret in ["", "anything"] {
        signed(&world, "d1", now, secret, &world.access_request("scout")).await.expect(StatusCode::UNAUTHORIZED);
    }
    world.end().await;
}

/// D-16.
#[sqlx::test]
async fn a_runtime_offers_and_reports_sessions_only_with_the_secret_and_only_its_own(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    let offer = |name: &str| json!({"workspaceId": world.workspace, "agentId": "scout", "runtimeSessionId": name});
    let path = "/terminal/sessions";
    world.anonymous().post(path, offer("pty-1")).await.expect(StatusCode::UNAUTHORIZED);
    owner.post(path, offer("pty-1")).await.expect(StatusCode::UNAUTHORIZED);
    let made = world.control_plane().post(path, offer("pty-1")).await.expect(StatusCode::CREATED)["data"].clone();
    assert_eq!((&made["title"], &made["cols"], &made["rows"]), (&json!("Terminal: Agent scout"), &json!(80), &json!(24)));
    let again = world.control_plane().post(path, offer("pty-1")).await.expect(StatusCode::CREATED)["data"]["id"].clone();
    assert_eq!(again, made["id"]);
    let mut foreign = offer("pty-2");
    foreign["runtimeEndpoint"] = json!("http://evil.example:8081");
    world.control_plane().post(path, foreign).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    let mut nobody = offer("pty-3");
    nobody["agentId"] = json!("nobody");
    world.control_plane().post(path, nobody).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");

    let upper = world.control_plane().with_header("x-workspace-id", &world.workspace.to_string().to_uppercase());
    upper.post(path, offer("pty-1")).await.expect(StatusCode::CREATED);
    let second = world.control_plane().post(path, offer("pty-4")).await.expect(StatusCode::CREATED)["data"].clone();
    let first = owner.get(&format!("/terminal/sessions/{}", made["id"].as_str().unwrap())).await.expect(StatusCode::OK);
    assert_eq!(first["data"]["status"], "terminated", "the agent's earlier session ends");

    let report = async |name: &str, body: Value| world.control_plane().post(&format!("/terminal/sessions/{name}/status"), body).await;
    world.anonymous().post("/terminal/sessions/pty-4/status", json!({"status": "active"})).await.expect(StatusCode::UNAUTHORIZED);
    report("pty-4", json!({"status": "dancing"})).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    report("pty-9", json!({"status": "active"})).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    let ended = report("pty-4", json!({"status": "terminated"})).await.expect(StatusCode::OK);
    assert_eq!((&ended["data"]["id"], ended["data"]["terminatedAt"].is_string()), (&second["id"], true));
    report("pty-4", json!({"status": "active"})).await.expect_problem(StatusCode::CONFLICT, "SESSION_TERMINATED");
    let third = world.control_plane().post(path, offer("pty-5")).await.expect(StatusCode::CREATED)["data"]["id"].clone();
    owner.delete(&format!("/terminal/sessions/{}", third.as_str().unwrap())).await.expect(StatusCode::OK);
    assert_eq!(world.activities("terminal_ended", Some("scout")).await, 1);
    let logs = owner.get(&format!("/terminal/sessions/{}/logs", second["id"].as_str().unwrap())).await.expect(StatusCode::OK);
    assert_eq!(logs["data"], json!([]));
    world.end().await;
}
