//! Agents on the real runtime: spawn, callback, terminal, stop, revoke, restart.

use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{World, config, terminal::Socket};

#[sqlx::test]
async fn a_spawned_agent_has_a_row_a_session_and_its_key_in_its_environment(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let agent = owner.until_run_is(&id, "ready").await;
    assert_eq!((&agent["status"], &agent["name"]), (&json!("approved"), &json!("shell")));
    assert_eq!(agent["grantedPermissions"], json!(["read:memory", "read:pages", "read:projects", "read:tasks"]));
    let session = owner.until_session_is(&id, "active").await;
    assert_eq!(session["id"], agent["run"]["terminalSessionId"]);

    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    assert_eq!(terminal.attach(&id).await["canWrite"], true);
    terminal.emit("input", json!("echo key=$MCP_API_KEY= url=$MCP_SERVER_URL= mcp=$RAVEN_MCP_URL= id=$RAVEN_AGENT_ID=\n")).await;
    terminal.until_shows(&format!("id={id}=")).await;
    let key = terminal
        .screen
        .split("key=")
        .filter_map(|rest| rest.split('=').next())
        .find(|key| key.starts_with("mcp_agent_"))
        .unwrap()
        .to_owned();
    assert_eq!(world.with_key(&key).tool("agent_profile", json!({})).await.tool_text()["id"], id.as_str());
    assert!(terminal.screen.contains(&format!("url={}=", world.base)));
    let without_breaks = terminal.screen.replace(['\r', '\n'], "");
    assert!(without_breaks.contains(&format!("mcp={}/api/mcp=", world.base)), "{}", terminal.screen);

    for (event, activity) in [("run.started", "agent_started"), ("run.ready", "spawn_ready")] {
        assert_eq!((world.events(event).await, world.activities(activity, Some(&id)).await), (1, 1), "{event} happened once");
    }
    assert_eq!(world.activities("agents_spawned", None).await, 1);
    world.end().await;
}

#[sqlx::test]
async fn stopping_ends_the_process_the_session_and_the_key(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;
    assert_eq!(world.live_keys(&id).await, 1);

    let stopping = owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect(StatusCode::OK);
    assert_eq!(stopping["data"]["run"]["status"], "stopping");

    while terminal.until("status").await["status"] != "terminated" {}
    terminal.emit("input", json!("echo still there\n")).await;
    assert_eq!(terminal.until("error").await["code"], "SESSION_TERMINATED");
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["reason"], "stopped by an admin");
    assert_eq!(world.live_keys(&id).await, 0);
    assert_eq!((world.events("run.stopped").await, world.activities("agent_stopped", Some(&id)).await), (1, 1));
    assert_eq!(owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"], json!(null));
    owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_RUNNING");
    world.end().await;
}

#[sqlx::test]
async fn a_process_that_ends_by_itself_is_told_with_its_exit_code_and_last_words(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;
    terminal.emit("input", json!("printf 'last\\040words\\n'; exit 7\n")).await;
    while terminal.until("status").await["status"] != "terminated" {}
    assert!(terminal.screen.contains("last words"), "{:?}", terminal.screen);
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["exitCode"], 7);
    world.end().await;
}

#[sqlx::test]
async fn revoking_closes_attached_terminals_and_stops_the_process(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;

    let receipt = owner.revoke(&id).await.receipt();

    let ended = json!({"keys": 1, "sockets": 0, "streams": 0, "sessions": 1, "assignments": 0, "runs": 1, "processesEnded": 1});
    assert_eq!(receipt, ended);
    while terminal.until("status").await["status"] != "terminated" {}
    owner.until_run_is(&id, "stopped").await;
    assert_eq!(owner.agent(&id).await["status"], "revoked");
    world.end().await;
}

#[sqlx::test]
async fn the_callback_counts_with_its_secret_only_and_once(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    let path = "/parallax-agents/spawn-callback";
    let body = json!({"workspaceId": world.workspace, "agentId": id, "status": "requires_login", "loginUrl": "javascript:alert(1)"});

    world.anonymous().post(path, body.clone()).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    owner.post(path, body.clone()).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    assert_eq!(world.events("run.login_required").await, 0);

    for _ in 0..2 {
        world.control_plane().post(path, body.clone()).await.expect(StatusCode::OK);
    }
    assert_eq!((world.events("run.login_required").await, world.activities("spawn_requires_login", Some(&id)).await), (1, 1));
    assert_eq!(owner.agent(&id).await["run"]["loginUrl"], json!(null), "no such address ever reaches a page");
    owner.until_session_is(&id, "login_required").await;
    world
        .control_plane()
        .post(path, json!({"workspaceId": world.workspace, "agentId": id, "status": "ready"}))
        .await
        .expect(StatusCode::OK);
    owner.until_session_is(&id, "active").await;

    for (field, value) in [("agentId", json!("nobody")), ("workspaceId", json!(uuid::Uuid::new_v4()))] {
        let mut foreign = body.clone();
        foreign[field] = value;
        world.control_plane().post(path, foreign).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");
    }
    world
        .control_plane()
        .post(path, json!({"workspaceId": world.workspace, "agentId": id, "status": "dancing"}))
        .await
        .expect(StatusCode::BAD_REQUEST);
    world.end().await;
}

