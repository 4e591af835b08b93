use std::fs;

use serde_json::{Value, json};

use crate::world::{Viewer, World, eventually, reply};

/// A thread whose agent is a shell.
fn thread() -> Value {
    json!({
        "executionId": "exec-1",
        "agentType": "echo",
        "name": "worker",
        "objective": "echo \"I am on $PARALLAX_THREAD_ID for $PARALLAX_EXECUTION_ID with $PARALLAX_THREAD_MEMORY_FILE\"",
        "role": "engineer",
        "workspace": { "path": "repo", "branch": "main" },
        "contextFiles": [{ "path": "notes/MEMORY.md", "content": "remember" }],
        "metadata": { "ticket": 7 },
    })
}

async fn until_thread_event(events: &mut Viewer, kind: &str) -> Value {
    loop {
        let frame = events.until_event("thread_event").await;
        if frame["data"]["event"]["type"] == kind {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_thread_works_on_its_objective_and_tells_of_it_in_order() {
    let world = World::new().await;
    let mut events = world.events("").await;
    let created = world.post("/api/threads", &thread()).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let (id, agent_id) = (created.body["id"].as_str().unwrap(), created.body["agentId"].as_str().unwrap());
    for member in ["executionId", "objective", "role", "workspace", "metadata", "agentType"] {
        assert_eq!(created.body[member], thread()[member], "{member}");
    }
    assert_eq!(created.body["runtimeName"], "local");

    let mut told = Vec::new();
    let turn = loop {
        let frame = events.until_event("thread_event").await;
        let event = &frame["data"]["event"];
        assert_eq!((&event["threadId"], &event["executionId"], &frame["data"]["thread"]["id"]), (&json!(id), &json!("exec-1"), &json!(id)));
        told.push(event["type"].as_str().unwrap().to_owned());
        if event["type"] == "thread_turn_complete" {
            break frame;
        }
    };
    assert_eq!(turn["data"]["thread"]["status"], "ready");
    assert_eq!(told[..2], ["thread_started", "thread_ready"], "{told:?}");
    assert!(told.contains(&"thread_output".to_owned()));
    world.until_logs(agent_id, &format!("I am on {id} for exec-1 with notes/MEMORY.md")).await;
    assert_eq!(fs::read_to_string(world.root.path().join("repo/notes/MEMORY.md")).unwrap(), "remember");
    assert_eq!(world.get(&format!("/api/agents/{agent_id}")).await.body["threadId"], id);

    for input in [json!({ "message": "echo by message" }), json!({ "raw": "echo by raw\r" }), json!({ "keys": ["echo by keys", "enter"] })]
    {
        let sent = world.post(&format!("/api/threads/{id}/send"), &input).await;
        assert_eq!(sent.status, 200, "{}", sent.body);
    }
    for line in ["\nby message", "\nby raw", "\nby keys"] {
        world.until_logs(agent_id, line).await;
    }
    for input in [json!({}), json!({ "message": "a", "raw": "b" }), json!({ "raw": "" }), json!({ "keys": [] })] {
        assert_eq!(world.post(&format!("/api/threads/{id}/send"), &input).await.status, 400, "{input}");
    }

    assert_eq!(world.delete(&format!("/api/threads/{id}")).await.status, 204);
    let stopped = until_thread_event(&mut events, "thread_stopped").await;
    assert_eq!((&stopped["data"]["thread"]["status"], &stopped["data"]["event"]["data"]["reason"]), (&json!("stopped"), &json!("stopped")));
    assert_eq!(world.get(&format!("/threads/{id}")).await.body["status"], "stopped");
    assert_eq!(world.delete(&format!("/threads/{id}")).await.status, 204);
    let late = world.post(&format!("/threads/{id}/send"), &json!({ "message": "hi" })).await;
    assert_eq!((late.status, late.body["code"].as_str()), (409, Some("AGENT_STOPPED")));
}

#[tokio::test]
async fn a_thread_that_is_ended_while_it_starts_does_not_go_on() {
    let world = World::new().await;
    for path in ["/api/threads/early", "/api/executions/exec-1/resources"] {
        let mut body = thread();
        body["id"] = json!("early");
        let ending = async {
            eventually("the thread", async || {
                let status = world.get("/api/threads/early").await.status;
                if status == 200 { Ok(()) } else { Err(status) }
            })
            .await;
            world.delete(path).await.status
        };
        let (_started, ended) = tokio::join!(world.post("/api/threads", &body), ending);
        assert_eq!(ended, 204, "{path}");
        eventually("no living agent", async || {
            let live = world.get("/api/health").await.body["activeAgents"].clone();
            if live == 0 { Ok(()) } else { Err(live) }
        })
        .await;
    }
}

#[tokio::test]
async fn the_end_of_the_agent_is_the_end_of_its_thread() {
    let world = World::new().await;
    let mut body = thread();
    body["objective"] = json!("echo last words; exit 3");
    body["id"] = json!("t-1");
    let mut events = world.events("?threadId=t-1").await;
    assert_eq!(events.greeting["filter"], json!({ "threadId": "t-1" }));
    assert_eq!(world.post("/api/threads", &body).await.status, 201);
    let output = until_thread_event(&mut events, "thread_output").await;
    let mut shown = output["data"]["event"]["data"]["output"].as_str().unwrap().to_owned();
    let stopped = loop {
        let frame = events.until_event("thread_event").await;
        match frame["data"]["event"]["type"].as_str().unwrap() {
            "thread_output" => shown.push_str(frame["data"]["event"]["data"]["output"].as_str().unwrap()),
            "thread_stopped" => break frame,
            other => assert!(["thread_ready", "thread_started"].contains(&other), "{other}"),
        }
    };
    assert!(shown.contains("last words"), "{shown}");
    assert_eq!((&stopped["data"]["event"]["data"]["exitCode"], &stopped["data"]["thread"]["status"]), (&json!(3), &json!("stopped")));
    assert_eq!(world.post("/api/threads", &body).await.status, 201, "an ended thread's id is free again");
    assert_eq!(world.post("/api/threads", &body).await.body["code"], "THREAD_EXISTS");
}

#[tokio::test]
async fn a_thread_that_cannot_start_is_listed_as_failed() {
    let world = World::with(|config| config.inherited_env = vec![("PATH".into(), "/nonexistent".into())]).await;
    let mut events = world.events("").await;
    let mut body = thread();
    body["id"] = json!("t-1");
    let refused = world.post("/api/threads", &body).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (422, Some("CLI_NOT_FOUND")));
    let failed = until_thread_event(&mut events, "thread_failed").await;
    assert_eq!(
        (&failed["data"]["thread"]["status"], &failed["data"]["event"]["data"]["code"]),
        (&json!("failed"), &json!("CLI_NOT_FOUND"))
    );
    assert_eq!(world.get("/api/threads?status=failed").await.body["threads"][0]["id"], "t-1");
}

#[tokio::test]
async fn threads_are_checked_filtered_and_scoped() {
    let world = World::new().await;
    for member in ["executionId", "agentType", "name", "objective"] {
        let mut body = thread();
        body.as_object_mut().unwrap().remove(member);
        let refused = world.post("/api/threads", &body).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")), "{member}");
        assert!(refused.body["error"].as_str().unwrap().contains(member), "{}", refused.body);
    }
    for (member, value) in [
        ("executionId", json!("../../etc")),
        ("objective", json!(" ")),
        ("objective", json!("x".repeat(17 * 1024))),
        ("workspace", json!({ "path": "/etc" })),
        ("workspace", json!({ "path": 5 })),
        ("metadata", json!({ "much": "x".repeat(9 * 1024) })),
        ("contextFiles", json!([{ "path": "../x", "content": "" }])),
    ] {
        let mut body = thread();
        body[member] = value;
        assert_eq!(world.post("/api/threads", &body).await.status, 400, "{member}");
    }

    let create = async |workspace: &'static str, body: Value| {
        let created = reply(world.client.post(world.url("/threads")).header("x-workspace-id", workspace).json(&body)).await;
        assert_eq!(created.status, 201, "{}", created.body);
        created.body["id"].as_str().unwrap().to_owned()
    };
    let mine = create("w1", thread()).await;
    let mut other = thread();
    other["executionId"] = json!("exec-2");
    other["role"] = json!("reviewer");
    let hers = create("w2", other).await;
    let ids = async |workspace: Option<&'static str>, query: &str| {
        let mut request = world.client.get(world.url(&format!("/api/threads{query}")));
        if let Some(workspace) = workspace {
            request = request.header("x-workspace-id", workspace);
        }
        let list = reply(request).await.body;
        let ids: Vec<_> = list["threads"].as_array().unwrap().iter().map(|thread| thread["id"].as_str().unwrap()).collect();
        ids.join(" ")
    };
    assert_eq!(ids(None, "").await.split(' ').count(), 2 + 1, "with the one whose workspace lay outside");
    assert_eq!(ids(Some("w1"), "").await, mine);
    assert_eq!(ids(None, "?executionId=exec-2").await, hers);
    assert_eq!(ids(None, "?role=reviewer&agentType=echo").await, hers);
    assert_eq!(ids(Some("w1"), "?role=reviewer").await, "");
    for path in [format!("/api/threads/{hers}"), format!("/api/threads/{hers}/send")] {
        let method = if path.ends_with("send") { reqwest::Method::POST } else { reqwest::Method::GET };
        let request = world.client.request(method, world.url(&path)).header("x-workspace-id", "w1").json(&json!({ "message": "hi" }));
        assert_eq!(reply(request).await.status, 403, "{path}");
    }
    assert_eq!(world.get("/api/threads/nothing").await.body["code"], "THREAD_NOT_FOUND");

    assert_eq!(world.delete("/api/executions/exec-2/resources").await.status, 204);
    assert_eq!(world.get(&format!("/api/threads/{hers}")).await.status, 404);
    eventually("one agent", async || {
        let count = world.get("/api/agents").await.body["count"].clone();
        if count == 1 { Ok(()) } else { Err(count) }
    })
    .await;
}

