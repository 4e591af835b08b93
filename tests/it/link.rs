//! The link to a runtime that is not ours: a replica of the original, over real sockets.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, future::join_all};
use raven_agents::{
    domain::runs::{self, LinkNews},
    model::runtime::{Reach, RuntimeName},
    runtime::{RuntimeClient, link},
};
use reqwest::StatusCode;
use runtime_conformance::original::{LOGGED_IN_PHRASE, LOGIN_PHRASE, LOGIN_SENTENCE, Options, Original};
use serde_json::{Value, json};
use sqlx::PgPool;
use terminal_screen::{Screen, Size};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Caller, DEADLINE, World, config, fake_runtime::FakeRuntime, terminal::Socket};

/// A service whose runtime is the replica.
async fn world_on(pool: PgPool, original: &Original) -> World {
    rustls::crypto::ring::default_provider().install_default().ok();
    World::with_config(pool, config(Some(original.endpoint())), None).await
}

/// Spawns agents of a type that the original knows; returns their ids.
async fn spawn(caller: &Caller<'_>, agent_type: &str, count: u32) -> Vec<String> {
    let body = json!({"agentType": agent_type, "count": count, "name": "crew"});
    let spawned = caller.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
    assert_eq!(spawned["data"]["success"], true, "{spawned}");
    spawned["data"]["spawnedAgents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect()
}

/// One echo agent that is ready, and somebody at its terminal.
async fn attached_echo(world: &World) -> (String, Socket) {
    let owner = world.owner().await;
    let id = spawn(&owner, "echo", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    owner.until_session_is(&id, "active").await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;
    (id, terminal)
}

/// Waits until a column of the agent's run has a value.
async fn until_column(world: &World, id: &str, column: &str) {
    let query = format!("SELECT {column} IS NOT NULL FROM agent_runs WHERE agent_id = $1");
    world
        .until(&format!("{column} of {id}"), || async {
            let is_set: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(query.clone())).bind(id).fetch_one(&world.pool).await.unwrap();
            is_set.then_some(())
        })
        .await;
}

/// Runtime contract §17.1, steps 1 to 4 and 7; RUN-11, RUN-24, RUN-25, RUN-30.
#[sqlx::test]
async fn the_original_is_worked_with_as_with_ours(pool: PgPool) {
    let original = Original::start().await.unwrap();
    // So that `agent_started` comes long before the answer to the spawn.
    original.delay_answers(Duration::from_millis(300));
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;

    let ids = spawn(&owner, "echo", 2).await;

    assert!(original.count_of("POST", "/api/spawn") >= 1, "our own dialect is tried first");
    assert_eq!(original.count_of("POST", "/api/agents"), 2);
    let names: Vec<String> = ids.iter().map(|id| original.handle(id).unwrap()["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["crew-1", "crew-2"]);
    let spawns = original.requests().into_iter().filter(|request| request.method == "POST");
    for request in spawns {
        assert_eq!(request.headers["x-workspace-id"], world.workspace.to_string());
        assert!(request.headers.contains_key("x-request-id") && request.headers.contains_key("authorization"));
    }
    for id in &ids {
        owner.until_run_is(id, "ready").await;
        owner.until_session_is(id, "active").await;
        assert_eq!(world.activities("agent_started", Some(id)).await, 1);
    }
    assert_eq!((world.events("run.started").await, world.events("run.ready").await), (2, 2));
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
    assert_eq!(sessions, 2);
    // What is remembered of it: the next spawn goes straight to the route that it has.
    let orders = original.count_of("POST", "/api/spawn");
    spawn(&owner, "echo", 1).await;
    assert_eq!(original.count_of("POST", "/api/spawn"), orders);

    let [mut first, mut second] = [
        Socket::connect(&world.base, "/terminal", &owner.cookie()).await,
        Socket::connect(&world.base, "/terminal", &owner.cookie()).await,
    ];
    for terminal in [&mut first, &mut second] {
        terminal.attach(&ids[0]).await;
        terminal.until_shows("echo>").await;
        assert!(!terminal.screen.contains("connected"), "the greeting is not output: {:?}", terminal.screen);
    }
    first.emit("input", json!("stty size\n")).await;
    second.until_shows("24 80").await;
    first.emit("input", json!("echo first\n")).await;
    second.emit("input", json!("echo second\n")).await;
    for terminal in [&mut first, &mut second] {
        terminal.until_shows("\rfirst\r\n").await;
        terminal.until_shows("\rsecond\r\n").await;
    }
    second.emit("input", json!(": {{x")).await;
    first.until_shows(": {{x").await;
    second.emit("input", json!("\u{15}")).await;
    second.emit("input", json!(r#"{"type":"resize","cols":1,"rows":1}"#)).await;
    first.until_shows(r#"{"type":"resize","cols":1,"rows":1}"#).await;
    second.emit("input", json!("\u{15}stty size | tr ' ' x\n")).await;
    first.until_shows("24x80").await;

    owner.post(&format!("/parallax-agents/{}/stop", ids[0]), json!({})).await.expect(StatusCode::OK);
    owner.until_run_is(&ids[0], "stopped").await;
    assert!(original.handle(&ids[0]).is_none());
    let client = RuntimeClient::new(&original.endpoint(), None).unwrap();
    client.stop(world.workspace, &ids[0]).await.unwrap();
    assert_eq!(world.events("run.stopped").await, 1);
    world.end().await;
}

/// Runtime contract §17.1, step 5; RUN-24.
#[sqlx::test]
async fn a_runtime_that_dies_disconnects_its_sessions_and_its_agents_are_found_gone(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let address = original.address();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, mut terminal) = attached_echo(&world).await;

    original.kill().await;

    owner.until_session_is(&id, "disconnected").await;
    while terminal.until("status").await["status"] != "disconnected" {}
    terminal.emit("input", json!("x")).await;
    assert_eq!(terminal.until("error").await["code"], "RUNTIME_NOT_CONNECTED");
    assert_eq!(owner.agent(&id).await["run"]["status"], "ready", "that it cannot be reached says nothing of the agent");

    let again = Original::start_with(Options { address, ..Options::default() }).await.unwrap();
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["reason"], "the runtime no longer has the agent");
    while terminal.until("status").await["status"] != "terminated" {}
    assert_eq!(world.events("run.stopped").await, 1);
    world.end().await;
    drop(again);
}

#[sqlx::test]
async fn a_broken_connection_is_taken_up_again_and_the_gap_is_marked(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, mut terminal) = attached_echo(&world).await;
    terminal.until_shows("echo>").await;

    original.drop_connections();

    terminal.until_shows("output may be missing here").await;
    owner.until_session_is(&id, "active").await;
    terminal.emit("input", json!("echo again$((1))\n")).await;
    terminal.until_shows("again1").await;
    assert_eq!(world.events("run.stopped").await, 0);
    world.end().await;
}

/// Runtime contract §17.1, step 6; RUN-05.
#[sqlx::test]
async fn an_end_that_was_read_off_the_screen_ends_nothing(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, mut terminal) = attached_echo(&world).await;

    terminal.emit("input", json!("echo ex''it\n")).await;

    until_column(&world, &id, "stop_reported_at").await;
    assert_eq!(original.handle(&id).unwrap()["status"], "stopped", "so the original says");
    assert_ne!(owner.agent(&id).await["run"]["stopReportedAt"], json!(null));
    terminal.emit("input", json!("echo alive$((1))\n")).await;
    terminal.until_shows("alive1").await;
    until_column(&world, &id, "stop_refuted_at").await;
    for _ in 0..3 {
        terminal.emit("input", json!("echo ex''it\n")).await;
    }
    terminal.emit("input", json!("echo still$((1))\n")).await;
    terminal.until_shows("still1").await;

    let agent = owner.agent(&id).await;
    assert_eq!(agent["run"]["status"], "ready");
    assert_eq!(world.live_keys(&id).await, 1);
    assert_eq!((world.events("run.stopped").await, world.activities("stop_unconfirmed", Some(&id)).await), (0, 1));
    assert!(original.is_alive(&id));

    // The real end is believed, after the silence.
    terminal.emit("input", json!("exit\n")).await;
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_eq!(agent["run"]["exitCode"], 0);
    while terminal.until("status").await["status"] != "terminated" {}
    assert_eq!((world.events("run.stopped").await, world.activities("agent_stopped", Some(&id)).await), (1, 1));
    assert_eq!(world.live_keys(&id).await, 0);
    world.end().await;
}

/// RUN-12: a runtime without terminals.
#[sqlx::test]
async fn a_runtime_without_terminals_is_named_so_and_its_events_are_no_output(pool: PgPool) {
    let original = Original::start_headless().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let id = spawn(&owner, "echo", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;
    original.emit("agent_ready", json!({"agent": original.handle(&id).unwrap()}));

    let told = terminal.until("error").await;

    assert_eq!(told, json!({"message": "Terminal not supported by this runtime", "code": "RUNTIME_ERROR"}));
    owner.until_session_is(&id, "disconnected").await;
    terminal.emit("input", json!(r#"{"type":"send","agentId":"x","message":"y"}"#)).await;
    assert_eq!(terminal.until("error").await["message"], "Terminal not supported by this runtime");
    let mut late = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    late.attach(&id).await;
    late.until("error").await;
    for socket in [&terminal, &late] {
        let mut screen = Screen::new(Size { cols: 80, rows: 24 });
        screen.feed(socket.screen.as_bytes());
        assert!(screen.view().lines.iter().all(String::is_empty), "{:?}", socket.screen);
    }
    // Once with the offer of our framing, and once without.
    assert_eq!(original.count_of("GET", &format!("/ws/agents/{id}/terminal")), 2, "it is not asked again and again");
    owner.post(&format!("/parallax-agents/{id}/send"), json!({"message": "hello"})).await.expect(StatusCode::OK);
    world.end().await;
}

/// RUN-03: the original puts a sentence where the address belongs, and anybody can print an address.
#[sqlx::test]
async fn only_an_address_where_the_type_logs_in_is_ever_opened(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let id = spawn(&owner, "claude-code", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    owner.until_session_is(&id, "active").await;
    let mut events = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;

    terminal.emit("input", json!(format!("echo {LOGIN_PHRASE}\n"))).await;

    let status = terminal.until("status").await;
    assert_eq!(status, json!({"status": "login_required", "instructions": LOGIN_SENTENCE}));
    let told = events.until("agent:login_required").await;
    assert_eq!((&told["loginUrl"], &told["instructions"], &told["verified"]), (&json!(null), &json!(LOGIN_SENTENCE), &json!(false)));
    let run = owner.until_run_is(&id, "login_required").await["run"].clone();
    assert_eq!((&run["loginUrl"], &run["loginInstructions"]), (&json!(null), &json!(LOGIN_SENTENCE)));
    terminal.emit("input", json!(format!("echo {LOGGED_IN_PHRASE}\n"))).await;
    let run = owner.until_run_is(&id, "ready").await["run"].clone();
    assert_eq!(run["loginInstructions"], json!(null));
    owner.until_session_is(&id, "active").await;

    let said = |url: &str| json!({"agent": original.handle(&id).unwrap(), "loginUrl": url, "deviceCode": "ABCD-1234"});
    for (url, opened, read) in [
        ("https://claude.ai.evil.example/login", json!(null), json!("https://claude.ai.evil.example/login")),
        ("https://claude.ai@evil.example/", json!(null), json!("https://claude.ai@evil.example/")),
        ("javascript:alert(1)", json!(null), json!(null)),
        ("https://claude.ai/oauth/authorize?code=true", json!("https://claude.ai/oauth/authorize?code=true"), json!(null)),
    ] {
        let before = world.activities("spawn_requires_login", Some(&id)).await;
        for _ in 0..3 {
            original.emit("login_required", said(url));
        }
        let run = owner.until_run_is(&id, "login_required").await["run"].clone();
        assert_eq!((&run["loginUrl"], &run["loginInstructions"], &run["loginDeviceCode"]), (&opened, &read, &json!("ABCD-1234")), "{url}");
        let mut status = terminal.until("status").await;
        while status["status"] != "login_required" {
            status = terminal.until("status").await;
        }
        assert_eq!((status.get("loginUrl").unwrap_or(&Value::Null), &status["deviceCode"]), (&opened, &json!("ABCD-1234")), "{url}");
        original.emit("agent_ready", json!({"agent": original.handle(&id).unwrap()}));
        owner.until_run_is(&id, "ready").await;
        assert_eq!(world.activities("spawn_requires_login", Some(&id)).await, before + 1, "once for each time");
    }
    world.end().await;
}

#[sqlx::test]
async fn what_is_said_of_a_login_later_is_told_once(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let id = spawn(&owner, "claude-code", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    let mut events = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let say = |said: Value| {
        let mut data = json!({"agent": original.handle(&id).unwrap()});
        data.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        for _ in 0..2 {
            original.emit("login_required", data.clone());
        }
    };

    say(json!({"instructions": "open the page"}));
    assert_eq!(events.until("agent:login_required").await["instructions"], "open the page");
    say(json!({"loginUrl": "https://claude.ai/x", "deviceCode": "A-1"}));
    let told = events.until("agent:login_required").await;
    let expected = (&json!("https://claude.ai/x"), &json!("A-1"), &json!("open the page"));
    assert_eq!((&told["loginUrl"], &told["deviceCode"], &told["instructions"]), expected);
    say(json!({}));
    say(json!({"deviceCode": "B-2"}));
    assert_eq!(events.until("agent:login_required").await["deviceCode"], "B-2");

    assert_eq!(owner.agent(&id).await["run"]["loginDeviceCode"], "B-2");
    assert_eq!((world.events("run.login_required").await, world.activities("spawn_requires_login", Some(&id)).await), (3, 3));
    world.end().await;
}

#[sqlx::test]
async fn what_a_runtime_says_is_cut_and_cannot_stop_its_news(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, _terminal) = attached_echo(&world).await;
    original.emit("agent_stopped", json!({"agent": {"id": "a\0b"}, "exitCode": 0}));
    original.emit("agent_stopped", json!({"agent": {"id": id}, "reason": format!("o\0ver{}", "x".repeat(5_000)), "exitCode": 3}));
    let run = owner.until_run_is(&id, "stopped").await["run"].clone();
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.starts_with("overx") && reason.len() == 2_000, "{reason}");
    world.end().await;
}

#[sqlx::test]
async fn the_operators_own_login_host_is_known_for_every_type(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let mut config = config(Some(original.endpoint()));
    config.login_hosts = vec!["sso.example.org".to_owned()];
    rustls::crypto::ring::default_provider().install_default().ok();
    let world = World::with_config(pool, config, None).await;
    let owner = world.owner().await;
    let id = spawn(&owner, "aider", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    let url = "http://sso.example.org:8443/start";
    original.emit("login_required", json!({"agent": original.handle(&id).unwrap(), "url": url}));
    let run = owner.until_run_is(&id, "login_required").await["run"].clone();
    assert_eq!(run["loginUrl"], url);
    world.end().await;
}

/// RUN-25: whatever happens to the answer, there is one agent.
#[sqlx::test]
async fn an_answer_that_is_lost_leaves_one_agent_that_is_known(pool: PgPool) {
    let original = Original::start().await.unwrap();
    original.lose_answers(true);
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    // The first answer of all that is lost is that of a route which the original does not have.
    let client = RuntimeClient::new(&original.endpoint(), None).unwrap();
    assert!(client.health().await.unwrap().healthy);
    original.lose_answers(false);
    let warm = spawn(&owner, "echo", 1).await.remove(0);
    original.lose_answers(true);

    let id = spawn(&owner, "echo", 1).await.remove(0);

    assert_eq!(original.agent_ids(), [warm, id.clone()]);
    original.lose_answers(false);
    owner.until_run_is(&id, "ready").await;
    assert_eq!(original.count_of("POST", "/api/agents"), 2);
    world.end().await;
}

/// RUN-25: a server in between says that it has waited for too long, while the agent has started.
#[sqlx::test]
async fn an_answer_that_comes_from_a_server_in_between_leaves_one_agent_that_is_known(pool: PgPool) {
    let runtime = FakeRuntime::start().await;
    rustls::crypto::ring::default_provider().install_default().ok();
    let world = World::with_config(pool, config(Some(runtime.endpoint())), None).await;
    runtime.time_out();
    let owner = world.owner().await;
    let id = spawn(&owner, "echo", 1).await.remove(0);
    assert_eq!(runtime.agent(), Some(id.clone()));
    owner.until_run_is(&id, "ready").await;
    assert_eq!((world.live_keys(&id).await, world.events("run.failed").await), (1, 0));
    world.end().await;
}

#[sqlx::test]
async fn no_runtime_takes_over_or_ends_the_session_of_another_agent(pool: PgPool) {
    let runtime = FakeRuntime::start().await;
    rustls::crypto::ring::default_provider().install_default().ok();
    let world = World::with_config(pool, config(Some(runtime.endpoint())), None).await;
    let owner = world.owner().await;
    // Its terminals say nothing, so the sessions need not be active.
    let session_of = async |id: &str| {
        owner.until_run_is(id, "ready").await;
        owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"].clone()
    };
    let first = spawn(&owner, "echo", 1).await.remove(0);
    let theirs = session_of(&first).await;

    runtime.name_sessions(theirs["runtimeSessionId"].as_str().unwrap());
    let second = spawn(&owner, "echo", 1).await.remove(0);
    let own = session_of(&second).await;
    assert_ne!((&own["id"], &own["runtimeSessionId"]), (&theirs["id"], &theirs["runtimeSessionId"]));
    assert_eq!(own["agentId"], second.as_str());
    owner.delete(&format!("/terminal/sessions/{}", own["id"].as_str().unwrap())).await.expect(StatusCode::OK);
    let third = spawn(&owner, "echo", 1).await.remove(0);
    session_of(&third).await;
    let kept = session_of(&first).await;
    assert_eq!((&kept["id"], &kept["agentId"]), (&theirs["id"], &json!(first)));

    // What cannot be a name is none.
    for bad in ["pty\0one".to_owned(), "x".repeat(201)] {
        runtime.name_sessions(&bad);
        let id = spawn(&owner, "echo", 1).await.remove(0);
        assert_eq!(session_of(&id).await["runtimeSessionId"], id.as_str());
    }
    world.end().await;
}

/// RUN-25: the service dies between the runtime's answer and its own commit.
#[sqlx::test]
async fn a_crash_before_the_outcome_of_a_spawn_is_noted_leaves_one_agent_on_either_runtime(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let mut world = world_on(pool.clone(), &original).await;
    let id = spawn(&world.owner().await, "echo", 1).await.remove(0);
    forget_outcome(&world, &id).await;
    world.crash_and_restart_with(config(Some(original.endpoint()))).await;
    adopted(&world, &id).await;
    assert_eq!(original.agent_ids(), [id]);
    world.end().await;
    drop(original);
    sqlx::query("TRUNCATE workspaces CASCADE").execute(&pool).await.unwrap();

    let mut world = World::with_runtime(pool).await;
    let id = world.owner().await.spawn_shell().await;
    forget_outcome(&world, &id).await;
    world.crash_and_restart().await;
    adopted(&world, &id).await;
    world.end().await;
}

/// Makes the database what it is before the outcome of a spawn is committed.
async fn forget_outcome(world: &World, id: &str) {
    world.owner().await.until_run_is(id, "ready").await;
    for statement in [
        "DELETE FROM outbox WHERE name LIKE 'run.%'",
        "UPDATE agent_runs SET status = 'spawning', terminal_session_id = NULL, runtime_session_id = NULL, ready_at = NULL",
        "DELETE FROM terminal_sessions",
    ] {
        sqlx::query(statement).execute(&world.pool).await.unwrap();
    }
}

/// Waits until the agent runs, with one session and each event once.
async fn adopted(world: &World, id: &str) {
    let owner = world.owner().await;
    owner.until_run_is(id, "ready").await;
    owner.until_session_is(id, "active").await;
    assert_eq!((world.events("run.started").await, world.events("run.ready").await), (1, 1));
    let agents: i64 = sqlx::query_scalar("SELECT count(*) FROM parallax_agents").fetch_one(&world.pool).await.unwrap();
    assert_eq!((agents, world.live_keys(id).await), (1, 1));
}

/// RUN-23: no numbers, repeats, and an order that nobody promises.
#[sqlx::test]
async fn news_in_any_order_and_number_are_one_transition_each(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let ids = spawn(&owner, "claude-code", 8).await;
    for id in &ids {
        owner.until_run_is(id, "ready").await;
    }
    let news = |id: &str, number: u32| {
        let agent = json!({"id": id});
        let event = match number % 6 {
            0 => json!({"event": "agent_started", "data": {"agent": agent}}),
            1 => json!({"event": "agent_ready", "data": {"agent": agent}}),
            2 => json!({"event": "message", "data": {"message": {"agentId": id}}}),
            3 => json!({"event": "agent_stopped", "data": {"agent": agent, "reason": "exit code 3"}}),
            4 => json!({"event": "agent_error", "data": {"agent": {"id": id, "status": "ready"}, "error": "hiccup"}}),
            _ => json!({"event": "agent_stopped", "data": {"agent": agent, "reason": "over", "exitCode": 3}}),
        };
        LinkNews::Event(Box::new(serde_json::from_value(event).unwrap()))
    };
    let reach = Reach { endpoint: original.endpoint(), users: vec![(None, RuntimeName::environment())] };
    let storms = ids.iter().map(async |id| {
        // Each agent hears another order; all hear everything, most of it several times.
        for _ in 0..30 {
            let mut tx = world.begin().await;
            runs::hear_link(&mut tx, world.policy(), &reach, &news(id, rand::random_range(0..6)), |_| true).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = world.begin().await;
        runs::hear_link(&mut tx, world.policy(), &reach, &news(id, 5), |_| true).await.unwrap();
        tx.commit().await.unwrap();
    });
    join_all(storms).await;

    for id in &ids {
        let agent = owner.until_run_is(id, "stopped").await;
        assert_eq!(agent["run"]["exitCode"], 3);
        for (activity, times) in [("agent_started", 1), ("spawn_ready", 1), ("agent_stopped", 1)] {
            assert_eq!(world.activities(activity, Some(id)).await, times, "{activity} of {id}");
        }
        assert!(world.activities("stop_unconfirmed", Some(id)).await <= 1);
        assert_eq!(world.live_keys(id).await, 0);
    }
    assert_eq!(world.events("run.stopped").await, 8);
    world.end().await;
}

/// Realtime contract §6: an error that the agent outlives is an activity and an event, and changes neither run nor session.
#[sqlx::test]
async fn an_error_that_ends_nothing_is_told_and_put_on_record(pool: PgPool) {
    let runtime = FakeRuntime::start().await;
    let world = World::with_config(pool, config(Some(runtime.endpoint())), None).await;
    let owner = world.owner().await;
    let id = spawn(&owner, "claude-code", 1).await.remove(0);
    owner.until_run_is(&id, "ready").await;
    let mut events = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let mut gateway = Socket::connect(&world.base, "/mcp", &owner.cookie()).await;
    gateway.until("mcp:connected").await;
    let hiccup = json!({"agent": {"id": runtime.agent(), "status": "ready"}, "error": "hic\u{0}cup"});
    // One that says the same all the time fills nobody's stream.
    for _ in 0..50 {
        runtime.tell("agent_error", &hiccup);
    }

    let told = events.until("agent:error").await;
    assert_eq!((&told["agent"]["id"], &told["agent"]["status"], &told["error"]), (&json!(id), &json!("ready"), &json!("hiccup")));
    let same = loop {
        let event = gateway.until("agent:event").await;
        if event["type"] == "agent.error" {
            break event;
        }
    };
    assert_eq!((&same["eventId"], &same["data"]["error"]), (&told["eventId"], &json!("hiccup")));
    let session = owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&owner.agent(&id).await["run"]["status"], &session["terminatedAt"]), (&json!("ready"), &json!(null)));
    runtime.tell("agent_error", &json!({"agent": {"id": runtime.agent(), "status": "error"}, "error": "over"}));
    let over = loop {
        let told = events.until("agent:error").await;
        if told["error"] == "over" {
            break told;
        }
    };
    assert_eq!(over["agent"]["status"], "failed");
    let noted = world.activities("agent_error", Some(&id)).await;
    assert!((1..=3).contains(&noted) && noted == world.events("run.troubled").await, "{noted}");
    let feed = owner.get(&format!("/parallax-agents/{id}/activity?type=agent_error")).await.expect(StatusCode::OK)["data"].clone();
    let feed = feed.as_array().unwrap().last().unwrap();
    assert_eq!((&feed["id"], &feed["metadata"]["error"]), (&told["eventId"], &json!("hiccup")));
    assert_eq!(world.events("run.failed").await, 1);
    world.end().await;
}

#[sqlx::test]
async fn events_that_the_runtime_repeats_are_told_once(pool: PgPool) {
    let original = Original::start().await.unwrap();
    original.repeat_events(4);
    let world = world_on(pool, &original).await;
    let (id, mut terminal) = attached_echo(&world).await;
    terminal.emit("input", json!("exit\n")).await;
    world.owner().await.until_run_is(&id, "stopped").await;
    for event in ["run.started", "run.ready", "run.stop_unconfirmed", "run.stopped"] {
        assert_eq!(world.events(event).await, 1, "{event}");
    }
    world.end().await;
}

/// RT-27.
#[sqlx::test]
async fn what_a_runtime_says_of_others_agents_is_dropped(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, _terminal) = attached_echo(&world).await;
    let other = uuid::Uuid::new_v4();

    original.emit("agent_stopped", json!({"agent": {"id": "nobody"}, "exitCode": 0}));
    original.emit("agent_stopped", json!({"agent": {"id": id, "workspaceId": other}, "exitCode": 0}));
    original.emit("agent_stopped", json!({"reason": "no agent at all"}));
    // Heard after them.
    original.emit("login_required", json!({"agent": {"id": id}, "instructions": "log in"}));

    owner.until_run_is(&id, "login_required").await;
    assert_eq!(world.events("run.stopped").await, 0);
    world.end().await;
}

#[sqlx::test]
async fn an_agent_that_the_runtime_forgot_is_found_gone(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let (id, _terminal) = attached_echo(&world).await;
    original.forget(&id);
    // The next list is that of the next connection.
    original.drop_connections();
    let agent = owner.until_run_is(&id, "stopped").await;
    assert_ne!(agent["run"]["reason"], json!(null));
    world.end().await;
}

#[sqlx::test]
async fn a_runtime_that_says_it_is_unwell_is_not_healthy_and_its_agents_are_counted(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    spawn(&world.owner().await, "echo", 2).await;
    let client = RuntimeClient::new(&original.endpoint(), None).unwrap();
    let health = client.health().await.unwrap();
    assert_eq!((health.healthy, health.active_agents, health.version), (true, Some(2), None));
    original.be_unhealthy(true);
    assert!(!client.health().await.unwrap().healthy);
    world.end().await;
}

#[sqlx::test]
async fn what_the_original_cannot_do_is_refused_and_leaves_nothing(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool, &original).await;
    let owner = world.owner().await;
    let files = json!({"contextFiles": [{"path": "a.md", "content": "x"}]});
    for (agent_type, config, why) in [("echo", files, "does not take config.contextFiles"), ("custom", json!({}), "No adapter")] {
        let body = json!({"agentType": agent_type, "config": config});
        let spawned = owner.post("/parallax-agents/spawn", body).await.expect(StatusCode::CREATED);
        assert!(spawned["data"]["errors"][0].as_str().unwrap().contains(why), "{spawned}");
    }
    assert_eq!(original.agent_ids(), Vec::<String>::new());
    assert_eq!(owner.get("/parallax-agents").await.expect(StatusCode::OK)["data"], json!([]));
    world.end().await;
}

#[sqlx::test]
async fn agents_are_steered_on_either_runtime_and_it_is_on_record_who_did(pool: PgPool) {
    let original = Original::start().await.unwrap();
    let world = world_on(pool.clone(), &original).await;
    let (id, terminal) = attached_echo(&world).await;
    steer(&world, &id, terminal).await;
    world.end().await;
    drop(original);
    sqlx::query("TRUNCATE workspaces CASCADE").execute(&pool).await.unwrap();

    let world = World::with_runtime(pool).await;
    let (id, terminal) = world.owner().await.attached_shell().await;
    steer(&world, &id, terminal).await;
    world.end().await;
}

async fn steer(world: &World, id: &str, mut terminal: Socket) {
    let owner = world.owner().await;
    let at = |action: &str| format!("/parallax-agents/{id}/{action}");

    owner.post(&at("send"), json!({"message": "echo pass''word"})).await.expect(StatusCode::OK);
    terminal.until_shows("pass").await;
    owner.post(&at("keys"), json!({"keys": ["echo key$((1))", "enter"]})).await.expect(StatusCode::OK);
    terminal.until_shows("key1").await;
    owner.post(&at("keys"), json!({"keys": "ctrl+u"})).await.expect(StatusCode::OK);
    owner.post(&at("keys"), json!({"keys": ["x", "ctrl"]})).await.expect(StatusCode::BAD_REQUEST);
    let output = owner.get(&at("output")).await.expect(StatusCode::OK);
    assert!(output["data"]["output"].as_str().unwrap().contains("key1"), "{output}");
    world
        .until("the log has it", || async {
            let logs = owner.get(&at("logs?tail=50")).await.expect(StatusCode::OK);
            logs["data"]["logs"].to_string().contains("key1").then_some(())
        })
        .await;
    let paused = owner.post(&at("pause"), json!({})).await.expect(StatusCode::OK);
    assert_ne!(paused["data"]["pausedAt"], json!(null));
    owner.post(&at("pause"), json!({})).await.expect(StatusCode::OK);
    let resumed = owner.post(&at("resume"), json!({})).await.expect(StatusCode::OK);
    assert_eq!(resumed["data"]["pausedAt"], json!(null));

    for (activity, times) in [("message_sent", 1), ("keys_sent", 2), ("run_paused", 1), ("run_resumed", 1)] {
        assert_eq!(world.activities(activity, Some(id)).await, times, "{activity}");
    }
    let told: Vec<String> = sqlx::query_scalar(
        "SELECT coalesce(description, '') || coalesce(metadata::text, '') FROM parallax_agent_activity
         WHERE activity_type IN ('message_sent', 'keys_sent')",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    assert!(told.iter().all(|text| !text.contains("word") && !text.contains("key1")), "{told:?}");

    let (member, outsider) = (world.member("mia").await, world.outsider().await);
    for (action, body) in [("send", json!({"message": "x"})), ("keys", json!({"keys": "x"})), ("pause", json!({})), ("resume", json!({}))] {
        member.post(&at(action), body.clone()).await.expect(StatusCode::FORBIDDEN);
        outsider.post(&at(action), body).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_RUNNING");
    }
    for action in ["logs", "output"] {
        member.get(&at(action)).await.expect(StatusCode::FORBIDDEN);
        outsider.get(&at(action)).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_RUNNING");
    }
    for body in [json!({"message": ""}), json!({"message": "  "}), json!({})] {
        owner.post(&at("send"), body).await.expect(StatusCode::BAD_REQUEST);
    }
    for body in [json!({"keys": []}), json!({"keys": ""}), json!({"keys": vec!["x"; 101]}), json!({})] {
        owner.post(&at("keys"), body).await.expect(StatusCode::BAD_REQUEST);
    }
    owner.get(&at("logs?tail=0")).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
}

/// A runtime that has one agent and nothing to do but to send events: as many as it is told, as fast as it can.
async fn flood(listener: TcpListener, events: u32, sent: Arc<tokio::sync::Notify>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            if asks_for_socket(&stream).await {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                for seq in 0..events {
                    let event =
                        json!({"event": "agent_ready", "data": {"agent": {"id": "a", "status": "ready"}}, "seq": seq, "bootId": "x"});
                    socket.feed(Message::text(event.to_string())).await.unwrap();
                }
                socket.flush().await.unwrap();
                sent.notify_one();
                return std::future::pending::<()>().await;
            }
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let body = if String::from_utf8_lossy(&request[..read]).contains("/api/agents") {
                json!({"agents": [{"id": "a", "status": "ready"}]}).to_string()
            } else {
                json!({"healthy": true, "activeAgents": 1}).to_string()
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        });
    }
}

async fn asks_for_socket(stream: &TcpStream) -> bool {
    let mut head = [0; 4096];
    let read = stream.peek(&mut head).await.unwrap();
    String::from_utf8_lossy(&head[..read]).to_ascii_lowercase().contains("upgrade: websocket")
}

/// RUN-23: events faster than they can be taken in are read all the same, and made up for by a list.
#[tokio::test]
async fn a_flood_of_events_is_read_to_its_end_and_waits_nowhere() {
    const EVENTS: u32 = 200_000;
    const QUEUED: usize = 64;
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runtime = RuntimeClient::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
    let sent = Arc::new(tokio::sync::Notify::new());
    let server = tokio::spawn(flood(listener, EVENTS, Arc::clone(&sent)));
    let (news, mut reports) = mpsc::channel(QUEUED);
    let start = Instant::now();
    let link = tokio::spawn(link::follow(runtime, news));

    // Nobody takes anything until all of it was sent, and so read.
    tokio::time::timeout(DEADLINE * 2, sent.notified()).await.unwrap();
    let took = start.elapsed();
    println!("{EVENTS} events in {took:?}: {:.0} per second", f64::from(EVENTS) / took.as_secs_f64());
    assert!(reports.len() <= QUEUED);
    let mut lists = 0;
    let catching_up = async {
        while lists < 2 {
            lists += usize::from(matches!(reports.recv().await, Some(LinkNews::Agents(_))));
        }
    };
    tokio::time::timeout(DEADLINE, catching_up).await.expect("what was dropped is made up for by another list");
    link.abort();
    server.abort();
}

/// Answers requests like a runtime with one agent, and takes no socket.
async fn without_events(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let is_socket = asks_for_socket(&stream).await;
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let (status, body) =
                if is_socket { ("404 Not Found", "{}") } else { ("200 OK", r#"{"agents": [{"id": "a", "status": "ready"}]}"#) };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
        });
    }
}

#[tokio::test]
async fn a_runtime_without_events_is_listed_and_counts_as_lost_only_when_it_lists_no_more() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runtime = RuntimeClient::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
    let server = tokio::spawn(without_events(listener));
    let (news, mut reports) = mpsc::channel(8);
    let link = tokio::spawn(link::follow(runtime, news));
    for _ in 0..2 {
        let told = tokio::time::timeout(DEADLINE, reports.recv()).await.expect("a list in time");
        assert!(matches!(&told, Some(LinkNews::Agents(agents)) if agents.len() == 1), "{told:?}");
    }
    server.abort();
    let lost = async { while !matches!(reports.recv().await, Some(LinkNews::Lost)) {} };
    tokio::time::timeout(DEADLINE, lost).await.expect("its loss is told");
    link.abort();
}
