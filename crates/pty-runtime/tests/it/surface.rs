//! Every route of the REST surface in each of its dialects.

use std::fs;

use serde_json::{Value, json};

use crate::world::{SOON, World, eventually, reply, scripted};

#[tokio::test]
async fn the_minimal_dialect_spawns_lists_and_stops() {
    let world = World::new().await;
    let body = json!({
        "agentId": "min-1",
        "agentType": "echo",
        "workspaceId": "w1",
        "capabilities": ["code"],
        "env": { "GREETING": "hello from env" },
        "workdir": "shared/place",
    });
    let spawned = world.post("/spawn", &body).await;
    assert_eq!(spawned.status, 201, "{}", spawned.body);
    assert_eq!(spawned.body["agents"][0]["id"], "min-1");
    world.until_status("min-1", "ready").await;
    world.post("/agents/min-1/send", &json!({ "message": "echo $GREETING in $PWD" })).await;
    let place = world.root.path().canonicalize().unwrap().join("shared/place");
    world.until_logs("min-1", &format!("hello from env in {}", place.display())).await;
    assert_eq!(world.get("/agents").await.body["agents"][0]["capabilities"], json!(["code"]));
    assert_eq!(world.get("/agents/min-1/logs?lines=1").await.body["count"], 1);

    let bad = world.post("/spawn", &json!({ "agentId": "x", "agentType": "echo" })).await;
    assert_eq!((bad.status, bad.body["code"].as_str()), (400, Some("INVALID_REQUEST")));
    assert_eq!(world.post("/stop", &json!({ "agentId": "nobody" })).await.status, 404);
    assert_eq!(world.post("/api/stop", &json!({})).await.status, 400);
    for _ in 0..2 {
        assert_eq!(world.post("/stop", &json!({ "agentId": "min-1" })).await.status, 204);
    }
    assert_eq!(world.get("/api/agents/min-1").await.body["status"], "stopped");
}