#[tokio::test]
async fn a_listener_on_one_thread_hears_of_no_other() {
    let world = World::new().await;
    let (mut first, mut second) = (thread(), thread());
    first["id"] = json!("t-1");
    second["id"] = json!("t-2");
    assert_eq!(world.post("/api/threads", &first).await.status, 201);
    assert_eq!(world.post("/api/threads", &second).await.status, 201);
    let mut events = world.events("?threadId=t-2&since=0").await;
    let frame = events.event().await;
    assert_eq!((&frame["event"], &frame["data"]["agent"]["threadId"]), (&json!("agent_started"), &json!("t-2")));
    let frame = until_thread_event(&mut events, "thread_started").await;
    assert_eq!(frame["data"]["thread"]["id"], "t-2");
}

#[tokio::test]
async fn a_shutdown_tells_of_the_end_of_threads() {
    let world = World::new().await;
    let mut events = world.events("").await;
    assert_eq!(world.post("/api/threads", &thread()).await.status, 201);
    until_thread_event(&mut events, "thread_ready").await;
    world.runtime.shutdown().await;
    let stopped = until_thread_event(&mut events, "thread_stopped").await;
    assert_eq!(stopped["data"]["event"]["data"]["reason"], "runtime shutdown");
    assert_eq!(events.read_to_end().await, Some(1001));
}
