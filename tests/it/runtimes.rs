//! Several runtimes per workspace: which there are, who may use them, where agents go, what is heard of them.

use std::time::Duration;

use chrono::TimeDelta;
use raven_agents::{
    domain::{
        runs::{self, LinkNews},
        runtimes::{self, Condition},
        spawns::{self, Callbacks, SpawnOrder},
    },
    model::{
        actor::{Admin, Person},
        ids::{UserId, WorkspaceId},
        runtime::{Reach, RuntimeName},
        terminal::Size,
        workspace::Role,
    },
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    APP_SECRET, Caller, DEADLINE, LocalRuntime, RUNTIME_TOKEN, World, config,
    gate::Gate,
    program::{database_url, free_port, raven_agents},
    terminal::Socket,
};

const RUNTIMES: &str = "/parallax-agents/runtimes";
const SPAWN: &str = "/parallax-agents/spawn";

/// A world with the operator's runtime and another one, whose origin the operator allows.
async fn two_runtimes(pool: PgPool) -> (World, LocalRuntime, Gate) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (first, second) = (LocalRuntime::start().await, LocalRuntime::start().await);
    let gate = Gate::before(&second.endpoint()).await;
    let mut settings = config(Some(first.endpoint()));
    settings.runtime_origins = vec![gate.endpoint()];
    (World::with_config(pool, settings, Some(first)).await, second, gate)
}

/// Adds the second runtime under a name, with its token.
async fn add(owner: &Caller<'_>, name: &str, gate: &Gate, more: Value) -> Value {
    let mut body = json!({"name": name, "endpoint": gate.endpoint(), "token": RUNTIME_TOKEN});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    owner.post(RUNTIMES, body).await.expect(StatusCode::CREATED)["data"].clone()
}

async fn listed(owner: &Caller<'_>, name: &str) -> Option<Value> {
    let all = owner.get(RUNTIMES).await.expect(StatusCode::OK)["data"].clone();
    all.as_array().unwrap().iter().find(|runtime| runtime["name"] == name).cloned()
}

async fn until_state(world: &World, owner: &Caller<'_>, name: &str, state: &str) -> Value {
    let found = async || listed(owner, name).await.filter(|runtime| runtime["state"] == state);
    world.until(&format!("the runtime {name} is {state}"), found).await
}

