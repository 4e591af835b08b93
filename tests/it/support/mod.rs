//! A running service on a database of its own, and typed callers.

pub(crate) mod answering;
pub(crate) mod content;
pub(crate) mod fake_runtime;
pub(crate) mod gate;
pub(crate) mod node;
pub(crate) mod printing_runtime;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod service;
pub(crate) mod stream;
pub(crate) mod terminal;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use pty_runtime::{Handle, Runtime};
use raven_agents::{
    config::{Config, RateLimits, RuntimeSettings},
    domain::workspaces::{self, NewPerson},
    model::{
        clock::Clock,
        ids::{UserId, WorkspaceId},
        workspace::Role,
    },
    serve::{self, Running},
    storage,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;

/// Known to the runtimes and control planes of the tests.
pub(crate) const WEBHOOK_SECRET: &str = "the webhook secret of the tests";
pub(crate) const APP_SECRET: &str = "the application secret of the tests, long enough";
/// Token of the in-process runtime.
pub(crate) const RUNTIME_TOKEN: &str = "the-runtime-token-of-the-tests";
/// The password of everyone, as bcrypt keeps it; the cost does not matter here.
pub(crate) const PASSWORD: &str = "correct horse battery";
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS";

/// How long a state may take to come about before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// A service, its database, and one workspace with an owner.
pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) workspace: WorkspaceId,
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    config: Config,
    running: Running,
    runtime: Option<LocalRuntime>,
    http: reqwest::Client,
}

/// A runtime in this process with a folder of its own.
pub(crate) struct LocalRuntime {
    handle: Handle,
    folder: PathBuf,
}

impl LocalRuntime {
    pub(crate) async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("raven-test-{}", uuid::Uuid::new_v4()));
        let mut config = pty_runtime::Config::new(folder.clone());
        config.token = Some(pty_runtime::Secret::new(RUNTIME_TOKEN));
        config.webhook_secret = Some(pty_runtime::Secret::new(WEBHOOK_SECRET));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { handle: Runtime::start(config, listener).unwrap(), folder }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.handle.addr())
    }

    pub(crate) async fn stop(self) {
        self.handle.shutdown().await;
        std::fs::remove_dir_all(self.folder).ok();
    }
}

/// Settings of the tests; the port is free.
pub(crate) fn config(runtime: Option<String>) -> Config {
    let mut config = Config::read(&|_| None).unwrap();
    config.app_secret = Some(APP_SECRET.to_owned());
    config.webhook_secret = Some(WEBHOOK_SECRET.to_owned());
    config.socket_check_every = Duration::from_millis(100);
    // All callers of a test come from one address.
    config.rate_limits = Some(RateLimits::DEFAULT.times(1000));
    config.runtime = runtime.map(|endpoint| RuntimeSettings { endpoint, token: Some(RUNTIME_TOKEN.to_owned()) });
    config
}

/// Starts the service on the database behind `pool`.
pub(crate) async fn serve(pool: &PgPool, config: &Config, clock: Clock) -> Running {
    serve_at(pool, config, clock, "127.0.0.1:0").await
}

/// As [`serve`], on this address.
pub(crate) async fn serve_at(pool: &PgPool, config: &Config, clock: Clock, address: &str) -> Running {
    rustls::crypto::ring::default_provider().install_default().ok();
    let own = storage::db::pool((*pool.connect_options()).clone(), 10);
    let listener = TcpListener::bind(address).await.unwrap();
    serve::start(config, own, listener, clock).unwrap()
}

impl World {
    /// Without a runtime.
    pub(crate) async fn new(pool: PgPool) -> Self {
        Self::with_config(pool, config(None), None).await
    }

