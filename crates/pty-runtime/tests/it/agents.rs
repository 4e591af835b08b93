use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::world::{World, eventually, reply, scripted};

#[tokio::test]
async fn an_agent_is_spawned_listed_messaged_and_stopped() {
    let world = World::new().await;
    let spawned = world.post("/api/spawn", &json!({ "agentType": "echo", "workspaceId": "w1", "name": "scout", "id": "scout-1" })).await;
    assert_eq!(spawned.status, 201, "{}", spawned.body);
    let agent = &spawned.body["agents"][0];
    assert_eq!((&agent["id"], &agent["name"], &agent["type"]), (&json!("scout-1"), &json!("scout"), &json!("echo")));
    assert_eq!(agent["runtimeEndpoint"], world.url(""));
    assert_ne!(agent["runtimeSessionId"], agent["id"]);

    world.until_status("scout-1", "ready").await;
    assert_eq!(world.get("/agents").await.body["count"], 1);
    let sent = world.post("/api/agents/scout-1/send", &json!({ "message": "echo $((40 + 2)) and $TERM" })).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    world.until_logs("scout-1", "42 and xterm-256color").await;
    world.until_status("scout-1", "ready").await;
    let output = world.get("/api/agents/scout-1/output").await.body;
    assert!(output["output"].as_str().unwrap().contains("echo> "), "{output}");

    assert_eq!(world.delete("/api/agents/scout-1").await.status, 204);
    let stopped = world.get("/api/agents/scout-1").await.body;
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(world.delete("/agents/scout-1").await.status, 204);
    assert_eq!(world.post("/api/agents/scout-1/stop", &json!({})).await.status, 204);
    let late = world.post("/agents/scout-1/send", &json!({ "message": "hi" })).await;
    assert_eq!((late.status, &late.body["code"]), (409, &json!("AGENT_STOPPED")));
}

