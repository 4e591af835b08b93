//! What an agent says about pages.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

const ALL: [&str; 2] = ["read:comments", "write:comments"];

#[sqlx::test]
async fn an_agent_comments_answers_settles_and_deletes(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, other) = (world.agent_with("scout", &ALL).await, world.agent_with("other", &ALL).await);
    let page = world.page_in(world.first_space().await, "Plan").await;

    let made = scout.does("comment_create", json!({"pageId": page, "text": "Why?\n\nReally"})).await;
    assert_eq!((&made["text"], &made["creator"]["name"]), (&json!("Why?\nReally"), &json!("Agent scout")));
    let answer = other.does("comment_create", json!({"pageId": page, "text": "Because", "parentId": made["id"]})).await;
    let second = scout.does("comment_create", json!({"pageId": page, "text": "I see", "parentCommentId": answer["id"]})).await;
    assert_eq!((&answer["parentCommentId"], &second["parentCommentId"]), (&made["id"], &made["id"]));
    let third = json!({"pageId": page, "text": "Well", "parentId": made["id"], "parentCommentId": null});
    assert_eq!(scout.does("comment_create", third).await["parentCommentId"], made["id"]);
    let two = json!({"pageId": page, "text": "Well", "parentId": made["id"], "parentCommentId": answer["id"]});
    assert_eq!(scout.refused("comment_create", two).await["code"], -32003, "two names that say two things");
    let list = scout.does("comment_list", json!({"pageId": page})).await;
    assert_eq!(each(&list["comments"], "text"), ["Why?\nReally", "Because", "I see", "Well"]);

    for tool in ["comment_update", "comment_delete"] {
        let refused = scout.refused(tool, json!({"commentId": answer["id"], "text": "mine"})).await;
        assert_eq!(refused["code"], -32002, "{tool}: it is somebody else's");
    }
    let changed = scout.does("comment_update", json!({"commentId": made["id"], "text": "Why now?"})).await;
    assert!(changed["text"] == "Why now?" && !changed["editedAt"].is_null());
    assert!(!other.does("comment_resolve", json!({"commentId": made["id"]})).await["resolvedAt"].is_null());
    let open = other.does("comment_resolve", json!({"commentId": made["id"], "resolved": false})).await;
    assert_eq!(open["resolvedAt"], Value::Null);
    let refused = other.refused("comment_resolve", json!({"commentId": answer["id"]})).await;
    assert_eq!(refused["data"]["errors"][0]["field"], "commentId");

    scout.does("comment_delete", json!({"commentId": made["id"]})).await;
    assert_eq!(scout.does("comment_list", json!({"pageId": page})).await["comments"], json!([]), "its answers are gone with it");
    world.end().await;
}

#[sqlx::test]
async fn comments_are_seen_with_their_page_only(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let (hidden, page) = (world.page_in(space, "Hidden").await, world.page_in(space, "Open").await);
    let said = scout.does("comment_create", json!({"pageId": hidden, "text": "x"})).await["id"].as_str().unwrap().parse().unwrap();
    world.keep_from_agents("pages", hidden).await;
    let foreign = world.page_in(world.foreign_space().await, "Other").await;
    let there: Uuid = sqlx::query_scalar(
        "INSERT INTO comments (page_id, workspace_id, content) SELECT id, workspace_id, '{}' FROM pages WHERE id = $1 RETURNING id",
    )
    .bind(foreign)
    .fetch_one(&world.pool)
    .await
    .unwrap();

    let (pages, comments) = ([hidden, foreign, Uuid::new_v4()], [said, there, Uuid::new_v4()]);
    scout.finds_none("comment_list", "pageId", &pages, json!({})).await;
    scout.finds_none("comment_create", "pageId", &pages, json!({"text": "x"})).await;
    scout.finds_none("comment_create", "parentId", &comments, json!({"pageId": page, "text": "x"})).await;
    for tool in ["comment_get", "comment_resolve", "comment_delete", "comment_update"] {
        scout.finds_none(tool, "commentId", &comments, json!({"text": "x"})).await;
    }
    assert_eq!(scout.refused("comment_create", json!({"pageId": page, "text": "   "})).await["data"]["errors"][0]["field"], "text");
    world.end().await;
}
