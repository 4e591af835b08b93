//! What the tools make of arguments that nobody means well with.

use raven_agents::model::permission;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::World;

/// Values that an argument may come with, whatever it is about.
fn values(ids: &[Uuid]) -> Vec<Value> {
    let mut deep = json!("bottom");
    for level in 0..100 {
        deep = if level % 2 == 0 { json!([deep]) } else { json!({"content": deep}) };
    }
    let mut values = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(""),
        json!(" \t\n"),
        json!("null"),
        json!("'; SELECT 1 --"),
        json!("%_\\ & | ! :* ( <-> '"),
        json!("\u{202e}\u{feff}\u{1f469}\u{200d}\u{1f680}\u{10ffff}"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("0000-01-01"),
        json!("9999-12-31"),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("2016-12-31T23:59:60Z"),
        json!("2030-02-30"),
        json!([]),
        json!({}),
        json!([null, 1, "", {}]),
        json!({"type": "doc"}),
        json!({"type": "doc", "content": [{"type": "text", "text": 1}]}),
        json!(vec!["x"; 2000]),
        deep,
    ];
    values.extend(ids.iter().map(|id| json!(id)));
    values
}

/// A text far beyond what the argument may have, or as long as a body lets it be where the schema has no bound.
fn long(schema: &Value) -> Value {
    let is_bounded = ["maxLength", "enum", "pattern"].iter().any(|keyword| schema.get(keyword).is_some());
    json!("a-1 ".repeat(if is_bounded { 6_000 } else { 225_000 }))
}

/// Something of every kind that the agent may touch, by the name of the argument.
async fn things(world: &World) -> Map<String, Value> {
    let space = world.first_space().await;
    let page = world.page_in(space, "Plan").await;
    let (task, project) = (world.task_in(space, "Do").await, world.project_in(space, "Docs").await);
    let Value::Object(own) = json!({
        "spaceId": space, "pageId": page, "taskId": task, "projectId": project, "assigneeId": world.account_of("scout").await,
        "userId": world.account_of("scout").await, "toAgentId": "helper", "title": "x", "name": "x", "text": "x", "query": "x", "content": "x",
        "bucket": "inbox", "position": "b0", "status": "idle", "actionType": "noted", "permission": "write:tasks", "icon": "x",
        "commentId": Uuid::new_v4(), "historyId": Uuid::new_v4(), "id": Uuid::new_v4(),
    }) else {
        unreachable!("it was made as an object")
    };
    own
}

/// Every argument of every tool with every such value is done or refused, and nothing goes wrong on the server.
#[sqlx::test]
async fn no_argument_makes_a_tool_fail(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let all: Vec<&str> = permission::CATALOGUE.iter().map(|permission| permission.id).collect();
    world.agent_with("helper", &["read:pages"]).await;
    let scout = world.agent_with("scout", &all).await;
    let own = things(&world).await;
    let ids: Vec<Uuid> = ["pageId", "taskId", "spaceId"].iter().map(|name| own[*name].as_str().unwrap().parse().unwrap()).collect();
    let values = values(&ids);
    let listed = world.anonymous().post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    let mut calls = 0;
    for tool in listed["tools"].as_array().unwrap() {
        let (name, schema) = (tool["name"].as_str().unwrap(), &tool["inputSchema"]);
        let properties = schema["properties"].as_object().unwrap();
        let is_required = |property: &str| schema["required"].as_array().is_some_and(|required| required.contains(&json!(property)));
        let usual =
            |property: &str| is_required(property) || ["title", "name", "icon", "position", "toAgentId", "actionType"].contains(&property);
        let beside: Map<String, Value> = own
            .iter()
            .filter(|(property, _)| properties.contains_key(*property) && usual(property))
            .map(|(property, value)| (property.clone(), value.clone()))
            .collect();
        // Who calls is the same for all of them.
        let is_first = calls == 0;
        let tried =
            properties.iter().filter(|(property, _)| is_first || !["workspaceId", "agentId", "approvalId"].contains(&property.as_str()));
        for (property, schema) in tried {
            for value in values.iter().chain([&long(schema)]) {
                let mut arguments = beside.clone();
                arguments.insert(property.clone(), value.clone());
                let answer = scout.tool(name, json!(arguments)).await;
                let shown: String = value.to_string().chars().take(80).collect();
                assert_eq!(answer.status, StatusCode::OK, "{name} with {property} = {shown}: {}", answer.body);
                let code = answer.tool_text()["code"].clone();
                assert!(![-32603, -32000].iter().any(|bad| code == *bad), "{name} with {property} = {shown}: {code}");
                calls += 1;
            }
        }
    }
    assert!(calls > 5000, "{calls}");
    for tool in ["page_search", "search_query", "memory_query", "search_suggest"] {
        scout.does(tool, json!({"query": "a plan"})).await;
    }
    scout.does("memory_daily", json!({"date": "9999-12-31"})).await;
    world.end().await;
}

/// Models' interfaces take no tool whose schema has these at its top, and some then take none of the others either.
#[sqlx::test]
async fn the_schema_of_a_tool_is_one_that_models_take(pool: PgPool) {
    let world = World::new(pool).await;
    let listed = world.anonymous().post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    for tool in listed["tools"].as_array().unwrap() {
        let schema = tool["inputSchema"].as_object().unwrap();
        assert_eq!(schema["type"], "object", "{}", tool["name"]);
        for keyword in ["anyOf", "oneOf", "allOf"] {
            assert!(!schema.contains_key(keyword), "{} has {keyword}", tool["name"]);
        }
    }
    world.end().await;
}