#[tokio::test]
async fn every_route_is_there_with_and_without_the_prefix() {
    let world = World::new().await;
    let id = world.spawn(&json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    world.until_status(&id, "ready").await;
    for prefix in ["", "/api"] {
        for path in ["/health", "/ready", "/agents", "/threads"] {
            assert_eq!(world.get(&format!("{prefix}{path}")).await.status, 200, "{prefix}{path}");
        }
        for path in ["", "/logs", "/logs?format=json", "/output"] {
            assert_eq!(world.get(&format!("{prefix}/agents/{id}{path}")).await.status, 200, "{prefix} {path}");
        }
        let keys = world.post(&format!("{prefix}/agents/{id}/keys"), &json!({ "keys": "enter" })).await;
        assert_eq!(keys.status, 200, "{}", keys.body);
    }
    let described = world.get("/").await.body;
    assert_eq!(described["version"], env!("CARGO_PKG_VERSION"));
    // What the document names exists: it is refused for what is asked, never for the route.
    for (name, path) in described["endpoints"].as_object().unwrap() {
        let path = path.as_str().unwrap().replace(":id", "x");
        for reply in [world.get(&path).await, world.post(&path, &json!({})).await, world.delete(&path).await] {
            assert_ne!(reply.body["code"], "NOT_FOUND", "{name}");
        }
    }
}

#[tokio::test]
async fn health_is_always_200_and_readiness_says_no_while_it_drains() {
    let world = World::new().await;
    let health = world.get("/api/health").await;
    assert_eq!((health.status, &health.body["healthy"], &health.body["activeAgents"]), (200, &json!(true), &json!(0)));
    assert!(health.body["version"].is_string() && health.body["message"].is_string() && health.body["uptimeSeconds"].is_u64());
    let id = world.script("trap '' TERM; echo up; while :; do sleep 1; done").await;
    world.until_logs(&id, "up").await;
    let (client, url) = (world.client.clone(), world.url(""));
    let shutdown = tokio::spawn(world.runtime.shutdown());
    eventually("not ready", async || {
        let ready = reply(client.get(format!("{url}/api/ready"))).await;
        if ready.status == 503 && ready.body["code"] == "SHUTTING_DOWN" { Ok(()) } else { Err(ready.status) }
    })
    .await;
    let health = reply(client.get(format!("{url}/api/health"))).await;
    assert_eq!((health.status, &health.body["healthy"]), (200, &json!(false)));
    shutdown.await.unwrap();
}

#[tokio::test]
async fn keys_reach_the_program_as_a_terminal_sends_them() {
    let world = World::new().await;
    // `cat -v` shows control characters by name, once the terminal hands them on as they are.
    let id = world.script("stty raw -echo; echo up; cat -v").await;
    world.until_logs(&id, "up").await;
    let url = format!("/api/agents/{id}/keys");
    let sent = world.post(&url, &json!({ "keys": ["up", "ctrl", "a", "shift+tab", "esc", "f5", "hello", "alt+x", "Return"] })).await;
    assert_eq!((sent.status, &sent.body), (200, &json!({ "sent": true })));
    world.until_logs(&id, "^[[A^A^[[Z^[^[[15~hello^[x^M").await;

    let id_of_application = world.script("stty raw -echo; printf '\\033[?1hup'; cat -v").await;
    world.until_logs(&id_of_application, "up").await;
    world.post(&format!("/api/agents/{id_of_application}/keys"), &json!({ "keys": ["up", "shift+up"] })).await;
    world.until_logs(&id_of_application, "^[OA^[[1;2A").await;

    for keys in [json!([]), json!(["ctrl"]), json!(5), json!(vec!["a"; 257]), json!("x".repeat(17 * 1024))] {
        let refused = world.post(&url, &json!({ "keys": keys })).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")), "{}", refused.body);
    }
    world.delete(&format!("/api/agents/{id}?force=true")).await;
    let late = world.post(&url, &json!({ "keys": "enter" })).await;
    assert_eq!((late.status, late.body["code"].as_str()), (409, Some("AGENT_STOPPED")));
}

#[tokio::test]
async fn each_log_line_has_the_time_at_which_it_came() {
    let world = World::new().await;
    let id = world.script("printf 'one'; read line; printf ' more\\r\\n\\033]0;ti\\ntle\\007two\\r\\nthree'; read line").await;
    world.until_logs(&id, "one").await;
    world.post(&format!("/api/agents/{id}/keys"), &json!({ "keys": "enter" })).await;
    world.until_logs(&id, "three").await;
    let path = format!("/api/agents/{id}/logs?format=json");
    let logs = world.get(&path).await.body;
    let entries = logs["entries"].as_array().unwrap();
    assert_eq!((logs["count"].as_u64(), &entries[0]["level"]), (Some(entries.len() as u64), &json!("info")));
    let line = |text: &str| entries.iter().find(|entry| entry["message"].as_str().unwrap().contains(text)).unwrap();
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(line(text)["timestamp"].as_str().unwrap()).unwrap();
    assert!(time("one") <= time("two") && time("two") <= time("three"), "{logs}");
    let started = world.get(&format!("/api/agents/{id}")).await.body["startedAt"].clone();
    assert!(time("one") >= chrono::DateTime::parse_from_rfc3339(started.as_str().unwrap()).unwrap());
    assert_eq!(world.get(&format!("{path}&tail=1")).await.body["entries"][0]["message"], "three");
    assert_eq!(world.get(&format!("/api/agents/{id}/logs?format=xml")).await.status, 400);
}

#[tokio::test]
async fn agents_are_listed_by_status_type_and_role() {
    let world = World::new().await;
    let gone = world.script("exit 0").await;
    world.until_status(&gone, "stopped").await;
    let mut body = scripted("sleep 1000");
    body["config"]["role"] = json!("reviewer");
    body["config"]["reportsTo"] = json!("boss");
    body["config"]["executionId"] = json!("exec-1");
    let reviewer = world.spawn(&body).await;
    let shell = world.spawn(&json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    world.until_status(&shell, "ready").await;
    world.until_status(&reviewer, "ready").await;

    let ids = async |query: &str| {
        let list = world.get(&format!("/api/agents{query}")).await.body;
        assert_eq!(list["count"], list["agents"].as_array().unwrap().len());
        let ids: Vec<_> = list["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap()).collect();
        ids.join(" ")
    };
    assert_eq!(ids("?status=stopped").await, gone);
    assert_eq!(ids("?role=reviewer").await, reviewer);
    assert_eq!(ids("?type=echo").await, shell);
    assert_eq!(ids("?type=echo&type=custom&status=ready").await, format!("{reviewer} {shell}"));
    assert_eq!(ids("?type=claude-code").await, "");
    let handle = world.get(&format!("/agents/{reviewer}")).await.body;
    assert_eq!((&handle["role"], &handle["reportsTo"], &handle["executionId"]), (&json!("reviewer"), &json!("boss"), &json!("exec-1")));
}

#[tokio::test]
async fn a_restart_keeps_the_id_and_the_order_and_shows_no_secret() {
    let world = World::new().await;
    let mut body = scripted("echo \"$SECRET in $PARALLAX_EXECUTION_ID\"; cat notes/plan.md; read line");
    body["id"] = json!("again");
    body["name"] = json!("phoenix");
    body["config"]["env"] = json!({ "SECRET": "hunter2" });
    body["config"]["executionId"] = json!("exec-7");
    body["config"]["contextFiles"] = json!([{ "path": "notes/plan.md", "content": "the plan\n" }]);
    let id = world.spawn(&body).await;
    world.until_logs(&id, "hunter2 in exec-7\nthe plan").await;
    let before = world.get("/api/agents/again").await.body;
    let restarted = world.post("/api/agents/again/restart?force=1", &json!({})).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!((&restarted.body["id"], &restarted.body["name"]), (&json!("again"), &json!("phoenix")));
    assert_ne!(restarted.body["pid"], before["pid"]);
    assert_ne!(restarted.body["runtimeSessionId"], before["runtimeSessionId"]);
    assert!(!restarted.body.to_string().contains("hunter2"));
    world.until_logs(&id, "hunter2 in exec-7\nthe plan").await;
    assert_eq!(world.get("/api/agents").await.body["count"], 1);
    assert_eq!(world.post("/api/agents/nobody/restart", &json!({})).await.status, 404);
}

#[tokio::test]
async fn the_resources_of_an_execution_go_and_no_others() {
    let world = World::new().await;
    let mut mine = scripted("sleep 1000");
    mine["config"]["executionId"] = json!("exec-1");
    let (first, second) = (world.spawn(&mine).await, world.spawn(&mine).await);
    let other = world.script("sleep 1000").await;
    let delete = |workspace: &'static str| {
        let url = world.url("/api/executions/exec-1/resources");
        reply(world.client.delete(url).header("x-workspace-id", workspace))
    };
    assert_eq!(delete("w2").await.status, 204);
    assert_eq!(world.get("/api/agents").await.body["count"], 3, "another workspace's execution of that name");
    assert_eq!(delete("w1").await.status, 204);
    for id in [first, second] {
        assert_eq!(world.get(&format!("/api/agents/{id}")).await.status, 404);
    }
    assert_eq!(world.get(&format!("/api/agents/{other}")).await.status, 200);
    for id in ["..%2f..%2fetc", ".hidden", "%00", "a%20b"] {
        assert_eq!(world.delete(&format!("/executions/{id}/resources")).await.status, 400, "{id}");
    }
}

#[tokio::test]
async fn context_files_stay_in_the_agents_folder() {
    let world = World::new().await;
    let root = world.root.path();
    fs::create_dir(root.join("outside")).unwrap();
    fs::create_dir(root.join("work")).unwrap();
    std::os::unix::fs::symlink(root.join("outside"), root.join("work/link")).unwrap();
    let with = |path: &str| {
        let mut body = scripted("cat .mcp.json; read line");
        body["config"]["workdir"] = json!("work");
        body["config"]["contextFiles"] = json!([{ "path": path, "content": "{\"mcp\":1}" }]);
        body
    };
    for path in ["/etc/x", "../x", "a/../../x", "", "link/x", "a/", "nul\u{0}"] {
        let refused = world.post("/api/spawn", &with(path)).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")), "{path:?} {}", refused.body);
    }
    assert!(fs::read_dir(root.join("outside")).unwrap().next().is_none());
    let id = world.spawn(&with(".mcp.json")).await;
    world.until_logs(&id, "{\"mcp\":1}").await;
    let repository = json!({ "name": "a", "type": "echo", "repoUrl": "https://example.com/r.git" });
    let refused = world.post("/api/agents", &repository).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")));
    assert!(refused.body["error"].as_str().unwrap().contains("repoUrl"));
}

#[tokio::test]
async fn the_document_of_the_routes_names_no_other_ones() {
    let world = World::new().await;
    let document = include_str!("../../../../docs/runtime.md");
    let mut named = 0;
    for line in document.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((method, rest)) = line.split_once(' ').filter(|(method, _)| ["GET", "POST", "DELETE"].contains(method)) else {
            continue;
        };
        let path = rest.split(['`', '?']).next().unwrap().replace(":id", "x");
        for prefix in if path.starts_with("/ws") || path == "/" { &[""][..] } else { &["", "/api"][..] } {
            let url = world.url(&format!("{prefix}{path}"));
            let answer = reply(world.client.request(method.parse().unwrap(), url)).await;
            assert!(!["NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&answer.body["code"].as_str().unwrap_or_default()), "{line}");
        }
        named += 1;
    }
    assert!(named > 20, "{named}");
}

/// Reads server-sent events.
struct Events {
    response: reqwest::Response,
    pending: String,
}

impl Events {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Self {
        let mut request = world.client.get(world.url(path)).header("x-workspace-id", "w1");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        Self { response, pending: String::new() }
    }

    /// The next event's data; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.pending.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap());
                self.pending = rest.to_owned();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let bytes = tokio::time::timeout(SOON, self.response.chunk()).await.expect("nothing came").unwrap()?;
            // An event never ends inside of a code point, and neither does what the server sends at once.
            self.pending.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn rest(&mut self) -> String {
        let mut content = String::new();
        while let Some(event) = self.next().await {
            assert_eq!(event["type"], "output");
            content.push_str(event["content"].as_str().unwrap());
        }
        content
    }
}

#[tokio::test]
async fn the_stream_gives_output_as_it_comes_and_ends_with_the_agent() {
    let world = World::new().await;
    let id = world.script("stty -echo; printf 'caf\\303'; read line; printf '\\251 \\360\\237\\230\\200 done'; read line").await;
    world.until_logs(&id, "caf").await;
    let path = format!("/agents/{id}/stream");
    let mut events = Events::open(&world, &format!("/api{path}?replay=1"), None).await;
    let first = events.next().await.unwrap();
    assert_eq!((&first["content"], &first["type"], &first["id"]), (&json!("caf"), &json!("output"), &json!("3")));
    assert!(first["timestamp"].is_string());
    world.post(&format!("/agents/{id}/keys"), &json!({ "keys": "enter" })).await;
    world.until_logs(&id, "done").await;
    // Whoever comes back with the last id gets the whole of the code point that was cut.
    let mut again = Events::open(&world, &path, Some("3")).await;
    let second = again.next().await.unwrap();
    assert!(second["content"].as_str().unwrap().starts_with('é'), "{second}");
    world.delete(&format!("/agents/{id}?force=1")).await;
    assert!(events.rest().await.contains("é \u{1f600} done"));
    let url = world.url(&format!("{path}?since=99999999"));
    assert_eq!(reply(world.client.get(&url)).await.status, 200, "an offset of another agent starts anew");
    assert_eq!(world.get(&path).await.status, 204, "nothing will ever follow");
    assert_eq!(reply(world.client.get(&url).header("last-event-id", "x")).await.status, 400);
    assert_eq!(reply(world.client.get(&url).header("x-workspace-id", "w2")).await.status, 403);
}

#[tokio::test]
async fn a_stream_that_fell_behind_says_what_it_skipped() {
    let world = World::new().await;
    let id = world.script("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo END; read line").await;
    world.until_logs(&id, "END").await;
    let mut events = Events::open(&world, &format!("/agents/{id}/stream?since=5"), None).await;
    let skipped = events.next().await.unwrap();
    assert_eq!(skipped["type"], "skipped");
    let start: u64 = skipped["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(skipped["content"], format!("{} bytes were not read in time", start - 5));
    assert_eq!(events.next().await.unwrap()["type"], "output");
}
