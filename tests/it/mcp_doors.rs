//! The doors of MCP: what each asks for and how each answers.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::support::{
    APP_SECRET, Answer, Caller, DEADLINE, World,
    program::{Folder, Program, database_url, free_port, raven_agents, set_up},
    terminal::Socket,
};

/// The versions that the door of the protocol speaks.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// A request of JSON-RPC.
fn rpc(method: &str, params: Value) -> Value {
    let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
    call["params"] = params;
    call
}

fn greeting(version: &str) -> Value {
    rpc("initialize", json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}))
}

/// What a request of 2026-07-28 says of itself.
fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
           "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}})
}

/// Sends a request as clients of this version do.
async fn in_version(caller: &Caller<'_>, version: &str, method: &'static str, mut params: Value) -> Answer {
    let mut caller = caller.clone().with_header("mcp-protocol-version", version);
    if version >= "2026-07-28" {
        caller = caller.with_header("mcp-method", method);
        if let Some(name) = params.get("name").or(params.get("uri")).and_then(Value::as_str) {
            caller = caller.with_header("mcp-name", name);
        }
        params["_meta"] = meta();
    }
    caller.post("/mcp", rpc(method, params)).await
}

async fn call(caller: &Caller<'_>, tool: &str, arguments: Value) -> Answer {
    caller.post("/mcp", rpc("tools/call", json!({"name": tool, "arguments": arguments}))).await
}