    /// With the real runtime in this process.
    pub(crate) async fn with_runtime(pool: PgPool) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let runtime = LocalRuntime::start().await;
        let config = config(Some(runtime.endpoint()));
        Self::with_config(pool, config, Some(runtime)).await
    }

    /// On a database that has its workspaces already, of which one is the callers'.
    pub(crate) async fn taken_over(pool: PgPool, workspace: WorkspaceId) -> Self {
        Self::taken_over_with(pool, workspace, config(None)).await
    }

    pub(crate) async fn taken_over_with(pool: PgPool, workspace: WorkspaceId, config: Config) -> Self {
        serve::prepare_database(&pool, Some(APP_SECRET)).await.unwrap();
        let clock = Clock::default();
        let running = serve(&pool, &config, clock.clone()).await;
        Self {
            base: format!("http://{}", running.address()),
            workspace,
            pool,
            clock,
            config,
            running,
            runtime: None,
            http: reqwest::Client::new(),
        }
    }

    pub(crate) async fn with_config(pool: PgPool, config: Config, runtime: Option<LocalRuntime>) -> Self {
        let clock = Clock::default();
        let running = serve(&pool, &config, clock.clone()).await;
        let mut tx = running.app().begin().await.unwrap();
        let (workspace, _) = workspaces::set_up(&mut tx, "Acme", &person("owner", "acme")).await.unwrap();
        tx.commit().await.unwrap();
        Self {
            base: format!("http://{}", running.address()),
            workspace,
            pool,
            clock,
            config,
            running,
            runtime,
            http: reqwest::Client::new(),
        }
    }

    /// The handles of the service.
    pub(crate) fn app(&self) -> &raven_agents::app::App {
        self.running.app()
    }

    /// The number of open connections of a kind.
    pub(crate) fn open_connections(&self, kind: raven_agents::app::connections::Kind) -> usize {
        self.running.app().connections.count(kind)
    }

    /// Begins a use case, as an edge would.
    pub(crate) async fn begin(&self) -> raven_agents::app::Tx {
        self.running.app().begin().await.unwrap()
    }

    /// Ends the service as a crash would: nothing is drained. The runtime goes on.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.crash_and_restart_with(self.config.clone()).await;
    }

    /// As [`Self::crash_and_restart`], with these settings from then on.
    pub(crate) async fn crash_and_restart_with(&mut self, config: Config) {
        self.config = config;
        let app = self.running.app().clone();
        let fresh = serve(&self.pool, &self.config, self.clock.clone()).await;
        self.base = format!("http://{}", fresh.address());
        let old = std::mem::replace(&mut self.running, fresh);
        app.shutdown.cancel();
        drop(old);
    }

    /// What the operator decided.
    pub(crate) fn policy(&self) -> &raven_agents::model::policy::Policy {
        &self.running.app().policy
    }

    /// From now on the service cannot ask its database anything.
    pub(crate) async fn lose_database(&self) {
        self.running.app().pool.close().await;
    }

    /// Ends the service as a signal does, and starts it again on the same address.
    pub(crate) async fn restart(mut self) -> Self {
        let address = self.running.address().to_string();
        self.running.stop().await;
        self.running = serve_at(&self.pool, &self.config, self.clock.clone(), &address).await;
        self
    }

    /// Ends the service and its runtime.
    pub(crate) async fn end(self) {
        self.running.stop().await;
        if let Some(runtime) = self.runtime {
            runtime.stop().await;
        }
    }

    /// The owner of the workspace.
    pub(crate) async fn owner(&self) -> Caller<'_> {
        let id = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND role = 'owner'").bind(self.workspace.0);
        let id: uuid::Uuid = id.fetch_one(&self.pool).await.unwrap();
        self.signed_in(self.workspace, UserId(id))
    }

    pub(crate) async fn admin(&self, name: &str) -> Caller<'_> {
        self.person(name, Role::Admin).await
    }

    pub(crate) async fn member(&self, name: &str) -> Caller<'_> {
        self.person(name, Role::Member).await
    }

    async fn person(&self, name: &str, role: Role) -> Caller<'_> {
        let mut tx = self.running.app().begin().await.unwrap();
        let id = workspaces::add_person(&mut tx, self.workspace, &person(name, "acme"), role).await.unwrap();
        tx.commit().await.unwrap();
        self.signed_in(self.workspace, id)
    }

    /// A member with their id.
    pub(crate) async fn member_with_id(&self, name: &str) -> (Caller<'_>, UserId) {
        let member = self.member(name).await;
        let id = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND email = $2");
        let id: uuid::Uuid = id.bind(self.workspace.0).bind(format!("{name}@acme.example")).fetch_one(&self.pool).await.unwrap();
        (member, UserId(id))
    }

    /// The owner of another workspace.
    pub(crate) async fn outsider(&self) -> Caller<'_> {
        let mut tx = self.running.app().begin().await.unwrap();
        let (workspace, id) = workspaces::create(&mut tx, "Other", None, &person("outsider", "other")).await.unwrap();
        tx.commit().await.unwrap();
        self.signed_in(workspace, id)
    }

    fn signed_in(&self, workspace: WorkspaceId, user: UserId) -> Caller<'_> {
        let now = chrono::Utc::now();
        let token = self.running.app().tokens.issue(user, workspace, "somebody@example.com", now);
        Caller { world: self, credential: Credential::Bearer(token), headers: Vec::new() }
    }

    /// Somebody without a credential.
    pub(crate) fn anonymous(&self) -> Caller<'_> {
        Caller { world: self, credential: Credential::None, headers: Vec::new() }
    }

    /// Somebody with the webhook secret.
    pub(crate) fn control_plane(&self) -> Caller<'_> {
        Caller { world: self, credential: Credential::Webhook(WEBHOOK_SECRET.to_owned()), headers: Vec::new() }
    }

    /// Somebody with an API key.
    pub(crate) fn with_key(&self, key: &str) -> Caller<'_> {
        Caller { world: self, credential: Credential::Bearer(key.to_owned()), headers: Vec::new() }
    }

    /// An agent that waits for a decision; returns its claim secret.
    pub(crate) async fn pending_agent(&self, id: &str) -> String {
        let asked = self.control_plane().post("/parallax-agents/access-request", self.access_request(id)).await.expect(StatusCode::CREATED);
        asked["data"]["claimSecret"].as_str().unwrap().to_owned()
    }

    /// Body of an access request.
    pub(crate) fn access_request(&self, id: &str) -> Value {
        json!({"workspaceId": self.workspace, "agentId": id, "agentName": format!("Agent {id}"), "capabilities": ["code"],
               "requestedPermissions": ["read:pages", "write:tasks"], "justification": "to help"})
    }

    /// An approved agent's key.
    pub(crate) async fn approved_agent(&self, id: &str) -> String {
        self.pending_agent(id).await;
        let approved = self.owner().await.approve(id, &["read:pages"]).await.expect(StatusCode::OK);
        approved["data"]["mcpApiKey"].as_str().unwrap().to_owned()
    }

    /// Waits until `state` yields something.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, state: impl Fn() -> F) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = state().await {
                return value;
            }
            assert!(Instant::now() < deadline, "{what} did not come about in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The number of activity rows of this type, of one agent if given.
    pub(crate) async fn activities(&self, activity_type: &str, agent: Option<&str>) -> i64 {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM parallax_agent_activity WHERE workspace_id = $1 AND activity_type = $2 AND ($3::text IS NULL OR agent_id = $3)",
        );
        count.bind(self.workspace.0).bind(activity_type).bind(agent).fetch_one(&self.pool).await.unwrap()
    }

    /// A project in the workspace's first space.
    pub(crate) async fn project(&self, name: &str) -> uuid::Uuid {
        let insert = sqlx::query_scalar(
            "INSERT INTO projects (name, workspace_id, space_id) SELECT $2, $1, default_space_id FROM workspaces WHERE id = $1 RETURNING id",
        );
        insert.bind(self.workspace.0).bind(name).fetch_one(&self.pool).await.unwrap()
    }

    /// A task in the workspace's first space.
    pub(crate) async fn task(&self, title: &str) -> uuid::Uuid {
        let insert = sqlx::query_scalar(
            "INSERT INTO tasks (title, workspace_id, space_id) SELECT $2, $1, default_space_id FROM workspaces WHERE id = $1 RETURNING id",
        );
        insert.bind(self.workspace.0).bind(title).fetch_one(&self.pool).await.unwrap()
    }

    /// The number of events of this name in the outbox.
    pub(crate) async fn events(&self, name: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE workspace_id = $1 AND name = $2");
        count.bind(self.workspace.0).bind(name).fetch_one(&self.pool).await.unwrap()
    }

    /// The number of an agent's keys that are not revoked.
    pub(crate) async fn live_keys(&self, agent: &str) -> i64 {
        let count =
            sqlx::query_scalar("SELECT count(*) FROM mcp_api_keys WHERE workspace_id = $1 AND agent_id = $2 AND revoked_at IS NULL");
        count.bind(self.workspace.0).bind(agent).fetch_one(&self.pool).await.unwrap()
    }
}

