//! The activity feed: pages, filters, counts and retention.

use chrono::TimeDelta;
use raven_agents::domain::activity::{Retention, purge, roll_up};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Caller, World};

/// Every row of a feed, page by page.
async fn all_pages(caller: &Caller<'_>, path: &str, limit: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = caller.get(&format!("{path}limit={limit}{cursor}")).await.expect(StatusCode::OK);
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit);
        rows.extend(items.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[sqlx::test]
async fn pages_hold_every_row_once_while_new_ones_come(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    // Ten rows of one instant: the id decides their order.
    sqlx::query(
        "INSERT INTO parallax_agent_activity (workspace_id, agent_id, activity_type, created_at)
         SELECT $1, 'scout', 'noted', timestamptz '2026-01-01' + (n / 10) * interval '1 second' FROM generate_series(1, 45) n",
    )
    .bind(world.workspace.0)
    .execute(&pool)
    .await
    .unwrap();
    let first = owner.get("/parallax-agents/scout/activity?limit=7").await.expect(StatusCode::OK);
    world.pending_agent("late").await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = owner.get(&format!("/parallax-agents/scout/activity?limit=7&cursor={cursor}")).await.expect(StatusCode::OK);
    assert!(first["data"].as_array().unwrap().iter().all(|row| !second["data"].as_array().unwrap().contains(row)));
    let rows = all_pages(&owner, "/parallax-agents/scout/activity?", 7).await;
    let mut ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (45, 45));
    assert!(rows.is_sorted_by(|a, b| a["createdAt"].as_str() >= b["createdAt"].as_str()), "newest first");
    for bad in ["cursor=x", "cursor=1-2", "since=yesterday", "agentId=a%20b", "limit=0", "days=0"] {
        let path = if bad.starts_with("days") { "activity/daily" } else { "activity/workspace" };
        owner.get(&format!("/parallax-agents/{path}?{bad}")).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    world.end().await;
}

/// D-48: every administrative act leaves a row with who did it.
#[sqlx::test]
async fn the_feed_tells_who_did_what_and_can_be_narrowed(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, ada) = (world.owner().await, world.admin("ada").await);
    world.approved_agent("scout").await;
    world.approved_agent("other").await;
    let project = world.project("Docs").await;
    ada.assign("scout", project).await.expect(StatusCode::CREATED);
    ada.post("/parallax-agents/scout/permissions", json!({"permissions": ["read:tasks"]})).await.expect(StatusCode::OK);
    let invite = ada.post("/parallax-agents/invites", json!({"name": "ci", "permissions": ["read:pages"]})).await;
    let invite = invite.expect(StatusCode::CREATED)["data"]["id"].as_str().unwrap().to_owned();
    ada.post(&format!("/parallax-agents/invites/{invite}/revoke"), json!({})).await.expect(StatusCode::OK);
    ada.delete(&format!("/parallax-agents/invites/{invite}")).await.expect(StatusCode::OK);
    ada.post("/parallax-agents/scout/keys/rotate", json!({})).await.expect(StatusCode::OK);
    ada.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED);
    ada.patch_settings(json!({"allowAgentChat": false})).await.expect(StatusCode::OK);
    ada.revoke("other").await.expect(StatusCode::OK);

    let me = ada.call(reqwest::Method::POST, "/users/me", None).await.expect(StatusCode::OK)["data"]["user"]["id"].clone();
    let rows = all_pages(&owner, "/parallax-agents/activity/workspace?", 3).await;
    for activity_type in [
        "assigned_to_project",
        "permissions_updated",
        "invite_created",
        "invite_revoked",
        "invite_deleted",
        "key_rotated",
        "key_created",
        "settings_changed",
        "access_revoked",
    ] {
        let row = rows.iter().find(|row| row["activityType"] == activity_type);
        let row = row.unwrap_or_else(|| panic!("{activity_type} left no row"));
        assert_eq!(row["actorUserId"], me, "{activity_type}");
    }
    let types = |rows: &[Value]| rows.iter().map(|row| row["activityType"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let narrowed = all_pages(&owner, "/parallax-agents/activity/workspace?type=access_approved,access_revoked&agentId=other&", 1).await;
    assert_eq!(types(&narrowed), ["access_revoked", "access_approved"]);
    let on_project = all_pages(&owner, &format!("/parallax-agents/project/{project}/activity?"), 10).await;
    assert_eq!(types(&on_project), ["assigned_to_project"]);
    let nothing = all_pages(&owner, "/parallax-agents/activity/workspace?until=2020-01-01T00:00:00Z&", 10).await;
    assert!(nothing.is_empty());
    let recent = owner.get("/parallax-agents/other/recent-activity?limit=1").await.expect(StatusCode::OK);
    assert_eq!(recent["data"]["activities"][0]["activityType"], "access_revoked");
    world.member("mel").await.get("/parallax-agents/activity/workspace").await.expect(StatusCode::FORBIDDEN);
    world.end().await;
}

/// What is done once an hour.
async fn maintain(world: &World, retention: Retention) {
    let mut tx = world.begin().await;
    if let Some(before) = roll_up(&mut tx, retention).await.unwrap() {
        purge(&mut tx, before).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// D-61.
#[sqlx::test]
async fn rows_and_counts_outlive_the_agent_until_their_retention_ends(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    sqlx::query("UPDATE parallax_agent_activity SET created_at = created_at - interval '40 days'").execute(&pool).await.unwrap();
    // The service may have counted by itself, as it does when it starts.
    sqlx::query("DELETE FROM parallax_agent_activity_daily").execute(&pool).await.unwrap();
    sqlx::query("DELETE FROM parallax_agents WHERE id = 'scout'").execute(&pool).await.unwrap();
    world.approved_agent("later").await;
    let month = Retention { rows: Some(TimeDelta::days(30)), daily: Some(TimeDelta::days(90)) };
    for _ in 0..2 {
        // Twice is the same as once.
        maintain(&world, month).await;
    }
    let rows = all_pages(&owner, "/parallax-agents/activity/workspace?", 50).await;
    assert!(rows.iter().all(|row| row["agentId"] != "scout") && rows.iter().any(|row| row["agentId"] == "later"));
    let daily = owner.get("/parallax-agents/activity/daily?days=60&agentId=scout").await.expect(StatusCode::OK)["data"].clone();
    let counts: Vec<(&str, i64)> =
        daily.as_array().unwrap().iter().map(|day| (day["activityType"].as_str().unwrap(), day["count"].as_i64().unwrap())).collect();
    assert_eq!(counts, [("access_approved", 1), ("access_requested", 1)]);

    world.clock.advance(TimeDelta::days(91));
    maintain(&world, month).await;
    assert_eq!(owner.get("/parallax-agents/activity/daily?days=366").await.expect(StatusCode::OK)["data"], json!([]));
    world.end().await;
}
