use serde_json::json;

use crate::world::{World, reply, scripted};

#[tokio::test]
async fn a_life_is_told_in_order_and_its_end_once_with_the_exit_code() {
    let world = World::new().await;
    let mut events = world.events("").await;
    assert_eq!(events.greeting["type"], "connected");
    let id = world.script("echo hello; read line; echo command not found; exit 3").await;
    let started = events.event().await;
    assert_eq!((&started["event"], &started["seq"], &started["workspaceId"]), (&json!("agent_started"), &json!(1), &json!("w1")));
    assert_eq!(started["bootId"], events.greeting["bootId"]);
    assert_eq!(started["runtimeSessionId"], started["data"]["agent"]["runtimeSessionId"]);
    let ready = events.event().await;
    assert_eq!((&ready["event"], &ready["data"]["agent"]["status"]), (&json!("agent_ready"), &json!("ready")));
    world.post(&format!("/api/agents/{id}/send"), &json!({ "message": "go" })).await;
    let message = events.event().await;
    assert_eq!((&message["event"], &message["data"]["message"]["direction"]), (&json!("message"), &json!("inbound")));
    assert_eq!((&message["data"]["message"]["id"], &message["data"]["message"]["content"]), (&json!(format!("{id}-msg-1")), &json!("go")));
    let stopped = events.event().await;
    assert_eq!(stopped["event"], "agent_stopped");
    assert_eq!(stopped["data"]["reason"], "exit code 3");
    assert_eq!((&stopped["data"]["exitCode"], &stopped["data"]["signal"]), (&json!(3), &json!(null)));
    assert_eq!(stopped["data"]["agent"]["exitCode"], 3);

    // Whatever comes next belongs to another agent: nothing of the first one is repeated.
    world.delete(&format!("/api/agents/{id}")).await;
    let killed = world.script("trap '' TERM; echo up; while :; do sleep 1; done").await;
    assert_eq!(events.event().await["data"]["agent"]["id"], *killed);
    world.until_logs(&killed, "up").await;
    world.delete(&format!("/api/agents/{killed}?timeout=50")).await;
    let stopped = events.until_event("agent_stopped").await;
    assert_eq!((&stopped["data"]["reason"], &stopped["data"]["signal"]), (&json!("stopped"), &json!("SIGKILL")));
}

#[tokio::test]
async fn started_is_recorded_before_the_spawn_is_answered() {
    let world = World::new().await;
    let id = world.script("sleep 1000").await;
    let mut events = world.events("?since=0").await;
    let first = events.event().await;
    assert_eq!((&first["event"], &first["data"]["agent"]["id"]), (&json!("agent_started"), &json!(id)));
}

#[tokio::test]
async fn a_listener_that_comes_back_misses_nothing() {
    let world = World::new().await;
    let mut events = world.events("").await;
    world.script("exit 0").await;
    let seen = events.until_event("agent_started").await["seq"].as_u64().unwrap();
    drop(events);
    world.script("exit 1").await;
    let mut back = world.events(&format!("?since={seen}")).await;
    assert_eq!(back.greeting["seq"], seen);
    let mut stops = 0;
    for expected in seen + 1.. {
        let event = back.event().await;
        assert_eq!(event["seq"], expected);
        stops += u32::from(event["event"] == "agent_stopped");
        if stops == 2 {
            break;
        }
    }
    // A number that this boot never gave is one of an earlier boot: all is told again.
    assert_eq!(world.events("?since=100000").await.greeting["seq"], 0);
}

#[tokio::test]
async fn a_listener_hears_of_its_workspace_and_agent_only() {
    let world = World::new().await;
    let mut hers = world.events("?workspaceId=w2").await;
    let mut other = scripted("exit 0");
    world.spawn(&other).await;
    other["workspaceId"] = json!("w2");
    let id = world.spawn(&other).await;
    assert_eq!(hers.event().await["data"]["agent"]["id"], *id);
    let mut one = world.events(&format!("?since=0&agentId={id}")).await;
    assert_eq!(one.greeting["filter"], json!({ "agentId": id }));
    assert_eq!(one.event().await["data"]["agent"]["id"], *id);
    let both = world.client.get(world.url("/ws/events?workspaceId=w1")).header("x-workspace-id", "w2");
    let both = both.header("connection", "upgrade").header("upgrade", "websocket");
    let both = both.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(reply(both).await.status, 403);
}

#[tokio::test]
async fn a_ping_is_answered() {
    let world = World::new().await;
    let mut events = world.events("").await;
    events.send(r#"{"type":"ping"}"#.into()).await;
    assert_eq!(events.event().await["type"], "pong");
}

#[tokio::test]
async fn a_shutdown_ends_agents_says_so_and_closes_sockets() {
    let world = World::new().await;
    let mut events = world.events("").await;
    let id = world.script("trap '' TERM; echo up; while :; do sleep 1; done").await;
    world.until_logs(&id, "up").await;
    let mut terminal = world.negotiated(&id, "").await;
    let started = std::time::Instant::now();
    world.runtime.shutdown().await;
    assert!(started.elapsed().as_secs() < 6);
    let stopped = events.until_event("agent_stopped").await;
    assert_eq!(stopped["data"]["reason"], "runtime shutdown");
    assert_eq!(events.read_to_end().await, Some(1001));
    assert_eq!(terminal.read_to_end().await, Some(4410));
}
