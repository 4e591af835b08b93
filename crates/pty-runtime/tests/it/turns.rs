use serde_json::json;

use crate::world::World;

/// Answers each line with the same word twice, after a moment.
const PARROT: &str = r#"while read -r line; do sleep 0.2; echo "$line $line"; done"#;

#[tokio::test]
async fn whoever_asks_gets_the_text_of_the_own_turn() {
    let world = World::new().await;
    let id = world.script(PARROT).await;
    let send = format!("/api/agents/{id}/send");
    let (one, two) = (json!({ "message": "one", "expectResponse": true }), json!({ "message": "two", "expectResponse": true }));
    let (one, two) = tokio::join!(world.post(&send, &one), world.post(&send, &two));
    for (reply, text) in [(one, "one one"), (two, "two two")] {
        let response = &reply.body["response"];
        assert_eq!((reply.status, &response["content"], &response["direction"]), (200, &json!(text), &json!("outbound")), "{}", reply.body);
        assert_eq!((&response["agentId"], &response["type"]), (&json!(id), &json!("response")));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout_and_the_next_one_is_not_taken_for_it() {
    let world = World::new().await;
    let id = world.script(r#"read -r line; while :; do echo tick; sleep 0.3; read -r -t 0.01 stop && break; done; echo over; read -r line; echo "got $line"; read -r line"#).await;
    world.until_status(&id, "ready").await;
    let send = format!("/api/agents/{id}/send");
    let late = world.post(&send, &json!({ "message": "start", "expectResponse": true, "timeout": 700 })).await;
    assert_eq!((late.status, &late.body["code"]), (504, &json!("TIMEOUT")), "{}", late.body);
    assert_eq!(world.get(&format!("/api/agents/{id}")).await.body["status"], "busy");
    assert_eq!(world.post(&send, &json!({ "message": "stop" })).await.body, json!({ "sent": true }));
    let next = world.post(&send, &json!({ "message": "hello", "expectResponse": true })).await;
    assert_eq!((next.status, &next.body["response"]["content"]), (200, &json!("got hello")), "{}", next.body);
}

#[tokio::test]
async fn both_directions_are_told_as_messages() {
    let world = World::new().await;
    let id = world.script(PARROT).await;
    let mut events = world.events("").await;
    let mut general = crate::world::Viewer::open(world.socket("/ws")).await;
    world.until_status(&id, "ready").await;
    world.post(&format!("/agents/{id}/send"), &json!({ "message": "hi" })).await;
    for socket in [&mut events, &mut general] {
        let inbound = socket.until_event("message").await["data"]["message"].clone();
        assert_eq!(
            (&inbound["id"], &inbound["direction"], &inbound["content"]),
            (&json!(format!("{id}-msg-1")), &json!("inbound"), &json!("hi"))
        );
        assert_eq!((&inbound["type"], &inbound["agentId"]), (&json!("task"), &json!(id)));
        let outbound = socket.until_event("message").await["data"]["message"].clone();
        assert_eq!((&outbound["id"], &outbound["content"]), (&json!(format!("{id}-msg-2")), &json!("hi hi")));
    }
}

#[tokio::test]
async fn an_agent_that_ends_answers_nobody_and_bad_waits_are_refused() {
    let world = World::new().await;
    let id = world.script("read -r line; exit 0").await;
    let send = format!("/api/agents/{id}/send");
    for timeout in [json!(0), json!(600_001), json!(-1), json!("5")] {
        let reply = world.post(&send, &json!({ "message": "x", "expectResponse": true, "timeout": timeout })).await;
        assert_eq!((reply.status, &reply.body["code"]), (400, &json!("INVALID_REQUEST")), "{timeout}");
    }
    let ended = world.post(&send, &json!({ "message": "x", "expectResponse": true })).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("AGENT_STOPPED")), "{}", ended.body);
}