#[sqlx::test]
async fn versions_are_negotiated_and_every_one_gets_tools(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    for (asked, agreed) in [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("1999-01-01", "2025-11-25")] {
        let greeted = scout.post("/mcp", greeting(asked)).await;
        assert!(!greeted.headers.contains_key("mcp-session-id"), "there are no sessions");
        let greeted = greeted.expect(StatusCode::OK);
        assert_eq!(greeted["result"]["protocolVersion"], agreed, "{asked}: {greeted}");
        assert_eq!(greeted["result"]["serverInfo"]["name"], "raven-agents");
        let versioned = scout.clone().with_header("mcp-protocol-version", agreed);
        let listed = versioned.post("/mcp", rpc("tools/list", json!({}))).await.expect(StatusCode::OK);
        let profile = listed["result"]["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "agent_profile").cloned().unwrap();
        assert_eq!((&profile["inputSchema"]["type"], &profile["annotations"]["readOnlyHint"]), (&json!("object"), &json!(true)));
    }
    let discovered = in_version(&scout, "2026-07-28", "server/discover", json!({})).await.expect(StatusCode::OK);
    assert_eq!(discovered["result"]["supportedVersions"], json!(["2025-06-18", "2025-11-25", "2026-07-28"]), "{discovered}");
    world.end().await;
}

#[sqlx::test]
async fn a_stranger_is_told_where_to_learn_what_to_present(pool: PgPool) {
    let world = World::new(pool).await;
    let http = reqwest::Client::new();
    let paths = [
        ("/api/mcp", "/api/mcp"),
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp"),
        ("/api//mcp", "/api/mcp"),
        ("/api/mcp/", "/api/mcp"),
        ("/api/mcp-standard", "/api/mcp-standard"),
        ("/api/mcp-standard/", "/api/mcp-standard"),
    ];
    for (path, resource) in paths {
        let refused = http.post(format!("{}{path}", world.base)).json(&greeting("2025-11-25")).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.starts_with("Bearer resource_metadata="), "{challenge}");
        let told = http.get(challenge.split('"').nth(1).unwrap()).send().await.unwrap();
        assert_eq!(told.status(), StatusCode::OK, "{path}: {challenge}");
        let metadata: Value = told.json().await.unwrap();
        assert_eq!(metadata["resource"], format!("{}{resource}", world.base));
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    }
    // There is no authorization server, and no page in its place.
    for name in
        ["oauth-authorization-server", "oauth-authorization-server/api/mcp", "openid-configuration", "oauth-protected-resource/other"]
    {
        let none = http.get(format!("{}/.well-known/{name}", world.base)).send().await.unwrap();
        assert_eq!(none.status(), StatusCode::NOT_FOUND, "{name}");
        assert_eq!(none.json::<Value>().await.unwrap()["code"], "NOT_FOUND", "{name}");
    }
    let bare = http.get(format!("{}/.well-known/oauth-protected-resource", world.base)).send().await.unwrap();
    assert_eq!(bare.json::<Value>().await.unwrap()["resource"], format!("{}/api/mcp", world.base));
    let wrong = world.with_key(&format!("mcp_agent_{}", "0".repeat(64))).post("/mcp", greeting("2025-11-25")).await;
    assert!(wrong.headers["www-authenticate"].to_str().unwrap().contains(r#"error="invalid_token""#));
    wrong.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    world.end().await;
}

#[sqlx::test]
async fn pages_of_other_sites_and_unknown_names_of_this_host_are_refused(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    for origin in ["https://evil.example", "null", "http://rebound.example:3000"] {
        let page = world.with_key(&key).with_header("origin", origin).with_header("host", "rebound.example:3000");
        for path in ["/mcp", "/mcp-standard"] {
            page.post(path, rpc("ping", json!({}))).await.expect_problem(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN");
        }
    }
    world.with_key(&key).with_header("origin", &world.base).post("/mcp", rpc("ping", json!({}))).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn there_are_no_streams_to_open_and_no_sessions_to_end(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let refused = world.with_key(&key).call(method, "/mcp", None).await;
        assert_eq!(refused.headers["allow"], "POST");
        refused.expect_problem(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
    }
    let head = world.with_key(&key).call(Method::HEAD, "/mcp", None).await;
    assert_eq!((head.status, head.body), (StatusCode::METHOD_NOT_ALLOWED, json!("")));
    assert_eq!(world.anonymous().call(Method::HEAD, "/mcp", None).await.status, StatusCode::UNAUTHORIZED);
    world.end().await;
}

#[sqlx::test]
async fn a_missing_permission_is_told_with_its_scope_where_the_protocol_has_it(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let task = json!({"taskId": world.task("Write").await});
    let scout = world.with_key(&key);
    let call = json!({"name": "agent_claim_task", "arguments": task});
    for version in ["2025-11-25", "2026-07-28"] {
        for (method, params) in
            [("tools/call", &call), ("agent.claimTask", &task), ("resources/read", &json!({"uri": "ravendocs://users"}))]
        {
            let refused = in_version(&scout, version, method, params.clone()).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
            let scope = if method == "resources/read" { "read:users" } else { "write:tasks" };
            let challenge = refused.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.contains(&format!(r#"error="insufficient_scope", scope="{scope}""#)), "{challenge}");
            let told = &refused.body["error"];
            assert_eq!((&refused.body["id"], &told["code"]), (&json!(1), &json!(-32002)), "{version} {method}: {told}");
            assert_eq!(told["data"]["requiredPermissions"], json!([scope]));
        }
    }

    let refused = in_version(&scout, "2025-06-18", "tools/call", call).await.expect(StatusCode::OK);
    assert_eq!(refused["result"]["isError"], true);
    world.end().await;
}

#[sqlx::test]
async fn dotted_methods_and_batches_are_plain_json_rpc(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    for path in ["/mcp", "/mcp-standard"] {
        let profile = scout.post(path, rpc("agent.profile", json!({"agentId": "scout"}))).await.expect(StatusCode::OK);
        assert_eq!(profile["result"]["id"], "scout", "{path}: {profile}");
        let refused = scout.post(path, rpc("agent.claimTask", json!({"taskId": uuid::Uuid::new_v4()}))).await.body;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["data"]["requiredPermissions"][0]),
            (&json!(-32002), &json!("write:tasks"))
        );
        let unknown = scout.post(path, rpc("no.such", json!({}))).await.body;
        assert_eq!(unknown["error"]["code"], -32601, "{path}: {unknown}");

        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let batch = json!([rpc("ping", json!({})), note, rpc("tools/call", json!({"name": "agent_profile"})), 7]);
        let answers = scout.post(path, batch).await.expect(StatusCode::OK);
        let answers = answers.as_array().unwrap();
        assert_eq!(answers.len(), 3, "a notification is not answered: {answers:?}");
        assert_eq!(answers[2]["error"]["code"], -32600);
        assert!(answers[1]["result"]["content"][0]["text"].as_str().unwrap().contains("scout"));
        let long: Vec<Value> = (0..51).map(|_| rpc("ping", json!({}))).collect();
        assert_eq!(scout.post(path, json!(long)).await.body["error"]["code"], -32600);
    }
    let only_note = scout.post("/mcp-standard", json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(only_note.status, StatusCode::ACCEPTED);
    world.end().await;
}

/// Sends a text as it is; the answer's status and body.
async fn raw(world: &World, key: &str, path: &str, headers: &[(&str, &str)], text: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let request = reqwest::Client::new().post(format!("{}/api{path}", world.base)).bearer_auth(key);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.body(text).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

/// The type of what is sent.
const JSON: (&str, &str) = ("content-type", "application/json");

#[sqlx::test]
async fn what_is_no_call_is_told_by_the_codes_of_json_rpc(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let broken = [
        ("{bad", -32700, json!(null)),
        ("", -32700, json!(null)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"", -32700, json!(null)),
        ("7", -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600, json!(1)),
        (r#"{"jsonrpc":"1.0","id":"one","method":"ping"}"#, -32600, json!("one")),
        (r#"{"jsonrpc":"2.0","id":2,"method":7}"#, -32600, json!(2)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":3,"method":"agent.profile","params":[]}"#, -32602, json!(3)),
        (r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":"x"}"#, -32602, json!(4)),
    ];
    for (text, code, id) in &broken {
        let (status, told) = raw(&world, &key, "/mcp-standard", &[JSON], *text).await;
        assert_eq!((status, &told["error"]["code"], &told["id"]), (StatusCode::OK, &json!(code), id), "{text}: {told}");
        for version in [None, Some(("mcp-protocol-version", "2025-11-25"))] {
            let headers: Vec<(&str, &str)> = [JSON].into_iter().chain(version).collect();
            let (status, told) = raw(&world, &key, "/mcp", &headers, *text).await;
            assert_eq!((status, &told["error"]["code"], &told["id"]), (StatusCode::BAD_REQUEST, &json!(code), id), "{text}: {told}");
        }
    }
    // Ids that plain JSON-RPC has and the protocol has not.
    for (id, told_id) in [("null", json!(null)), ("1.5", json!(1.5))] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let (status, told) = raw(&world, &key, "/mcp", &[JSON], text.clone()).await;
        assert_eq!((status, &told["error"]["code"], &told["id"]), (StatusCode::BAD_REQUEST, &json!(-32600), &told_id), "{told}");
        assert_eq!(raw(&world, &key, "/mcp-standard", &[JSON], text).await.1["result"], json!({}));
    }
    for version in VERSIONS {
        let headers = [JSON, ("mcp-protocol-version", version)];
        let (status, told) = raw(&world, &key, "/mcp", &headers, json!([rpc("ping", json!({}))]).to_string()).await;
        assert_eq!((status, &told["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32600)), "{version}: {told}");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_parameter_that_does_not_fit_is_named(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let info = json!({"name": "test", "version": "1"});
    let cases = [
        ("tools/call", json!({"name": 7}), "name"),
        ("tools/call", json!({}), "name"),
        ("tools/call", json!({"name": "agent_profile", "arguments": [1]}), "arguments"),
        ("prompts/get", json!({"arguments": {}}), "name"),
        ("resources/read", json!({"uri": null}), "uri"),
        ("tools/list", json!({"cursor": "7"}), "cursor"),
        ("resources/list", json!({"cursor": "7"}), "cursor"),
        ("resources/templates/list", json!({"cursor": ""}), "cursor"),
        ("prompts/list", json!({"cursor": "next"}), "cursor"),
    ];
    let only_here = [
        ("initialize", json!({"capabilities": {}, "clientInfo": info}), "protocolVersion"),
        ("initialize", json!({"protocolVersion": "2025-11-25", "clientInfo": info}), "capabilities"),
        ("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test"}}), "clientInfo.version"),
    ];
    for (method, params, field) in cases.iter().chain(&only_here) {
        let told = scout.post("/mcp", rpc(method, params.clone())).await.expect(StatusCode::OK);
        let error = &told["error"];
        assert_eq!((&error["code"], &error["data"]["errors"][0]["field"]), (&json!(-32602), &json!(field)), "{method} {params}: {told}");
    }
    for (method, params, field) in cases {
        let told = scout.post("/mcp-standard", rpc(method, params.clone())).await.expect(StatusCode::OK);
        let error = &told["error"];
        assert_eq!((&error["code"], &error["data"]["errors"][0]["field"]), (&json!(-32602), &json!(field)), "{method} {params}: {told}");
        if params["name"] != 7 {
            let newest = in_version(&scout, "2026-07-28", method, params).await;
            assert_eq!((newest.status, &newest.body["error"]["code"]), (StatusCode::OK, &json!(-32602)), "{method}: {}", newest.body);
        }
    }
    scout.post("/mcp", rpc("tools/list", json!({"cursor": null}))).await.expect(StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn what_the_protocol_demands_of_a_requests_head_is_told_in_the_shape_of_all_errors(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let ping = rpc("ping", json!({})).to_string();
    for version in ["2024-11-05", "2025-03-26", "1999-01-01", "2025-12-01", "next"] {
        for call in [ping.clone(), greeting(version).to_string().replace("initialize", "tools/list")] {
            let (status, told) = raw(&world, &key, "/mcp", &[JSON, ("mcp-protocol-version", version)], call).await;
            assert_eq!((status, &told["code"]), (StatusCode::BAD_REQUEST, &json!("UNSUPPORTED_PROTOCOL_VERSION")), "{told}");
            assert!(told["message"].as_str().unwrap().contains("2025-06-18"), "{told}");
        }
    }
    for accept in ["application/json", "*/*", "text/event-stream, application/json;q=0.5"] {
        let (status, told) = raw(&world, &key, "/mcp", &[JSON, ("accept", accept)], ping.clone()).await;
        assert_eq!((status, &told["result"]), (StatusCode::OK, &json!({})), "{accept}");
    }
    assert_eq!(raw(&world, &key, "/mcp", &[JSON], ping.clone()).await.0, StatusCode::OK, "no Accept at all");
    for accept in ["text/event-stream", "text/html", "image/*"] {
        let (status, told) = raw(&world, &key, "/mcp", &[JSON, ("accept", accept)], ping.clone()).await;
        assert_eq!((status, &told["code"]), (StatusCode::NOT_ACCEPTABLE, &json!("NOT_ACCEPTABLE")), "{accept}: {told}");
    }
    for kind in [None, Some(("content-type", "text/plain"))] {
        let headers: Vec<(&str, &str)> = kind.into_iter().collect();
        let (status, told) = raw(&world, &key, "/mcp", &headers, ping.clone()).await;
        assert_eq!((status, &told["code"]), (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("CONTENT_TYPE")), "{told}");
        assert_eq!(told["statusCode"], 415);
        assert_eq!(raw(&world, &key, "/mcp-standard", &headers, ping.clone()).await.1["result"], json!({}));
    }
    world.end().await;
}

#[sqlx::test]
async fn json_that_is_nested_without_end_is_refused_and_ends_nothing(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let http = reqwest::Client::new();
    let nested = |depth: usize, open: &str, close: &str| {
        let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"agent.profile","params":{{"x":{deep}}}}}"#)
    };
    for path in ["/mcp", "/mcp-standard"] {
        let send = async |body: String| {
            let request = http.post(format!("{}/api{path}", world.base)).bearer_auth(&key).header("content-type", "application/json");
            let answer = request.body(body).send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        };
        for body in
            [nested(100_000, "[", "]"), nested(100_000, r#"{"a":"#, "}"), format!("[{}]", nested(100_000, "[", "]")), "[".repeat(500_000)]
        {
            let (status, text) = send(body).await;
            let told = serde_json::from_str::<Value>(&text).unwrap_or_default();
            assert!(status.is_client_error() || told["error"]["code"] == -32700, "{path}: {status} {text}");
        }
        let (status, text) = send(nested(100, "[", "]")).await;
        assert!(status == StatusCode::OK && text.contains("scout"), "{path}: {text}");
    }
    world.end().await;
}

#[sqlx::test]
async fn resources_and_prompts_are_those_that_the_caller_may_have(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let listed = scout.post("/mcp", rpc("resources/list", json!({}))).await.expect(StatusCode::OK);
    let uris: Vec<&str> = listed["result"]["resources"].as_array().unwrap().iter().map(|found| found["uri"].as_str().unwrap()).collect();
    assert!(uris.contains(&"ravendocs://agent") && !uris.contains(&"ravendocs://users"), "{uris:?}");
    let plain = scout.post("/mcp-standard/list_resources", json!({})).await.expect(StatusCode::OK);
    assert_eq!(plain["resources"].as_array().unwrap().len(), uris.len());
    for body in [
        scout.post("/mcp", rpc("resources/read", json!({"uri": "ravendocs://agent"}))).await.expect(StatusCode::OK)["result"].clone(),
        scout.post("/mcp-standard/read_resource", json!({"uri": "ravendocs://agent"})).await.expect(StatusCode::OK),
    ] {
        assert_eq!(body["contents"][0]["mimeType"], "application/json");
        assert!(body["contents"][0]["text"].as_str().unwrap().contains("\"scout\""));
    }
    let unknown = json!({"uri": "ravendocs://secrets"});
    for version in VERSIONS {
        let refused = in_version(&scout, version, "resources/read", unknown.clone()).await.expect(StatusCode::OK);
        assert_eq!((&refused["error"]["code"], &refused["error"]["data"]), (&json!(-32001), &unknown), "{version}");
    }
    assert_eq!(scout.post("/mcp-standard", rpc("resources/read", unknown)).await.body["error"]["code"], -32001);
    scout.post("/mcp-standard/read_resource", json!({"uri": "ravendocs://secrets"})).await.expect(StatusCode::NOT_FOUND);
    let prompt = scout.post("/mcp", rpc("prompts/get", json!({"name": "create_documentation", "arguments": {"topic": "Deployments"}})));
    assert!(prompt.await.expect(StatusCode::OK)["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("Deployments"));
    scout.post("/mcp-standard/get_prompt", json!({"name": "create_documentation"})).await.expect(StatusCode::BAD_REQUEST);
    world.end().await;
}

/// D-30: the rules by which Raven's own bridge reads answers.
#[sqlx::test]
async fn the_originals_bridge_reads_tools_results_and_errors(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    // It lists without a key and takes `data.tools` or `tools`.
    let listed = world.anonymous().post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    assert_eq!(listed["data"]["tools"], listed["tools"]);
    for tool in listed["tools"].as_array().unwrap() {
        assert!(tool["name"].is_string() && tool["description"].is_string() && tool["inputSchema"]["type"] == "object", "{tool}");
        assert!(tool["category"].is_string());
    }
    // A content array on top is passed through, with isError beside it; anything else would be one text.
    let done = world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    assert_eq!((&done["content"][0]["type"], done.get("isError")), (&json!("text"), None));
    let failed = world.with_key(&key).tool("approval_status", json!({"id": 7})).await.expect(StatusCode::OK);
    assert_eq!(failed["isError"], true);
    let told: Value = serde_json::from_str(failed["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&told["code"], &told["data"]["errors"][0]["field"]), (&json!(-32602), &json!("id")));
    // Null counts as absent.
    let profile = world.with_key(&key).tool("agent_profile", Value::Null).await.expect(StatusCode::OK);
    assert_eq!(profile.get("isError"), None, "{profile}");
    let prompt = json!({"name": "start_work", "arguments": null});
    world.with_key(&key).post("/mcp-standard/get_prompt", prompt).await.expect(StatusCode::OK);
    // Its own tools are operations of the same name.
    let found = world.anonymous().post("/mcp-standard/search_tools", json!({"query": "agent_profile"})).await.expect(StatusCode::OK);
    assert_eq!((&found["tools"][0]["tool"]["name"], &found["data"]["totalMatches"]), (&json!("agent_profile"), &found["totalMatches"]));
    assert!(found["tools"][0]["score"].as_u64().unwrap() >= 100);
    let categories = world.anonymous().post("/mcp-standard/list_categories", json!({})).await.expect(StatusCode::OK);
    let agent = categories["categories"].as_array().unwrap().iter().find(|category| category["id"] == "agent").cloned().unwrap();
    let tools = world.anonymous().post("/mcp-standard/get_tools_by_category", json!({"category": "agent"})).await.expect(StatusCode::OK);
    assert_eq!(agent["toolCount"], tools["tools"].as_array().unwrap().len());
    world.anonymous().post("/mcp-standard/get_tools_by_category", json!({"category": "none"})).await.expect(StatusCode::BAD_REQUEST);
    let greeted = world.anonymous().post("/mcp-standard/initialize", json!({"anything": 1})).await.expect(StatusCode::OK);
    assert_eq!((&greeted["protocolVersion"], &greeted["data"]["capabilities"]["tools"]), (&json!("2024-11-05"), &json!({})));
    let capabilities = json!({"tools": {}, "resources": {"subscribe": false, "listChanged": false}, "prompts": {}, "logging": {}});
    assert_eq!(greeted["capabilities"], capabilities);
    let subscribed = world.with_key(&key).post("/mcp-standard/subscribe", json!({"uri": "ravendocs://agent"})).await.expect(StatusCode::OK);
    assert_eq!((&subscribed["subscribed"], &subscribed["data"]["subscribed"]), (&json!(true), &json!(true)));
    world.end().await;
}

/// A harmless request of every door.
fn every_door() -> [(&'static str, Value); 5] {
    [
        ("/mcp", rpc("tools/call", json!({"name": "agent_profile"}))),
        ("/mcp-standard", rpc("agent.profile", json!({}))),
        ("/mcp-standard/call_tool", json!({"name": "agent_profile"})),
        ("/mcp-standard/list_resources", json!({})),
        ("/mcp-standard/read_resource", json!({"uri": "ravendocs://agent"})),
    ]
}

#[sqlx::test]
async fn a_key_counts_in_a_header_and_nowhere_else(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let cookie = world.owner().await.cookie();
    for (path, body) in every_door() {
        world.anonymous().with_header("x-api-key", &key).post(path, body.clone()).await.expect(StatusCode::OK);
        for name in ["key", "apiKey", "api_key", "access_token"] {
            let asked = world.anonymous().post(&format!("{path}?{name}={key}"), body.clone()).await;
            asked.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        for cookie in [cookie.clone(), format!("authToken={key}"), format!("{cookie}; x-api-key={key}")] {
            let page = world.anonymous().with_header("cookie", &cookie).with_header("origin", &world.base);
            page.post(path, body.clone()).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
    }
    world.end().await;
}

#[sqlx::test]
async fn a_body_may_have_one_mebibyte_and_no_byte_more(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    for (path, body) in every_door() {
        let body = body.to_string();
        let of_bytes = |bytes: usize| body.clone() + &" ".repeat(bytes - body.len());
        for bytes in [64 * 1024 + 1, 1024 * 1024] {
            let (status, told) = raw(&world, &key, path, &[JSON], of_bytes(bytes)).await;
            assert_eq!(status, StatusCode::OK, "{path} {bytes}: {told}");
        }
        let (status, told) = raw(&world, &key, path, &[JSON], of_bytes(1024 * 1024 + 1)).await;
        assert_eq!((status, &told["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("BODY_TOO_LARGE")), "{path}: {told}");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_revoked_agent_is_refused_at_every_door_at_once(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    call(&scout, "agent_profile", json!({})).await.expect(StatusCode::OK);
    world.owner().await.revoke("scout").await.expect(StatusCode::OK);
    for (path, body) in [
        ("/mcp", rpc("ping", json!({}))),
        ("/mcp-standard", rpc("ping", json!({}))),
        ("/mcp-standard/call_tool", json!({"name": "agent_profile"})),
        ("/mcp-standard/list_tools", json!({})),
        ("/mcp-standard/list_resources", json!({})),
    ] {
        scout.post(path, body).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_revocation_waits_for_no_call_and_refuses_what_follows_while_one_is_under_way(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    let (owner, scout) = (world.owner().await, world.with_key(&key));
    let page = world.page_in(world.first_space().await, "Plan").await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE comments IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let under_way = call(&scout, "comment_list", json!({"pageId": page}));
    let revoked = async {
        world.until("the call waits for the comments", || async { (waiting(&pool).await > 0).then_some(()) }).await;
        owner.revoke("scout").await.expect(StatusCode::OK);
        for (path, body) in every_door() {
            scout.post(path, body).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        held.rollback().await.unwrap();
    };
    let (answer, ()) = timeout(2 * DEADLINE, async { tokio::join!(under_way, revoked) }).await.unwrap();
    answer.expect(StatusCode::OK);
    scout.post("/mcp", greeting("2025-11-25")).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    world.end().await;
}

#[sqlx::test]
async fn what_makes_a_client_know_the_service_is_shown_without_a_key(pool: PgPool) {
    let world = World::new(pool).await;
    let shown = world.owner().await.get("/mcp-config").await.expect(StatusCode::OK);
    assert_eq!(shown["data"]["url"], format!("{}/api/mcp", world.base));
    let ids: Vec<&str> = shown["data"]["clients"].as_array().unwrap().iter().map(|client| client["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["claude-code", "codex", "gemini", "generic"]);
    world.end().await;
}

/// D-50.
#[sqlx::test]
async fn no_argument_no_page_and_no_credential_is_logged_at_any_level(pool: PgPool) {
    let (folder, port) = (Folder::new(), free_port());
    let (log, base) = (folder.path().join("log"), format!("http://127.0.0.1:{port}"));
    let (url, port) = (database_url(&pool), port.to_string());
    let settings = [("DATABASE_URL", url.as_str()), ("PORT", &port), ("APP_SECRET", APP_SECRET), ("LOG_LEVEL", "trace")];
    let mut command = raven_agents(&["serve"], &settings);
    command.stderr(std::fs::File::create(&log).unwrap());
    let program = Program::start(command);
    rustls::crypto::ring::default_provider().install_default().ok();
    let http = reqwest::Client::new();
    let ready = async { while http.get(format!("{base}/api/health")).send().await.is_err() {} };
    timeout(DEADLINE, ready).await.expect("the service did not start");

    let token = set_up(&http, &format!("{base}/api")).await;
    let post = async |path: &str, credential: &str, body: Value| {
        let answer = http.post(format!("{base}/api{path}")).bearer_auth(credential).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let made = post("/api-keys", &token, json!({"name": "laptop"})).await;
    let key = made["data"]["key"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let argument = json!({"query": "a-secret-argument", "content": "a-secret-argument"});
    let calls = [
        ("/mcp", rpc("tools/call", json!({"name": "page_search", "arguments": argument}))),
        ("/mcp", rpc("tools/call", json!({"name": "a-secret-argument", "arguments": argument}))),
        ("/mcp", rpc("page.search", argument.clone())),
        ("/mcp", rpc("tools/call", json!({"name": 7, "arguments": "a-secret-argument"}))),
        ("/mcp", json!([rpc("tools/call", json!({"name": "page_search", "arguments": argument}))])),
        ("/mcp-standard", rpc("page.search", argument.clone())),
        ("/mcp-standard/call_tool", json!({"name": "page_search", "arguments": argument})),
        ("/mcp-standard/call_tool?key=a-secret-argument", json!({"name": "page_search", "arguments": argument})),
        ("/mcp?apiKey=a-secret-argument", rpc("resources/read", json!({"uri": "a-secret-argument"}))),
    ];
    for (path, call) in calls {
        post(path, &key, call).await;
    }
    let mut socket = Socket::connect_with_key(&base, &key).await;
    socket.emit("a-secret-argument", argument).await;
    socket.ask("agent:subscribe", json!({"agentId": "a-secret-argument"})).await;
    program.signal(libc::SIGTERM);
    assert!(program.ended().await.0);

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("raven-agents is ready") && log.contains("TRACE"), "{log}");
    for secret in ["a-secret-argument", key.as_str(), &key[..20], token.as_str(), APP_SECRET] {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(secret)).take(5).collect();
        assert!(told.is_empty(), "{secret} is logged: {told:#?}");
    }
}

#[sqlx::test]
async fn a_call_that_takes_effect_during_a_stop_is_answered(pool: PgPool) {
    let world = World::new(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    for version in ["2025-11-25", "2026-07-28"] {
        let world = World::taken_over(pool.clone(), world.workspace).await;
        let mut held = pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM parallax_agents FOR UPDATE").execute(&mut *held).await.unwrap();
        let scout = world.with_key(&key);
        let params = json!({"name": "agent_update_status", "arguments": {"status": "working"}});
        let asked = in_version(&scout, version, "tools/call", params);
        let stopped = async {
            world.until("the call waits for the row", || async { (waiting(&pool).await > 0).then_some(()) }).await;
            world.app().shutdown.cancel();
            held.rollback().await.unwrap();
        };
        let (answer, ()) = timeout(DEADLINE, async { tokio::join!(asked, stopped) }).await.unwrap();
        let answer = answer.expect(StatusCode::OK);
        assert_ne!(answer["result"]["isError"], true, "{version}: {answer}");
        world.end().await;
    }
    world.end().await;
}

/// Statements of the test's database that wait for a row.
async fn waiting(pool: &PgPool) -> i64 {
    let found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query_scalar(found).fetch_one(pool).await.unwrap()
}
