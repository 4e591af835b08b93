//! Agents that speak in lines of JSON instead of on a terminal.

use serde_json::{Value, json};

use crate::world::{Viewer, World, scripted};

fn structured(script: &str) -> Value {
    let mut request = scripted(script);
    request["config"]["mode"] = json!("structured");
    request
}

async fn messages_until_the_end(events: &mut Viewer) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let event = events.event().await;
        match event["event"].as_str() {
            Some("message") => messages.push(event["data"]["message"].clone()),
            Some("agent_stopped") => return messages,
            _ => {}
        }
    }
}

#[tokio::test]
async fn every_line_of_json_is_a_message_and_the_rest_is_output() {
    let world = World::new().await;
    let mut events = world.events("").await;
    let script = r#"[ -t 0 ] && echo terminal; echo '{"type":"hello"}'; echo oops >&2; echo plain; echo '{"not":'
        while read -r line; do echo "{\"echo\":$line}"; done; printf '{"type":"bye"}'"#;
    let id = world.spawn(&structured(script)).await;
    world.until_status(&id, "ready").await;
    let path = |what: &str| format!("/api/agents/{id}/{what}");
    for (message, status) in [(r#"{"a":1}"#, 200), ("[\"raw\"]\n", 200), ("two\nlines", 400), (" ", 400)] {
        assert_eq!(world.post(&path("send"), &json!({ "message": message })).await.status, status, "{message}");
    }
    assert_eq!(world.post(&path("input/end"), &json!({})).await.status, 204);
    let messages = messages_until_the_end(&mut events).await;
    let said: Vec<_> = messages.iter().map(|message| message["metadata"].clone()).collect();
    let echo = |value: Value| json!({ "echo": value });
    assert_eq!(said, [json!({ "type": "hello" }), echo(json!({ "a": 1 })), echo(json!(["raw"])), json!({ "type": "bye" })]);
    let first = &messages[0];
    assert_eq!((&first["agentId"], &first["direction"], &first["type"]), (&json!(id), &json!("outbound"), &json!("response")));
    assert_eq!(first["content"], r#"{"type":"hello"}"#);
    assert_ne!(first["id"], messages[1]["id"]);

    let output = world.get(&path("output")).await.body["output"].as_str().unwrap().to_owned();
    assert!(output.contains("stderr: oops\n") && output.contains("plain\n") && !output.contains("terminal"), "{output:?}");
    assert_eq!(world.get(&format!("/api/agents/{id}")).await.body["exitCode"], 0);
    let late = world.post(&path("input/end"), &json!({})).await;
    assert_eq!((late.status, late.body["code"].as_str()), (409, Some("AGENT_STOPPED")));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_output_in_marked_pieces() {
    let world = World::new().await;
    let mut events = world.events("").await;
    // The rest of the long line would be JSON by itself.
    let script = r#"head -c 1048512 /dev/zero | tr '\0' ' '; echo '{"fake":1}'; echo '{"real":1}'"#;
    let id = world.spawn(&structured(script)).await;
    let messages = messages_until_the_end(&mut events).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["metadata"], json!({ "real": 1 }));
    let output = world.get(&format!("/api/agents/{id}/output")).await.body["output"].as_str().unwrap().to_owned();
    assert!(output.contains("stdout: {\"fake\":1}\n"), "{}", &output[output.len() - 100..]);
}

#[tokio::test]
async fn only_structured_input_has_an_end() {
    let world = World::new().await;
    let id = world.script("sleep 1000").await;
    let refused = world.post(&format!("/agents/{id}/input/end"), &json!({})).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")));
    let quiet = world.spawn(&structured("read -r line; echo \"$line\"")).await;
    let mut viewer = world.negotiated(&quiet, "").await;
    viewer.send(tokio_tungstenite::tungstenite::Message::text(r#"{"type":"resize","cols":100,"rows":30}"#)).await;
    viewer.send(tokio_tungstenite::tungstenite::Message::binary("typed\n")).await;
    viewer.until("typed").await;
    assert_eq!(viewer.read_to_end().await, Some(4410));
}

#[tokio::test]
async fn what_comes_after_the_end_of_the_input_is_refused() {
    let world = World::new().await;
    let id = world.spawn(&structured("while read -r line; do :; done; echo over; sleep 1000")).await;
    let path = |what: &str| format!("/api/agents/{id}/{what}");
    assert_eq!(world.post(&path("input/end"), &json!({})).await.status, 204);
    world.until_logs(&id, "over").await;
    for (what, body) in [("send", json!({ "message": r#"{"late":1}"# })), ("input/end", json!({}))] {
        let late = world.post(&path(what), &body).await;
        assert_eq!((late.status, late.body["code"].as_str()), (409, Some("INPUT_ENDED")), "{what}");
    }
}
