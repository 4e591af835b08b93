use std::fs;

use axum::{Json, Router, routing::post};
use pty_runtime::Adapters;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::world::{SOON, World};

/// A program of an operator's own: it logs in, asks, works and is known by nothing but this file.
const SCOUT: &str = r#"
name = "scout"
aliases = ["scouting"]
commands = ["bash"]
arguments = ["--norc", "--noprofile"]
autonomous_only = ["--anything"]
login_hosts = ["login.example"]
settle_ms = 100
turn_quiet_ms = 1000
prompt_line = '^scout>$'
ready = ['^scout>$']
complete = ['^scout>$']

[environment]
SCOUT_HOME = "here"

[credentials]
openaiKey = { SCOUT_KEY = "{key}" }

[approval]
readonly = ["-c", 'echo "readonly $SCOUT_HOME $SCOUT_KEY $GH_TOKEN $OWN"; read line']
standard = ["-c", 'echo "Log in at"; echo https://login.example/device; echo "with the code ABCD-1234"; read line; clear; echo "scout>"; read line']
permissive = ["-c", 'echo "Trust this folder?"; echo "1. Yes"; read line; clear; echo "trusted $line"; echo "scout>"; read line; echo "Trust this folder?"; read line']

[[login]]
pattern = '^log in at'
method = "device_code"
instructions = "Enter the code."

[[prompt]]
pattern = 'trust this folder\?'
kind = "trust"
answer = ["ye", "s\r"]
"#;

fn scouts() -> (tempfile::TempDir, Adapters) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("scout.toml"), SCOUT).unwrap();
    let adapters = Adapters::with_folder(folder.path()).unwrap();
    (folder, adapters)
}

fn scout(config: &Value) -> Value {
    json!({ "agentType": "scouting", "workspaceId": "w1", "config": config })
}

#[tokio::test]
async fn a_login_is_told_once_with_all_that_it_takes_and_ready_ends_it() {
    let (called_back, mut callbacks) = mpsc::channel(8);
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cb", receiver.local_addr().unwrap());
    let app = Router::new().route("/cb", post(async move |Json(body): Json<Value>| called_back.send(body).await.unwrap()));
    tokio::spawn(async move { axum::serve(receiver, app).await });
    let world = World::with(|config| config.adapters = scouts().1).await;
    let mut events = world.events("").await;
    let mut request = scout(&json!({}));
    request["callbackUrl"] = json!(url);
    let id = world.spawn(&request).await;

    let event = events.until_event("login_required").await;
    let login = json!({
        "loginUrl": "https://login.example/device",
        "instructions": "Enter the code.",
        "deviceCode": "ABCD-1234",
        "method": "device_code",
        "verified": true,
    });
    for (name, value) in login.as_object().unwrap() {
        assert_eq!(event["data"][name], *value, "{event}");
    }
    assert_eq!(event["data"]["agent"]["status"], "authenticating");
    let handle = world.get(&format!("/api/agents/{id}")).await.body;
    assert_eq!((&handle["status"], &handle["login"], &handle["type"]), (&json!("authenticating"), &login, &json!("scout")));
    let callback = timeout(SOON, callbacks.recv()).await.unwrap().unwrap();
    assert_eq!(
        (&callback["status"], &callback["loginUrl"], &callback["deviceCode"]),
        (&json!("requires_login"), &login["loginUrl"], &login["deviceCode"])
    );
    for body in [json!({ "message": "hi" }), json!({ "message": "hi", "expectResponse": true })] {
        let refused = world.post(&format!("/api/agents/{id}/send"), &body).await;
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("AUTH_REQUIRED")), "{}", refused.body);
    }

    let mut viewer = world.negotiated(&id, "").await;
    viewer.send("\r".into()).await;
    let next = events.event().await;
    assert_eq!((&next["event"], &next["data"]["agent"]["login"]), (&json!("agent_ready"), &Value::Null));
    assert_eq!(timeout(SOON, callbacks.recv()).await.unwrap().unwrap()["status"], "ready");
}

