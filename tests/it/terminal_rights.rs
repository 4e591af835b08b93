//! Who may read a terminal, type into it, control it, share it and end it (realtime contract RT-09 to RT-11).

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Caller, LocalRuntime, World, config, fake_runtime::FakeRuntime, node, terminal::Socket};

async fn terminal(world: &World, caller: &Caller<'_>) -> Socket {
    Socket::connect(&world.base, "/terminal", &caller.cookie()).await
}

/// Attaches and waits for the answer.
async fn attach(world: &World, caller: &Caller<'_>, attach: Value) -> (Socket, Value) {
    let mut socket = terminal(world, caller).await;
    socket.emit("attach", attach).await;
    let attached = socket.until("attached").await;
    (socket, attached)
}

/// What attaching answers: `w` for a place to type, `r` for one to watch, or the error's code.
async fn door(world: &World, caller: &Caller<'_>, payload: Value) -> String {
    let mut socket = terminal(world, caller).await;
    socket.emit("attach", payload).await;
    loop {
        match socket.next().await {
            (event, payload) if event == "attached" => return if payload["canWrite"] == true { "w".into() } else { "r".into() },
            (event, payload) if event == "error" => return payload["code"].as_str().unwrap().to_owned(),
            _ => {}
        }
    }
}

/// The service's answer to what was typed: the code of its error, if it refuses.
async fn refusal(socket: &mut Socket, input: &str) -> Value {
    socket.emit("input", json!(input)).await;
    socket.until("error").await
}

/// A shell that a person spawned who is a member now, and its session.
async fn shell_of_a_member<'w>(world: &'w World, name: &str) -> (Caller<'w>, String) {
    let spawner = world.admin(name).await;
    let agent = spawner.spawn_shell().await;
    let session = spawner.until_session_is(&agent, "active").await["id"].as_str().unwrap().to_owned();
    spawner.until_run_is(&agent, "ready").await;
    set_role(world, name, "member").await;
    (spawner, session)
}

async fn set_role(world: &World, name: &str, role: &str) {
    sqlx::query("UPDATE users SET role = $2 WHERE name = $1").bind(name).bind(role).execute(&world.pool).await.unwrap();
}

/// RT-10: what each role may do under each setting, at every door.
#[sqlx::test]
async fn roles_and_settings_decide_at_every_door(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (spawner, session) = shell_of_a_member(&world, "sam").await;
    let (admin, member) = (world.admin("ada").await, world.member("mel").await);
    let outsider = world.outsider().await;
    let path = format!("/terminal/sessions/{session}");
    // Readers, writers; then the answers to owner, admin, spawner and member: `w` types, `r` watches, `-` is told of nothing.
    let table = [
        ("members", "spawner", "wwwr"),
        ("members", "admins", "wwrr"),
        ("members", "members", "wwww"),
        ("writers", "spawner", "www-"),
        ("writers", "admins", "ww--"),
        ("writers", "members", "wwww"),
    ];
    for (readers, writers, expected) in table {
        let rules = json!({"terminalReaders": readers, "terminalWriters": writers});
        let stored = owner.patch_settings(rules.clone()).await.expect(StatusCode::OK);
        assert_eq!((&stored["data"]["terminalReaders"], &stored["data"]["terminalWriters"]), (&json!(readers), &json!(writers)));
        for (caller, letter) in [&owner, &admin, &spawner, &member].into_iter().zip(expected.chars()) {
            let reads = letter != '-';
            let expected = if reads { letter.to_string() } else { "SESSION_NOT_FOUND".to_owned() };
            assert_eq!(door(&world, caller, json!({"sessionId": session})).await, expected, "attach under {rules}");
            let listed = caller.get("/terminal/sessions").await.expect(StatusCode::OK)["data"].as_array().unwrap().len();
            assert_eq!(listed, usize::from(reads), "listed under {rules}");
            for rest in ["", "/logs", "/viewers"] {
                let status = caller.get(&format!("{path}{rest}")).await.status;
                // Whoever may end a session is not told that there is none, yet reads nothing.
                assert_eq!(status, if reads { StatusCode::OK } else { StatusCode::NOT_FOUND }, "{rest} under {rules}");
            }
            let shares = caller.get(&format!("{path}/shares")).await.status;
            let may_share = letter == 'w';
            assert_eq!(shares == StatusCode::OK, may_share, "shares under {rules}: {shares}");
        }
        assert_eq!(door(&world, &outsider, json!({"sessionId": session})).await, "SESSION_NOT_FOUND");
        outsider.get(&path).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
        outsider.delete(&path).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    }
    member.delete(&path).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    owner.patch_settings(json!({"terminalReaders": "writers", "terminalWriters": "admins"})).await.expect(StatusCode::OK);
    member.delete(&path).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    assert_eq!(spawner.delete(&path).await.expect(StatusCode::OK)["data"]["status"], "terminated", "who spawned it may end it");
    for (field, bad) in [("terminalReaders", json!("nobody")), ("terminalWriters", json!(1))] {
        let problem = owner.patch_settings(json!({field: bad})).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
        assert!(problem.to_string().contains(field), "{problem}");
    }
    world.end().await;
}

