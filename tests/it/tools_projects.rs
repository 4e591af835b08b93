//! What an agent does with projects.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

const ALL: [&str; 5] = ["read:projects", "write:projects", "read:tasks", "read:pages", "write:pages"];

#[sqlx::test]
async fn an_agent_makes_changes_archives_and_deletes_a_project(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let made = scout.does("project_create", json!({"name": "Docs", "spaceId": space, "color": "teal", "startDate": "2030-01-01"})).await;
    assert_eq!((&made["name"], &made["agentLive"], &made["creator"]["name"]), (&json!("Docs"), &json!(false), &json!("Agent scout")));
    let project = json!({"projectId": made["id"]});
    let task = world.task_in(space, "In it").await;
    sqlx::query("UPDATE tasks SET project_id = $1::uuid WHERE id = $2")
        .bind(made["id"].as_str().unwrap().parse::<Uuid>().unwrap())
        .bind(task)
        .execute(&world.pool)
        .await
        .unwrap();

    let changed = scout.does("project_update", json!({"projectId": made["id"], "description": "all of them", "color": null})).await;
    assert_eq!((&changed["description"], &changed["color"], &changed["name"]), (&json!("all of them"), &Value::Null, &json!("Docs")));
    let refused = scout.refused("project_update", json!({"projectId": made["id"], "endDate": "2029-01-01"})).await;
    assert_eq!(refused["data"]["errors"][0]["field"], "endDate");
    assert_eq!(scout.refused("project_update", json!({"projectId": made["id"], "agentLive": true})).await["code"], -32002);

    let home = scout.does("project_create_page", json!({"projectId": made["id"]})).await;
    assert_eq!(home["title"], "Docs");
    let below = scout.does("project_create_page", json!({"projectId": made["id"], "title": "More", "content": "words"})).await;
    assert_eq!(below["parentPageId"], home["id"]);
    assert_eq!(scout.does("project_get", project.clone()).await["homePageId"], home["id"]);

    assert_eq!(scout.does("project_archive", project.clone()).await["isArchived"], true);
    assert_eq!(scout.does("project_list", json!({"spaceId": space})).await["projects"], json!([]));
    let all = scout.does("project_list", json!({"includeArchived": true, "searchTerm": "doc"})).await;
    assert_eq!(each(&all["projects"], "name"), ["Docs"]);

    let refused = scout.refused("project_delete", project.clone()).await;
    assert_eq!((&refused["code"], &refused["data"]["requiredPermissions"]), (&json!(-32002), &json!(["delete:tasks"])));
    let sweeper = world.agent_with("sweeper", &["write:projects", "delete:tasks"]).await;
    world.keep_from_agents("tasks", task).await;
    assert_eq!(sweeper.refused("project_delete", project.clone()).await["code"], -32002, "D-40: a task is kept from agents");
    sqlx::query("UPDATE tasks SET agent_accessible = NULL").execute(&world.pool).await.unwrap();
    sweeper.does("project_delete", project.clone()).await;
    assert_eq!(scout.refused("project_get", project).await["code"], -32001);
    assert_eq!(scout.refused("task_get", json!({"taskId": task})).await["code"], -32001, "its tasks are gone with it");
    world.end().await;
}

#[sqlx::test]
async fn a_project_of_others_is_nowhere_and_cannot_be_touched(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &ALL).await, world.first_space().await);
    let (closed, foreign) = (world.closed_space("board").await, world.foreign_space().await);
    let none = [world.project_in(closed, "Secret").await, world.project_in(foreign, "Secret").await, Uuid::new_v4()];
    for tool in ["project_get", "project_archive", "project_delete", "project_create_page"] {
        scout.finds_none(tool, "projectId", &none, json!({})).await;
    }
    scout.finds_none("project_update", "projectId", &none, json!({"name": "mine"})).await;
    for tool in ["project_list", "project_create"] {
        scout.finds_none(tool, "spaceId", &[closed, foreign, Uuid::new_v4()], json!({"name": "x"})).await;
    }
    assert_eq!(scout.does("project_list", json!({})).await["projects"], json!([]));

    world.project_in(space, "Ours").await;
    world.set_group_role("reader").await;
    let ours = scout.does("project_list", json!({})).await["projects"][0]["id"].clone();
    assert_eq!(scout.refused("project_update", json!({"projectId": ours, "name": "mine"})).await["code"], -32002);
    assert_eq!(scout.refused("project_create", json!({"spaceId": space, "name": "mine"})).await["code"], -32002);
    world.end().await;
}
