//! The general socket `/ws`.

use serde_json::{Value, json};

use crate::world::{Viewer, World, scripted};

#[tokio::test]
async fn a_message_can_be_sent_and_each_command_is_answered() {
    let world = World::new().await;
    let id = world.script("read line; echo got $line; read line").await;
    world.until_status(&id, "ready").await;
    for path in ["/ws", "/"] {
        let mut socket = Viewer::open(world.socket(path)).await;
        assert_eq!(socket.greeting["type"], "connected");
        socket.send(r#"{"type":"ping"}"#.into()).await;
        assert_eq!(socket.event().await["type"], "pong");
    }
    let mut socket = Viewer::open(world.socket("/ws")).await;
    let command = json!({ "type": "send", "agentId": id, "message": "hello" });
    socket.send(command.to_string().into()).await;
    let answer = answered(&mut socket).await;
    assert_eq!((&answer["type"], &answer["agentId"]), (&json!("sent"), &json!(id)));
    world.until_logs(&id, "got hello").await;
    for (command, code) in [
        (json!({ "type": "send", "agentId": "nobody", "message": "hi" }).to_string(), "AGENT_NOT_FOUND"),
        (json!({ "type": "send", "agentId": id, "message": "" }).to_string(), "INVALID_REQUEST"),
        (json!({ "type": "send", "agentId": id }).to_string(), "INVALID_REQUEST"),
        (json!({ "type": "resize", "cols": 1, "rows": 1 }).to_string(), "INVALID_REQUEST"),
        ("[]".into(), "INVALID_REQUEST"),
        ("{".into(), "INVALID_REQUEST"),
    ] {
        socket.send(command.clone().into()).await;
        let answer = answered(&mut socket).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{command}");
    }
}

/// The answer to a command, between the events.
async fn answered(socket: &mut Viewer) -> Value {
    loop {
        let frame = socket.event().await;
        if frame["event"].is_null() {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_workspace_reaches_its_own_agents_only() {
    let world = World::new().await;
    let id = world.script("read line; echo got $line").await;
    world.until_status(&id, "ready").await;
    let mut socket = Viewer::open(world.socket("/ws").with_header("x-workspace-id", "w2")).await;
    socket.send(json!({ "type": "send", "agentId": id, "message": "hello" }).to_string().into()).await;
    let answer = socket.event().await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("FORBIDDEN")));
    let mut hers = scripted("exit 0");
    hers["workspaceId"] = json!("w2");
    let theirs = world.spawn(&hers).await;
    assert_eq!(socket.event().await["data"]["agent"]["id"], *theirs);
}

#[tokio::test]
async fn a_listener_of_one_agent_hears_the_short_names_too() {
    let world = World::new().await;
    let id = world.script("read line; exit 0").await;
    world.until_status(&id, "ready").await;
    let mut one = Viewer::open(world.socket(&format!("/ws?agentId={id}&since=0"))).await;
    let mut all = Viewer::open(world.socket("/ws?since=0")).await;
    world.post(&format!("/agents/{id}/send"), &json!({ "message": "go" })).await;
    let names = async |socket: &mut Viewer, last: &str| {
        let mut names: Vec<Value> = Vec::new();
        while names.last().is_none_or(|name| name != last) {
            let frame = socket.event().await;
            let of = if frame["event"] == "message" { &frame["data"]["message"]["agentId"] } else { &frame["data"]["agent"]["id"] };
            assert_eq!(*of, *id);
            names.push(frame["event"].clone());
        }
        names
    };
    assert_eq!(names(&mut one, "stopped").await, ["agent_started", "agent_ready", "ready", "message", "agent_stopped", "stopped"]);
    assert_eq!(names(&mut all, "agent_stopped").await, ["agent_started", "agent_ready", "message", "agent_stopped"]);
}