/// RT-10: a viewer who may only watch sends no byte and changes no size.
#[sqlx::test]
async fn nothing_of_a_reader_reaches_the_terminal(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    let (id, mut writer) = owner.attached_shell().await;
    writer.emit("resize", json!({"cols": 90, "rows": 30})).await;
    let (mut reader, attached) = attach(&world, &member, json!({"agentId": id})).await;
    assert_eq!((&attached["canWrite"], &attached["canTerminate"]), (&json!(false), &json!(false)));
    reader.emit("resize", json!({"cols": 33, "rows": 11})).await;
    assert_eq!(refusal(&mut reader, "echo from-the-$((1+1))nd\r").await["code"], "FORBIDDEN");
    reader.emit("control:take", json!({"force": true})).await;
    assert_eq!(reader.until("error").await["code"], "FORBIDDEN");
    // By now everything of the reader was taken in.
    writer.emit("input", json!("stty size; echo end-$((40+2))\r")).await;
    writer.until_shows("end-42").await;
    assert!(writer.screen.contains("30 90") && !writer.screen.contains("from-the"), "{}", writer.screen);
    world.end().await;
}

/// RT-05: keys behind a size do not wait for the database, which then has the size that the terminal has.
#[sqlx::test]
async fn keys_behind_a_size_do_not_wait_for_the_database(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM terminal_sessions FOR UPDATE").execute(&mut *held).await.unwrap();
    terminal.emit("resize", json!({"cols": 90, "rows": 30})).await;
    terminal.emit("resize", json!({"cols": 91, "rows": 31})).await;
    terminal.emit("input", json!("stty size; echo end-$((40+2))\r")).await;
    terminal.until_shows("end-42").await;
    assert!(terminal.screen.contains("31 91"), "{}", terminal.screen);
    held.rollback().await.unwrap();
    let (_, attached) = attach(&world, &owner, json!({"agentId": id})).await;
    assert_eq!((&attached["cols"], &attached["rows"]), (&json!(91), &json!(31)));
    let stored = async || sqlx::query_scalar::<_, i32>("SELECT cols FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
    let all = async { while stored().await != 91 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), all).await.unwrap();
    world.end().await;
}

