//! The program is killed while an agent runs.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    APP_SECRET, DEADLINE, LocalRuntime, RUNTIME_TOKEN, WEBHOOK_SECRET,
    program::{Program, free_port, raven_agents, set_up},
    terminal::Socket,
};

/// The service's own program on the test's database and runtime.
struct Service {
    program: Program,
    base: String,
}

impl Service {
    async fn start(pool: &PgPool, runtime: &LocalRuntime) -> Self {
        let options = pool.connect_options();
        let (host, database) = (options.get_host().to_owned(), options.get_database().unwrap().to_owned());
        let socket = options.get_socket().map(|path| path.display().to_string());
        let authority = socket.clone().map_or(host, |_| "localhost".to_owned());
        let query = socket.map(|path| format!("?host={}", path.replace('/', "%2F"))).unwrap_or_default();
        let url = format!("postgres://{}@{authority}:{}/{database}{query}", options.get_username(), options.get_port());
        let port = free_port();
        let command = raven_agents(
            &["serve"],
            &[
                ("DATABASE_URL", &url),
                ("PORT", &port.to_string()),
                ("APP_SECRET", APP_SECRET),
                ("PARALLAX_WEBHOOK_SECRET", WEBHOOK_SECRET),
                ("AGENT_RUNTIME_ENDPOINT", &runtime.endpoint()),
                ("AGENT_RUNTIME_TOKEN", RUNTIME_TOKEN),
            ],
        );
        let service = Self { program: Program::start(command), base: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + DEADLINE;
        while reqwest::get(format!("{}/api/health", service.base)).await.is_err() {
            assert!(Instant::now() < deadline, "the service did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service
    }

    /// Sets the workspace up and spawns a shell that is ready: a client, the owner's token, the agent's id.
    async fn with_shell(&self) -> (reqwest::Client, String, String) {
        let http = reqwest::Client::new();
        let token = set_up(&http, &format!("{}/api", self.base)).await;
        let spawn = http.post(format!("{}/api/parallax-agents/spawn", self.base)).bearer_auth(&token);
        let spawned: Value = spawn.json(&json!({"agentType": "custom", "name": "shell"})).send().await.unwrap().json().await.unwrap();
        let id = spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned();
        self.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "ready").await;
        (http, token, id)
    }

    async fn until(&self, token: &str, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = reqwest::Client::new().get(format!("{}/api{path}", self.base)).bearer_auth(token).send().await.unwrap();
            let body: Value = answer.json().await.unwrap();
            if good(&body["data"]) {
                return body["data"].clone();
            }
            assert!(Instant::now() < deadline, "{path} stayed {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[sqlx::test]
async fn killed_and_started_again_the_service_adopts_its_agent_and_doubles_nothing(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let first = Service::start(&pool, &runtime).await;
    let (http, token, id) = first.with_shell().await;
    let session_path = format!("/terminal/agents/{id}/session");
    let session = first.until(&token, &session_path, |session| session["status"] == "active").await;
    let cookie = format!("authToken={token}");
    let mut terminal = Socket::connect(&first.base, "/terminal", &cookie).await;
    terminal.attach(&id).await;
    terminal.emit("input", json!("echo before$((1)); (while :; do sleep 0.05; printf tick; done) &\n")).await;
    terminal.until_shows("ticktick").await;

    first.program.kill().await;
    let second = Service::start(&pool, &runtime).await;

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
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let first = Service::start(&pool, &runtime).await;
    let (http, token, id) = first.with_shell().await;
    first.program.kill().await;
    let stop = http.delete(format!("{}/api/agents/{id}", runtime.endpoint())).bearer_auth(RUNTIME_TOKEN).send().await.unwrap();
    assert_eq!(stop.status(), StatusCode::NO_CONTENT);

    let second = Service::start(&pool, &runtime).await;

    second.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "stopped").await;
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM terminal_sessions WHERE terminated_at IS NULL").fetch_one(&pool).await.unwrap();
    assert_eq!(open, 0);
    second.program.kill().await;
    runtime.stop().await;
}
