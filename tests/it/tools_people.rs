//! What an agent learns of spaces and people.

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{World, content::each};

#[sqlx::test]
async fn an_agent_sees_its_spaces_and_no_others(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, space) = (world.agent_with("scout", &["read:spaces"]).await, world.first_space().await);
    let (closed, foreign) = (world.closed_space("board").await, world.foreign_space().await);
    assert_eq!(each(&scout.does("space_list", json!({})).await["spaces"], "slug"), ["general"]);
    assert_eq!(scout.does("space_get", json!({"spaceId": space})).await["role"], "writer");
    for tool in ["space_get", "space_members"] {
        scout.finds_none(tool, "spaceId", &[closed, foreign, Uuid::new_v4()], json!({})).await;
    }
    world.join(closed, world.account_of("scout").await, "reader").await;
    assert_eq!(each(&scout.does("space_list", json!({"limit": 1, "query": "BOARD"})).await["spaces"], "slug"), ["board"]);
    assert_eq!(scout.does("space_get", json!({"spaceId": closed})).await["role"], "reader");

    let workspace = scout.does("workspace_get", json!({})).await;
    assert_eq!((&workspace["name"], workspace.get("settings")), (&json!("Acme"), None));
    world.end().await;
}

#[sqlx::test]
async fn addresses_of_people_are_for_who_may_read_users(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let space = world.first_space().await;
    let (_, ada) = world.member_with_id("ada").await;
    let guest = world.agent_with("guest", &["read:spaces"]).await;
    let members = guest.does("space_members", json!({"spaceId": space})).await;
    assert_eq!(each(&members["members"], "name"), ["ada", "owner"], "agents are left out");
    assert!(!members.to_string().contains("acme.example"));
    assert_eq!(members["members"][1]["spaceRole"], "admin");
    for tool in ["user_list", "workspace_members"] {
        assert_eq!(guest.refused(tool, json!({})).await["code"], -32002, "{tool}");
    }
    assert_eq!(guest.refused("user_get", json!({"userId": ada})).await["code"], -32002);

    let clerk = world.agent_with("clerk", &["read:users", "read:spaces"]).await;
    let members = clerk.does("space_members", json!({"spaceId": space, "query": "AD"})).await;
    assert_eq!(each(&members["members"], "email"), ["ada@acme.example"]);
    assert_eq!(each(&clerk.does("user_list", json!({"query": "owner"})).await["users"], "name"), ["owner"]);
    assert_eq!(each(&clerk.does("workspace_members", json!({"limit": 1})).await["members"], "name"), ["ada"]);
    assert_eq!(clerk.does("user_get", json!({"userId": ada})).await["name"], "ada");
    let agent = clerk.does("user_get", json!({"userId": world.account_of("guest").await})).await;
    assert_eq!((&agent["agentId"], agent.get("email")), (&json!("guest"), None::<&Value>));

    world.foreign_space().await;
    let other: Uuid =
        sqlx::query_scalar("SELECT id FROM users WHERE workspace_id <> $1").bind(world.workspace.0).fetch_one(&world.pool).await.unwrap();
    clerk.finds_none("user_get", "userId", &[other, Uuid::new_v4()], json!({})).await;
    world.end().await;
}