#[tokio::test]
async fn a_bare_agent_comes_back_from_the_single_spawn() {
    let world = World::new().await;
    let body = json!({ "name": "solo", "type": "custom", "command": "sh", "cols": 132, "rows": 43, "role": "x", "idleTimeout": 300 });
    let created = world.post("/agents", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!((&created.body["name"], &created.body["type"]), (&json!("solo"), &json!("custom")));
    let id = created.body["id"].as_str().unwrap();
    world.until_status(id, "ready").await;
    world.post(&format!("/agents/{id}/send"), &json!({ "message": "stty size; pwd; echo ~" })).await;
    let home = world.root.path().canonicalize().unwrap().join(id);
    let logs = world.until_logs(id, &format!("43 132\n{0}\n{0}", home.display())).await;
    assert!(!logs.contains('\u{1b}'), "{logs:?}");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_code() {
    let world = World::with(|config| config.max_agents = 2).await;
    let spawn = |changes: Value| {
        let mut body = json!({ "agentType": "echo", "workspaceId": "w1" });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    for (body, status, code, named) in [
        (spawn(json!({ "agentType": "bash -c" })), 400, "UNSUPPORTED_TYPE", "bash -c"),
        (spawn(json!({ "agentType": 5 })), 400, "INVALID_REQUEST", "agentType"),
        (json!({ "agentType": "echo" }), 400, "INVALID_REQUEST", "workspaceId"),
        (spawn(json!({ "count": 0 })), 400, "INVALID_REQUEST", "count"),
        (spawn(json!({ "count": 3 })), 400, "INVALID_REQUEST", "count"),
        (spawn(json!({ "id": "../x" })), 400, "INVALID_REQUEST", "id"),
        (spawn(json!({ "agentType": "custom", "config": { "command": "python3" } })), 400, "INVALID_REQUEST", "config.command"),
        (spawn(json!({ "config": { "command": "bash" } })), 400, "INVALID_REQUEST", "config.command"),
        (json!(["echo"]), 400, "INVALID_REQUEST", "must be an object"),
        (spawn(json!({ "config": { "workdir": "/etc" } })), 400, "INVALID_REQUEST", "workdir"),
        (spawn(json!({ "config": { "env": { "A": 1 } } })), 400, "INVALID_REQUEST", "config.env.A"),
        (spawn(json!({ "config": { "env": { "A=B": "1" } } })), 400, "INVALID_REQUEST", "config.env"),
        (spawn(json!({ "config": { "cols": 0 } })), 400, "INVALID_REQUEST", "config.cols"),
        (spawn(json!({ "callbackUrl": "http://example.com/" })), 400, "INVALID_REQUEST", "callbackUrl"),
    ] {
        let reply = world.post("/api/spawn", &body).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{body} {}", reply.body);
        assert!(reply.body["error"].as_str().unwrap().contains(named), "{}", reply.body);
    }
    for (path, status, code) in [
        ("/api/nothing", 404, "NOT_FOUND"),
        ("/api/agents/x", 404, "AGENT_NOT_FOUND"),
        ("/api/agents/%ff", 400, "INVALID_REQUEST"),
        ("/api/spawn", 405, "METHOD_NOT_ALLOWED"),
        ("/ws/events", 400, "INVALID_REQUEST"),
    ] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (status, Some(code)), "{path} {}", reply.body);
    }
    let id = world.spawn(&spawn(json!({}))).await;
    for tail in ["0", "-1", "x", "10001"] {
        assert_eq!(world.get(&format!("/api/agents/{id}/logs?tail={tail}")).await.status, 400);
    }
    for message in ["", " \n\u{1b}[31m\u{3}"] {
        assert_eq!(world.post(&format!("/api/agents/{id}/send"), &json!({ "message": message })).await.status, 400);
    }
    let long = world.post(&format!("/api/agents/{id}/send"), &json!({ "message": "x".repeat(1024 * 1024 + 1) })).await;
    assert_eq!((long.status, long.body["error"].as_str()), (400, Some("message: must be at most 1048576 bytes")));
    let url = world.url("/api/spawn");
    let malformed = reply(world.client.post(&url).body("{\"agentType\":")).await;
    assert_eq!((malformed.status, malformed.body["code"].as_str()), (400, Some("INVALID_REQUEST")));
    assert_eq!(malformed.body["error"], "the request body is not JSON (line 1, column 13)");
    let odd = reply(world.client.post(&url).header("x-request-id", "\u{e9}".as_bytes()).json(&spawn(json!({})))).await;
    assert_eq!((odd.status, odd.body["error"].as_str()), (400, Some("X-Request-Id: must be plain text")));
    let huge = reply(world.client.post(&url).body(vec![b' '; 10 * 1024 * 1024 + 1])).await;
    assert_eq!((huge.status, huge.body["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")));
}

#[tokio::test]
async fn a_command_that_is_not_installed_is_refused_before_anything_starts() {
    let world = World::with(|config| config.inherited_env = vec![("PATH".into(), "/nonexistent".into())]).await;
    let reply = world.post("/api/spawn", &json!({ "agentType": "claude-code", "workspaceId": "w1" })).await;
    assert_eq!((reply.status, reply.body["code"].as_str()), (422, Some("CLI_NOT_FOUND")));
    assert_eq!(world.get("/api/agents").await.body["count"], 0);
}

#[tokio::test]
async fn only_living_agents_count_against_the_limit() {
    let world = World::with(|config| config.max_agents = 2).await;
    let gone = world.script("exit 0").await;
    world.until_status(&gone, "stopped").await;
    world.script("sleep 1000").await;
    let mut two = scripted("sleep 1000");
    two["count"] = json!(2);
    two["name"] = json!("pair");
    let partial = world.post("/api/spawn", &two).await;
    assert_eq!(partial.status, 201, "{}", partial.body);
    assert_eq!(partial.body["agents"][0]["name"], "pair-1");
    assert_eq!(partial.body["errors"], json!(["Maximum agent limit reached (2)"]));
    let refused = world.post("/api/spawn", &scripted("true")).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (429, Some("MAX_AGENTS")));
    assert_eq!(world.get("/api/health").await.body["activeAgents"], 2);
}

#[tokio::test]
async fn of_two_spawns_with_one_id_one_wins() {
    let world = World::new().await;
    let mut body = scripted("sleep 1000");
    body["id"] = json!("twin");
    let (a, b) = tokio::join!(world.post("/api/spawn", &body), world.post("/api/spawn", &body));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", a.body, b.body);
    assert_eq!(world.get("/api/agents").await.body["count"], 1);
    world.delete("/api/agents/twin?force=true").await;
    assert_eq!(world.post("/api/spawn", &body).await.status, 201, "a stopped agent's id is free again");
}

#[tokio::test]
async fn a_repeated_request_id_spawns_nothing_twice() {
    let world = World::new().await;
    let (body, url) = (scripted("sleep 1000"), world.url("/api/spawn"));
    let post = |id: &'static str| reply(world.client.post(&url).header("x-request-id", id).json(&body));
    let (a, b) = tokio::join!(post("r1"), post("r1"));
    assert_eq!((a.status, b.status), (201, 201));
    assert_eq!(a.body, b.body);
    assert_eq!(post("r1").await.body, a.body);
    assert_ne!(post("r2").await.body, a.body);
    assert_eq!(world.get("/api/agents").await.body["count"], 2);
    let single = json!({ "name": "solo", "type": "echo" });
    let create = || reply(world.client.post(world.url("/agents")).header("x-request-id", "r1").json(&single));
    let (a, b) = (create().await, create().await);
    assert_eq!((a.status, &a.body["id"]), (201, &b.body["id"]));
    assert_eq!(world.get("/api/agents").await.body["count"], 3);
}

