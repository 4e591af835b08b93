//! The service as a program, on a test's database.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    APP_SECRET, DEADLINE, LocalRuntime, RUNTIME_TOKEN, WEBHOOK_SECRET,
    program::{Program, database_url, free_port, raven_agents, set_up},
};

/// The service's own program on the test's database and runtime.
pub(crate) struct Service {
    pub(crate) program: Program,
    pub(crate) base: String,
}

/// A client, the owner's token and the id of a shell that is ready.
pub(crate) type Shell = (reqwest::Client, String, String);

impl Service {
    /// With a runtime in this process, on which a shell runs.
    pub(crate) async fn with_runtime(pool: &PgPool) -> (LocalRuntime, Self, Shell) {
        rustls::crypto::ring::default_provider().install_default().ok();
        let runtime = LocalRuntime::start().await;
        let service = Self::start(pool, &runtime.endpoint()).await;
        let shell = service.with_shell().await;
        (runtime, service, shell)
    }

    /// With a runtime that may be there or not.
    pub(crate) async fn start(pool: &PgPool, endpoint: &str) -> Self {
        Self::start_on(pool, endpoint, free_port()).await
    }

    /// As [`Self::start`], on a port that clients come back to.
    pub(crate) async fn start_on(pool: &PgPool, endpoint: &str, port: u16) -> Self {
        let url = database_url(pool);
        let command = raven_agents(
            &["serve"],
            &[
                ("DATABASE_URL", &url),
                ("PORT", &port.to_string()),
                ("APP_SECRET", APP_SECRET),
                ("PARALLAX_WEBHOOK_SECRET", WEBHOOK_SECRET),
                ("AGENT_RUNTIME_ENDPOINT", endpoint),
                ("PARALLAX_CONTROL_PLANE_URL", endpoint),
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

    /// Sets the workspace up and spawns a shell that is ready.
    pub(crate) async fn with_shell(&self) -> Shell {
        let http = reqwest::Client::new();
        let token = set_up(&http, &format!("{}/api", self.base)).await;
        let spawn = http.post(format!("{}/api/parallax-agents/spawn", self.base)).bearer_auth(&token);
        let spawned: Value = spawn.json(&json!({"agentType": "custom", "name": "shell"})).send().await.unwrap().json().await.unwrap();
        let id = spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned();
        self.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "ready").await;
        (http, token, id)
    }

    pub(crate) async fn until(&self, token: &str, path: &str, good: impl Fn(&Value) -> bool) -> Value {
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
