//! Limits on requests, and whom they count.

use raven_agents::config::{Quota, RateLimits};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Answer, Caller, DEADLINE, PASSWORD, World, config};

/// A budget that does not come back while a test runs.
const fn once(at_once: u32) -> Quota {
    Quota { at_once, per_minute: 1 }
}

async fn limited(pool: PgPool, limits: RateLimits) -> World {
    let mut config = config(None);
    config.rate_limits = Some(limits);
    World::with_config(pool, config, None).await
}

/// A service behind a proxy on this machine.
async fn behind_a_proxy(pool: PgPool, limits: RateLimits) -> World {
    let mut config = config(None);
    config.rate_limits = Some(limits);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    World::with_config(pool, config, None).await
}

async fn login(caller: &Caller<'_>, email: &str, password: &str) -> Answer {
    caller.post("/auth/login", json!({"email": email, "password": password})).await
}

fn header(answer: &Answer, name: &str) -> u64 {
    answer.headers[name].to_str().unwrap().parse().unwrap()
}

#[track_caller]
fn expect_limited(answer: Answer) -> Value {
    assert_eq!(header(&answer, "ratelimit-remaining"), 0);
    assert!((1..=60).contains(&header(&answer, "retry-after")), "{:?}", answer.headers);
    assert!(header(&answer, "ratelimit-reset") >= header(&answer, "retry-after"));
    answer.expect_problem(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED")
}

/// D-58.
#[sqlx::test]
async fn a_flood_of_wrong_passwords_is_slowed_and_told_for_how_long(pool: PgPool) {
    let world = limited(pool, RateLimits { login_by_account: once(3), ..RateLimits::DEFAULT }).await;
    world.member("ada").await;
    let anyone = world.anonymous();
    for (email, left) in [("owner@acme.example", 2), ("OWNER@acme.example", 1), ("Owner@Acme.Example", 0)] {
        let wrong = login(&anyone, email, "wrong password").await;
        assert_eq!((header(&wrong, "ratelimit-limit"), header(&wrong, "ratelimit-remaining")), (3, left));
        wrong.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    }
    expect_limited(login(&anyone, "owner@acme.example", "wrong password").await);
    expect_limited(login(&anyone, "owner@acme.example", PASSWORD).await);
    // Whoever knows the password does not use up the budget.
    for _ in 0..5 {
        login(&anyone, "ada@acme.example", PASSWORD).await.expect(StatusCode::OK);
    }
    world.end().await;
}

/// D-58.
#[sqlx::test]
async fn a_stranger_who_floods_an_account_does_not_lock_its_owner_out(pool: PgPool) {
    let limits = RateLimits { login_by_account: once(3), login_by_account_anywhere: once(5), ..RateLimits::DEFAULT };
    let world = behind_a_proxy(pool, limits).await;
    let from = |address: &str| world.anonymous().with_header("x-forwarded-for", address);
    let (home, stranger, accomplice) = (from("198.51.100.1"), from("203.0.113.1"), from("203.0.113.2"));
    login(&home, "owner@acme.example", PASSWORD).await.expect(StatusCode::OK);
    for _ in 0..3 {
        login(&stranger, "owner@acme.example", "guess").await.expect(StatusCode::UNAUTHORIZED);
    }
    expect_limited(login(&stranger, "owner@acme.example", "guess").await);
    login(&accomplice, "owner@acme.example", "guess").await.expect(StatusCode::UNAUTHORIZED);
    expect_limited(login(&accomplice, "owner@acme.example", "guess").await);
    login(&home, "owner@acme.example", PASSWORD).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn a_limited_request_does_not_reach_the_database(pool: PgPool) {
    let world = limited(pool, RateLimits { login_by_account: once(2), admission_by_workspace: once(1), ..RateLimits::DEFAULT }).await;
    let anyone = world.anonymous();
    login(&anyone, "owner@acme.example", "wrong password").await.expect(StatusCode::UNAUTHORIZED);
    world.pending_agent("scout").await;
    world.lose_database().await;
    login(&anyone, "owner@acme.example", "wrong password").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    expect_limited(login(&anyone, "owner@acme.example", "wrong password").await);
    let request = world.access_request("second");
    expect_limited(world.control_plane().post("/parallax-agents/access-request", request).await);
    world.end().await;
}

/// D-58.
#[sqlx::test]
async fn two_workspaces_do_not_share_a_budget(pool: PgPool) {
    let world = limited(pool, RateLimits { admission_by_workspace: once(2), ..RateLimits::DEFAULT }).await;
    let outsider = world.outsider().await;
    let other = outsider.post("/users/me", json!({})).await.expect(StatusCode::OK)["data"]["workspace"]["id"].clone();
    let plane = world.control_plane();
    let request = |id: &str, workspace: &Value| {
        let mut body = world.access_request(id);
        body["workspaceId"] = workspace.clone();
        body
    };
    let own = json!(world.workspace);
    // A stranger has a budget of its own.
    for _ in 0..2 {
        world.anonymous().post("/parallax-agents/access-request", request("x", &own)).await.expect(StatusCode::UNAUTHORIZED);
    }
    expect_limited(world.anonymous().post("/parallax-agents/access-request", request("x", &own)).await);
    for id in ["a", "b"] {
        plane.post("/parallax-agents/access-request", request(id, &own)).await.expect(StatusCode::CREATED);
    }
    expect_limited(plane.post("/parallax-agents/access-request", request("c", &own)).await);
    let upper = json!(world.workspace.to_string().to_uppercase());
    expect_limited(plane.post("/parallax-agents/access-request", request("c", &upper)).await);
    plane.post("/parallax-agents/access-request", request("c", &other)).await.expect(StatusCode::CREATED);

    let (token, foreign) = (world.owner().await.invite(None).await, outsider.invite(None).await);
    for id in ["d", "e"] {
        world.anonymous().register(&token, id).await.expect(StatusCode::CREATED);
    }
    expect_limited(world.anonymous().register(&token, "f").await);
    world.anonymous().register(&foreign, "f").await.expect(StatusCode::CREATED);
    world.end().await;
}

#[sqlx::test]
async fn what_a_stranger_says_of_its_address_changes_nothing(pool: PgPool) {
    let limits = RateLimits { set_up_by_address: once(2), ..RateLimits::DEFAULT };
    let world = limited(pool, limits).await;
    let set_up = |forwarded: &str| {
        let caller = world.anonymous().with_header("x-forwarded-for", forwarded);
        async move { caller.post("/auth/setup", json!({})).await }
    };
    set_up("198.51.100.1").await.expect(StatusCode::BAD_REQUEST);
    set_up("198.51.100.2").await.expect(StatusCode::BAD_REQUEST);
    expect_limited(set_up("198.51.100.3").await);
    world.end().await;
}

#[sqlx::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_budget(pool: PgPool) {
    let world = behind_a_proxy(pool, RateLimits { set_up_by_address: once(1), ..RateLimits::DEFAULT }).await;
    let set_up = |forwarded: &str| {
        let caller = world.anonymous().with_header("x-forwarded-for", forwarded);
        async move { caller.post("/auth/setup", json!({})).await }
    };
    set_up("198.51.100.1").await.expect(StatusCode::BAD_REQUEST);
    set_up("198.51.100.2").await.expect(StatusCode::BAD_REQUEST);
    // What stands before the proxy's own entry was made up by the client.
    expect_limited(set_up("192.0.2.7, 198.51.100.2").await);
    set_up("2001:db8:1:2::1").await.expect(StatusCode::BAD_REQUEST);
    // One subscriber has many addresses of IPv6.
    expect_limited(set_up("2001:db8:1:2:ffff::1").await);
    set_up("2001:db8:1:3::1").await.expect(StatusCode::BAD_REQUEST);
    world.end().await;
}

/// D-58.
#[sqlx::test]
async fn wrong_secrets_are_counted_and_right_ones_are_not(pool: PgPool) {
    let world = limited(pool, RateLimits { refused_by_address: once(3), ..RateLimits::DEFAULT }).await;
    let beat = json!({"workspaceId": world.workspace, "runtimeId": "host", "activeAgents": 0, "version": "1"});
    let plane = world.control_plane();
    for _ in 0..10 {
        plane.post("/parallax-agents/runtime/heartbeat", beat.clone()).await.expect(StatusCode::OK);
    }
    for path in ["/parallax-agents/runtime/heartbeat", "/parallax-agents/spawn-callback", "/parallax-agents/access-request"] {
        let guess = world.anonymous().with_header("x-webhook-secret", path);
        guess.post(path, beat.clone()).await.expect(StatusCode::UNAUTHORIZED);
    }
    let guess = world.anonymous().with_header("x-webhook-secret", "another guess");
    expect_limited(guess.post("/parallax-agents/runtime/heartbeat", beat.clone()).await);
    expect_limited(guess.post("/mcp-standard/call_tool", json!({"name": "agent_profile"})).await);
    // Who was right before is not stopped by others' guesses.
    plane.post("/parallax-agents/runtime/heartbeat", beat).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn an_agent_that_goes_on_with_a_revoked_key_stops_no_other(pool: PgPool) {
    let limits = RateLimits { refused_by_credential: once(2), refused_by_address: once(4), ..RateLimits::DEFAULT };
    let world = limited(pool, limits).await;
    let (old, new) = (world.approved_agent("old").await, world.approved_agent("new").await);
    let old = world.with_key(&old);
    old.tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.owner().await.revoke("old").await.expect(StatusCode::OK);
    for _ in 0..2 {
        old.tool("agent_profile", json!({})).await.expect(StatusCode::UNAUTHORIZED);
    }
    for _ in 0..5 {
        expect_limited(old.tool("agent_profile", json!({})).await);
    }
    world.with_key(&new).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn each_key_has_its_own_budget_of_tool_calls(pool: PgPool) {
    let world = limited(pool, RateLimits { calls_by_key: once(2), ..RateLimits::DEFAULT }).await;
    let (busy, calm) = (world.approved_agent("busy").await, world.approved_agent("calm").await);
    let busy = world.with_key(&busy);
    for left in [1, 0] {
        let answer = busy.tool("agent_profile", json!({})).await;
        assert_eq!((header(&answer, "ratelimit-limit"), header(&answer, "ratelimit-remaining")), (2, left));
        answer.expect(StatusCode::OK);
    }
    expect_limited(busy.tool("agent_profile", json!({})).await);
    world.with_key(&calm).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn calls_that_come_at_once_are_counted_one_by_one(pool: PgPool) {
    let world = limited(pool, RateLimits { calls_by_key: once(4), ..RateLimits::DEFAULT }).await;
    for (path, id) in [("/mcp", "scout"), ("/mcp-standard", "other")] {
        let agent = world.with_key(&world.approved_agent(id).await);
        let batch: Vec<Value> = (0..6).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "agent.profile"})).collect();
        let answers = agent.post(path, json!(batch)).await.expect(StatusCode::OK);
        let answers = answers.as_array().unwrap();
        assert!(answers[..4].iter().all(|answer| answer["result"]["id"] == id), "{answers:?}");
        for answer in &answers[4..] {
            assert_eq!(answer["error"]["code"], -32000, "{answer}");
            assert!(answer["error"]["data"]["retryAfter"].as_u64().is_some_and(|seconds| (1..=61).contains(&seconds)), "{answer}");
        }
        expect_limited(agent.tool("agent_profile", json!({})).await);
    }
    world.end().await;
}

#[sqlx::test]
async fn one_address_has_one_budget_for_all_of_the_api_but_not_for_the_console(pool: PgPool) {
    let world = limited(pool, RateLimits { api_by_address: once(3), ..RateLimits::DEFAULT }).await;
    let owner = world.owner().await;
    for path in ["/parallax-agents", "/parallax-agents/pending", "/nowhere"] {
        assert!(owner.get(path).await.headers.contains_key("ratelimit-remaining"));
    }
    expect_limited(owner.get("/parallax-agents").await);
    expect_limited(world.anonymous().get("/health").await);
    world.anonymous().get("/health/live").await.expect(StatusCode::OK);
    let page = reqwest::get(&world.base).await.unwrap();
    assert_ne!(page.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!page.headers().contains_key("ratelimit-limit"));
    world.end().await;
}

/// Sends what `text` yields until the service answers or ends the connection; returns the status line.
async fn send_head(world: &World, text: impl Iterator<Item = String>) -> String {
    let (mut reader, mut writer) = TcpStream::connect(world.base.strip_prefix("http://").unwrap()).await.unwrap().into_split();
    let sending = async {
        for piece in text {
            if writer.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    let reading = timeout(DEADLINE, reader.read_to_end(&mut answer));
    let ((), ended) = tokio::join!(sending, reading);
    assert!(ended.is_ok(), "the service neither answered nor hung up");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[sqlx::test]
async fn the_head_of_a_request_is_bounded(pool: PgPool) {
    let world = World::new(pool).await;
    let path = ["GET /api/".to_owned(), "x".repeat(100_000), " HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned()];
    let answer = send_head(&world, path.into_iter()).await;
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer:?}");
    let many = (0..200).map(|number| format!("x-{number}: y\r\n"));
    let head = ["GET /api/health HTTP/1.1\r\nhost: a\r\n".to_owned()].into_iter().chain(many).chain(["\r\n".to_owned()]);
    let answer = send_head(&world, head).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    // One header that never ends: 16 MiB would be taken if nothing bounded it.
    let endless = ["GET /api/health HTTP/1.1\r\nhost: a\r\nx: ".to_owned()].into_iter().chain((0..256).map(|_| "y".repeat(65_536)));
    let answer = send_head(&world, endless).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    world.end().await;
}

#[sqlx::test]
async fn a_body_that_is_too_long_is_refused_wherever_it_is_read(pool: PgPool) {
    let world = World::new(pool).await;
    let long = json!({"email": "x".repeat(70_000), "password": "y"});
    for path in ["/auth/login", "/parallax-agents/register", "/parallax-agents/access-request"] {
        world.anonymous().post(path, long.clone()).await.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE");
    }
    let owner = world.owner().await.with_header("idempotency-key", "k");
    owner.post("/parallax-agents/invites", long).await.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE");
    world.end().await;
}

#[sqlx::test]
async fn limits_that_are_off_are_not_told_either(pool: PgPool) {
    let mut config = config(None);
    config.rate_limits = None;
    let world = World::with_config(pool, config, None).await;
    let answer = world.owner().await.get("/parallax-agents").await;
    assert!(!answer.headers.contains_key("ratelimit-limit"));
    answer.expect(StatusCode::OK);
    world.end().await;
}