#[tokio::test]
async fn stopping_ends_everything_that_the_agent_started() {
    let world = World::new().await;
    let scripted = world.script("sleep 1000 & trap '' TERM HUP; echo child=$!.; while :; do sleep 1; done").await;
    let shell = world.spawn(&json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    world.until_status(&shell, "ready").await;
    let job = "setsid -f true; nohup sleep 1000 >/dev/null 2>&1 & echo child=$((0 + $!)).";
    world.post(&format!("/agents/{shell}/send"), &json!({ "message": job })).await;
    for (id, timeout) in [(scripted, 200), (shell, 5000)] {
        let child = eventually("child", async || {
            let logs = world.until_logs(&id, "child=").await;
            let number = logs.split("child=").find_map(|tail| tail.split_once('.')?.0.parse::<u32>().ok());
            number.ok_or(logs)
        })
        .await;
        assert!(is_alive(child));
        let stopped = world.delete(&format!("/api/agents/{id}?timeout={timeout}")).await;
        assert_eq!(stopped.status, 204, "{}", stopped.body);
        let agent = world.get(&format!("/api/agents/{id}")).await.body;
        assert_eq!(agent["status"], "stopped");
        eventually("end of the child", async || if is_alive(child) { Err(child) } else { Ok(()) }).await;
    }
}

#[tokio::test]
async fn homes_are_their_workspaces_alone() {
    let world = World::new().await;
    let request = |workspace: &str, id: &str, workdir: Option<&str>| {
        let mut body = scripted("exit 0");
        body["workspaceId"] = json!(workspace);
        body["id"] = json!(id);
        body["config"]["workdir"] = json!(workdir);
        body
    };
    world.spawn(&request("w1", "mine", None)).await;
    world.until_status("mine", "stopped").await;
    let started = world.get("/api/agents").await.body["count"].clone();
    for (id, workdir, code) in [
        ("mine", None, "AGENT_EXISTS"),
        ("other", Some("."), "INVALID_REQUEST"),
        ("other", Some("mine"), "INVALID_REQUEST"),
        ("other", Some("mine/deeper"), "INVALID_REQUEST"),
        ("other", Some("/etc"), "INVALID_REQUEST"),
    ] {
        let refused = world.post("/api/spawn", &request("w2", id, workdir)).await;
        assert_eq!(refused.body["code"], code, "{id} {workdir:?} {}", refused.body);
    }
    assert_eq!(world.get("/api/agents").await.body["count"], started);
    assert!(!world.root.path().join("other").exists() && !world.root.path().join("mine/deeper").exists());
    world.spawn(&request("w2", "other", Some("shared"))).await;
    world.spawn(&request("w1", "mine", Some("shared"))).await;
    world.until_status("mine", "stopped").await;
    // Nor does the home change hands once the agent is forgotten.
    let releasing = {
        let mut body = request("w1", "mine", None);
        body["config"]["executionId"] = json!("e1");
        world.spawn(&body).await;
        world.delete("/api/executions/e1/resources").await
    };
    assert_eq!((releasing.status, world.get("/api/agents/mine").await.status), (204, 404));
    assert_eq!(world.post("/api/spawn", &request("w2", "mine", None)).await.body["code"], "AGENT_EXISTS");
    assert_eq!(world.post("/agents", &json!({ "id": "mine", "name": "owner", "type": "echo", "workdir": "." })).await.status, 201);
}

/// A process that nobody reaps after its parent's death is dead all the same.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

#[tokio::test]
async fn one_workspace_does_not_see_the_agents_of_another() {
    let world = World::new().await;
    let id = world.script("sleep 1000").await;
    let ask = |workspace: &'static str, path: String| reply(world.client.get(world.url(&path)).header("x-workspace-id", workspace));
    assert_eq!(ask("w1", format!("/api/agents/{id}")).await.status, 200);
    assert_eq!(ask("w2", format!("/api/agents/{id}")).await.status, 403);
    assert_eq!(ask("w2", "/api/agents".into()).await.body["count"], 0);
    let spawn = world.client.post(world.url("/api/spawn")).header("x-workspace-id", "w2").json(&scripted("true"));
    assert_eq!(reply(spawn).await.body["code"], "FORBIDDEN");
}
