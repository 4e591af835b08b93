//! The program is killed while an agent runs.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{DEADLINE, RUNTIME_TOKEN, WEBHOOK_SECRET, program::set_up, service::Service, terminal::Socket};

#[sqlx::test]
async fn killed_and_started_again_the_service_adopts_its_agent_and_doubles_nothing(pool: PgPool) {
    let (runtime, first, (http, token, id)) = Service::with_runtime(&pool).await;
    let session_path = format!("/terminal/agents/{id}/session");
    let session = first.until(&token, &session_path, |session| session["status"] == "active").await;
    let cookie = format!("authToken={token}");
    let mut terminal = Socket::connect(&first.base, "/terminal", &cookie).await;
    terminal.attach(&id).await;
    terminal.emit("input", json!("echo before$((1)); (while :; do sleep 0.05; printf tick; done) &\n")).await;
    terminal.until_shows("ticktick").await;

    first.program.kill().await;
    let second = Service::start(&pool, &runtime.endpoint()).await;

    let again = second.until(&token, &session_path, |session| session["status"] == "active").await;
    assert_eq!(again["id"], session["id"]);
    let mut terminal = Socket::connect(&second.base, "/terminal", &cookie).await;
    terminal.attach(&id).await;
    terminal.until_shows("before1").await;
    terminal.until_shows(&"tick".repeat(3)).await;
    assert_eq!(terminal.screen.matches("before1").count(), 1);
    let counts: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, count(*) FROM outbox WHERE name LIKE 'run.%' GROUP BY name ORDER BY name")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(counts, [("run.ready".to_owned(), 1), ("run.started".to_owned(), 1)]);
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM terminal_sessions").fetch_one(&pool).await.unwrap();
    assert_eq!(sessions, 1);

    let stop = http.post(format!("{}/api/parallax-agents/{id}/stop", second.base)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(stop.status(), StatusCode::OK);
    second.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "stopped").await;
    second.program.signal(libc::SIGTERM);
    let (succeeded, log) = second.program.ended().await;
    assert!(succeeded, "{log}");
    runtime.stop().await;
}

#[sqlx::test]
async fn an_agent_that_ended_while_the_service_was_away_is_found_ended(pool: PgPool) {
    let (runtime, first, (http, token, id)) = Service::with_runtime(&pool).await;
    first.program.kill().await;
    let stop = http.delete(format!("{}/api/agents/{id}", runtime.endpoint())).bearer_auth(RUNTIME_TOKEN).send().await.unwrap();
    assert_eq!(stop.status(), StatusCode::NO_CONTENT);

    let second = Service::start(&pool, &runtime.endpoint()).await;

    second.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "stopped").await;
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM terminal_sessions WHERE terminated_at IS NULL").fetch_one(&pool).await.unwrap();
    assert_eq!(open, 0);
    second.program.kill().await;
    runtime.stop().await;
}

/// No runtime and no control plane: nothing listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// Tables that a registration or an approval writes, in whatever order.
const WRITTEN: [&str; 7] =
    ["agent_invites", "parallax_agents", "users", "mcp_api_keys", "parallax_agent_activity", "control_plane_notifications", "outbox"];

/// Everything that the tables hold, but for when somebody signed in or a delivery was tried.
async fn contents(pool: &PgPool) -> Vec<String> {
    let mut rows = Vec::new();
    for table in WRITTEN {
        let query = format!(
            "SELECT (to_jsonb(t) - 'last_login_at' - 'attempts' - 'next_attempt_at' - 'last_error')::text FROM {table} t ORDER BY 1"
        );
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(pool).await.unwrap();
        rows.extend(found.into_iter().map(|row| format!("{table}: {row}")));
    }
    rows
}