/// While somebody controls a terminal, the others' keys and sizes go nowhere; of two who take control at once, one has it.
#[sqlx::test]
async fn one_of_two_who_take_control_at_once_has_it_until_they_give_it_away(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, admin) = (world.owner().await, world.admin("ada").await);
    let (id, first) = owner.attached_shell().await;
    drop(first);
    let ask = json!({"agentId": id, "presence": true});
    let (mut one, attached) = attach(&world, &owner, ask.clone()).await;
    let one_id = attached["viewerId"].clone();
    let (mut two, attached) = attach(&world, &admin, ask).await;
    let two_id = attached["viewerId"].clone();
    assert_eq!((one.until("controller").await, two.until("controller").await), (json!(null), json!(null)));

    tokio::join!(one.emit("control:take", json!({})), two.emit("control:take", json!({})));
    let held = until_controller(&mut one).await;
    assert_eq!(until_controller(&mut two).await["viewerId"], held["viewerId"]);
    let (mut holder, mut other, holder_id, other_id) =
        if held["viewerId"] == one_id { (one, two, one_id, two_id) } else { (two, one, two_id, one_id) };
    assert_eq!(held["viewerId"], holder_id);
    let refused = other.until("error").await;
    assert_eq!(refused["code"], "NOT_CONTROLLER", "the other was too late: {refused}");

    let told = refusal(&mut other, "echo intruder\r").await;
    assert_eq!(told, json!({"message": format!("{} controls this terminal", held["name"].as_str().unwrap()), "code": "NOT_CONTROLLER"}));
    other.emit("resize", json!({"cols": 33, "rows": 11})).await;
    holder.emit("input", json!("stty size; echo mine-$((40+2))\r")).await;
    holder.until_shows("mine-42").await;
    assert!(!holder.screen.contains("intruder") && !holder.screen.contains("11 33"), "{}", holder.screen);
    let noted: Option<uuid::Uuid> =
        sqlx::query_scalar("SELECT controller_user_id FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
    assert_eq!(json!(noted), held["userId"]);

    other.emit("control:take", json!({"force": true})).await;
    assert_eq!(controller_is(&mut holder, &other_id).await["viewerId"], other_id);
    controller_is(&mut other, &other_id).await;
    assert_eq!(refusal(&mut holder, "echo too-late\r").await["code"], "NOT_CONTROLLER");
    holder.emit("control:hand_over", json!({"viewerId": holder_id})).await;
    assert_eq!(holder.until("error").await["code"], "NOT_CONTROLLER");
    other.emit("control:hand_over", json!({"viewerId": holder_id})).await;
    controller_is(&mut holder, &holder_id).await;
    holder.emit("control:release", json!(null)).await;
    controller_is(&mut other, &json!(null)).await;
    other.emit("input", json!("echo free-$((40+2))\r")).await;
    holder.until_shows("free-42").await;

    assert_eq!(world.activities("terminal_control_taken", Some(&id)).await, 2);
    assert_eq!(world.activities("terminal_control_handed_over", Some(&id)).await, 1);
    let noted: Option<uuid::Uuid> =
        sqlx::query_scalar("SELECT controller_user_id FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
    assert_eq!(noted, None);
    world.end().await;
}

/// Waits until somebody controls the terminal.
async fn until_controller(socket: &mut Socket) -> Value {
    loop {
        let controller = socket.until("controller").await;
        if !controller.is_null() {
            return controller;
        }
    }
}

/// Waits until this viewer controls the terminal, or nobody.
async fn controller_is(socket: &mut Socket, viewer: &Value) -> Value {
    loop {
        let controller = socket.until("controller").await;
        if controller["viewerId"] == *viewer {
            return controller;
        }
    }
}

/// A member who may write takes nothing from anybody, and control waits for a holder whose socket is gone.
#[sqlx::test]
async fn control_waits_for_a_holder_who_is_gone(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    owner.patch_settings(json!({"terminalWriters": "members"})).await.expect(StatusCode::OK);
    let (id, first) = owner.attached_shell().await;
    drop(first);
    let ask = json!({"agentId": id, "presence": true});
    let (mut holder, _) = attach(&world, &owner, ask.clone()).await;
    holder.emit("control:take", json!({})).await;
    let since = until_controller(&mut holder).await["since"].clone();
    let (mut other, _) = attach(&world, &member, ask.clone()).await;
    let before = until_controller(&mut other).await;
    other.emit("control:take", json!({"force": true})).await;
    let refused = other.until("error").await;
    assert_eq!(refused["code"], "FORBIDDEN", "{refused}");

    drop(holder);
    let awaited = controller_is(&mut other, &json!(null)).await;
    assert_eq!((&awaited["userId"], &awaited["since"]), (&before["userId"], &since), "the holder is gone and awaited");
    assert_eq!(refusal(&mut other, "echo now-me\r").await["code"], "NOT_CONTROLLER");

    let (mut back, attached) = attach(&world, &owner, ask.clone()).await;
    assert_eq!(controller_is(&mut other, &attached["viewerId"]).await["since"], since);
    back.emit("input", json!("echo back-$((40+2))\r")).await;
    other.until_shows("back-42").await;
    assert!(!other.screen.contains("now-me"));

    back.emit("attach", ask).await;
    let attached = back.until("attached").await;
    assert_eq!(controller_is(&mut other, &attached["viewerId"]).await["since"], since, "attaching again keeps control");

    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    let viewers = owner.get(&format!("/terminal/sessions/{session}/viewers")).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&viewers["count"], &viewers["controller"]["viewerId"]), (&json!(2), &attached["viewerId"]));
    let names: Vec<&Value> = viewers["viewers"].as_array().unwrap().iter().map(|viewer| &viewer["name"]).collect();
    assert_eq!(names, [&json!("mel"), &json!("owner")]);
    owner.delete(&format!("/terminal/sessions/{session}")).await.expect(StatusCode::OK);
    controller_is(&mut other, &json!(null)).await;
    world.end().await;
}

