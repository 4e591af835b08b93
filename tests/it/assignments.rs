//! What agents are assigned to, by whom and how many.

use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::support::World;

#[sqlx::test]
async fn an_agent_is_assigned_listed_and_taken_off(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let (project, task) = (world.project("Docs").await, world.task("Write").await);

    let lead = owner.post("/parallax-agents/scout/assign/project", json!({"projectId": project, "role": "lead"})).await;
    let lead = lead.expect(StatusCode::CREATED)["data"].clone();
    assert_eq!((&lead["assignmentType"], &lead["role"], &lead["projectId"]), (&json!("project"), &json!("lead"), &json!(project)));
    let on_task = owner.post("/parallax-agents/scout/assign/task", json!({"taskId": task})).await.expect(StatusCode::CREATED);
    assert_eq!(on_task["data"]["role"], "member");
    let listed = owner.get("/parallax-agents/scout/assignments").await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["taskId"]), (2, &json!(task)), "newest first");
    assert_eq!(owner.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::OK)["data"][0]["id"], "scout");
    assert_eq!(owner.get(&format!("/parallax-agents/task/{task}")).await.expect(StatusCode::OK)["data"][0]["id"], "scout");
    let mine = world.with_key(&key).tool("agent_my_assignments", json!({})).await.tool_text();
    assert_eq!((&mine["totalProjects"], &mine["totalTasks"]), (&json!(1), &json!(1)));

    let id = lead["id"].as_str().unwrap();
    owner.delete(&format!("/parallax-agents/assignments/{id}")).await.expect(StatusCode::OK);
    owner.delete(&format!("/parallax-agents/assignments/{id}")).await.expect_problem(StatusCode::CONFLICT, "ASSIGNMENT_ENDED");
    assert_eq!(owner.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::OK)["data"], json!([]));
    assert_eq!(world.activities("assigned_to_project", Some("scout")).await, 1);
    assert_eq!(world.activities("unassigned", Some("scout")).await, 1);
    owner.assign("scout", project).await.expect(StatusCode::CREATED);
    assert_eq!(owner.revoke("scout").await.receipt()["assignments"], 2, "a revocation ends what is left");
    world.end().await;
}

/// D-46.
#[sqlx::test]
async fn what_is_not_there_cannot_be_assigned_and_nothing_twice(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    world.pending_agent("waiting").await;
    let project = world.project("Docs").await;
    owner.assign("waiting", project).await.expect_problem(StatusCode::CONFLICT, "ILLEGAL_TRANSITION");
    owner.assign("nobody", project).await.expect_problem(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND");
    owner.assign("scout", uuid::Uuid::now_v7()).await.expect_problem(StatusCode::NOT_FOUND, "TARGET_NOT_FOUND");
    for bad in [json!({}), json!({"projectId": "x"}), json!({"projectId": project, "role": "boss"})] {
        owner.post("/parallax-agents/scout/assign/project", bad).await.expect(StatusCode::BAD_REQUEST);
    }
    let (a, b) = tokio::join!(owner.assign("scout", project), owner.assign("scout", project));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT], "one of two at once");
    owner.assign("scout", project).await.expect_problem(StatusCode::CONFLICT, "ALREADY_ASSIGNED");

    sqlx::query("UPDATE projects SET deleted_at = now()").execute(&pool).await.unwrap();
    owner.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::NOT_FOUND);
    world.end().await;
}

/// D-03: ids of another workspace lead nowhere, and change nothing.
#[sqlx::test]
async fn another_workspaces_assignments_do_not_exist(pool: PgPool) {
    let world = World::new(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    world.approved_agent("scout").await;
    let project = world.project("Docs").await;
    let assignment = owner.assign("scout", project).await.expect(StatusCode::CREATED)["data"]["id"].clone();
    let path = format!("/parallax-agents/assignments/{}", assignment.as_str().unwrap());
    outsider.delete(&path).await.expect_problem(StatusCode::NOT_FOUND, "ASSIGNMENT_NOT_FOUND");
    outsider.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::NOT_FOUND);
    outsider.get(&format!("/parallax-agents/project/{project}/activity")).await.expect(StatusCode::NOT_FOUND);
    outsider.get("/parallax-agents/scout/assignments").await.expect(StatusCode::NOT_FOUND);
    assert_eq!(owner.get("/parallax-agents/scout/assignments").await.expect(StatusCode::OK)["data"][0]["id"], assignment);
    world.end().await;
}