fn shell(more: &Value) -> Value {
    let mut body = json!({"agentType": "custom", "config": {"command": "bash"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Spawns and returns the agents with the names of their runtimes.
async fn spawned(owner: &Caller<'_>, more: Value) -> Vec<(String, String)> {
    let answer = owner.post(SPAWN, shell(&more)).await.expect(StatusCode::CREATED);
    assert_eq!(answer["data"]["success"], true, "{answer}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["data"]["spawnedAgents"].as_array().unwrap().iter().map(|agent| (text(&agent["id"]), text(&agent["runtime"]))).collect()
}

/// Ids of the agents that a runtime has, the ended ones included.
async fn agents_on(runtime: &LocalRuntime) -> Vec<String> {
    let asked = reqwest::Client::new().get(format!("{}/api/agents", runtime.endpoint())).bearer_auth(RUNTIME_TOKEN);
    let answer: Value = asked.send().await.unwrap().json().await.unwrap();
    answer["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test]
async fn a_spawn_goes_to_the_runtime_that_is_named_and_its_stop_too(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    let added = add(&owner, "second", &gate, json!({"kinds": ["custom", "claude"], "agentsMax": 3})).await;
    assert_eq!(
        (&added["kinds"], &added["isManaged"], &added["isDefault"]),
        (&json!(["custom", "claude-code"]), &json!(true), &json!(false))
    );

    let made = spawned(&owner, json!({"runtime": "second"})).await;
    let (id, name) = made[0].clone();
    assert_eq!(name, "second");
    assert_eq!(agents_on(&second).await, [id.as_str()]);
    let agent = owner.until_run_is(&id, "ready").await;
    assert_eq!(agent["run"]["runtime"], "second");
    owner.until_session_is(&id, "active").await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;
    terminal.emit("input", json!("echo here$((1))\n")).await;
    terminal.until_shows("here1").await;
    let there = until_state(&world, &owner, "second", "online").await;
    assert_eq!(there["runs"], 1);

    owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect(StatusCode::OK);
    owner.until_run_is(&id, "stopped").await;
    let ended = reqwest::Client::new().get(format!("{}/api/agents/{id}", second.endpoint())).bearer_auth(RUNTIME_TOKEN);
    let ended: Value = ended.send().await.unwrap().json().await.unwrap();
    assert_eq!(ended["status"], "stopped");

    let refused = async |more: Value| owner.post(SPAWN, shell(&more)).await;
    refused(json!({"runtime": "third"})).await.expect_problem(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND");
    refused(json!({"runtime": "Not A Name"})).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    refused(json!({"runtime": "second", "count": 4})).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_FULL");
    let of_type = json!({"agentType": "aider", "runtime": "second"});
    owner.post(SPAWN, of_type).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_TYPE_NOT_TAKEN");
    let off = owner.call(Method::PATCH, &format!("{RUNTIMES}/second"), Some(json!({"enabled": false}))).await.expect(StatusCode::OK);
    assert_eq!((&off["data"]["enabled"], &off["data"]["agentsMax"]), (&json!(false), &json!(3)));
    refused(json!({"runtime": "second"})).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_DISABLED");
    assert_eq!(spawned(&owner, json!({})).await[0].1, "default");
    world.end().await;
    second.stop().await;
}

#[sqlx::test]
async fn an_order_spreads_over_the_least_loaded_runtimes_that_take_its_type(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    add(&owner, "second", &gate, json!({"agentsMax": 40})).await;
    let names = |made: Vec<(String, String)>| made.into_iter().map(|(_, runtime)| runtime).collect::<Vec<_>>();
    // One of 20 on the one is as much as two of 40 on the other; the operator's wins a tie.
    assert_eq!(names(spawned(&owner, json!({"count": 4, "name": "crew"})).await), ["default", "second", "second", "default"]);
    owner.call(Method::PATCH, &format!("{RUNTIMES}/second"), Some(json!({"kinds": ["codex"]}))).await.expect(StatusCode::OK);
    assert_eq!(names(spawned(&owner, json!({"count": 2, "name": "more"})).await), ["default", "default"]);
    assert_eq!(agents_on(&second).await.len(), 2);
    world.end().await;
    second.stop().await;
}

#[sqlx::test]
async fn a_wrong_token_starts_nothing_and_leaves_nothing(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    add(&owner, "second", &gate, json!({"token": "not-the-token"})).await;
    let answer = owner.post(SPAWN, shell(&json!({"runtime": "second"}))).await.expect(StatusCode::CREATED);
    assert_eq!((&answer["data"]["success"], &answer["data"]["spawnedAgents"]), (&json!(false), &json!([])));
    let left: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM parallax_agents) + (SELECT count(*) FROM mcp_api_keys)")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!((left, agents_on(&second).await.len()), (0, 0));

    // It answers, and yet is no runtime of ours: no sign of life, and no test says otherwise.
    let test = async |body: Value| owner.post("/parallax-agents/runtime/test", body).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(test(json!({"name": "second"})).await, json!({"connected": false, "error": "the runtime refuses the token"}));
    let by_endpoint = json!({"connected": true, "error": "the runtime answers; its token was not tried"});
    assert_eq!(test(json!({"endpoint": gate.endpoint()})).await, by_endpoint);
    let listed = listed(&owner, "second").await.unwrap();
    assert_eq!((&listed["state"], &listed["lastContact"]), (&json!("unknown"), &json!(null)));

    // The right one takes effect at once.
    owner.call(Method::PATCH, &format!("{RUNTIMES}/second"), Some(json!({"token": RUNTIME_TOKEN}))).await.expect(StatusCode::OK);
    let made = spawned(&owner, json!({"runtime": "second"})).await;
    owner.until_run_is(&made[0].0, "ready").await;
    world.end().await;
    second.stop().await;
}

/// D-21.
#[sqlx::test]
async fn a_workspaces_own_runtime_from_its_settings_is_used_by_it_and_by_nobody_else(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    let own = json!({"hostingMode": "custom", "runtimeEndpoint": gate.endpoint(), "runtimeApiKey": RUNTIME_TOKEN});
    owner.patch_settings(own).await.expect(StatusCode::OK);

    let made = spawned(&owner, json!({})).await;
    let (id, name) = made[0].clone();
    assert_eq!((name.as_str(), agents_on(&second).await), ("custom", vec![id.clone()]));
    owner.until_run_is(&id, "ready").await;
    owner.until_session_is(&id, "active").await;
    // While agents run there, it stays what and where it is.
    let elsewhere = format!("{}/moved", gate.endpoint());
    for change in [json!({"hostingMode": "local"}), json!({"runtimeEndpoint": elsewhere}), json!({"runtimeEndpoint": ""})] {
        owner.patch_settings(change).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_IN_USE");
    }
    let same = json!({"hostingMode": "custom", "runtimeEndpoint": format!("{}/", gate.endpoint()), "chatDraftLimit": 400});
    assert_eq!(owner.patch_settings(same).await.expect(StatusCode::OK)["data"]["runtimeApiKeySet"], true);
    // Its end is heard over a link of its own.
    let ending = reqwest::Client::new().delete(format!("{}/api/agents/{id}", second.endpoint())).bearer_auth(RUNTIME_TOKEN);
    ending.send().await.unwrap();
    owner.until_run_is(&id, "stopped").await;
    until_state(&world, &owner, "custom", "online").await;
    let status = owner.post("/workspace/agent-settings", json!({})).await.expect(StatusCode::OK)["data"]["runtimeStatus"].clone();
    assert_eq!(status["connected"], true, "{status}");

    let theirs = outsider.get(RUNTIMES).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((theirs.as_array().unwrap().len(), &theirs[0]["name"]), (1, &json!("default")));
    outsider.post(SPAWN, shell(&json!({"runtime": "custom"}))).await.expect_problem(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND");
    assert_eq!(spawned(&outsider, json!({})).await[0].1, "default");

    // Its key is for its endpoint.
    let moved = owner.patch_settings(json!({"runtimeEndpoint": elsewhere})).await.expect(StatusCode::OK);
    assert_eq!(moved["data"]["runtimeApiKeySet"], false);
    let sealed: bool = sqlx::query_scalar("SELECT settings -> 'agent' ? 'runtimeApiKeySealed' FROM workspaces WHERE id = $1")
        .bind(world.workspace.0)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert!(!sealed);
    // Without an endpoint there is none to use, and the operator's is not taken in its place.
    owner.patch_settings(json!({"runtimeEndpoint": ""})).await.expect(StatusCode::OK);
    owner.post(SPAWN, shell(&json!({}))).await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONFIGURED");
    assert_eq!(spawned(&owner, json!({"runtime": "default"})).await[0].1, "default");

    owner.patch_settings(json!({"hostingMode": "local"})).await.expect(StatusCode::OK);
    assert_eq!(spawned(&owner, json!({})).await[0].1, "default");
    assert!(listed(&owner, "custom").await.is_none());
    world.end().await;
    second.stop().await;
}

#[sqlx::test]
async fn a_runtimes_secrets_and_existence_are_for_its_workspaces_admins(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let (owner, member, outsider) = (world.owner().await, world.member("mia").await, world.outsider().await);
    let added = add(&owner, "second", &gate, json!({})).await;
    let all = owner.get(RUNTIMES).await.expect(StatusCode::OK);
    let activity = owner.get("/parallax-agents/activity/workspace").await.expect(StatusCode::OK);
    for text in [added.to_string(), all.to_string(), activity.to_string()] {
        assert!(!text.contains(RUNTIME_TOKEN), "{text}");
    }
    let stored: Vec<u8> = sqlx::query_scalar("SELECT token_enc FROM agent_runtimes").fetch_one(&world.pool).await.unwrap();
    assert!(!stored.windows(RUNTIME_TOKEN.len()).any(|part| part == RUNTIME_TOKEN.as_bytes()));
    assert_eq!((world.events("runtime.changed").await, world.activities("runtime_changed", None).await), (1, 1));

    let path = format!("{RUNTIMES}/second");
    member.get(RUNTIMES).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    member.delete(&path).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    for method in [Method::PATCH, Method::DELETE] {
        outsider.call(method, &path, Some(json!({}))).await.expect_problem(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND");
    }
    outsider.post("/parallax-agents/runtime/test", json!({"name": "second"})).await.expect(StatusCode::NOT_FOUND);
    let tested = owner.post("/parallax-agents/runtime/test", json!({"name": "second"})).await.expect(StatusCode::OK);
    assert_eq!(tested["data"]["connected"], true);

    let attempt = async |name: &str, endpoint: &str| owner.post(RUNTIMES, json!({"name": name, "endpoint": endpoint})).await;
    for endpoint in ["http://127.0.0.1:1", "http://169.254.169.254", "ftp://x", "http://user@127.0.0.1"] {
        attempt("third", endpoint).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    for name in ["default", "custom", "Third", ""] {
        attempt(name, &gate.endpoint()).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    attempt("second", &gate.endpoint()).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_NAME_TAKEN");
    for number in 2..=20 {
        attempt(&format!("r{number}"), &gate.endpoint()).await.expect(StatusCode::CREATED);
    }
    attempt("r21", &gate.endpoint()).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_LIMIT_REACHED");

    // A token is for the endpoint that it was given with.
    let moved = json!({"endpoint": format!("{}/moved", gate.endpoint())});
    owner.call(Method::PATCH, &path, Some(moved)).await.expect(StatusCode::OK);
    let kept: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT token_enc FROM agent_runtimes WHERE name = 'second'").fetch_one(&world.pool).await.unwrap();
    assert!(kept.is_none());
    world.end().await;
    second.stop().await;
}

/// RUN-24.
#[sqlx::test]
async fn a_runtime_has_one_link_while_it_is_known_and_no_connection_after(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    assert_eq!(gate.connections(), 0);
    add(&owner, "second", &gate, json!({})).await;
    until_state(&world, &owner, "second", "online").await;
    world.until("it is followed", async || (gate.connections() > 0).then_some(())).await;
    // What the operator's other workspaces use is one link, whoever adds the same again.
    add(&owner, "same", &gate, json!({})).await;
    until_state(&world, &owner, "same", "online").await;
    let id = spawned(&owner, json!({"runtime": "same"})).await[0].0.clone();
    owner.until_run_is(&id, "ready").await;
    assert_eq!(world.events("run.started").await, 1);

    owner.delete(&format!("{RUNTIMES}/second")).await.expect(StatusCode::OK);
    owner.delete(&format!("{RUNTIMES}/same")).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_IN_USE");
    let moved = json!({"endpoint": format!("{}/moved", gate.endpoint())});
    let path = format!("{RUNTIMES}/same");
    owner.call(Method::PATCH, &path, Some(moved)).await.expect_problem(StatusCode::CONFLICT, "RUNTIME_IN_USE");
    owner.delete(&format!("{path}?force=true")).await.expect(StatusCode::OK);
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["reason"], "its runtime is removed");
    assert_eq!(world.live_keys(&id).await, 0);
    assert!(listed(&owner, "same").await.is_none());
    world.until("nobody is connected to it any more", async || (gate.connections() == 0).then_some(())).await;

    // Whoever makes the change: another node, or somebody with psql.
    let insert = sqlx::query("INSERT INTO agent_runtimes (workspace_id, name, endpoint) VALUES ($1, 'by-hand', $2)");
    insert.bind(world.workspace.0).bind(gate.endpoint()).execute(&world.pool).await.unwrap();
    world.until("it is followed", async || (gate.connections() > 0).then_some(())).await;
    sqlx::query("DELETE FROM agent_runtimes").execute(&world.pool).await.unwrap();
    world.until("nobody is connected to it any more", async || (gate.connections() == 0).then_some(())).await;
    world.end().await;
    second.stop().await;
}

/// RUN-28 and section 12 of the runtime contract.
#[sqlx::test]
async fn a_runtime_that_is_silent_for_90_seconds_is_offline_until_it_is_heard_of_again(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    add(&owner, "second", &gate, json!({})).await;
    let id = spawned(&owner, json!({"runtime": "second"})).await[0].0.clone();
    owner.until_session_is(&id, "active").await;
    until_state(&world, &owner, "second", "online").await;

    gate.close();
    world.clock.advance(TimeDelta::seconds(91));
    let offline = until_state(&world, &owner, "second", "offline").await;
    assert_eq!(offline["runs"], 1, "its agents may live: {offline}");
    assert_eq!((world.events("runtime.offline").await, world.activities("runtime_offline", None).await), (1, 1));
    world
        .until("its session is not connected", async || {
            let session = owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"]["status"].clone();
            (session == "disconnected" || session == "connecting").then_some(())
        })
        .await;
    owner.post(SPAWN, shell(&json!({"runtime": "second"}))).await.expect_problem(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_UNREACHABLE");

    gate.reopen();
    until_state(&world, &owner, "second", "online").await;
    owner.until_session_is(&id, "active").await;
    assert_eq!((world.events("runtime.offline").await, world.events("runtime.online").await), (1, 1));
    assert_eq!(owner.agent(&id).await["run"]["status"], "ready");
    world.end().await;
    second.stop().await;
}

#[sqlx::test]
async fn a_heartbeat_counts_for_the_runtime_that_it_names_and_for_no_foreign_one(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    add(&owner, "second", &gate, json!({"enabled": false})).await;
    let beat = async |workspace: WorkspaceId, runtime: &str| {
        let body = json!({"workspaceId": workspace, "runtimeId": runtime, "activeAgents": 2, "version": "9.9"});
        world.control_plane().post("/parallax-agents/runtime/heartbeat", body).await
    };
    // Asked once by the service, which then does not ask again during this test.
    let deadline = std::time::Instant::now() + DEADLINE;
    while listed(&owner, "second").await.unwrap()["version"].is_null() {
        assert!(std::time::Instant::now() < deadline, "the runtime was never asked");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    beat(world.workspace, &gate.endpoint()).await.expect(StatusCode::OK);
    let heard = listed(&owner, "second").await.unwrap();
    assert!(heard["lastHeartbeat"].is_string() && heard["version"] == "9.9" && heard["state"] == "online", "{heard}");
    assert_eq!(listed(&owner, "default").await.unwrap()["lastHeartbeat"], json!(null));
    beat(world.workspace, "default").await.expect(StatusCode::OK);
    assert!(listed(&owner, "default").await.unwrap()["lastHeartbeat"].is_string());

    let theirs: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM workspaces WHERE id <> $1").bind(world.workspace.0).fetch_one(&world.pool).await.unwrap();
    beat(WorkspaceId(theirs), &gate.endpoint()).await.expect_problem(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND");
    beat(world.workspace, "http://127.0.0.1:1").await.expect_problem(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND");
    assert!(listed(&outsider, "second").await.is_none());
    world.end().await;
    second.stop().await;
}

fn event(name: &str, agent: &str) -> LinkNews {
    let frame =
        json!({"type": "event", "event": name, "data": {"agent": {"id": agent, "status": "stopped"}, "agentId": agent, "exitCode": 0}});
    LinkNews::Event(serde_json::from_value(frame).unwrap())
}

#[sqlx::test]
async fn what_a_runtime_says_of_agents_that_are_not_on_it_is_no_news(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    let endpoint = listed(&owner, "default").await.unwrap()["endpoint"].as_str().unwrap().to_owned();
    let own = |workspace: WorkspaceId| vec![(Some(workspace), RuntimeName::custom())];
    let foreign = [
        // Another workspace's link to the same address, and another link of the same workspace.
        Reach { endpoint: endpoint.clone(), users: own(WorkspaceId::generate()) },
        Reach { endpoint: endpoint.clone(), users: own(world.workspace) },
        Reach { endpoint: "http://elsewhere:1".into(), users: vec![(None, RuntimeName::environment())] },
    ];
    for reach in foreign {
        for news in [event("agent_stopped", &id), event("login_required", &id), LinkNews::Agents(Vec::new())] {
            let mut tx = world.begin().await;
            let follow_up = runs::hear_link(&mut tx, world.policy(), &reach, &news, |_| true).await.unwrap();
            tx.commit().await.unwrap();
            assert!(follow_up.outlived.is_empty() && follow_up.missing.is_empty() && follow_up.doubtful.is_empty());
        }
        assert_eq!(owner.agent(&id).await["run"]["status"], "ready", "{reach:?}");
    }
    let reach = Reach { endpoint, users: vec![(None, RuntimeName::environment())] };
    let mut tx = world.begin().await;
    runs::hear_link(&mut tx, world.policy(), &reach, &event("agent_stopped", &id), |_| true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(owner.agent(&id).await["run"]["status"], "stopped", "its own link is heard");
    world.end().await;
}

/// Several nodes: the connection of one may break while that of another holds.
#[sqlx::test]
async fn a_session_whose_terminal_is_connected_here_becomes_active_again_with_the_next_list(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_session_is(&id, "active").await;
    let endpoint = listed(&owner, "default").await.unwrap()["endpoint"].as_str().unwrap().to_owned();
    let reach = Reach { endpoint, users: vec![(None, RuntimeName::environment())] };
    for (connected, status) in [(false, "disconnected"), (true, "active")] {
        sqlx::query("UPDATE terminal_sessions SET status = 'disconnected'").execute(&world.pool).await.unwrap();
        let mut tx = world.begin().await;
        runs::hear_link(&mut tx, world.policy(), &reach, &LinkNews::Agents(Vec::new()), |_| connected).await.unwrap();
        tx.commit().await.unwrap();
        let now: String = sqlx::query_scalar("SELECT status FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
        assert_eq!(now, status);
    }
    world.end().await;
}

#[sqlx::test]
async fn another_token_is_used_for_the_terminals_that_are_kept(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    add(&owner, "second", &gate, json!({})).await;
    let id = spawned(&owner, json!({"runtime": "second"})).await[0].0.clone();
    owner.until_session_is(&id, "active").await;
    let path = format!("{RUNTIMES}/second");
    owner.call(Method::PATCH, &path, Some(json!({"token": "wrong"}))).await.expect(StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(1)).await;

    gate.close();
    gate.reopen();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let session = owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"]["status"].clone();
    assert!(session == "disconnected" || session == "connecting", "{session}");

    owner.call(Method::PATCH, &path, Some(json!({"token": RUNTIME_TOKEN}))).await.expect(StatusCode::OK);
    owner.until_session_is(&id, "active").await;
    world.end().await;
    second.stop().await;
}

/// Another node that starts does not doubt what this one hears of.
#[sqlx::test]
async fn only_a_runtime_that_nobody_heard_of_lately_is_doubted(pool: PgPool) {
    let world = World::new(pool).await;
    let reach = Reach { endpoint: "http://elsewhere:1".into(), users: vec![(None, RuntimeName::environment())] };
    let state = async || -> String { sqlx::query_scalar("SELECT state FROM agent_runtime_health").fetch_one(&world.pool).await.unwrap() };
    let mut tx = world.begin().await;
    runtimes::note_contact(&mut tx, &reach, &Condition::default()).await.unwrap();
    tx.commit().await.unwrap();
    for (seconds, expected) in [(89, "online"), (2, "unknown")] {
        world.clock.advance(TimeDelta::seconds(seconds));
        let mut tx = world.begin().await;
        runtimes::doubt(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state().await, expected);
    }
    world.end().await;
}

/// A crash between the runtime's reply and the commit, on a workspace's own runtime.
#[sqlx::test]
async fn a_spawn_that_was_answered_and_never_noted_is_settled_to_exactly_one_agent(pool: PgPool) {
    let (mut world, second, gate) = two_runtimes(pool).await;
    let user: uuid::Uuid = sqlx::query_scalar("SELECT id FROM users WHERE role = 'owner'").fetch_one(&world.pool).await.unwrap();
    add(&world.owner().await, "second", &gate, json!({})).await;
    let person = Person { user: UserId(user), workspace: world.workspace, role: Role::Owner, expires_at: i64::MAX, sign_in: None };
    let order = SpawnOrder {
        agent_type: "custom".to_owned(),
        count: 1,
        runtime: Some("second".parse().unwrap()),
        name: None,
        capabilities: Vec::new(),
        permissions: None,
        assignments: Vec::new(),
        size: Size::DEFAULT,
        config: json!({"command": "bash"}).as_object().unwrap().clone(),
    };
    let mut tx = world.begin().await;
    let app = world.app();
    let planned = spawns::plan(&mut tx, &app.policy, &app.runtimes, &Admin::from_person(person).unwrap(), &order).await.unwrap();
    tx.commit().await.unwrap();
    let callbacks = Callbacks { app_url: world.base.clone() };
    assert!(spawns::launch(&planned[0], &order, &callbacks).await.is_ok());
    // Asked again, as by a caller that heard no answer: nothing is started twice.
    assert!(spawns::launch(&planned[0], &order, &callbacks).await.is_ok());

    world.crash_and_restart().await;

    let owner = world.owner().await;
    let id = planned[0].agent.id.as_str();
    owner.until_run_is(id, "ready").await;
    owner.until_session_is(id, "active").await;
    assert_eq!(agents_on(&second).await, [id]);
    assert_eq!((world.events("run.started").await, world.events("run.ready").await, world.live_keys(id).await), (1, 1, 1));
    world.end().await;
    second.stop().await;
}

#[sqlx::test]
async fn a_spawn_of_which_nothing_was_heard_is_undone_only_after_the_runtime_was_asked(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let user: uuid::Uuid = sqlx::query_scalar("SELECT id FROM users WHERE role = 'owner'").fetch_one(&world.pool).await.unwrap();
    let person = Person { user: UserId(user), workspace: world.workspace, role: Role::Owner, expires_at: i64::MAX, sign_in: None };
    let order = SpawnOrder {
        agent_type: "custom".to_owned(),
        count: 2,
        runtime: None,
        name: None,
        capabilities: Vec::new(),
        permissions: None,
        assignments: Vec::new(),
        size: Size::DEFAULT,
        config: serde_json::Map::new(),
    };
    let mut tx = world.begin().await;
    let app = world.app();
    let planned = spawns::plan(&mut tx, &app.policy, &app.runtimes, &Admin::from_person(person).unwrap(), &order).await.unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(TimeDelta::seconds(91));
    let reach = Reach { endpoint: planned[0].run.runtime_endpoint.clone(), users: vec![(None, RuntimeName::environment())] };
    let mut tx = world.begin().await;
    let follow_up = runs::hear_link(&mut tx, world.policy(), &reach, &LinkNews::Agents(Vec::new()), |_| true).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((follow_up.missing.len(), world.live_keys(planned[0].agent.id.as_str()).await), (2, 1));

    // Something is heard of the one meanwhile.
    let mut tx = world.begin().await;
    runs::hear_link(&mut tx, world.policy(), &reach, &event("agent_started", planned[0].agent.id.as_str()), |_| true).await.unwrap();
    for plan in &planned {
        runs::hear_gone(&mut tx, plan.run.id).await.unwrap();
    }
    tx.commit().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("SELECT id FROM parallax_agents").fetch_all(&world.pool).await.unwrap();
    assert_eq!(left, [planned[0].agent.id.as_str()], "its run is on record");
    assert_eq!(world.events("run.failed").await, 1);
    world.end().await;
}

#[sqlx::test]
async fn a_run_that_nobody_can_be_asked_about_is_said_to_be_given_up_even_where_its_end_was_asked_for(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    sqlx::query("UPDATE agent_runs SET runtime_endpoint = 'http://elsewhere:1', stop_requested_at = now(), reason = 'stopped by an admin'")
        .execute(&world.pool)
        .await
        .unwrap();
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["reason"], "its runtime is no longer configured");
    world.end().await;
}

#[sqlx::test]
async fn doctor_asks_every_runtime_that_there_is(pool: PgPool) {
    let (world, second, gate) = two_runtimes(pool).await;
    let owner = world.owner().await;
    add(&owner, "second", &gate, json!({})).await;
    let database = database_url(&world.pool);
    let port = free_port().to_string();
    let settings = [
        ("DATABASE_URL", database.as_str()),
        ("PORT", port.as_str()),
        ("APP_SECRET", APP_SECRET),
        ("AGENT_RUNTIME_ALLOWED_ORIGINS", &gate.endpoint()),
    ];
    let output = raven_agents(&["doctor"], &settings).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let line = format!("ok    runtime {} (second of workspace {}): ", gate.endpoint(), world.workspace);
    assert!(text.contains(&line) && !text.contains(RUNTIME_TOKEN), "{text}");

    let wrong = json!({"token": "not-the-token"});
    owner.call(Method::PATCH, &format!("{RUNTIMES}/second"), Some(wrong)).await.expect(StatusCode::OK);
    let output = raven_agents(&["doctor"], &settings).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && text.contains("the runtime refuses the token"), "{text}");
    world.end().await;
    second.stop().await;
}
