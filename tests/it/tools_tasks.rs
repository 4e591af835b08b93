//! What an agent does with tasks.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

const ALL: [&str; 4] = ["read:tasks", "write:tasks", "delete:tasks", "assign:tasks"];

#[sqlx::test]
async fn an_agent_makes_a_task_works_on_it_and_completes_it_once(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let project = world.project_in(space, "Docs").await;

    let made = scout
        .does(
            "task_create",
            json!({"title": "Write it", "projectId": project, "priority": "high", "dueDate": "2030-01-31", "estimatedTime": 90}),
        )
        .await;
    assert_eq!((&made["spaceId"], &made["project"]["name"], &made["status"]), (&json!(space), &json!("Docs"), &json!("todo")));
    assert_eq!((&made["dueDate"], &made["estimatedTime"]), (&json!("2030-01-31T00:00:00.000Z"), &json!(90)));
    let part = scout.does("task_create", json!({"title": "A part", "spaceId": space, "parentTaskId": made["id"]})).await;
    assert_eq!(part["parent"]["title"], "Write it");

    let task = json!({"taskId": made["id"]});
    let begun =
        scout.does("task_update", json!({"taskId": made["id"], "status": "in_progress", "description": "how", "dueDate": null})).await;
    assert_eq!((&begun["description"], &begun["dueDate"], &begun["title"]), (&json!("how"), &Value::Null, &json!("Write it")));
    let done = scout.does("task_complete", task.clone()).await;
    assert_eq!((&done["status"], &done["isCompleted"]), (&json!("done"), &json!(true)));
    assert_eq!(scout.does("task_complete", task.clone()).await, done, "a task is completed once");
    let open = scout.does("task_complete", json!({"taskId": made["id"], "isCompleted": false})).await;
    assert_eq!((&open["status"], &open["completedAt"]), (&json!("todo"), &Value::Null));
    scout.does("task_update", json!({"taskId": made["id"], "status": "blocked"})).await;

    let waiting = scout.does("task_bucket_set", json!({"taskId": made["id"], "bucket": "waiting"})).await;
    assert_eq!(waiting["bucket"], "waiting");
    assert_eq!(scout.does("task_triage_summary", json!({"spaceId": space})).await["waiting"], 1);
    assert_eq!(scout.does("task_bucket_clear", task.clone()).await["bucket"], "none");

    scout.does("task_delete", task.clone()).await;
    assert_eq!(scout.refused("task_get", task).await["code"], -32001);
    for (name, count) in [("agent.task_started", 1), ("agent.task_completed", 1), ("agent.task_failed", 1)] {
        assert_eq!(world.events(name).await, count, "{name}");
    }
    world.end().await;
}

/// D-40.
#[sqlx::test]
async fn a_task_that_an_agent_must_not_see_is_nowhere_and_cannot_be_touched(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let secret = world.task_in(space, "Secret").await;
    world.keep_from_agents("tasks", secret).await;
    let closed = world.task_in(world.closed_space("board").await, "Secret").await;
    let foreign_space = world.foreign_space().await;
    let foreign = world.task_in(foreign_space, "Secret").await;
    let open = world.task_in(space, "Open").await;
    let none = [secret, closed, foreign, Uuid::new_v4()];

    for tool in ["task_get", "task_complete", "task_delete", "task_bucket_clear"] {
        scout.finds_none(tool, "taskId", &none, json!({})).await;
    }
    scout.finds_none("task_update", "taskId", &none, json!({"title": "mine"})).await;
    scout.finds_none("task_assign", "taskId", &none, json!({"assigneeId": null})).await;
    scout.finds_none("task_move_to_project", "taskId", &none, json!({"projectId": null})).await;
    scout.finds_none("task_bucket_set", "taskId", &none, json!({"bucket": "inbox"})).await;
    scout.finds_none("task_create", "parentTaskId", &none, json!({"title": "x", "spaceId": space})).await;
    let projects = [world.project_in(foreign_space, "Other").await, Uuid::new_v4()];
    scout.finds_none("task_create", "projectId", &projects, json!({"title": "x"})).await;
    scout.finds_none("task_move_to_project", "projectId", &projects, json!({"taskId": open})).await;
    scout.finds_none("task_list", "projectId", &projects, json!({})).await;
    scout.finds_none("task_list", "spaceId", &[foreign_space, Uuid::new_v4()], json!({})).await;

    let all = scout.does("task_list", json!({})).await;
    assert_eq!((each(&all["tasks"], "title"), &all["pagination"]["total"]), (vec!["Open"], &json!(1)));
    assert_eq!(scout.does("task_triage_summary", json!({})).await["open"], 1);

    // A page that is kept from agents is not even named.
    let page = world.page_in(space, "Hidden").await;
    sqlx::query("UPDATE tasks SET page_id = $1 WHERE id = $2").bind(page).bind(open).execute(&world.pool).await.unwrap();
    world.keep_from_agents("pages", page).await;
    let changed = scout.does("task_update", json!({"taskId": open, "title": "Still open"})).await;
    assert_eq!(changed["pageId"], Value::Null);
    let kept: Option<Uuid> = sqlx::query_scalar("SELECT page_id FROM tasks WHERE id = $1").bind(open).fetch_one(&world.pool).await.unwrap();
    assert_eq!(kept, Some(page), "a change leaves alone what the agent does not know");
    world.end().await;
}

