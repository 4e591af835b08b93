//! What an agent finds.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    World,
    content::{compounds, each},
};

#[sqlx::test]
async fn search_ranks_titles_before_texts_and_shows_the_place(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &["read:pages", "write:pages"]).await, world.first_space().await);
    let make = async |title: &str, content: &str| {
        scout.does("page_create", json!({"title": title, "content": content, "spaceId": space})).await;
    };
    make("Release notes", "what changed in each version").await;
    make("Runbook", "after a deployment, write the notes of the release and tell everybody").await;
    make("Lunch", "every day at noon").await;
    // One that the editor made, whose words are in no index here.
    world.page_in(space, "Releases of old").await;

    let found = scout.does("search_query", json!({"query": "release note"})).await;
    assert_eq!(each(&found["hits"], "title"), ["Release notes", "Runbook"], "all of the words, in whatever form");
    assert!(found["hits"][1]["snippet"].as_str().unwrap().contains("notes of the release"));
    assert_eq!(found["hits"][0]["space"]["slug"], "general");
    let prefix = scout.does("page_search", json!({"query": "deplo"})).await;
    assert_eq!(each(&prefix["pages"], "title"), ["Runbook"]);
    assert!(prefix["pages"][0]["position"].is_string() && prefix["pages"][0]["hasChildren"] == false, "{prefix}");
    let title = scout.does("page_search", json!({"query": "es of ol", "spaceId": space})).await;
    assert_eq!(each(&title["pages"], "title"), ["Releases of old"]);
    let first = scout.does("page_search", json!({"query": "rel", "limit": 1})).await;
    assert_eq!((first["pages"].as_array().unwrap().len(), &first["pagination"]["hasNextPage"]), (1, &json!(true)));
    for odd in ["' & !", "a:*|b", "\\", "the"] {
        assert_eq!(scout.does("page_search", json!({"query": odd})).await["pages"], json!([]), "{odd}");
    }
    world.end().await;
}

/// Postgres makes no vector of more than 1 MiB; nobody is kept from finding things by what another wrote.
#[sqlx::test]
async fn a_page_of_more_words_than_an_index_takes_is_written_and_everything_is_found(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &["read:pages", "write:pages"]).await, world.first_space().await);
    let long = format!("beginning {}", compounds(450_000));
    let arguments = json!({"title": "Words", "content": long.as_str(), "spaceId": space});
    let made = scout.does("page_create", arguments).await;
    scout.does("page_update", json!({"pageId": made["id"], "content": format!("sequel {long}")})).await;
    scout.does("page_update", json!({"pageId": made["id"], "title": "Countless words"})).await;
    let unindexed = world.page_in(space, "Old words").await;
    let write = sqlx::query("UPDATE pages SET text_content = $2, tsv = NULL WHERE id = $1");
    write.bind(unindexed).bind(format!("beginning {}", compounds(3_000_000))).execute(&world.pool).await.unwrap();

    let titles = async |query: &str| {
        let found = scout.does("page_search", json!({"query": query})).await;
        let mut titles: Vec<String> = each(&found["pages"], "title").into_iter().map(str::to_owned).collect();
        titles.sort();
        titles
    };
    assert_eq!(titles("beginning").await, ["Countless words", "Old words"]);
    assert_eq!(titles("sequel").await, ["Countless words"], "a new title leaves the words of the text");
    assert_eq!(titles("countless words").await, ["Countless words"]);
    world.end().await;
}

#[sqlx::test]
async fn suggestions_are_of_the_kinds_that_the_agent_may_read(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let space = world.first_space().await;
    world.page_in(space, "Garden plan").await;
    world.task_in(space, "Plan the garden").await;
    world.project_in(space, "Plans").await;
    let kinds = async |permissions: &[&str], id: &str| -> Vec<String> {
        let found: Value = world.agent_with(id, permissions).await.does("search_suggest", json!({"query": "plan"})).await;
        each(&found["suggestions"], "type").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(kinds(&["read:pages", "read:tasks", "read:projects", "read:spaces"], "reader").await, ["task", "project", "page"]);
    assert_eq!(kinds(&["execute:search"], "seeker").await, ["page"]);
    assert_eq!(kinds(&["read:pages", "read:tasks"], "half").await, ["task", "page"]);
    world.end().await;
}