/// Sends a request, and kills the service when the work on it has come to the first write of `table`.
/// `false` when it never writes there.
async fn kill_at(pool: &PgPool, service: Service, table: &str, request: reqwest::RequestBuilder) -> bool {
    let mut holder = pool.begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("LOCK TABLE {table} IN EXCLUSIVE MODE"))).execute(&mut *holder).await.unwrap();
    let mut answer = tokio::spawn(request.send());
    let waiting = async || {
        let query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass)";
        sqlx::query_scalar::<_, bool>(query).bind(table).fetch_one(pool).await.unwrap()
    };
    let reached = loop {
        if waiting().await {
            break true;
        }
        if answer.is_finished() {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    service.program.kill().await;
    if reached {
        assert!((&mut answer).await.unwrap().is_err(), "the service was killed before it could answer");
    }
    holder.rollback().await.unwrap();
    // The killed service's connections end once Postgres has noticed.
    let deadline = Instant::now() + DEADLINE;
    let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    while waiting().await || sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() > 0 {
        assert!(Instant::now() < deadline, "a transaction of the killed service goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reached
}

#[sqlx::test]
async fn killed_between_any_two_steps_of_a_registration_nothing_is_left_of_it(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let service = Service::start(&pool, NOBODY).await;
    let http = reqwest::Client::new();
    let owner = set_up(&http, &format!("{}/api", service.base)).await;
    let invite = http.post(format!("{}/api/parallax-agents/invites", service.base)).bearer_auth(&owner);
    let invite: Value =
        invite.json(&json!({"name": "ci", "permissions": ["read:pages"], "usesRemaining": 1})).send().await.unwrap().json().await.unwrap();
    let body = json!({"inviteToken": invite["data"]["token"], "agentId": "scout", "name": "Scout"});
    service.program.kill().await;
    let before = contents(&pool).await;
    let mut steps = 0;
    for table in WRITTEN {
        let service = Service::start(&pool, NOBODY).await;
        let request = reqwest::Client::new().post(format!("{}/api/parallax-agents/register", service.base)).json(&body);
        assert!(kill_at(&pool, service, table, request).await, "a registration writes {table}");
        assert_eq!(contents(&pool).await, before, "killed before it wrote {table}");
        steps += 1;
    }
    assert_eq!(steps, WRITTEN.len());
    let service = Service::start(&pool, NOBODY).await;
    let registered = http.post(format!("{}/api/parallax-agents/register", service.base)).json(&body).send().await.unwrap();
    assert_eq!(registered.status(), StatusCode::CREATED, "the invite's one use is there still");
    service.program.kill().await;
}

#[sqlx::test]
async fn killed_between_any_two_steps_of_an_approval_the_agent_is_pending_as_before(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let service = Service::start(&pool, NOBODY).await;
    let http = reqwest::Client::new();
    let owner = set_up(&http, &format!("{}/api", service.base)).await;
    let workspace: uuid::Uuid = sqlx::query_scalar("SELECT id FROM workspaces").fetch_one(&pool).await.unwrap();
    let ask = http.post(format!("{}/api/parallax-agents/access-request", service.base)).header("x-webhook-secret", WEBHOOK_SECRET);
    let ask =
        ask.json(&json!({"workspaceId": workspace, "agentId": "scout", "agentName": "Scout", "requestedPermissions": ["read:pages"]}));
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::CREATED);
    service.program.kill().await;
    let before = contents(&pool).await;
    let approve = |service: &Service| {
        let request = reqwest::Client::new().post(format!("{}/api/parallax-agents/scout/approve", service.base)).bearer_auth(&owner);
        request.json(&json!({"grantedPermissions": ["read:pages"]}))
    };
    for table in WRITTEN.into_iter().filter(|table| *table != "agent_invites") {
        let service = Service::start(&pool, NOBODY).await;
        let request = approve(&service);
        assert!(kill_at(&pool, service, table, request).await, "an approval writes {table}");
        assert_eq!(contents(&pool).await, before, "killed before it wrote {table}");
    }
    let service = Service::start(&pool, NOBODY).await;
    assert_eq!(approve(&service).send().await.unwrap().status(), StatusCode::OK);
    service.program.kill().await;
}