/// D-40: what an agent works on and must not know of any more is in none of its lists.
#[sqlx::test]
async fn an_assignment_is_told_for_as_long_as_the_agent_may_know_of_it(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let project = world.project_in(space, "Docs").await;
    let tasks = [world.task_in(space, "hidden").await, world.task_in(space, "deleted").await];
    sqlx::query("UPDATE tasks SET agent_live = true").execute(&world.pool).await.unwrap();
    for task in tasks {
        scout.does("agent_claim_task", json!({"taskId": task})).await;
    }
    world.owner().await.assign("scout", project).await.expect(StatusCode::CREATED);
    let totals = async || {
        let own = scout.does("agent_my_assignments", json!({})).await;
        let resource = scout.post("/mcp-standard/read_resource", json!({"uri": "ravendocs://assignments"})).await.expect(StatusCode::OK);
        let read: Value = serde_json::from_str(resource["contents"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(read, own);
        [own["totalTasks"].as_u64(), own["totalProjects"].as_u64(), u64::try_from(own["assignments"].as_array().unwrap().len()).ok()]
            .map(Option::unwrap)
    };
    assert_eq!(totals().await, [2, 1, 3]);
    world.keep_from_agents("tasks", tasks[0]).await;
    assert_eq!(totals().await, [1, 1, 2]);
    sqlx::query("UPDATE tasks SET deleted_at = now() WHERE id = $1").bind(tasks[1]).execute(&world.pool).await.unwrap();
    assert_eq!(totals().await, [0, 1, 1]);
    sqlx::query("UPDATE projects SET deleted_at = now()").execute(&world.pool).await.unwrap();
    assert_eq!(totals().await, [0, 0, 0]);
    world.end().await;
}

#[sqlx::test]
async fn an_agent_gives_tasks_to_others_with_the_permission_for_it_only(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (writer, space) = (world.agent_with("writer", &["read:tasks", "write:tasks"]).await, world.first_space().await);
    let leader = world.agent_with("leader", &ALL).await;
    let (own, other) = (world.account_of("writer").await, world.account_of("leader").await);

    let task = writer.does("task_create", json!({"title": "x", "spaceId": space, "assigneeId": own})).await;
    assert_eq!(task["assignee"]["name"], "Agent writer");
    let refused = writer.refused("task_create", json!({"title": "x", "spaceId": space, "assigneeId": other})).await;
    assert_eq!((&refused["code"], &refused["data"]["requiredPermissions"]), (&json!(-32002), &json!(["assign:tasks"])));
    assert_eq!(writer.refused("task_update", json!({"taskId": task["id"], "assigneeId": other})).await["code"], -32002);
    assert_eq!(writer.refused("task_assign", json!({"taskId": task["id"], "assigneeId": own})).await["code"], -32002);
    assert_eq!(writer.does("task_update", json!({"taskId": task["id"], "assigneeId": null})).await["assigneeId"], Value::Null);

    assert_eq!(leader.does("task_assign", json!({"taskId": task["id"], "assigneeId": other})).await["assigneeId"], json!(other));
    let (_, stranger) = world.member_with_id("bob").await;
    sqlx::query("DELETE FROM group_users WHERE user_id = $1").bind(stranger.0).execute(&world.pool).await.unwrap();
    for nobody in [Uuid::new_v4(), stranger.0] {
        let refused = leader.refused("task_assign", json!({"taskId": task["id"], "assigneeId": nobody})).await;
        assert_eq!(refused["data"]["errors"][0]["field"], "assigneeId");
    }
    assert_eq!(writer.refused("task_update", json!({"taskId": task["id"], "agentLive": true})).await["code"], -32002);
    world.end().await;
}

#[sqlx::test]
async fn a_task_moves_to_the_end_of_a_project_also_of_another_space(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let other = world.closed_space("lab").await;
    let (project, task) = (world.project_in(other, "Lab").await, world.task_in(space, "x").await);
    scout.finds_none("task_move_to_project", "projectId", &[project, Uuid::new_v4()], json!({"taskId": task})).await;
    world.join(other, world.account_of("scout").await, "reader").await;
    assert_eq!(scout.refused("task_move_to_project", json!({"taskId": task, "projectId": project})).await["code"], -32002);
    sqlx::query("UPDATE space_members SET role = 'writer' WHERE space_id = $1").bind(other).execute(&world.pool).await.unwrap();
    let moved = scout.does("task_move_to_project", json!({"taskId": task, "projectId": project})).await;
    assert_eq!((&moved["spaceId"], &moved["project"]["name"]), (&json!(other), &json!("Lab")));
    world.end().await;
}

#[sqlx::test]
async fn lists_are_narrowed_down_and_say_how_much_there_is(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    for (title, status) in [("a", "todo"), ("b", "todo"), ("c", "done"), ("d", "blocked"), ("e", "todo")] {
        scout.does("task_create", json!({"title": title, "spaceId": space, "status": status})).await;
    }
    let list = async |arguments: Value| scout.does("task_list", arguments).await;
    let todo = list(json!({"spaceId": space, "status": ["todo"], "limit": 2, "page": 2})).await;
    assert_eq!(each(&todo["tasks"], "title"), ["e"], "tasks stand in the order in which they were made");
    assert_eq!(todo["pagination"], json!({"page": 2, "limit": 2, "total": 3, "totalPages": 2}));
    let behind = list(json!({"limit": 2, "page": 9})).await;
    assert_eq!((&behind["tasks"], &behind["pagination"]["total"]), (&json!([]), &json!(5)));
    assert_eq!(each(&list(json!({"status": "done"})).await["tasks"], "title"), ["c"]);
    assert_eq!(each(&list(json!({"query": "D"})).await["tasks"], "title"), ["d"]);
    assert_eq!(list(json!({"assigneeId": world.account_of("scout").await})).await["tasks"], json!([]));

    for (tool, arguments, field) in [
        ("task_create", json!({"spaceId": space}), "title"),
        ("task_create", json!({"title": "x", "spaceId": space, "priority": "now"}), "priority"),
        ("task_create", json!({"title": "x", "spaceId": space, "dueDate": "tomorrow"}), "dueDate"),
        ("task_create", json!({"title": "x", "spaceId": space, "estimatedTime": -1}), "estimatedTime"),
        ("task_list", json!({"status": "open"}), "status"),
        ("task_list", json!({"limit": 500}), "limit"),
    ] {
        let refused = scout.refused(tool, arguments.clone()).await;
        assert_eq!(refused["data"]["errors"][0]["field"], field, "{tool} {arguments}: {refused}");
    }
    world.end().await;
}

#[sqlx::test]
async fn two_agents_that_change_one_task_do_not_undo_each_other(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (a, b, space) = (world.agent_with("a", &ALL).await, world.agent_with("b", &ALL).await, world.first_space().await);
    let task = world.task_in(space, "shared").await;
    tokio::join!(
        a.does("task_update", json!({"taskId": task, "description": "by a"})),
        b.does("task_update", json!({"taskId": task, "priority": "urgent"})),
        a.does("task_complete", json!({"taskId": task})),
        b.does("task_complete", json!({"taskId": task}))
    );
    let now = a.does("task_get", json!({"taskId": task})).await;
    assert_eq!((&now["description"], &now["priority"], &now["status"]), (&json!("by a"), &json!("urgent"), &json!("done")));
    assert_eq!(world.events("agent.task_completed").await, 1);
    world.end().await;
}