#[sqlx::test]
async fn members_assign_where_they_may_write_and_see_nothing_where_they_are_not(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    let (member, user) = world.member_with_id("mel").await;
    world.approved_agent("scout").await;
    let project = world.project("Docs").await;
    // Members are writers of the first space by their group.
    let made = member.assign("scout", project).await.expect(StatusCode::CREATED);
    let path = format!("/parallax-agents/assignments/{}", made["data"]["id"].as_str().unwrap());

    sqlx::query("UPDATE space_members SET role = 'reader' WHERE group_id IS NOT NULL").execute(&pool).await.unwrap();
    member.delete(&path).await.expect_problem(StatusCode::FORBIDDEN, "FORBIDDEN");
    assert_eq!(member.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::OK)["data"][0]["id"], "scout");

    sqlx::query("DELETE FROM group_users WHERE user_id = $1").bind(user.0).execute(&pool).await.unwrap();
    member.delete(&path).await.expect_problem(StatusCode::NOT_FOUND, "ASSIGNMENT_NOT_FOUND");
    member.assign("scout", project).await.expect_problem(StatusCode::NOT_FOUND, "TARGET_NOT_FOUND");
    member.get(&format!("/parallax-agents/project/{project}")).await.expect(StatusCode::NOT_FOUND);
    owner.delete(&path).await.expect(StatusCode::OK);
    world.end().await;
}

/// D-45.
#[sqlx::test]
async fn a_projects_and_an_agents_limit_hold_when_all_come_at_once(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let owner = world.owner().await;
    owner.patch_settings(json!({"parallax": {"maxAgentsPerProject": 3}})).await.expect(StatusCode::OK);
    for number in 0..8 {
        world.approved_agent(&format!("agent-{number}")).await;
    }
    let project = world.project("Docs").await;
    let asked = (0..8).map(|number| {
        let owner = owner.clone();
        async move { owner.assign(&format!("agent-{number}"), project).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 3);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::CREATED || answer.body["code"] == "PROJECT_LIMIT_REACHED"));

    let mut tasks = Vec::new();
    for number in 0..60 {
        tasks.push(world.task(&format!("Task {number}")).await);
    }
    let asked = tasks.into_iter().map(|task| {
        let owner = owner.clone();
        async move { owner.post("/parallax-agents/agent-7/assign/task", json!({"taskId": task})).await.status }
    });
    let statuses = futures_util::future::join_all(asked).await;
    let held: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parallax_agent_assignments WHERE agent_id = 'agent-7' AND unassigned_at IS NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(held, 50);
    assert!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count() >= 10);
    world.end().await;
}

#[sqlx::test]
async fn a_spawned_agent_is_put_to_work_where_the_order_says(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (project, task) = (world.project("Docs").await, world.task("Write").await);
    let order = json!({"agentType": "custom", "name": "shell", "config": {"command": "bash"}, "projectId": project, "taskId": task});
    let spawned = owner.post("/parallax-agents/spawn", order).await.expect(StatusCode::CREATED);
    let id = spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap().to_owned();
    let listed = owner.get(&format!("/parallax-agents/{id}/assignments")).await.expect(StatusCode::OK);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let nowhere = json!({"agentType": "custom", "config": {"command": "bash"}, "projectId": uuid::Uuid::now_v7()});
    owner.post("/parallax-agents/spawn", nowhere).await.expect_problem(StatusCode::NOT_FOUND, "TARGET_NOT_FOUND");
    assert_eq!(owner.get("/parallax-agents").await.expect(StatusCode::OK)["data"].as_array().unwrap().len(), 1, "nothing is left of it");
    world.end().await;
}
