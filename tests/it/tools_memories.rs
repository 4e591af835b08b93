//! What agents keep for later.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

const ALL: [&str; 2] = ["read:memory", "write:memory"];

#[sqlx::test]
async fn what_one_agent_keeps_another_finds_by_words_tags_and_time(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, other) = (world.agent_with("scout", &ALL).await, world.agent_with("other", &ALL).await);
    let kept = scout
        .does(
            "memory_ingest",
            json!({"content": "Deployments need two approvals.\nAlways.", "tags": ["deploy", "rule"], "timestamp": "2020-03-01T23:30:00Z"}),
        )
        .await;
    assert_eq!(
        (&kept["summary"], &kept["source"], &kept["spaceId"]),
        (&json!("Deployments need two approvals."), &json!("agent"), &Value::Null)
    );
    let beside = scout
        .does("memory_ingest", json!({"content": {"fact": "The deploy key is rotated"}, "metadata": {"n": 1}, "tags": ["deploy"]}))
        .await;
    assert_eq!(beside["content"]["metadata"], json!({"n": 1}));
    scout.does("memory_ingest", json!({"content": "Lunch is at noon", "source": "chat"})).await;

    let found = other.does("memory_query", json!({"query": "how do we deploy? which approval?"})).await;
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[0]["id"], kept["id"], "the one with more of the words comes first");
    assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
    let count = async |arguments: Value| other.does("memory_query", arguments).await.as_array().unwrap().len();
    assert_eq!(count(json!({"query": ""})).await, 3);
    assert_eq!(count(json!({"query": "*", "tags": ["deploy", "rule"]})).await, 1);
    assert_eq!(count(json!({"query": "", "from": "2020-03-01", "to": "2020-03-02"})).await, 1);
    assert_eq!(count(json!({"query": "", "own": true})).await, 0);
    assert_eq!(count(json!({"query": "", "limit": 2})).await, 2);

    assert_eq!(each(&other.does("memory_daily", json!({"date": "2020-03-01"})).await, "id"), [kept["id"].as_str().unwrap()]);
    assert_eq!(other.does("memory_daily", json!({})).await.as_array().unwrap().len(), 2);
    let days = other.does("memory_days", json!({"days": 7})).await;
    assert_eq!((&days[1], &days[0]["count"]), (&json!({"date": "2020-03-01", "count": 1}), &json!(2)));
    world.end().await;
}

#[sqlx::test]
async fn memories_of_a_space_are_for_those_who_belong_to_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, other) = (world.agent_with("scout", &ALL).await, world.agent_with("other", &ALL).await);
    let closed = world.closed_space("lab").await;
    let none = [closed, world.foreign_space().await, Uuid::new_v4()];
    scout.finds_none("memory_ingest", "spaceId", &none, json!({"content": "x"})).await;
    scout.finds_none("memory_query", "spaceId", &none, json!({"query": "x"})).await;
    scout.finds_none("memory_days", "spaceId", &none, json!({})).await;

    world.join(closed, world.account_of("scout").await, "writer").await;
    scout.does("memory_ingest", json!({"content": "formula", "spaceId": closed})).await;
    assert_eq!(scout.does("memory_query", json!({"query": "formula"})).await.as_array().unwrap().len(), 1);
    assert_eq!(other.does("memory_query", json!({"query": "formula"})).await, json!([]));
    assert_eq!(other.does("memory_days", json!({})).await, json!([]));

    for (tool, arguments, field) in [
        ("memory_ingest", json!({"content": ""}), "content"),
        ("memory_ingest", json!({"content": "x", "tags": [""]}), "tags.0"),
        ("memory_ingest", json!({"content": "x", "timestamp": "2999-01-01"}), "timestamp"),
        ("memory_daily", json!({"date": "2020-02-30"}), "date"),
        ("memory_query", json!({"query": "x", "limit": 1000}), "limit"),
    ] {
        let refused = scout.refused(tool, arguments.clone()).await;
        assert_eq!(refused["data"]["errors"][0]["field"], field, "{tool} {arguments}: {refused}");
    }
    world.end().await;
}
