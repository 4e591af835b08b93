//! What a person's key does with the tools: the person's role in a space decides, and nothing is kept from people.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{Caller, World, content::each, terminal::Socket};

/// Somebody of the workspace with a key of their own. An admin, whose role opens no space.
async fn with_own_key<'w>(world: &'w World, name: &str) -> (Caller<'w>, Uuid) {
    let made = world.admin(name).await.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED);
    let id = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND name = $2").bind(world.workspace.0).bind(name);
    (world.with_key(made["data"]["key"].as_str().unwrap()), id.fetch_one(&world.pool).await.unwrap())
}

#[sqlx::test]
async fn a_persons_key_reads_and_writes_where_the_person_does(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (mel, account) = with_own_key(&world, "mel").await;
    let board = world.closed_space("board").await;
    let foreign_space = world.foreign_space().await;
    let (page, foreign) = (world.page_in(board, "Minutes").await, world.page_in(foreign_space, "Minutes").await);
    let task = world.task_in(board, "Write them").await;

    let none = [page, foreign, Uuid::new_v4()];
    mel.finds_none("page_get", "pageId", &none, json!({})).await;
    mel.finds_none("page_update", "pageId", &none, json!({"title": "mine"})).await;
    mel.finds_none("task_complete", "taskId", &[task, Uuid::new_v4()], json!({})).await;
    mel.finds_none("project_create", "spaceId", &[board, foreign_space, Uuid::new_v4()], json!({"name": "x"})).await;

    world.join(board, account, "reader").await;
    assert_eq!(mel.does("page_get", json!({"pageId": page})).await["title"], "Minutes");
    assert_eq!(each(&mel.does("search_query", json!({"query": "minutes"})).await["hits"], "title"), ["Minutes"]);
    for (tool, arguments) in [
        ("page_update", json!({"pageId": page, "title": "mine"})),
        ("page_delete", json!({"pageId": page})),
        ("page_create", json!({"spaceId": board, "title": "mine", "content": "mine"})),
        ("task_complete", json!({"taskId": task})),
        ("comment_create", json!({"pageId": page, "text": "mine"})),
        ("project_create", json!({"spaceId": board, "name": "mine"})),
    ] {
        assert_eq!(mel.refused(tool, arguments).await["code"], -32002, "{tool} by a reader");
    }

    sqlx::query("UPDATE space_members SET role = 'writer' WHERE user_id = $1").bind(account).execute(&world.pool).await.unwrap();
    assert_eq!(mel.does("page_update", json!({"pageId": page, "title": "Minutes of May"})).await["title"], "Minutes of May");
    assert_eq!(mel.does("task_complete", json!({"taskId": task})).await["status"], "done");
    sqlx::query("UPDATE space_members SET deleted_at = now() WHERE user_id = $1").bind(account).execute(&world.pool).await.unwrap();
    mel.finds_none("page_get", "pageId", &none, json!({})).await;
    world.end().await;
}

/// D-40.
#[sqlx::test]
async fn people_see_what_is_kept_from_agents_and_decide_about_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (mel, account) = with_own_key(&world, "mel").await;
    let scout = world.agent_with("scout", &["read:pages", "write:pages", "read:tasks", "write:tasks"]).await;
    let space = world.first_space().await;
    sqlx::query("UPDATE space_members SET role = 'reader' WHERE group_id IS NOT NULL").execute(&world.pool).await.unwrap();
    world.join(space, account, "writer").await;
    world.join(space, world.account_of("scout").await, "writer").await;
    let (page, task) = (world.page_in(space, "Salaries").await, world.task_in(space, "Pay them").await);
    world.keep_from_agents("pages", page).await;
    world.keep_from_agents("tasks", task).await;

    assert_eq!(mel.does("page_get", json!({"pageId": page})).await["agentAccessible"], false);
    assert_eq!(mel.does("task_get", json!({"taskId": task})).await["title"], "Pay them");
    scout.finds_none("page_get", "pageId", &[page, Uuid::new_v4()], json!({})).await;
    mel.does("page_update", json!({"pageId": page, "agentAccessible": true})).await;
    mel.does("task_update", json!({"taskId": task, "agentAccessible": true, "agentLive": true})).await;
    scout.does("page_get", json!({"pageId": page})).await;
    assert_eq!(scout.does("agent_claim_task", json!({"taskId": task})).await["success"], true);
    assert_eq!(scout.refused("page_update", json!({"pageId": page, "agentAccessible": false})).await["code"], -32002);
    world.end().await;
}

