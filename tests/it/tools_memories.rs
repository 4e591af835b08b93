//! What agents keep for later.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{
    World,
    content::{compounds, each},
};

const ALL: [&str; 2] = ["read:memory", "write:memory"];

#[sqlx::test]
async fn what_an_agent_keeps_it_finds_by_words_tags_and_time(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let scout = world.agent_with("scout", &ALL).await;
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

    let found = scout.does("memory_query", json!({"query": "how do we deploy? which approval?"})).await;
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[0]["id"], kept["id"], "the one with more of the words comes first");
    assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
    let count = async |arguments: Value| scout.does("memory_query", arguments).await.as_array().unwrap().len();
    assert_eq!(count(json!({"query": ""})).await, 3);
    assert_eq!(count(json!({"query": "*", "tags": ["deploy", "rule"]})).await, 1);
    assert_eq!(count(json!({"query": "", "from": "2020-03-01", "to": "2020-03-02"})).await, 1);
    assert_eq!(count(json!({"query": "", "own": true})).await, 3);
    assert_eq!(count(json!({"query": "", "limit": 2})).await, 2);

    assert_eq!(each(&scout.does("memory_daily", json!({"date": "2020-03-01"})).await, "id"), [kept["id"].as_str().unwrap()]);
    let day = &beside["timestamp"].as_str().unwrap()[..10];
    assert!(scout.does("memory_daily", json!({"date": day, "tags": ["deploy"]})).await[0]["id"] == beside["id"]);
    let days = scout.does("memory_days", json!({"days": 7})).await;
    assert_eq!(days.as_array().unwrap().last().unwrap(), &json!({"date": "2020-03-01", "count": 1}));
    world.end().await;
}

/// D-54.
#[sqlx::test]
async fn what_one_agent_keeps_no_other_is_told_of(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, other) = (world.agent_with("scout", &ALL).await, world.agent_with("other", &ALL).await);
    let space = world.first_space().await;
    scout.does("memory_ingest", json!({"content": "the formula", "timestamp": "2020-03-01"})).await;
    scout.does("memory_ingest", json!({"content": "the formula", "timestamp": "2020-03-01", "spaceId": space})).await;
    for arguments in [
        json!({"query": "formula"}),
        json!({"query": "", "own": false}),
        json!({"query": "*", "spaceId": space}),
        json!({"query": "", "from": "2020-03-01"}),
    ] {
        assert_eq!(other.does("memory_query", arguments.clone()).await, json!([]), "{arguments}");
        assert_ne!(scout.does("memory_query", arguments.clone()).await, json!([]), "{arguments}");
    }
    assert_eq!(other.does("memory_daily", json!({"date": "2020-03-01"})).await, json!([]));
    assert_eq!(other.does("memory_days", json!({})).await, json!([]));
    let told = "SELECT count(*) FROM outbox o WHERE o::text LIKE '%content.changed%' AND o::text LIKE '%formula%'";
    let told: i64 = sqlx::query_scalar(told).fetch_one(&world.pool).await.unwrap();
    assert_eq!((world.events("content.changed").await, told), (2, 0), "others hear that something was kept, not what");
    world.end().await;
}

#[sqlx::test]
async fn memories_of_a_space_are_for_those_who_belong_to_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let scout = world.agent_with("scout", &ALL).await;
    let closed = world.closed_space("lab").await;
    let none = [closed, world.foreign_space().await, Uuid::new_v4()];
    scout.finds_none("memory_ingest", "spaceId", &none, json!({"content": "x"})).await;
    scout.finds_none("memory_query", "spaceId", &none, json!({"query": "x"})).await;
    scout.finds_none("memory_days", "spaceId", &none, json!({})).await;

    let account = world.account_of("scout").await;
    world.join(closed, account, "writer").await;
    scout.does("memory_ingest", json!({"content": "formula", "spaceId": closed})).await;
    assert_eq!(scout.does("memory_query", json!({"query": "formula"})).await.as_array().unwrap().len(), 1);
    sqlx::query("DELETE FROM space_members WHERE user_id = $1").bind(account).execute(&world.pool).await.unwrap();
    assert_eq!(scout.does("memory_query", json!({"query": "formula"})).await, json!([]));
    assert_eq!(scout.does("memory_days", json!({})).await, json!([]));

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

/// Postgres makes no vector of more than 1 MiB; one memory keeps nobody from the others, and no answer is without a bound.
#[sqlx::test]
async fn a_memory_is_bounded_and_a_longer_one_of_old_is_told_from_its_beginning(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let scout = world.agent_with("scout", &ALL).await;
    let long = compounds(64 * 1024);
    for arguments in [json!({"content": long}), json!({"content": "x", "metadata": {"all": long}}), json!({"content": [{"deep": [long]}]})]
    {
        let refused = scout.refused("memory_ingest", arguments).await;
        assert_eq!((&refused["code"], &refused["data"]["errors"][0]["field"]), (&json!(-32003), &json!("content")));
    }
    let kept = scout.does("memory_ingest", json!({"content": compounds(64 * 1024 - 20), "summary": "newest", "tags": ["deploy"]})).await;
    let old = "INSERT INTO agent_memories (workspace_id, creator_id, summary, content, tags, created_at)
               SELECT $1, $2, 'oldest ' || $3, jsonb_build_object('said', 'deployment ' || $3), jsonb_build_array('deploy', $3), now() - n * interval '1 second'
               FROM generate_series(1, $4) n";
    for (bytes, count) in [(2_000_000, 2), (200_000, 100)] {
        let insert = sqlx::query(old).bind(world.workspace.0).bind(world.account_of("scout").await).bind(compounds(bytes)).bind(count);
        insert.execute(&world.pool).await.unwrap();
    }

    let found = scout.does("memory_query", json!({"query": "deployment", "limit": 100})).await;
    let told = found.as_array().unwrap();
    assert!((2..100).contains(&told.len()), "{} of 103 fit into an answer", told.len());
    assert!(told.iter().any(|memory| memory["content"].as_str().is_some_and(|text| text.starts_with("{\"said\": \"deployment ab0"))));
    assert!(found.to_string().len() < 2 * 1024 * 1024);
    assert_eq!(scout.does("memory_query", json!({"query": "newest"})).await.as_array().unwrap().len(), 1);
    let day = &kept["timestamp"].as_str().unwrap()[..10];
    assert_eq!(scout.does("memory_daily", json!({"date": day, "tags": ["deploy"]})).await[0]["summary"], "newest");
    assert!(scout.does("memory_days", json!({})).await[0]["count"].as_i64() > Some(0));
    world.end().await;
}