/// A restart of the service gives control to nobody else at once.
#[sqlx::test]
async fn control_survives_a_restart_of_the_service(pool: PgPool) {
    let mut world = World::with_runtime(pool).await;
    let id = {
        let owner = world.owner().await;
        let (id, first) = owner.attached_shell().await;
        drop(first);
        let (mut holder, _) = attach(&world, &owner, json!({"agentId": id, "presence": true})).await;
        holder.emit("control:take", json!({})).await;
        until_controller(&mut holder).await;
        world
            .until("the note", async || {
                let noted: Option<uuid::Uuid> =
                    sqlx::query_scalar("SELECT controller_user_id FROM terminal_sessions").fetch_one(&world.pool).await.unwrap();
                noted
            })
            .await;
        id
    };
    world.crash_and_restart().await;
    let (owner, admin) = (world.owner().await, world.admin("ada").await);
    owner.until_session_is(&id, "active").await;
    let (mut other, _) = attach(&world, &admin, json!({"agentId": id})).await;
    let refused = refusal(&mut other, "echo quick\r").await;
    assert_eq!(refused["code"], "NOT_CONTROLLER", "{refused}");
    let (mut back, _) = attach(&world, &owner, json!({"agentId": id})).await;
    back.emit("input", json!("echo still-$((40+2))\r")).await;
    back.until_shows("still-42").await;
    world.end().await;
}

/// What the agent's terminal shows, as its runtime tells of it: each with `hidden` in it.
fn login() -> Value {
    json!({"loginUrl": "https://claude.ai/hidden", "instructions": "hidden", "deviceCode": "hidden"})
}

/// What was said of one agent to somebody, by every door that tells of agents and of what happened to them.
async fn told_of(caller: &Caller<'_>, agent: &str, project: uuid::Uuid) -> Vec<(String, Value)> {
    let mut told = Vec::new();
    for door in [
        "/parallax-agents".to_owned(),
        "/parallax-agents?status=approved".to_owned(),
        "/parallax-agents/available".to_owned(),
        format!("/parallax-agents/{agent}"),
        format!("/parallax-agents/project/{project}"),
        format!("/parallax-agents/project/{project}/activity"),
    ] {
        let answer = caller.get(&door).await.expect(StatusCode::OK);
        assert!(answer.to_string().contains(agent), "{door}: {answer}");
        told.push((door, answer));
    }
    told
}