#[sqlx::test]
async fn a_persons_key_is_listed_no_tool_that_is_about_the_calling_agent(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (mel, _) = with_own_key(&world, "mel").await;
    let listed = mel.post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    let names = each(&listed["tools"], "name");
    assert!(["page_get", "task_delete", "user_list", "memory_ingest", "approval_status"].iter().all(|tool| names.contains(tool)));
    for tool in ["agent_profile", "agent_my_assignments", "agent_update_status", "agent_log_activity", "agent_activity"] {
        assert!(!names.contains(&tool), "{tool}");
        assert_eq!(mel.tool(tool, json!({})).await.tool_text()["code"], -32002, "{tool}");
    }
    let refused = mel.tool("agent_claim_task", json!({"taskId": Uuid::new_v4()})).await.tool_text();
    assert_eq!(refused["code"], -32002);
    world.end().await;
}

/// Owners and admins read the feed, and not every page.
/// Owners and admins hear that a person's key was used, and not for what in spaces that they may not see; agents' keys are theirs to watch.
#[sqlx::test]
async fn what_people_call_with_their_keys_is_told_to_themselves_alone(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (mel, account) = with_own_key(&world, "mel").await;
    let scout = world.agent_with("scout", &["read:pages", "write:pages", "write:comments"]).await;
    let board = world.closed_space("board").await;
    world.join(board, account, "writer").await;
    let bot: Uuid = sqlx::query_scalar("SELECT id FROM users WHERE agent_id = 'scout'").fetch_one(&world.pool).await.unwrap();
    world.join(board, bot, "writer").await;
    let page = world.page_in(board, "Budget").await;
    let mut owner = Socket::connect(&world.base, "/mcp", &world.owner().await.cookie()).await;
    let mut member = Socket::connect(&world.base, "/mcp", &world.member("ann").await.cookie()).await;
    for socket in [&mut owner, &mut member] {
        socket.until("mcp:connected").await;
    }

    mel.does("page_update", json!({"pageId": page, "title": "Salaries of May"})).await;
    mel.does("comment_create", json!({"pageId": page, "text": "Salaries of June"})).await;
    scout.does("comment_create", json!({"pageId": page, "text": "Salaries of July"})).await;
    scout.does("page_get", json!({"pageId": page})).await;

    let mut heard = Vec::new();
    loop {
        let event = owner.until("mcp:event").await;
        heard.push(event.to_string());
        if event["data"]["tool"] == "page_get" {
            break;
        }
    }
    let told = heard.concat();
    assert!(!told.contains("Salaries"), "{told}");
    assert!(told.contains(r#""tool":"page_update""#) && told.contains(r#""tool":"comment_create""#), "{told}");
    // What everybody hears comes behind all that.
    world
        .owner()
        .await
        .post("/parallax-agents/invites", json!({"name": "ci", "permissions": ["read:pages"]}))
        .await
        .expect(StatusCode::CREATED);
    world.approved_agent("other").await;
    loop {
        let event = member.until("mcp:event").await;
        assert_ne!(event["resource"], "comment", "{event}");
        assert_ne!(event["resource"], "page", "{event}");
        if event["type"] == "agent_access_approved" && event["resourceId"] == "other" {
            break;
        }
    }
    world.end().await;
}

#[sqlx::test]
async fn the_feed_has_no_titles_of_what_people_change(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (mel, account) = with_own_key(&world, "mel").await;
    let board = world.closed_space("board").await;
    world.join(board, account, "writer").await;
    let page = world.page_in(board, "Salaries").await;
    mel.does("page_update", json!({"pageId": page, "title": "Salaries of May"})).await;
    mel.does("project_create", json!({"spaceId": board, "name": "Salaries of June"})).await;
    let feed = world.owner().await.get("/parallax-agents/activity/workspace").await.expect(StatusCode::OK);
    let rows: Vec<&Value> = feed["data"].as_array().unwrap().iter().filter(|row| row["pageId"] == json!(page)).collect();
    assert_eq!((rows.len(), &rows[0]["activityType"]), (1, &json!("page_updated")));
    assert!(!feed.to_string().contains("Salaries"), "{feed}");
    let history = mel.does("page_get_history", json!({"pageId": page})).await;
    assert_eq!(history["history"][0]["pageId"], json!(page), "{history}");
    world.end().await;
}
