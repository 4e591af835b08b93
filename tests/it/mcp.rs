//! An agent's key in use.

use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::support::World;

#[sqlx::test]
async fn an_agent_reads_its_profile_and_its_assignments(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let profile = scout.tool("agent_profile", json!({"agentId": "scout", "workspaceId": world.workspace})).await.tool_text();
    assert_eq!((&profile["status"], &profile["grantedPermissions"]), (&json!("approved"), &json!(["read:pages"])));

    let (project, task): (uuid::Uuid, uuid::Uuid) = sqlx::query_as(
        "WITH space AS (SELECT id, workspace_id FROM spaces LIMIT 1),
              project AS (INSERT INTO projects (name, space_id, workspace_id) SELECT 'Docs', id, workspace_id FROM space RETURNING id),
              task AS (INSERT INTO tasks (title, status, space_id, workspace_id) SELECT 'Write', 'in_review', id, workspace_id FROM space RETURNING id)
         SELECT project.id, task.id FROM project, task",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    for (kind, column, id) in [("project", "project_id", project), ("task", "task_id", task)] {
        let insert = format!(
            "INSERT INTO parallax_agent_assignments (workspace_id, agent_id, assignment_type, {column}) VALUES ($1, 'scout', '{kind}', $2)"
        );
        sqlx::query(sqlx::AssertSqlSafe(insert)).bind(world.workspace.0).bind(id).execute(&world.pool).await.unwrap();
    }
    let mine = scout.tool("agent_my_assignments", json!({})).await.tool_text();
    assert_eq!((&mine["totalProjects"], &mine["totalTasks"], &mine["agentName"]), (&json!(1), &json!(1), &json!("Agent scout")));
    let waiting = scout.tool("agent_my_assignments", json!({"status": "pending"})).await.tool_text();
    assert_eq!(waiting["totalTasks"], 0);
    let working = scout.tool("agent.myAssignments", json!({"status": "in_progress"})).await.tool_text();
    assert_eq!(working["totalTasks"], 1);
    world.end().await;
}

#[sqlx::test]
async fn the_answer_is_there_with_and_without_envelope_and_errors_are_marked(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let good = world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    assert_eq!(good["data"]["content"], good["content"]);
    assert_eq!((&good["success"], &good["status"]), (&json!(true), &json!(200)));

    let unknown = world.with_key(&key).tool("no_such_tool", json!({})).await.expect(StatusCode::OK);
    assert_eq!((&unknown["isError"], &unknown["data"]["isError"]), (&json!(true), &json!(true)));
    assert!(unknown["content"][0]["text"].as_str().unwrap().contains("-32601"));
    world.end().await;
}

#[sqlx::test]
async fn a_key_speaks_for_its_own_agent_only(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    world.approved_agent("other").await;
    for arguments in [json!({"agentId": "other"}), json!({"workspaceId": uuid::Uuid::new_v4()}), json!({"agentId": 7})] {
        let refused = world.with_key(&key).tool("agent_profile", arguments).await.tool_text();
        assert_eq!(refused["code"], -32002);
    }
    world.end().await;
}

#[sqlx::test]
async fn what_is_no_good_key_is_refused_alike(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let typo = format!("{}{}", &key[..73], if key.ends_with('0') { '1' } else { '0' });
    for bad in [typo.as_str(), "mcp_0000", "raven_sk_x", "Bearer", "é"] {
        let refused = world.with_key(bad).tool("agent_profile", json!({})).await;
        let challenge = refused.headers["www-authenticate"].to_str().unwrap().to_owned();
        let where_to =
            format!(r#"resource_metadata="{}/.well-known/oauth-protected-resource/api/mcp-standard""#, world.app().settings.app_url);
        assert!(challenge.starts_with("Bearer ") && challenge.contains(&where_to), "{challenge}");
        refused.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    // A person's token is no key, and a key is no person's token.
    world.owner().await.tool("agent_profile", json!({})).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    world.with_key(&key).get("/parallax-agents").await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");

    let header = reqwest::Client::new().post(format!("{}/api/mcp-standard/call_tool", world.base)).header("x-api-key", &key);
    assert_eq!(header.json(&json!({"name": "agent_profile"})).send().await.unwrap().status(), StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn the_time_of_use_is_written_at_most_once_a_minute(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let used = || async {
        world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
        let at = sqlx::query_scalar("SELECT last_used_at FROM mcp_api_keys WHERE revoked_at IS NULL").fetch_one(&world.pool);
        at.await.unwrap()
    };
    let first: Option<chrono::DateTime<chrono::Utc>> = used().await;
    let second: Option<chrono::DateTime<chrono::Utc>> = used().await;
    assert!(first.is_some());
    assert_eq!(first, second);
    world.end().await;
}