fn person(name: &str, domain: &str) -> NewPerson {
    NewPerson { name: name.to_owned(), email: format!("{name}@{domain}.example"), password_hash: PASSWORD_HASH.to_owned() }
}

#[derive(Clone)]
enum Credential {
    None,
    Bearer(String),
    Webhook(String),
}

/// Somebody who calls the service.
#[derive(Clone)]
pub(crate) struct Caller<'w> {
    world: &'w World,
    credential: Credential,
    headers: Vec<(&'static str, String)>,
}

impl Caller<'_> {
    /// The same caller, with a header in every request.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The cookie of a signed-in person, for sockets and browsers.
    pub(crate) fn cookie(&self) -> String {
        match &self.credential {
            Credential::Bearer(token) => format!("authToken={token}"),
            Credential::None | Credential::Webhook(_) => String::new(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Opens a stream of events; `after` is the last position that was heard of.
    pub(crate) async fn stream(&self, query: &str, after: Option<&str>) -> stream::Stream {
        let response = self.open_stream(query, after).await;
        assert_eq!(response.status(), StatusCode::OK, "stream {query}");
        stream::Stream::of(response)
    }

    /// As [`Self::stream`], whatever the answer is.
    pub(crate) async fn open_stream(&self, query: &str, after: Option<&str>) -> reqwest::Response {
        let Credential::Bearer(token) = &self.credential else { panic!("streams need a credential") };
        let mut request = self.world.http.get(format!("{}/api/events{query}", self.world.base)).bearer_auth(token);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn patch_settings(&self, settings: Value) -> Answer {
        self.post("/workspace/agent-settings/update", settings).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.world.http.request(method.clone(), format!("{}/api{path}", self.world.base));
        request = match &self.credential {
            Credential::None => request,
            Credential::Bearer(token) => request.bearer_auth(token),
            Credential::Webhook(secret) => request.header("x-webhook-secret", secret),
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { call: format!("{method} {path}"), status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub(crate) async fn approve(&self, id: &str, permissions: &[&str]) -> Answer {
        self.post(&format!("/parallax-agents/{id}/approve"), json!({"grantedPermissions": permissions})).await
    }

    pub(crate) async fn assign(&self, id: &str, project: uuid::Uuid) -> Answer {
        self.post(&format!("/parallax-agents/{id}/assign/project"), json!({"projectId": project})).await
    }

    pub(crate) async fn revoke(&self, id: &str) -> Answer {
        self.post(&format!("/parallax-agents/{id}/revoke"), json!({"reason": "no longer needed"})).await
    }

    pub(crate) async fn agent(&self, id: &str) -> Value {
        self.get(&format!("/parallax-agents/{id}")).await.expect(StatusCode::OK)["data"].clone()
    }

    /// Makes an invite and returns its token.
    pub(crate) async fn invite(&self, uses: Option<i32>) -> String {
        let body = json!({"name": "ci", "permissions": ["read:pages", "read:tasks"], "usesRemaining": uses});
        let created = self.post("/parallax-agents/invites", body).await.expect(StatusCode::CREATED);
        created["data"]["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn register(&self, token: &str, id: &str) -> Answer {
        self.post("/parallax-agents/register", json!({"inviteToken": token, "agentId": id, "name": "Seed", "capabilities": ["code"]})).await
    }

    /// Calls a tool; the text of its answer as JSON.
    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> Answer {
        self.post("/mcp-standard/call_tool", json!({"name": name, "arguments": arguments})).await
    }

    /// Spawns one shell and returns its id.
    pub(crate) async fn spawn_shell(&self) -> String {
        let spawned =
            self.post("/parallax-agents/spawn", json!({"agentType": "custom", "name": "shell", "config": {"command": "bash"}})).await;
        let spawned = spawned.expect(StatusCode::CREATED);
        assert_eq!(spawned["data"]["success"], true, "{spawned}");
        spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Spawns one shell, waits until it is ready, and attaches to its terminal.
    pub(crate) async fn attached_shell(&self) -> (String, terminal::Socket) {
        let id = self.spawn_shell().await;
        self.until_run_is(&id, "ready").await;
        self.until_session_is(&id, "active").await;
        let mut terminal = terminal::Socket::connect(&self.world.base, "/terminal", &self.cookie()).await;
        terminal.attach(&id).await;
        (id, terminal)
    }

    /// Waits until the agent's run has this status and returns the agent.
    pub(crate) async fn until_run_is(&self, id: &str, status: &str) -> Value {
        self.world
            .until(&format!("run of {id} is {status}"), || async {
                let agent = self.agent(id).await;
                (agent["run"]["status"] == status).then_some(agent)
            })
            .await
    }

    /// Waits until the agent has a session in this status and returns it.
    pub(crate) async fn until_session_is(&self, id: &str, status: &str) -> Value {
        self.world
            .until(&format!("session of {id} is {status}"), || async {
                let session = self.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"].clone();
                (session["status"] == status).then_some(session)
            })
            .await
    }
}

/// What the service answered.
pub(crate) struct Answer {
    call: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body, if the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.call, self.body);
        self.body
    }

    /// The stable code of an error.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: StatusCode, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["statusCode"], status.as_u16(), "{body}");
        body
    }

    /// How many of each a revocation says that it ended, without the time that it took.
    #[track_caller]
    pub(crate) fn receipt(self) -> Value {
        let mut receipt = self.expect(StatusCode::OK)["data"]["receipt"].clone();
        let took = receipt.as_object_mut().unwrap().remove("tookMs");
        assert!(took.is_some_and(|took| took.is_u64()), "{receipt}");
        receipt
    }

    /// A tool's text as JSON.
    #[track_caller]
    pub(crate) fn tool_text(self) -> Value {
        let body = self.expect(StatusCode::OK);
        serde_json::from_str(body["content"][0]["text"].as_str().unwrap()).unwrap()
    }
}
