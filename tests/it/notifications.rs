//! What the control plane is told.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode as Status, Uri},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::PgPool;

use crate::support::{WEBHOOK_SECRET, World, config};

/// One notification as it arrived.
#[derive(Clone)]
struct Arrived {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A control plane that refuses the first few.
#[derive(Clone, Default)]
struct ControlPlane {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    refusals: Arc<Mutex<u32>>,
}

impl ControlPlane {
    async fn start(refusals: u32) -> (Self, String) {
        let plane = Self { refusals: Arc::new(Mutex::new(refusals)), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(plane.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (plane, url)
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

async fn take(State(plane): State<ControlPlane>, uri: Uri, headers: HeaderMap, body: Bytes) -> Status {
    plane.arrived.lock().unwrap().push(Arrived { path: uri.path().to_owned(), headers, body });
    let mut refusals = plane.refusals.lock().unwrap();
    if *refusals > 0 {
        *refusals -= 1;
        return Status::BAD_GATEWAY;
    }
    Status::NO_CONTENT
}

/// D-20.
#[sqlx::test]
async fn decisions_are_told_until_they_are_heard_in_their_order_and_without_the_key(pool: PgPool) {
    let (plane, url) = ControlPlane::start(2).await;
    let mut settings = config(None);
    settings.control_plane = Some(url);
    let world = World::with_config(pool.clone(), settings, None).await;
    let owner = world.owner().await;
    // The workspace wants keys sent, but this control plane is not reached by https.
    owner.patch_settings(json!({"parallax": {"sendKeyToControlPlane": true}})).await.expect(StatusCode::OK);
    let key = world.approved_agent("scout:1").await;
    owner.revoke("scout:1").await.expect(StatusCode::OK);
    world.pending_agent("other").await;
    owner.post("/parallax-agents/other/deny", json!({"reason": "Not now"})).await.expect(StatusCode::OK);

    let all_told = async || {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM control_plane_notifications WHERE delivered_at IS NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
        (waiting == 0).then_some(())
    };
    world.until("all are told", all_told).await;
    let arrived = plane.arrived();
    assert_eq!(arrived.len(), 5, "two were refused and told again");
    let workspace = world.workspace;
    let of_scout: Vec<&Arrived> = arrived.iter().filter(|news| news.path.contains("scout")).collect();
    let first = format!("/base/api/agents/scout:1/workspaces/{workspace}/approved");
    let last = format!("/base/api/agents/scout:1/workspaces/{workspace}/revoked");
    assert_eq!((&of_scout[0].path, &of_scout.last().unwrap().path), (&first, &last));
    let revoked_at = of_scout.iter().position(|news| news.path == last).unwrap();
    assert!(of_scout[revoked_at..].iter().all(|news| news.path == last), "the approval is heard before the revocation");
    for news in &arrived {
        let text = std::str::from_utf8(&news.body).unwrap();
        assert!(!text.contains(&key), "{text}");
        assert_eq!(news.headers["x-webhook-secret"], WEBHOOK_SECRET);
        let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
        mac.update(&news.body);
        let expected = format!("sha256={}", raven_agents::model::hex(&mac.finalize().into_bytes()));
        assert_eq!(news.headers["x-raven-signature"], expected);
        let body: Value = serde_json::from_str(text).unwrap();
        assert_eq!(news.headers["x-raven-event-id"], body["eventId"].as_str().unwrap());
    }
    let approved: Value = serde_json::from_slice(&of_scout[0].body).unwrap();
    assert_eq!(approved["grantedPermissions"], json!(["read:pages"]));
    world.end().await;
}

#[sqlx::test]
async fn what_was_not_heard_before_a_restart_is_told_after_it(pool: PgPool) {
    let (plane, url) = ControlPlane::start(1).await;
    let mut settings = config(None);
    settings.control_plane = Some(url);
    let world = World::with_config(pool.clone(), settings.clone(), None).await;
    let workspace = world.workspace;
    world.approved_agent("scout").await;
    world.end().await;

    let world = World::taken_over_with(pool.clone(), workspace, settings).await;
    world.until("it is told again", async || (plane.arrived().len() >= 2).then_some(())).await;
    world.end().await;
}

/// D-20: without a shared secret the control plane could not know who tells it.
#[sqlx::test]
async fn without_a_secret_nothing_is_told(pool: PgPool) {
    let (plane, url) = ControlPlane::start(0).await;
    let mut settings = config(None);
    settings.control_plane = Some(url);
    settings.webhook_secret = None;
    let world = World::with_config(pool.clone(), settings, None).await;
    let owner = world.owner().await;
    let token = owner.invite(None).await;
    owner.register(&token, "scout").await.expect(StatusCode::CREATED);
    let queued: i64 = sqlx::query_scalar("SELECT count(*) FROM control_plane_notifications").fetch_one(&pool).await.unwrap();
    assert_eq!((queued, plane.arrived().len()), (0, 0));
    world.end().await;
}