#[sqlx::test]
async fn what_the_runtime_refuses_leaves_nothing_behind(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let body = json!({"agentType": "custom", "count": 2, "config": {"command": "rm"}});
    let spawned = owner.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
    assert_eq!((&spawned["data"]["success"], &spawned["data"]["spawnedAgents"]), (&json!(false), &json!([])));
    assert_eq!(spawned["data"]["errors"].as_array().unwrap().len(), 2, "{spawned}");
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM parallax_agents) + (SELECT count(*) FROM mcp_api_keys) + (SELECT count(*) FROM agent_runs)
              + (SELECT count(*) FROM users WHERE role = 'agent')",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    assert_eq!(left, 0);
    assert_eq!(world.activities("spawn_failed", None).await, 2);
    world.end().await;
}

#[sqlx::test]
async fn without_a_runtime_or_with_a_dead_one_the_caller_is_told(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let body = json!({"agentType": "custom"});
    world
        .owner()
        .await
        .post("/parallax-agents/spawn", body.clone())
        .await
        .expect_problem(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONFIGURED");
    world.end().await;
    sqlx::query("TRUNCATE workspaces CASCADE").execute(&pool).await.unwrap();

    let closed = crate::support::program::free_port();
    let world = World::with_config(pool, config(Some(format!("http://127.0.0.1:{closed}"))), None).await;
    let spawned = world.owner().await.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
    assert_eq!(spawned["data"]["success"], false);
    assert!(spawned["data"]["errors"][0].as_str().unwrap().contains("cannot be reached"), "{spawned}");
    world.end().await;
}

#[sqlx::test]
async fn a_terminal_starts_with_the_size_that_was_asked_for(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let body = json!({"agentType": "custom", "config": {"command": "bash", "cols": 132, "rows": 43}});
    let spawned = owner.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
    let id = spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned();
    owner.until_session_is(&id, "active").await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    let attached = terminal.attach(&id).await;
    assert_eq!((&attached["cols"], &attached["rows"]), (&json!(132), &json!(43)));
    terminal.emit("input", json!("stty size\n")).await;
    terminal.until_shows("43 132").await;
    world.end().await;
}

#[sqlx::test]
async fn many_failing_spawns_at_once_are_told_once_each_and_leave_nothing(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let order = || owner.post("/parallax-agents/spawn", json!({"agentType": "custom", "config": {"command": "bash", "workdir": "../x"}}));
    let answers = futures_util::future::join_all((0..12).map(|_| order())).await;
    for answer in answers {
        assert_eq!(answer.expect(StatusCode::CREATED)["data"]["success"], false);
    }
    assert_eq!((world.events("run.failed").await, world.activities("spawn_failed", None).await), (12, 12));
    let agents: i64 = sqlx::query_scalar("SELECT count(*) FROM parallax_agents").fetch_one(&world.pool).await.unwrap();
    assert_eq!(agents, 0);
    world.end().await;
}

#[sqlx::test]
async fn several_agents_get_a_key_and_a_terminal_each(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let body = json!({"agentType": "custom", "count": 3, "name": "crew", "permissions": ["read:tasks"]});
    let spawned = owner.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
    let agents = spawned["data"]["spawnedAgents"].as_array().unwrap().clone();
    let names: Vec<&str> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crew-1", "crew-2", "crew-3"]);
    for agent in &agents {
        let id = agent["id"].as_str().unwrap();
        owner.until_session_is(id, "active").await;
        assert_eq!(world.live_keys(id).await, 1);
    }
    world.end().await;
}

#[sqlx::test]
async fn bad_spawns_are_refused_before_anything_happens(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    for body in [
        json!({}),
        json!({"agentType": "Emacs -nw"}),
        json!({"agentType": "-x"}),
        json!({"agentType": "x".repeat(41)}),
        json!({"agentType": "custom", "count": 0}),
        json!({"agentType": "custom", "count": 11}),
        json!({"agentType": "custom", "permissions": ["root"]}),
        json!({"agentType": "custom", "config": {"env": "PATH"}}),
        json!({"agentType": "custom", "config": {"cols": 0}}),
        json!({"agentType": "custom", "config": {"rows": "many"}}),
    ] {
        owner.post("/parallax-agents/spawn", body.clone()).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    let foreign = json!({"agentType": "custom", "workspaceId": uuid::Uuid::new_v4()});
    owner.post("/parallax-agents/spawn", foreign).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    assert_eq!(owner.get("/parallax-agents").await.expect(StatusCode::OK)["data"], json!([]));
    world.end().await;
}

/// Which types there are is the runtime's to know, so that a new one needs no new version of the service.
#[sqlx::test]
async fn a_type_that_only_the_runtime_may_know_is_left_to_the_runtime(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let body = json!({"agentType": "emacs", "name": "editor"});
    let answer = owner.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED)["data"].clone();
    assert_eq!((&answer["success"], &answer["spawnedAgents"]), (&json!(false), &json!([])));
    assert!(answer["errors"][0].as_str().unwrap().starts_with("editor: the runtime refused"), "{answer}");
    assert_eq!(owner.get("/parallax-agents").await.expect(StatusCode::OK)["data"], json!([]));
    let known = owner.get("/parallax-agents/runtimes").await.expect(StatusCode::OK)["data"][0]["endpoint"].clone();
    let added = json!({"name": "second", "endpoint": known, "kinds": ["emacs", "claude"]});
    let added = owner.post("/parallax-agents/runtimes", added).await.expect(StatusCode::CREATED)["data"].clone();
    assert_eq!(added["kinds"], json!(["emacs", "claude-code"]));
    world.end().await;
}

#[sqlx::test]
async fn members_watch_but_do_not_type_and_others_see_no_session(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await;
    let (member, outsider) = (world.member("mia").await, world.outsider().await);

    let mut watching = Socket::connect(&world.base, "/terminal", &member.cookie()).await;
    assert_eq!(watching.attach(&id).await["canWrite"], false);
    watching.emit("input", json!("echo mine\n")).await;
    assert_eq!(watching.until("error").await["code"], "FORBIDDEN");
    let path = format!("/terminal/sessions/{}", session["id"].as_str().unwrap());
    member.delete(&path).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");

    let mut strange = Socket::connect(&world.base, "/terminal", &outsider.cookie()).await;
    for payload in [json!({"agentId": id}), json!({"sessionId": session["id"]}), json!({"sessionId": "x"})] {
        strange.emit("attach", payload).await;
        assert_eq!(strange.until("error").await["code"], "SESSION_NOT_FOUND");
    }
    outsider.delete(&path).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    assert_eq!(outsider.get("/terminal/sessions").await.expect(StatusCode::OK)["data"], json!([]));

    let ended = owner.delete(&path).await.expect(StatusCode::OK);
    assert_eq!(ended["data"]["status"], "terminated");
    while watching.until("status").await["status"] != "terminated" {}
    owner.until_run_is(&id, "stopped").await;
    world.end().await;
}

#[sqlx::test]
async fn a_service_that_comes_back_finds_its_agents_and_what_they_printed(pool: PgPool) {
    let mut world = World::with_runtime(pool).await;
    let (id, session) = {
        let owner = world.owner().await;
        let id = owner.spawn_shell().await;
        let session = owner.until_session_is(&id, "active").await;
        owner.until_run_is(&id, "ready").await;
        let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
        terminal.attach(&id).await;
        terminal.emit("input", json!("echo before$((1))\n")).await;
        terminal.until_shows("before1").await;
        (id, session)
    };
    world.crash_and_restart().await;
    let owner = world.owner().await;
    assert_eq!(owner.until_session_is(&id, "active").await["id"], session["id"]);
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;
    terminal.until_shows("before1").await;
    world
        .until("input goes through again", || async {
            let mut probe = Socket::connect(&world.base, "/terminal", &world.owner().await.cookie()).await;
            probe.attach(&id).await;
            probe.emit("input", json!("echo after$((1))\n")).await;
            // What is refused is not always told first: only what was printed shows that it went through.
            tokio::time::timeout(std::time::Duration::from_secs(2), probe.until_shows("after1")).await.ok()
        })
        .await;
    terminal.until_shows("after1").await;
    assert_eq!(terminal.screen.matches("before1").count(), 1, "{:?}", terminal.screen);
    for event in ["run.started", "run.ready"] {
        assert_eq!(world.events(event).await, 1, "{event} is not doubled");
    }
    world.end().await;
}