/// Tells for each person whether every door, or none, says something of what the terminal shows.
async fn who_knows(people: [&Caller<'_>; 3], agent: &str, project: uuid::Uuid) -> Vec<bool> {
    let mut known = Vec::new();
    for person in people {
        let told = told_of(person, agent, project).await;
        let says = |door: &str| told.iter().any(|(told, answer)| told == door && answer.to_string().contains("hidden"));
        let knows = says("/parallax-agents");
        // The agents of a project are listed without what runs.
        for (door, answer) in told.iter().filter(|(door, _)| !door.ends_with(&project.to_string())) {
            assert_eq!(says(door), knows, "{door}: {answer}");
        }
        known.push(knows);
    }
    known
}

/// Who may not watch an agent's terminal reads nothing of it in any other answer either; nor does an agent with its key.
#[sqlx::test]
async fn what_a_terminal_shows_is_in_no_answer_to_who_may_not_watch_it(pool: PgPool) {
    let runtime = FakeRuntime::start().await;
    let world = World::with_config(pool, config(Some(runtime.endpoint())), None).await;
    let (owner, spawner, member) = (world.owner().await, world.admin("sam").await, world.member("mel").await);
    let project = world.project("Docs").await;
    let peer = world.approved_agent("peer").await;
    let spawned = spawner.post("/parallax-agents/spawn", json!({"agentType": "claude-code", "name": "shy"})).await;
    let id = spawned.expect(StatusCode::CREATED)["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned();
    owner.until_run_is(&id, "ready").await;
    owner.assign(&id, project).await.expect(StatusCode::CREATED);
    set_role(&world, "sam", "member").await;
    let people = [&owner, &spawner, &member];
    let say = |event: &str, status: &str, more: Value| {
        let mut data = json!({"agent": {"id": runtime.agent(), "status": status}});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        runtime.tell(event, &data);
    };
    // As it may be in a database that was taken over: what happened to the agent happened on the project.
    let onto_project = || async {
        let moved = "UPDATE parallax_agent_activity SET project_id = $1 WHERE agent_id = $2";
        sqlx::query(moved).bind(project).bind(&id).execute(&world.pool).await.unwrap();
    };
    let until_noted = async |activity: &str| {
        world.until(activity, || async { (world.activities(activity, Some(&id)).await == 1).then_some(()) }).await;
        onto_project().await;
    };

    say("login_required", "authenticating", login());
    until_noted("spawn_requires_login").await;
    for (readers, writers, expected) in [
        ("members", "spawner", [true, true, true]),
        ("writers", "members", [true, true, true]),
        ("writers", "spawner", [true, true, false]),
        ("writers", "admins", [true, false, false]),
    ] {
        owner.patch_settings(json!({"terminalReaders": readers, "terminalWriters": writers})).await.expect(StatusCode::OK);
        assert_eq!(who_knows(people, &id, project).await, expected, "{readers} {writers}");
    }
    let run = member.agent(&id).await["run"].clone();
    assert_eq!(run["status"], "login_required", "that there is a login is no secret");
    assert_eq!([&run["loginUrl"], &run["loginInstructions"], &run["loginDeviceCode"]], [&Value::Null; 3]);

    say("agent_ready", "ready", json!({}));
    owner.until_run_is(&id, "ready").await;
    say("agent_error", "ready", json!({"error": "hidden"}));
    until_noted("agent_error").await;
    say("agent_error", "error", json!({"error": "hidden line"}));
    owner.until_run_is(&id, "failed").await;
    until_noted("spawn_failed").await;
    assert_eq!(owner.agent(&id).await["run"]["reason"], "hidden line");
    assert_eq!(member.agent(&id).await["run"]["reason"], "the agent failed");
    assert_eq!(who_knows(people, &id, project).await, [true, false, false]);
    for activity in ["/parallax-agents/activity/workspace".to_owned(), format!("/parallax-agents/{id}/activity")] {
        assert!(owner.get(&activity).await.expect(StatusCode::OK).to_string().contains("hidden line"));
        member.get(&activity).await.expect(StatusCode::FORBIDDEN);
    }
    let agent = world.with_key(&peer);
    for door in ["/parallax-agents", &format!("/parallax-agents/{id}"), &format!("/parallax-agents/project/{project}/activity")] {
        agent.get(door).await.expect(StatusCode::UNAUTHORIZED);
    }
    world.end().await;
}

/// While somebody controls a terminal, nobody else types into it by any door; the holder goes on by each.
#[sqlx::test]
async fn who_does_not_control_a_terminal_types_by_no_door(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, admin) = (world.owner().await, world.admin("ada").await);
    let (id, mut holder) = owner.attached_shell().await;
    let at = |action: &str| format!("/parallax-agents/{id}/{action}");
    let (mut other, _) = attach(&world, &admin, json!({"agentId": id, "presence": true})).await;
    admin.post(&at("keys"), json!({"keys": "ctrl+u"})).await.expect(StatusCode::OK);
    holder.emit("control:take", json!({})).await;
    until_controller(&mut other).await;

    assert_eq!(refusal(&mut other, "echo intruder\r").await["code"], "NOT_CONTROLLER");
    for (action, body) in [("send", json!({"message": "echo intruder"})), ("keys", json!({"keys": ["echo intruder", "enter"]}))] {
        let refused = admin.post(&at(action), body).await.expect_problem(StatusCode::CONFLICT, "NOT_CONTROLLER");
        assert!(refused["message"].to_string().contains("owner controls"), "{refused}");
    }
    owner.post(&at("send"), json!({"message": "echo sent-$((40+2))"})).await.expect(StatusCode::OK);
    holder.until_shows("sent-42").await;
    owner.post(&at("keys"), json!({"keys": ["echo pressed-$((40+2))", "enter"]})).await.expect(StatusCode::OK);
    holder.until_shows("pressed-42").await;
    assert!(!holder.screen.contains("intruder"), "{}", holder.screen);
    assert_eq!(world.activities("message_sent", Some(&id)).await, 1, "what was refused is not on record as sent");

    // Control waits for its holder over a restart, before anybody is at the terminal.
    let world = world.restart().await;
    let (owner, admin) = (world.owner().await, Caller::clone(&world.admin("eve").await));
    owner.until_session_is(&id, "active").await;
    admin.post(&at("send"), json!({"message": "echo intruder"})).await.expect_problem(StatusCode::CONFLICT, "NOT_CONTROLLER");
    owner.post(&at("send"), json!({"message": "echo again-$((40+2))"})).await.expect(StatusCode::OK);
    let (mut holder, _) = attach(&world, &owner, json!({"agentId": id})).await;
    holder.until_shows("again-42").await;
    holder.emit("control:release", json!(null)).await;
    world
        .until("the terminal is free", || async {
            let status = admin.post(&at("send"), json!({"message": "echo free-$((40+2))"})).await.status;
            (status == StatusCode::OK).then_some(())
        })
        .await;
    holder.until_shows("free-42").await;
    world.end().await;
}

/// RT-09: a share ends to the second by its time, however seldom sockets are looked at.
#[sqlx::test]
async fn a_share_that_expires_ends_for_who_is_attached(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let mut settings = config(Some(runtime.endpoint()));
    settings.socket_check_every = Duration::from_mins(10);
    let world = World::with_config(pool, settings, Some(runtime)).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    let (_, first) = owner.attached_shell().await;
    let session = owner.get("/terminal/sessions").await.expect(StatusCode::OK)["data"][0]["id"].as_str().unwrap().to_owned();
    let made = owner.post(&format!("/terminal/sessions/{session}/shares"), json!({})).await.expect(StatusCode::CREATED);
    let expires_at = chrono::Utc::now() + TimeDelta::seconds(2);
    sqlx::query("UPDATE terminal_shares SET expires_at = $1").bind(expires_at).execute(&world.pool).await.unwrap();
    let by_share = json!({"sessionId": session, "share": made["data"]["token"]});
    let (mut reader, attached) = attach(&world, &member, by_share.clone()).await;
    assert_eq!(attached["canWrite"], false);

    let left = || (expires_at - chrono::Utc::now()).to_std().unwrap_or_default();
    tokio::time::timeout(left() + Duration::from_secs(1), reader.until("detached")).await.expect("the share has expired");
    assert!(left() < Duration::from_millis(100), "it was good until then");
    assert_eq!(reader.until("error").await["code"], "FORBIDDEN");
    assert_eq!(door(&world, &member, by_share).await, "SESSION_NOT_FOUND");
    drop(first);
    world.end().await;
}

/// RT-09: a share is worth no more than the account of who made it, and control waits for nobody who was shown out.
#[sqlx::test]
async fn with_an_account_end_its_shares_and_its_control_for_who_is_attached(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let mut settings = config(Some(runtime.endpoint()));
    settings.socket_check_every = Duration::from_mins(10);
    let world = World::with_config(pool, settings, Some(runtime)).await;
    let (owner, ada, member) = (world.owner().await, world.admin("ada").await, world.member("mel").await);
    let (_, first) = owner.attached_shell().await;
    let session = owner.get("/terminal/sessions").await.expect(StatusCode::OK)["data"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/terminal/sessions/{session}/shares");
    let made = ada.post(&path, json!({})).await.expect(StatusCode::CREATED);
    let by_share = json!({"sessionId": session, "share": made["data"]["token"]});
    owner.patch_settings(json!({"terminalReaders": "writers"})).await.expect(StatusCode::OK);
    let (mut reader, _) = attach(&world, &member, by_share.clone()).await;
    let (mut holder, _) = attach(&world, &ada, json!({"sessionId": session, "presence": true})).await;
    holder.emit("control:take", json!({})).await;
    until_controller(&mut holder).await;
    let (mut other, _) = attach(&world, &owner, json!({"sessionId": session, "presence": true})).await;
    until_controller(&mut other).await;

    let began = std::time::Instant::now();
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE name = 'ada'").execute(&world.pool).await.unwrap();

    reader.until("detached").await;
    assert_eq!(reader.until("error").await["code"], "FORBIDDEN");
    controller_is(&mut other, &json!(null)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    other.emit("input", json!("echo free-$((40+2))\r")).await;
    other.until_shows("free-42").await;
    assert_eq!(door(&world, &member, by_share).await, "SESSION_NOT_FOUND");
    assert_eq!(owner.get(&path).await.expect(StatusCode::OK)["data"], json!([]), "what is worth nothing is not listed");
    drop(first);
    world.end().await;
}

/// A link of another workspace is answered as one that nobody has made, to the letter, by socket and by REST.
#[sqlx::test]
async fn a_share_of_another_workspace_is_one_that_does_not_exist(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    let (id, shell) = owner.attached_shell().await;
    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    let made = owner.post(&format!("/terminal/sessions/{session}/shares"), json!({})).await.expect(StatusCode::CREATED)["data"].clone();
    let token = made["token"].as_str().unwrap();
    let invented = format!("{}A", &token[..token.len() - 1]);
    let nowhere = uuid::Uuid::now_v7().to_string();

    let mut socket = terminal(&world, &outsider).await;
    let mut answers = Vec::new();
    for (session, token) in [(&session, token), (&session, &invented), (&nowhere, token), (&nowhere, &invented)] {
        socket.emit("attach", json!({"sessionId": session, "share": token})).await;
        answers.push(socket.until("error").await);
    }
    assert_eq!(answers[0]["code"], "SESSION_NOT_FOUND");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    socket.emit("attach", json!({"agentId": id, "share": token})).await;
    assert_eq!(socket.until("error").await, answers[0]);

    let share = made["share"]["id"].as_str().unwrap();
    let shares = |session: &str| format!("/terminal/sessions/{session}/shares");
    let told = |answer: Answer| {
        let said = ["statusCode", "code", "message"].map(|field| answer.body[field].clone());
        (answer.status, said)
    };
    for (foreign, missing) in [(&session, &nowhere)] {
        let gets = [told(outsider.get(&shares(foreign)).await), told(outsider.get(&shares(missing)).await)];
        let posts = [told(outsider.post(&shares(foreign), json!({})).await), told(outsider.post(&shares(missing), json!({})).await)];
        let deletes = [
            told(outsider.delete(&format!("{}/{share}", shares(foreign))).await),
            told(outsider.delete(&format!("{}/{share}", shares(missing))).await),
            told(outsider.delete(&format!("{}/{nowhere}", shares(foreign))).await),
        ];
        for answers in [&gets[..], &posts, &deletes] {
            assert_eq!(answers[0].0, StatusCode::NOT_FOUND);
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        }
    }
    assert_eq!(owner.get(&shares(&session)).await.expect(StatusCode::OK)["data"].as_array().unwrap().len(), 1, "it is there still");
    drop(shell);
    world.end().await;
}

/// A share lets members of the workspace read, and nobody type, until it ends.
#[sqlx::test]
async fn a_share_lets_members_read_until_it_expires_or_is_revoked(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, member, outsider) = (world.owner().await, world.member("mel").await, world.outsider().await);
    let (id, mut writer) = owner.attached_shell().await;
    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    let path = format!("/terminal/sessions/{session}/shares");
    member.post(&path, json!({})).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    owner.patch_settings(json!({"terminalReaders": "writers"})).await.expect(StatusCode::OK);
    member.post(&path, json!({})).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    for bad in [json!(0), json!(10_081), json!("long"), json!(-1)] {
        owner.post(&path, json!({"expiresInMinutes": bad})).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    assert_eq!(door(&world, &member, json!({"sessionId": session})).await, "SESSION_NOT_FOUND");

    let repeated = world.owner().await.with_header("idempotency-key", "share-1");
    let made = repeated.post(&path, json!({"expiresInMinutes": 10})).await.expect(StatusCode::CREATED)["data"].clone();
    let again = repeated.post(&path, json!({"expiresInMinutes": 10})).await.expect(StatusCode::CREATED)["data"].clone();
    assert_eq!(made, again, "a request that comes twice makes one share");
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("term_share_") && token.len() == "term_share_".len() + 43, "{token}");
    let link = made["link"].as_str().unwrap();
    assert!(link.ends_with(&format!("/terminal/{session}#share={token}")), "{link}");
    let listed = owner.get(&path).await.expect(StatusCode::OK);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let feed = owner.get("/parallax-agents/activity/workspace").await.expect(StatusCode::OK);
    let stored: String = sqlx::query_scalar("SELECT token_hash FROM terminal_shares").fetch_one(&world.pool).await.unwrap();
    for text in [listed.to_string(), feed.to_string(), stored] {
        assert!(!text.contains(&token), "the token is told: {text}");
    }
    assert!(feed.to_string().contains("terminal_shared"));

    let by_share = json!({"sessionId": session, "share": token});
    assert_eq!(door(&world, &outsider, by_share.clone()).await, "SESSION_NOT_FOUND", "another workspace's");
    assert_eq!(door(&world, &member, json!({"sessionId": session, "share": format!("{token}x")})).await, "SESSION_NOT_FOUND");
    assert_eq!(door(&world, &owner, by_share.clone()).await, "r", "whoever comes by a share reads and no more");
    let (mut reader, _) = attach(&world, &member, by_share.clone()).await;
    writer.emit("input", json!("echo seen-$((40+2))\r")).await;
    reader.until_shows("seen-42").await;
    assert_eq!(refusal(&mut reader, "echo typed-$((1+1))\r").await["code"], "FORBIDDEN");
    let (other_id, other_shell) = owner.attached_shell().await;
    drop(other_shell);
    assert_eq!(door(&world, &member, json!({"agentId": other_id, "share": token})).await, "SESSION_NOT_FOUND", "of that session only");

    let share = made["share"]["id"].as_str().unwrap();
    outsider.delete(&format!("{path}/{share}")).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    member.delete(&format!("{path}/{share}")).await.expect_problem(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND");
    owner.delete(&format!("{path}/{}", uuid::Uuid::now_v7())).await.expect_problem(StatusCode::NOT_FOUND, "SHARE_NOT_FOUND");
    let began = std::time::Instant::now();
    for _ in 0..2 {
        assert!(owner.delete(&format!("{path}/{share}")).await.expect(StatusCode::OK)["data"]["revokedAt"].is_string());
    }
    reader.until("detached").await;
    assert_eq!(reader.until("error").await["code"], "FORBIDDEN");
    assert!(began.elapsed().as_millis() < 1000, "cut after {:?}", began.elapsed());
    assert_eq!(refusal(&mut reader, "x").await["code"], "NOT_ATTACHED");
    assert_eq!(door(&world, &member, by_share).await, "SESSION_NOT_FOUND");
    assert_eq!(world.activities("terminal_share_revoked", Some(&id)).await, 1);

    let made = owner.post(&path, json!({})).await.expect(StatusCode::CREATED)["data"].clone();
    let (mut reader, _) = attach(&world, &member, json!({"sessionId": session, "share": made["token"]})).await;
    world.clock.advance(TimeDelta::minutes(61));
    reader.until("detached").await;
    assert_eq!(door(&world, &member, json!({"sessionId": session, "share": made["token"]})).await, "SESSION_NOT_FOUND");
    assert_eq!(owner.get(&path).await.expect(StatusCode::OK)["data"], json!([]), "what has ended is not listed");

    for _ in 0..20 {
        owner.post(&path, json!({})).await.expect(StatusCode::CREATED);
    }
    owner.post(&path, json!({})).await.expect_problem(StatusCode::CONFLICT, "SHARE_LIMIT_REACHED");
    world.end().await;
}

/// RT-09: a change of settings or of a role acts on who is attached already.
#[sqlx::test]
async fn who_loses_a_right_while_attached_loses_it_at_once(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (spawner, session) = shell_of_a_member(&world, "sam").await;
    let member = world.member("mel").await;
    let by_id = json!({"sessionId": session, "presence": true});
    let (mut writer, attached) = attach(&world, &spawner, by_id.clone()).await;
    assert_eq!(attached["canWrite"], true);
    let (mut reader, _) = attach(&world, &member, by_id.clone()).await;
    writer.emit("control:take", json!({})).await;
    until_controller(&mut writer).await;

    let began = std::time::Instant::now();
    owner.patch_settings(json!({"terminalWriters": "admins"})).await.expect(StatusCode::OK);
    assert_eq!(writer.until("rights").await, json!({"canWrite": false, "canTerminate": true}));
    assert!(began.elapsed().as_millis() < 1000, "told after {:?}", began.elapsed());
    assert_eq!(refusal(&mut writer, "echo after-$((40+2))\r").await["code"], "FORBIDDEN");
    controller_is(&mut reader, &json!(null)).await;

    owner.patch_settings(json!({"terminalReaders": "writers"})).await.expect(StatusCode::OK);
    for socket in [&mut writer, &mut reader] {
        socket.until("detached").await;
        assert_eq!(socket.until("error").await["code"], "FORBIDDEN");
    }
    assert_eq!(door(&world, &member, by_id.clone()).await, "SESSION_NOT_FOUND");

    let admin = world.admin("ada").await;
    let (mut demoted, attached) = attach(&world, &admin, by_id).await;
    assert_eq!(attached["canWrite"], true);
    set_role(&world, "ada", "member").await;
    assert!(demoted.until_disconnected().await.iter().any(|event| event.contains("UNAUTHORIZED")));
    world.end().await;
}

/// With acknowledgements and coalesced news of viewers, as the console asks for them.
#[sqlx::test]
async fn control_and_presence_hold_for_the_real_client(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, admin) = (world.owner().await, world.admin("ada").await);
    sqlx::query("UPDATE users SET name = $1 WHERE name = 'ada'").bind("Ada \u{1b}[31m<b>L").execute(&world.pool).await.unwrap();
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await;
    node::run("terminal_control.mjs", &[&world.base, &owner.cookie(), &admin.cookie(), session["id"].as_str().unwrap()]).await;
    world.end().await;
}

#[sqlx::test]
async fn two_people_share_a_terminal_in_the_browser(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    owner.patch_settings(json!({"terminalWriters": "members"})).await.expect(StatusCode::OK);
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    owner.until_run_is(&id, "ready").await;
    node::run("terminal_people.mjs", &[&world.base, &owner.cookie(), &member.cookie(), &id, &session]).await;
    world.end().await;
}
