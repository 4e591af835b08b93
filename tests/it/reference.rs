//! The published OpenAPI document and the page that shows it.

use raven_agents::{http, mcp, model::clock::Clock};
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{self, node};

#[sqlx::test]
async fn the_document_is_published_before_the_setup_and_not_sent_twice(pool: PgPool) {
    let running = support::serve(&pool, &support::config(None), Clock::default()).await;
    // Neither needs the database.
    running.app().pool.close().await;
    let url = format!("http://{}/api/openapi.json", running.address());
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let tag = answer.headers()["etag"].clone();
    let published: Value = answer.json().await.unwrap();
    assert_eq!(published, serde_json::to_value(http::document(mcp::routes())).unwrap());

    let again = reqwest::Client::new().get(&url).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.text().await.unwrap(), "");
    running.stop().await;
}

#[sqlx::test]
async fn the_page_shows_every_operation_offline_in_light_and_dark_and_on_a_phone(pool: PgPool) {
    let running = support::serve(&pool, &support::config(None), Clock::default()).await;
    node::run("reference.mjs", &[&format!("http://{}", running.address())]).await;
    running.stop().await;
}
