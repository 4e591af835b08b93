//! Every operation of the OpenAPI document: who may not call it.

use raven_agents::{http, mcp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::World;

/// Operations that anybody may call: they ask for another proof, or for none. May only shrink.
const PUBLIC: [&str; 11] = [
    "setUp",
    "login",
    "getPublicWorkspace",
    "claimKey",
    "registerAgent",
    "getHealth",
    "mcpInitialize",
    "mcpListTools",
    "mcpSearchTools",
    "mcpListCategories",
    "mcpGetToolsByCategory",
];
/// As [`PUBLIC`], for the one that says only that the process lives.
const LIVENESS: &str = "getLiveness";

/// Answers for as long as the connection lasts, so that nobody reads it to its end.
const STREAM: &str = "streamEvents";

/// Operations on one thing that answer with nothing, as for a thing that was never there, because
/// the contract says so. May only shrink.
const EMPTY_FOR_OUTSIDERS: [&str; 3] = ["listAgentActivity", "listRecentAgentActivity", "getAgentTerminalSession"];

fn document() -> Value {
    serde_json::to_value(http::document(mcp::routes())).unwrap()
}

/// Every operation: its id, method, path and description.
fn operations(document: &Value) -> Vec<(String, Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            (id, method.to_uppercase().parse().unwrap(), path.strip_prefix("/api").unwrap().to_owned(), operation.clone())
        })
    });
    all.collect()
}

/// A body that the operation would take, from the document's own example.
fn example(document: &Value, operation: &Value, world: &World) -> Option<Value> {
    let schema = operation.pointer("/requestBody/content/application~1json/schema")?;
    // An optional body is the shape or null.
    let schema = schema.get("$ref").or_else(|| schema.pointer("/oneOf/0/$ref"))?.as_str()?;
    let mut body = document.pointer(schema.trim_start_matches('#')).unwrap()["example"].clone();
    assert!(body.is_object(), "{schema} has no example");
    if body.get("workspaceId").is_some() {
        body["workspaceId"] = json!(world.workspace);
    }
    Some(body)
}

#[test]
fn every_operation_has_an_id_a_summary_and_its_errors() {
    let document = document();
    for (id, _, path, operation) in operations(&document) {
        assert!(operation["summary"].is_string(), "{id} ({path}) has no summary");
        let responses = operation["responses"].as_object().unwrap();
        if id != LIVENESS {
            assert!(responses.keys().any(|status| status.starts_with('4') || status.starts_with('5')), "{id} names no error");
        }
        if operation.get("security").is_some() {
            assert!(responses.contains_key("401"), "{id} names no 401");
        }
    }
}

/// Whether a reader learns what a value of this schema looks like: from an example, or from its parts.
fn has_example(document: &Value, schema: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return has_example(document, document.pointer(name.trim_start_matches('#')).unwrap());
    }
    let parts = |key: &str| schema[key].as_array().into_iter().flatten();
    let any_choice = ["oneOf", "anyOf"].iter().flat_map(|key| parts(key)).any(|choice| has_example(document, choice));
    let mut all_parts = parts("allOf").chain(schema["properties"].as_object().into_iter().flat_map(|fields| fields.values())).peekable();
    let composed = all_parts.peek().is_some() && all_parts.all(|part| has_example(document, part));
    let of_items = schema["items"].is_object() && has_example(document, &schema["items"]);
    // A number, a flag, an id or an instant looks like any other.
    let is_plain = schema["type"].as_str().is_some_and(|name| ["integer", "boolean"].contains(&name)) || schema["format"].is_string();
    let is_given = ["example", "examples", "enum"].iter().any(|key| schema.get(key).is_some());
    is_given || any_choice || composed || of_items || is_plain
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_is_whole_and_no_two_operations_share_an_id() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["servers"][0]["url"].is_string());
    let mut all = Vec::new();
    references(&document, &mut all);
    for reference in all {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    let mut ids: Vec<String> = operations(&document).into_iter().map(|(id, ..)| id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    for (id, _, _, operation) in operations(&document) {
        for requirement in operation["security"].as_array().into_iter().flatten() {
            for scheme in requirement.as_object().unwrap().keys() {
                assert!(document.pointer(&format!("/components/securitySchemes/{scheme}")).is_some(), "{id} wants {scheme}");
            }
        }
    }
}

#[test]
fn every_request_and_every_answer_has_an_example() {
    let document = document();
    for (id, _, _, operation) in operations(&document) {
        let shows = |what: &str, content: &Value| {
            for (content_type, media) in content.as_object().into_iter().flatten() {
                let shown = media.get("example").is_some() || media.get("examples").is_some() || has_example(&document, &media["schema"]);
                assert!(shown, "{id}: {what} ({content_type}) has no example: add #[schema(example = json!(…))] to its type");
            }
        };
        shows("the request", &operation["requestBody"]["content"]);
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{id}: {status} is not described");
            shows(status, &response["content"]);
        }
    }
}

#[test]
fn every_example_has_the_fields_of_its_schema() {
    let document = document();
    let mut seen = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let (Some(example), Some(fields)) = (schema["example"].as_object(), schema["properties"].as_object()) else { continue };
        for field in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(example.contains_key(field), "the example of {name} lacks {field}");
        }
        for (field, value) in example {
            let known = fields.get(field).unwrap_or_else(|| panic!("the example of {name} has {field}, which it does not know"));
            let choices =
                known["$ref"].as_str().map_or(known, |at| document.pointer(at.trim_start_matches('#')).unwrap())["enum"].as_array();
            assert!(choices.is_none_or(|choices| choices.contains(value)), "the example of {name} has {value} for {field}");
        }
        seen += 1;
    }
    assert!(seen > 15, "the examples were not found");
}

