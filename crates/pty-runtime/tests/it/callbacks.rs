use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use pty_runtime::Secret;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::world::{SOON, World, scripted};

/// A control plane that answers with the given statuses and then with 200.
struct ControlPlane {
    url: String,
    posts: mpsc::Receiver<(String, HeaderMap, Value)>,
}

type Answers = Arc<Mutex<VecDeque<u16>>>;

impl ControlPlane {
    async fn answering(statuses: &[u16]) -> Self {
        let (sender, posts) = mpsc::channel(100);
        let answers: Answers = Arc::new(Mutex::new(statuses.iter().copied().collect()));
        let receive =
            async |State((sender, answers)): State<(mpsc::Sender<_>, Answers)>, uri: Uri, headers: HeaderMap, Json(body): Json<Value>| {
                let status = answers.lock().unwrap().pop_front().unwrap_or(200);
                sender.send((uri.path().to_owned(), headers, body)).await.unwrap();
                StatusCode::from_u16(status).unwrap()
            };
        let router = Router::new().fallback(receive).with_state((sender, answers));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, posts }
    }

    async fn next(&mut self) -> (String, HeaderMap, Value) {
        timeout(SOON, self.posts.recv()).await.expect("no callback came").unwrap()
    }
}

#[tokio::test]
async fn readiness_is_called_back_with_credentials_and_again_after_a_failure() {
    let mut control_plane = ControlPlane::answering(&[503]).await;
    let world = World::with(|config| config.webhook_secret = Some(Secret::new("s3cret"))).await;
    let mut body = scripted("echo up; read line");
    body["callbackUrl"] = json!(format!("{}/cb", control_plane.url));
    let id = world.spawn(&body).await;
    let (path, headers, told) = control_plane.next().await;
    assert_eq!(path, "/cb");
    assert_eq!((&headers["x-webhook-secret"], &headers["x-workspace-id"]), (&"s3cret".parse().unwrap(), &"w1".parse().unwrap()));
    assert_eq!((&told["status"], &told["agentId"], &told["workspaceId"]), (&json!("ready"), &json!(id), &json!("w1")));
    assert_eq!(told["runtimeEndpoint"], world.url(""));
    let (_, repeated, same) = control_plane.next().await;
    assert_eq!((&repeated["x-delivery-id"], same), (&headers["x-delivery-id"], told));
}

#[tokio::test]
async fn an_agent_that_never_gets_ready_is_called_back_as_failed() {
    let mut control_plane = ControlPlane::answering(&[]).await;
    let world = World::new().await;
    let mut body = scripted("exit 7");
    body["callbackUrl"] = json!(control_plane.url);
    world.spawn(&body).await;
    let (_, _, told) = control_plane.next().await;
    assert_eq!(told["status"], "failed");
    assert!(told["error"].as_str().unwrap().contains("exit code 7"), "{told}");
}

#[tokio::test]
async fn a_heartbeat_tells_each_workspace_of_its_living_agents() {
    let mut control_plane = ControlPlane::answering(&[]).await;
    let url = control_plane.url.parse().unwrap();
    let world = World::with(|config| {
        config.callback_url = Some(url);
        config.heartbeat_every = Duration::from_millis(20);
    })
    .await;
    world.script("sleep 1000").await;
    let (path, headers, told) = control_plane.next().await;
    assert_eq!(path, "/api/parallax-agents/runtime/heartbeat");
    assert_eq!(headers["x-workspace-id"], "w1");
    assert_eq!((&told["workspaceId"], &told["activeAgents"], &told["runtimeId"]), (&json!("w1"), &json!(1), &json!(world.url(""))));
}

#[tokio::test]
async fn heartbeats_go_on_for_a_workspace_whose_agents_are_all_gone() {
    let mut control_plane = ControlPlane::answering(&[]).await;
    let url = control_plane.url.parse().unwrap();
    let world = World::with(|config| {
        config.callback_url = Some(url);
        config.heartbeat_every = Duration::from_millis(20);
    })
    .await;
    let mut body = scripted("sleep 1000");
    body["config"]["executionId"] = json!("exec-1");
    world.spawn(&body).await;
    assert_eq!(control_plane.next().await.2["activeAgents"], 1);
    assert_eq!(world.delete("/api/executions/exec-1/resources").await.status, 204);
    assert_eq!(world.get("/api/agents").await.body["count"], 0);
    let mut counts = Vec::new();
    while counts.len() < 3 {
        let (_, _, told) = control_plane.next().await;
        assert_eq!(told["workspaceId"], "w1");
        if told["activeAgents"] == 0 {
            counts.push(told);
        }
    }
}