#[tokio::test]
async fn a_thread_tells_of_its_login_and_of_what_it_is_asked() {
    let world = World::with(|config| config.adapters = scouts().1).await;
    let mut events = world.events("").await;
    let thread =
        |preset: &str| json!({ "executionId": "e", "agentType": "scout", "name": "s", "objective": "go", "approvalPreset": preset });
    for (preset, kinds) in [
        ("standard", ["thread_started", "thread_auth_required", "thread_ready"]),
        ("permissive", ["thread_started", "thread_blocked", "thread_ready"]),
    ] {
        let created = world.post("/api/threads", &thread(preset)).await;
        assert_eq!(created.status, 201, "{}", created.body);
        for kind in kinds {
            let told = loop {
                let frame = events.until_event("thread_event").await["data"].take();
                // The thread before ends meanwhile, with its objective.
                if frame["event"]["type"] != "thread_output" && frame["thread"]["id"] == created.body["id"] {
                    break frame;
                }
            };
            assert_eq!(told["event"]["type"], kind, "{told}");
            match kind {
                "thread_auth_required" => {
                    assert_eq!(told["event"]["data"]["deviceCode"], "ABCD-1234", "{told}");
                    let path = format!("/api/threads/{}/send", created.body["id"].as_str().unwrap());
                    assert_eq!(world.post(&path, &json!({ "keys": "enter" })).await.status, 200);
                }
                // Nobody has to do anything about a question that was answered.
                "thread_blocked" => {
                    assert_eq!((&told["event"]["data"]["autoResponded"], &told["thread"]["status"]), (&json!(true), &json!("starting")));
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_startup_question_is_answered_and_told_but_never_after_the_first_ready() {
    let world = World::with(|config| config.adapters = scouts().1).await;
    let mut events = world.events("").await;
    let id = world.spawn(&scout(&json!({ "adapterConfig": { "approvalPreset": "permissive" } }))).await;
    let asked = events.until_event("blocking_prompt").await["data"].clone();
    let prompt = json!({ "type": "trust", "prompt": "Trust this folder?", "options": ["Yes"], "canAutoRespond": true });
    assert_eq!((&asked["prompt"], &asked["autoResponded"], &asked["agent"]["id"]), (&prompt, &json!(true), &json!(id)));
    world.until_logs(&id, "trusted yes").await;
    world.until_status(&id, "ready").await;
    world.post(&format!("/api/agents/{id}/send"), &json!({ "message": "ask again" })).await;
    let turn = events.until_event("message").await;
    assert_eq!(turn["data"]["message"]["direction"], "inbound");
    // The turn ends with nothing said but what is printed, and with no answer typed.
    assert_eq!(events.event().await["data"]["message"]["content"], "Trust this folder?");
    assert!(!world.until_logs(&id, "ask again").await.contains("folder?\nyes"));
}

#[tokio::test]
async fn a_paused_agent_is_not_answered_until_it_is_resumed() {
    let world = World::with(|config| config.adapters = scouts().1).await;
    let mut events = world.events("").await;
    let id = world.spawn(&scout(&json!({ "approvalPreset": "permissive" }))).await;
    for _ in 0..2 {
        let paused = world.post(&format!("/api/agents/{id}/pause"), &json!({})).await;
        assert_eq!((paused.status, &paused.body["paused"]), (200, &json!(true)), "{}", paused.body);
    }
    assert_eq!(events.until_event("blocking_prompt").await["data"]["autoResponded"], false);
    let resumed = world.post(&format!("/agents/{id}/resume"), &json!({})).await;
    assert_eq!((resumed.status, &resumed.body["paused"]), (200, &json!(false)));
    assert_eq!(events.until_event("blocking_prompt").await["data"]["autoResponded"], true);
    world.until_status(&id, "ready").await;
    world.delete(&format!("/api/agents/{id}")).await;
    assert_eq!(world.post(&format!("/api/agents/{id}/pause"), &json!({})).await.status, 409);
}

#[tokio::test]
async fn preset_environment_and_credentials_reach_the_program() {
    let world = World::with(|config| config.adapters = scouts().1).await;
    let config = json!({
        "approvalPreset": "readonly",
        "credentials": { "openaiKey": "key-1", "githubToken": "token-1", "custom": { "OWN": "own-1" } },
    });
    let id = world.spawn(&scout(&config)).await;
    world.until_logs(&id, "readonly here key-1 token-1 own-1").await;
    for (config, named) in [
        (json!({ "approvalPreset": "root" }), "approvalPreset"),
        (json!({ "adapterConfig": { "approvalPreset": "root" } }), "approvalPreset"),
        (json!({ "credentials": { "googleKey": "k" } }), "credentials.googleKey"),
        (json!({ "credentials": { "password": "k" } }), "credentials.password"),
        (json!({ "credentials": { "custom": { "A=B": "k" } } }), "config.env"),
        (json!({ "args": ["--anything"] }), "config.args"),
    ] {
        let refused = world.post("/api/spawn", &scout(&config)).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("INVALID_REQUEST")), "{}", refused.body);
        assert!(refused.body["error"].as_str().unwrap().contains(named), "{}", refused.body);
    }
    let single = json!({ "name": "solo", "type": "scout", "approvalPreset": "readonly", "credentials": { "openaiKey": "key-2" } });
    let created = world.post("/api/agents", &single).await;
    assert_eq!(created.status, 201, "{}", created.body);
    world.until_logs(created.body["id"].as_str().unwrap(), "readonly here key-2").await;
}

#[tokio::test]
async fn what_an_agent_prints_never_stops_it_nor_asks_for_a_login() {
    let world = World::new().await;
    let mut events = world.events("").await;
    let id = world.spawn(&json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    world.until_status(&id, "ready").await;
    for message in
        ["echo exit", "echo Process exited with code 1", "foo; echo ANTHROPIC_API_KEY Please run /login", "echo Do you trust this folder?"]
    {
        let answered = world.post(&format!("/api/agents/{id}/send"), &json!({ "message": message, "expectResponse": true })).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
    }
    assert_eq!(world.get(&format!("/api/agents/{id}")).await.body["status"], "ready");
    let mut names = Vec::new();
    while names.iter().filter(|name| *name == "message").count() < 8 {
        names.push(events.event().await["event"].as_str().unwrap().to_owned());
    }
    names.retain(|name| name != "message");
    assert_eq!(names, ["agent_started", "agent_ready"]);
}