#[test]
fn the_committed_document_is_the_one_that_the_program_prints() {
    let committed: Value = serde_json::from_str(include_str!("../../openapi/openapi.json")).unwrap();
    assert!(committed == document(), "the committed document is another: run `cargo xtask gen`");
}

#[sqlx::test]
async fn anonymous_callers_get_401_and_outsiders_learn_nothing(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    owner.invite(None).await;
    let invite = owner.get("/parallax-agents/invites").await.expect(StatusCode::OK)["data"][0]["id"].as_str().unwrap().to_owned();
    let (project, task) = (world.project("Docs").await, world.task("Write").await);
    let path = format!("/parallax-agents/{id}/assign/project");
    let assignment = owner.post(&path, json!({"projectId": project})).await.expect(StatusCode::CREATED)["data"]["id"].clone();
    let path = format!("/parallax-agents/{id}/keys");
    let key = owner.get(&path).await.expect(StatusCode::OK)["data"]["keys"][0]["id"].clone();
    let things = [
        ("{agentId}", id.clone()),
        ("{sessionId}", session.clone()),
        ("{inviteId}", invite.clone()),
        ("{projectId}", project.to_string()),
        ("{taskId}", task.to_string()),
        ("{assignmentId}", assignment.as_str().unwrap().to_owned()),
        ("{keyId}", key.as_str().unwrap().to_owned()),
        ("{runtimeSessionId}", id.clone()),
        ("{runtimeName}", "spare-runtime".to_owned()),
    ];
    let endpoint = owner.get("/parallax-agents/runtimes").await.expect(StatusCode::OK)["data"][0]["endpoint"].clone();
    let spare = json!({"name": "spare-runtime", "endpoint": endpoint});
    owner.post("/parallax-agents/runtimes", spare).await.expect(StatusCode::CREATED);
    let shared = owner.post(&format!("/terminal/sessions/{session}/shares"), json!({})).await.expect(StatusCode::CREATED);
    let things: Vec<_> = things.into_iter().chain([("{shareId}", shared["data"]["share"]["id"].as_str().unwrap().to_owned())]).collect();
    let outsider = world.outsider().await;
    let document = document();

    for (operation_id, method, path, operation) in operations(&document) {
        if PUBLIC.contains(&operation_id.as_str()) || operation_id == LIVENESS {
            continue;
        }
        let concerns_one = path.contains('{');
        let path = things.iter().fold(path, |path, (parameter, thing)| path.replace(parameter, thing));
        assert!(!path.contains('{'), "{operation_id} has a parameter that this test does not know");
        let body = example(&document, &operation, &world);

        let anonymous = world.anonymous().call(method.clone(), &path, body.clone()).await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "anonymous {operation_id}: {}", anonymous.body);

        // To sign out is to ask nothing after it.
        if operation_id == STREAM || operation_id == "logout" {
            continue;
        }
        let by_secret = ["webhook", "agent", "registration"].iter().any(|scheme| operation["security"].to_string().contains(scheme));
        let foreign = outsider.call(method, &path, body).await;
        let (status, text) = (foreign.status, foreign.body.to_string());
        if by_secret {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{operation_id}: {text}");
        } else if EMPTY_FOR_OUTSIDERS.contains(&operation_id.as_str()) {
            let nothing = [json!(null), json!([]), json!({"activities": []})];
            assert!(nothing.contains(&foreign.body["data"]), "{operation_id}: {text}");
        } else if concerns_one {
            assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN), "{operation_id}: {status} {text}");
        }
        // An answer about the outsider's own workspace names nothing of ours, unless it echoes the request.
        let told = foreign.body["data"].to_string();
        let ours = things.iter().map(|(_, thing)| thing.clone()).chain([world.workspace.to_string()]);
        assert!(ours.into_iter().all(|name| !told.contains(&name)), "{operation_id} tells an outsider of ours: {text}");
    }
    owner.until_session_is(&id, "active").await;
    assert_eq!(owner.agent(&id).await["status"], "approved", "nothing of it had an effect");
    world.end().await;
}

#[sqlx::test]
async fn unknown_paths_and_methods_answer_in_the_shape_of_all_errors(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    owner.get("/nowhere").await.expect_problem(StatusCode::NOT_FOUND, "NOT_FOUND");
    owner.delete("/parallax-agents").await.expect_problem(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
    owner.get("/terminal/sessions/not-a-uuid").await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    for limit in ["0", "201", "-1", "NaN", "99999999999999999999"] {
        owner.get(&format!("/parallax-agents/activity/workspace?limit={limit}")).await.expect(StatusCode::BAD_REQUEST);
    }
    owner.get("/parallax-agents?status=happy").await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    owner.get("/parallax-agents?capabilities=%00").await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    for (method, path) in [
        (Method::GET, "/parallax-agents/%00"),
        (Method::DELETE, "/api-keys/%00"),
        (Method::POST, "/api-keys/%00/rotate"),
        (Method::DELETE, "/parallax-agents/scout/keys/%00"),
    ] {
        owner.call(method, path, None).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    let report = world.control_plane().post("/terminal/sessions/%00/status", json!({"status": "active"})).await;
    report.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    for path in ["/parallax-agents/", "//parallax-agents", "/parallax-agents//available/?capabilities=x"] {
        owner.get(path).await.expect(StatusCode::OK);
    }
    let problem = owner.get("/nowhere").await;
    assert_eq!(problem.headers["x-request-id"], problem.body["requestId"].as_str().unwrap());
    assert!(problem.body["message"].is_string() && problem.body["path"] == "/api/nowhere");
    world.end().await;
}
