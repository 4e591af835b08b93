//! What an agent may do with its key, whatever door it comes by.

use std::time::Duration;

use chrono::TimeDelta;
use raven_agents::model::{ids::UserId, permission, tool_call::ToolCall};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Caller, World, config};

/// The permissions of which each tool needs one (REST contract §5.4). Empty: none is needed.
const NEEDS: &[(&[&str], &[&str])] = &[
    (
        &[
            "page_list",
            "page_get",
            "page_search",
            "page_recent",
            "page_breadcrumbs",
            "page_sidebar_pages",
            "page_get_history",
            "page_history_info",
        ],
        &["read:pages"],
    ),
    (&["page_create", "page_update", "page_move", "page_move_to_space", "page_restore", "project_create_page"], &["write:pages"]),
    (&["page_delete"], &["delete:pages"]),
    (&["task_list", "task_get", "task_triage_summary"], &["read:tasks"]),
    (
        &[
            "task_create",
            "task_update",
            "task_complete",
            "task_move_to_project",
            "task_bucket_set",
            "task_bucket_clear",
            "agent_claim_task",
        ],
        &["write:tasks"],
    ),
    (&["task_delete"], &["delete:tasks"]),
    (&["task_assign"], &["assign:tasks"]),
    (&["project_list", "project_get"], &["read:projects"]),
    (&["project_create", "project_update", "project_archive", "project_delete"], &["write:projects"]),
    (&["memory_query", "memory_daily", "memory_days"], &["read:memory"]),
    (&["memory_ingest"], &["write:memory"]),
    (&["space_list", "space_get", "space_members", "workspace_get"], &["read:spaces"]),
    (&["user_list", "user_get", "workspace_members"], &["read:users"]),
    (&["comment_list", "comment_get"], &["read:comments", "read:pages"]),
    (&["comment_create", "comment_update", "comment_delete", "comment_resolve"], &["write:comments"]),
    (&["search_query", "search_suggest"], &["execute:search", "read:pages"]),
    (&["agent_delegate_task"], &["delegate:agents"]),
    (
        &[
            "agent_my_assignments",
            "agent_update_status",
            "agent_log_activity",
            "agent_profile",
            "agent_activity",
            "agent_list_workspace",
            "tool_search",
            "tool_categories",
            "approval_request",
            "approval_status",
        ],
        &[],
    ),
];

fn rpc(method: &str, params: Value) -> Value {
    let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
    call["params"] = params;
    call
}

/// The error that a tool answers with, by each door; `None` when it does not refuse for want of a permission.
async fn refusals(caller: &Caller<'_>, tool: &str) -> Vec<(&'static str, Option<Value>)> {
    let lacks = |told: Value| (told["code"] == -32002 && told["data"]["requiredPermissions"].is_array()).then_some(told);
    let text = |body: &Value| serde_json::from_str(body["content"][0]["text"].as_str().unwrap_or("{}")).unwrap_or(Value::Null);
    let standard = caller.tool(tool, json!({})).await.body;
    let called = rpc("tools/call", json!({"name": tool, "arguments": {}}));
    let streamable = caller.post("/mcp", called.clone()).await.body;
    let plain = caller.post("/mcp-standard", called).await.body;
    let native = caller.post("/mcp-standard", rpc(&dotted(tool), json!({}))).await.body;
    assert_ne!(native["error"]["code"], -32601, "{tool} is not called by {}", dotted(tool));
    vec![
        ("call_tool", lacks(text(&standard))),
        ("streamable", lacks(text(&streamable["result"]))),
        ("json-rpc", lacks(text(&plain["result"]))),
        ("native", lacks(native["error"].clone())),
    ]
}

/// The dotted name of a tool: `page.moveToSpace` for `page_move_to_space`.
fn dotted(tool: &str) -> String {
    let (category, operation) = tool.split_once('_').unwrap();
    let mut words = operation.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    let rest = words.map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]));
    format!("{category}.{first}{}", rest.collect::<String>())
}

/// The permission that each resource needs; `None` where it is the caller's own.
const RESOURCES: [(&str, Option<&str>); 7] = [
    ("ravendocs://spaces", Some("read:spaces")),
    ("ravendocs://pages", Some("read:pages")),
    ("ravendocs://projects", Some("read:projects")),
    ("ravendocs://tasks", Some("read:tasks")),
    ("ravendocs://users", Some("read:users")),
    ("ravendocs://agent", None),
    ("ravendocs://assignments", None),
];

/// D-29: every resource with every permission, read and listed at every door.
#[sqlx::test]
async fn a_resource_is_read_with_its_permission_and_refused_with_any_other_at_every_door(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    for permission in permission::CATALOGUE.iter().map(|permission| permission.id) {
        grant(&world, &[permission]).await;
        let listed = scout.post("/mcp", rpc("resources/list", json!({}))).await.expect(StatusCode::OK);
        let listed = listed["result"]["resources"].as_array().unwrap().clone();
        for (uri, needed) in RESOURCES {
            let allowed = needed.is_none_or(|needed| needed == permission);
            assert_eq!(listed.iter().any(|resource| resource["uri"] == uri), allowed, "{uri} in the list of a key with {permission}");
            for door in ["/mcp", "/mcp-standard"] {
                let read = scout.post(door, rpc("resources/read", json!({"uri": uri}))).await.body;
                assert_eq!(read["result"]["contents"][0]["uri"] == uri, allowed, "{uri} with {permission} by {door}: {read}");
                assert!(
                    allowed || read["error"]["data"]["requiredPermissions"] == json!([needed]),
                    "{uri} with {permission} by {door}: {read}"
                );
            }
            let read = scout.post("/mcp-standard/read_resource", json!({"uri": uri})).await;
            assert_eq!(read.status == StatusCode::OK, allowed, "{uri} with {permission}: {}", read.body);
            if !allowed {
                let challenge = read.headers["www-authenticate"].to_str().unwrap();
                let scope = format!(r#"error="insufficient_scope", scope="{}""#, needed.unwrap_or_default());
                assert!(read.status == StatusCode::FORBIDDEN && challenge.contains(&scope), "{challenge}");
            }
        }
        assert!(listed.len() <= RESOURCES.len() && listed.iter().all(|listed| RESOURCES.iter().any(|(uri, _)| listed["uri"] == *uri)));
    }
    world.end().await;
}

/// From now on the agent has exactly these permissions.
async fn grant(world: &World, permissions: &[&str]) {
    let update = sqlx::query("UPDATE parallax_agents SET granted_permissions = $2 WHERE workspace_id = $1");
    update.bind(world.workspace.0).bind(permissions).execute(&world.pool).await.unwrap();
    world.app().access_cache.distrust();
}

/// D-29: every tool with every permission, at every door.
#[sqlx::test]
async fn a_tool_is_called_with_its_permission_and_refused_with_any_other_at_every_door(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let all = world.anonymous().post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    let tools: Vec<&str> = all["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(tools.len() >= 12, "{tools:?}");
    let needs = |tool: &str| NEEDS.iter().find(|(tools, _)| tools.contains(&tool)).map(|(_, permissions)| *permissions);
    for permission in permission::CATALOGUE.iter().map(|permission| permission.id) {
        grant(&world, &[permission]).await;
        let listed = scout.post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
        for tool in &tools {
            let needed = needs(tool).unwrap_or_else(|| panic!("{tool} is in no row of the table: which permission does it need?"));
            let allowed = needed.is_empty() || needed.contains(&permission);
            for (door, refusal) in refusals(&scout, tool).await {
                assert_eq!(refusal.is_none(), allowed, "{tool} with {permission} by {door}: {refusal:?}");
            }
            let is_listed = listed["tools"].as_array().unwrap().iter().any(|listed| listed["name"] == *tool);
            assert_eq!(is_listed, allowed, "{tool} in the list of a key with {permission}");
        }
    }
    world.end().await;
}

/// D-25, D-29: what is in no catalogue is nobody's. Tools for swarms come later (decision 0040).
#[sqlx::test]
async fn what_is_no_tool_is_refused_and_decisions_are_no_tools(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let names = ["approval_confirm", "approval.confirm", "constructor", "workspace_delete", "group_create", "user_update", "ui_navigate"];
    for name in names.into_iter().chain(["swarm_execute", "swarm.list", "research_create"]) {
        let refused = world.with_key(&key).tool(name, json!({})).await.tool_text();
        assert_eq!(refused["code"], -32601, "{name}: {refused}");
    }
    world.end().await;
}

/// The agent asks for a permission; returns the id under which people decide.
async fn ask_for(agent: &Caller<'_>, permission: &str, minutes: u32) -> String {
    let asked = agent.tool("approval_request", json!({"permission": permission, "minutes": minutes, "reason": "to take the task"})).await;
    let told = asked.tool_text();
    assert_eq!(told["status"], "pending", "{told}");
    told["approvalId"].as_str().unwrap().to_owned()
}

#[sqlx::test]
async fn a_permission_that_a_person_grants_counts_for_its_time_and_ends_with_the_agent(pool: PgPool) {
    let world = World::new(pool).await;
    let (key, owner) = (world.approved_agent("scout").await, world.owner().await);
    let scout = world.with_key(&key);
    let claim = || async { scout.tool("agent_claim_task", json!({"taskId": uuid::Uuid::now_v7()})).await.tool_text()["code"].clone() };
    assert_eq!(claim().await, -32002);
    let id = ask_for(&scout, "write:tasks", 30).await;
    assert_eq!(ask_for(&scout, "write:tasks", 30).await, id, "the same is asked for once");
    assert_eq!(claim().await, -32002, "asking is not having");

    let listed = owner.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"][0].clone();
    assert_eq!(
        (&listed["kind"], &listed["params"]["permission"], &listed["reason"]),
        (&json!("permission"), &json!("write:tasks"), &json!("to take the task"))
    );
    world.member("mel").await.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::NOT_FOUND);
    scout.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::UNAUTHORIZED);
    owner.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    let status = scout.tool("approval_status", json!({"id": id})).await.tool_text();
    assert_eq!((&status["status"], &status["permission"]), (&json!("approved"), &json!("write:tasks")));
    let profile = scout.tool("agent_profile", json!({})).await.tool_text();
    assert!(profile["grantedPermissions"].as_array().unwrap().contains(&json!("write:tasks")), "{profile}");
    assert_eq!(claim().await, -32001, "it gets as far as looking for the task");
    let listed = scout.post("/mcp", rpc("tools/list", json!({}))).await.expect(StatusCode::OK);
    assert!(listed["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "agent_claim_task"));
    world.clock.advance(TimeDelta::minutes(31));
    assert_eq!(claim().await, -32002, "its time is over");

    let id = ask_for(&scout, "write:tasks", 30).await;
    owner.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    owner.revoke("scout").await.expect(StatusCode::OK);
    let again = owner.approve("scout", &["read:pages"]).await.expect(StatusCode::OK);
    let renewed = world.with_key(again["data"]["mcpApiKey"].as_str().unwrap());
    let refused = renewed.tool("agent_claim_task", json!({"taskId": uuid::Uuid::now_v7()})).await.tool_text();
    assert_eq!(refused["code"], -32002, "a grant does not outlive a revocation");
    world.end().await;
}

/// A permission that only one way of calling a tool needs.
#[sqlx::test]
async fn a_permission_that_a_person_grants_counts_wherever_one_is_asked_for(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (scout, owner) = (world.agent_with("scout", &["read:pages", "write:tasks"]).await, world.owner().await);
    let permitted = async |permission: &str| {
        let id = ask_for(&scout, permission, 30).await;
        owner.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    };
    let (space, (_, mel)) = (world.first_space().await, world.member_with_id("mel").await);
    world.join(space, mel.0, "writer").await;
    let given = json!({"spaceId": space, "title": "Write", "assigneeId": mel});
    let refused = scout.tool("task_create", given.clone()).await.tool_text();
    assert_eq!((&refused["code"], &refused["data"]["requiredPermissions"]), (&json!(-32002), &json!(["assign:tasks"])));
    permitted("assign:tasks").await;
    let task = scout.tool("task_create", given).await.tool_text();
    assert_eq!(task["assigneeId"], json!(mel), "{task}");
    let nobody = scout.tool("task_update", json!({"taskId": task["id"], "assigneeId": null})).await.tool_text();
    assert_eq!(nobody["assigneeId"], Value::Null, "{nobody}");

    let suggested = async || scout.tool("search_suggest", json!({"query": "Write"})).await.tool_text()["suggestions"].clone();
    assert_eq!(suggested().await, json!([]));
    permitted("read:tasks").await;
    assert_eq!(suggested().await[0]["type"], "task");

    permitted("read:spaces").await;
    let members = async || scout.tool("space_members", json!({"spaceId": space, "query": "mel"})).await.tool_text()["members"].clone();
    assert_eq!(members().await[0]["email"], Value::Null);
    permitted("read:users").await;
    assert_eq!(members().await[0]["email"], "mel@acme.example");
    let changed = json!({"taskId": task["id"], "description": "of May"});
    assert_eq!(scout.tool("task_update", changed).await.tool_text()["description"], "of May", "who may read for a while is told");

    permitted("write:projects").await;
    let project = world.project("Docs").await;
    sqlx::query("UPDATE tasks SET project_id = $1 WHERE title = 'Write'").bind(project).execute(&world.pool).await.unwrap();
    let deletes = async || scout.tool("project_delete", json!({"projectId": project})).await.tool_text();
    assert_eq!(deletes().await["data"]["requiredPermissions"], json!(["delete:tasks"]));
    permitted("delete:tasks").await;
    let deleted = deletes().await;
    assert!(deleted.get("code").is_none(), "{deleted}");
    sqlx::query("UPDATE tasks SET project_id = NULL, deleted_at = NULL").execute(&world.pool).await.unwrap();

    world.clock.advance(TimeDelta::minutes(31));
    let again = scout.tool("task_update", json!({"taskId": task["id"], "assigneeId": mel})).await.tool_text();
    assert_eq!(again["code"], -32002, "its time is over: {again}");
    world.end().await;
}

/// A policy is about what is done, by whichever tool.
#[sqlx::test]
async fn what_a_policy_denies_is_not_done_by_another_tools_arguments(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let scout = world.agent_with("scout", &["read:pages", "write:pages", "write:tasks", "assign:tasks"]).await;
    let (page, task) = (world.page_in(world.first_space().await, "Minutes").await, world.task("Write").await);
    let listed = async || scout.post("/mcp-standard/list_resources", json!({})).await.expect(StatusCode::OK).to_string();
    assert!(listed().await.contains("ravendocs://pages"));
    let deny = json!({"policy": {"deny": ["page.recent", "page.move", "page.search", "task.assign", "task_complete", "task.bucketClear"]}});
    world.owner().await.patch_settings(deny).await.expect(StatusCode::OK);
    assert!(!listed().await.contains("ravendocs://pages"), "with the next call, and through a resource neither");
    for (tool, denied, goes) in [
        ("page_update", json!({"pageId": page, "title": "x", "parentId": null}), Some(json!({"pageId": page, "title": "x"}))),
        ("task_update", json!({"taskId": task, "assigneeId": null}), Some(json!({"taskId": task, "status": "in_progress"}))),
        ("task_update", json!({"taskId": task, "status": "done"}), Some(json!({"taskId": task, "title": "y"}))),
        ("task_bucket_set", json!({"taskId": task, "bucket": "none"}), Some(json!({"taskId": task, "bucket": "inbox"}))),
        ("search_query", json!({"query": "minutes"}), None),
    ] {
        let refused = scout.tool(tool, denied).await.tool_text();
        assert_eq!(refused["code"], -32002, "{tool}: {refused}");
        if let Some(arguments) = goes {
            let done = scout.tool(tool, arguments).await.tool_text();
            assert!(done.get("code").is_none(), "{tool}: {done}");
        }
    }
    world.end().await;
}

/// D-07: a request counts when all of it is there.
#[sqlx::test]
async fn a_key_that_is_withdrawn_while_a_body_is_on_its_way_is_no_good(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let owner = world.owner().await;
    let page = world.page_in(world.first_space().await, "Minutes").await;
    let call = json!({"name": "page_get", "arguments": {"pageId": page}});
    let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
    for (number, (path, body)) in
        [("/api/mcp", &rpc), ("/api/mcp-standard", &rpc), ("/api/mcp-standard/call_tool", &call)].into_iter().enumerate()
    {
        let name = format!("scout-{number}");
        let (key, body) = (world.agent_with_key(&name, &["read:pages"]).await, body.to_string());
        let mut stream = TcpStream::connect(world.base.trim_start_matches("http://")).await.unwrap();
        let (most, last) = body.split_at(body.len() - 1);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{most}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // It is proven by then, and the rest is waited for.
        tokio::time::sleep(Duration::from_millis(100)).await;
        owner.revoke(&name).await.expect(StatusCode::OK);
        stream.write_all(last.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("Minutes"), "{path}: {answer}");
    }
    world.end().await;
}

#[sqlx::test]
async fn nobody_learns_of_what_another_asked_for(pool: PgPool) {
    let world = World::new(pool).await;
    let (scout, other) = (world.approved_agent("scout").await, world.approved_agent("other").await);
    let id = ask_for(&world.with_key(&scout), "write:tasks", 30).await;
    let refused = world.with_key(&other).tool("approval_status", json!({"id": id})).await.tool_text();
    assert_eq!(refused["code"], -32001);
    for bad in [
        json!({}),
        json!({"permission": "write:everything"}),
        json!({"permission": "execute:swarm"}),
        json!({"permission": "write:spaces"}),
        json!({"permission": "write:tasks", "minutes": 100_000}),
        json!({"method": "none"}),
    ] {
        let refused = world.with_key(&other).tool("approval_request", bad).await.tool_text();
        assert!(refused["code"].is_i64() && refused["data"]["errors"][0]["field"].is_string(), "{refused}");
    }
    world.end().await;
}

#[sqlx::test]
async fn a_workspaces_policy_asks_or_denies_and_a_change_counts_at_once(pool: PgPool) {
    let world = World::new(pool).await;
    let (key, owner) = (world.approved_agent("scout").await, world.owner().await);
    let scout = world.with_key(&key);
    let code = || async { scout.tool("agent_list_workspace", json!({})).await.tool_text()["code"].clone() };
    assert_eq!(code().await, Value::Null);
    let policy = |ask: &[&str], deny: &[&str]| json!({"policy": {"allowAutoApply": [], "requireApproval": ask, "deny": deny}});
    owner.patch_settings(policy(&["agent.listWorkspace"], &[])).await.expect(StatusCode::OK);
    world.until("the policy asks", || async { (code().await == -32005).then_some(()) }).await;
    let waiting = scout.tool("agent_list_workspace", json!({})).await.tool_text();
    let id = waiting["data"]["approvalId"].clone();
    owner.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    let done = scout.tool("agent.listWorkspace", json!({"approvalId": id})).await.tool_text();
    assert_eq!(done["total"], 1, "approved under one name, called under another: {done}");
    let again = scout.tool("agent_list_workspace", json!({"approvalId": id})).await.tool_text();
    assert_eq!(again["code"], -32002);
    owner.patch_settings(policy(&["agent.listWorkspace"], &["agent.listWorkspace"])).await.expect(StatusCode::OK);
    world.until("the policy denies", || async { (code().await == -32002).then_some(()) }).await;
    world.end().await;
}

/// Another way to a page is no way around what is decided about pages.
#[sqlx::test]
async fn a_policy_about_making_pages_holds_for_those_of_projects(pool: PgPool) {
    let world = World::new(pool).await;
    let (scout, owner) = (world.agent_with("scout", &["write:pages"]).await, world.owner().await);
    let project = world.project_in(world.first_space().await, "Minutes").await;
    let make = async || scout.tool("project_create_page", json!({"projectId": project})).await.tool_text();
    let waits = make().await;
    assert_eq!(waits["code"], -32005);
    assert!(waits["data"]["reason"].as_str().unwrap().contains("allowPageWrites"), "{waits}");
    for name in ["page.create", "page_create", "project.createPage"] {
        let denied = json!({"allowPageWrites": true, "policy": {"allowAutoApply": [], "requireApproval": [], "deny": [name]}});
        owner.patch_settings(denied).await.expect(StatusCode::OK);
        world.until("the policy denies", || async { (make().await["code"] == -32002).then_some(()) }).await;
        let none = json!({"policy": {"allowAutoApply": [], "requireApproval": [name], "deny": []}});
        owner.patch_settings(none).await.expect(StatusCode::OK);
        world.until("the policy asks", || async { (make().await["code"] == -32005).then_some(()) }).await;
    }
    owner.patch_settings(json!({"policy": {"allowAutoApply": [], "requireApproval": [], "deny": []}})).await.expect(StatusCode::OK);
    world.until("the page is made", || async { (make().await["title"] == "Minutes").then_some(()) }).await;
    world.end().await;
}

/// D-32: one schema says what is published and what is understood.
#[sqlx::test]
async fn nobody_is_asked_in_vain_and_what_is_told_is_what_was_asked(pool: PgPool) {
    let world = World::new(pool).await;
    let (scout, owner) = (world.agent_with("scout", &["read:tasks"]).await, world.owner().await);
    let ask = async |arguments: Value| scout.tool("approval_request", arguments).await.tool_text();
    let waiting = async || owner.post("/approvals/list", json!({})).await.expect(StatusCode::OK)["data"].clone();
    let task = uuid::Uuid::now_v7();
    let lacks = ask(json!({"method": "task_delete", "params": {"taskId": task}})).await;
    assert_eq!(lacks["data"]["requiredPermissions"], json!(["delete:tasks"]), "{lacks}");
    let foreign = ask(json!({"method": "task_get", "params": {"taskId": task, "workspaceId": task}})).await;
    assert_eq!(foreign["code"], -32002, "{foreign}");
    let has = ask(json!({"permission": "read:tasks"})).await;
    assert_eq!(has, json!({"permission": "read:tasks", "status": "approved"}));
    let deny = json!({"policy": {"allowAutoApply": [], "requireApproval": [], "deny": ["task.get"]}});
    owner.patch_settings(deny).await.expect(StatusCode::OK);
    let denied = async || (ask(json!({"method": "task.get", "params": {"taskId": task}})).await["code"] == -32002).then_some(());
    world.until("the policy denies", denied).await;
    let listed = scout.post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    let names: Vec<&Value> = listed["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert!(names.contains(&&json!("task_list")) && !names.contains(&&json!("task_get")), "{names:?}");
    assert_eq!(waiting().await.as_array().unwrap().iter().filter(|row| row["kind"] == "permission").count(), 0);

    let first = ask(json!({"permission": "write:tasks", "minutes": 30.0})).await;
    assert_eq!(first["minutes"], 30, "{first}");
    let again = ask(json!({"permission": "write:tasks", "minutes": 600})).await;
    assert_eq!((&again["approvalId"], &again["minutes"]), (&first["approvalId"], &json!(30)), "{again}");
    for name in ["id", "approvalId"] {
        let mut arguments = json!({});
        arguments[name] = first["approvalId"].clone();
        assert_eq!(scout.tool("approval_status", arguments).await.tool_text()["status"], "pending", "{name}");
    }
    assert_eq!(scout.tool("approval_status", json!({})).await.tool_text()["data"]["errors"][0]["field"], "id");
    let other = json!({"action": "task.list", "message": "to see them", "resourceType": "task", "params": {"limit": 5}});
    assert_eq!(ask(other).await["method"], "task.list");
    let listed = waiting().await;
    let row = listed.as_array().unwrap().iter().find(|row| row["method"] == "task.list").unwrap();
    assert_eq!(row["reason"], "to see them (task)");
    world.end().await;
}

#[sqlx::test]
async fn a_call_may_be_asked_for_in_advance_and_is_bound_to_its_arguments(pool: PgPool) {
    let mut settings = config(None);
    settings.tool_approval_methods = vec!["agent.updateStatus".to_owned()];
    let world = World::with_config(pool, settings, None).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let asked = scout.tool("approval_request", json!({"method": "agent_update_status", "params": {"status": "working"}})).await.tool_text();
    let id = asked["approvalId"].clone();
    assert_eq!(asked["method"], "agent.updateStatus");
    world.owner().await.post("/approvals/confirm", json!({"approvalToken": id})).await.expect(StatusCode::OK);
    let other = scout.tool("agent_update_status", json!({"status": "idle", "approvalId": id})).await.tool_text();
    assert_eq!(other["code"], -32002);
    let done = scout.tool("agent_update_status", json!({"status": "working", "approvalId": id})).await.tool_text();
    assert_eq!(done["status"], "working", "{done}");
    world.end().await;
}

/// D-41, D-50.
#[sqlx::test]
async fn every_call_leaves_a_row_without_secrets_and_a_busy_agent_costs_few_commits(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let arguments = json!({"actionType": "task_completed", "details": {"apiKey": "hidden"}, "description": "done", "apiToken": "hidden"});
    scout.tool("agent_log_activity", arguments).await.expect(StatusCode::OK);
    scout.tool("agent_claim_task", json!({})).await.expect(StatusCode::OK);
    let calls = (0..60).map(|_| {
        let scout = scout.clone();
        async move { scout.tool("tool_categories", json!({})).await.expect(StatusCode::OK) }
    });
    futures_util::future::join_all(calls).await;
    let all = || async { (world.activities("tool_executed", Some("scout")).await == 62).then_some(()) };
    world.until("every call has a row", all).await;
    let rows: Vec<Value> =
        sqlx::query_scalar("SELECT metadata FROM parallax_agent_activity WHERE activity_type = 'tool_executed' ORDER BY created_at")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    let logged = rows.iter().find(|row| row["tool"] == "agent_log_activity").unwrap();
    assert_eq!(
        (&logged["success"], &logged["params"]["apiToken"], &logged["params"]["details"]),
        (&json!(true), &json!("[redacted]"), &json!("[object]"))
    );
    assert!(logged["durationMs"].is_u64() && logged["resultSummary"].as_str().unwrap().contains("activityId"), "{logged}");
    let refused = rows.iter().find(|row| row["tool"] == "agent_claim_task").unwrap();
    assert!(refused["success"] == false && refused["error"].as_str().unwrap().starts_with("-32002"), "{refused}");
    assert!(!json!(rows).to_string().contains("hidden"));
    assert_eq!(world.events("tool.executed").await, 62);
    let commits: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM parallax_agent_activity WHERE activity_type = 'tool_executed'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert!(commits <= 31, "62 calls were written with {commits} commits");
    world.end().await;
}

/// D-41: what the database would not take is refused before anything runs, and is on record as every refusal is.
#[sqlx::test]
async fn a_nul_in_the_arguments_is_refused_at_every_door_and_evades_no_record(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let scout = world.agent_with("scout", &["read:tasks", "write:tasks"]).await;
    let space = world.first_space().await;
    let calls = [
        ("agent_profile", "agent.profile", json!({"x": "\u{0}"}), "x"),
        ("agent_profile", "agent.profile", json!({"x\u{0}": 1}), "arguments"),
        ("agent_log_activity", "agent.logActivity", json!({"actionType": "noted", "details": {"a": ["\u{0}"]}}), "details"),
        ("task_create", "task.create", json!({"spaceId": space, "title": "a\u{0}"}), "title"),
    ];
    let mut refused = Vec::new();
    for (tool, method, arguments, field) in &calls {
        let called = rpc("tools/call", json!({"name": tool, "arguments": arguments}));
        for path in ["/mcp", "/mcp-standard"] {
            let text = scout.post(path, called.clone()).await.expect(StatusCode::OK)["result"]["content"][0]["text"].clone();
            refused.push((serde_json::from_str(text.as_str().unwrap()).unwrap(), *field));
            refused.push((scout.post(path, rpc(method, arguments.clone())).await.body["error"].clone(), *field));
            let batch = scout.post(path, json!([rpc(method, arguments.clone())])).await.expect(StatusCode::OK);
            refused.push((batch[0]["error"].clone(), *field));
        }
        // The operations of REST refuse the body as such: there is no call yet.
        scout.tool(tool, arguments.clone()).await.expect_problem(StatusCode::BAD_REQUEST, "VALIDATION_FAILED");
    }
    let told = |told: &Value| (told["code"].clone(), told["data"]["errors"][0]["field"].clone());
    let told: Vec<_> = refused.iter().map(|(error, field): &(Value, &str)| (told(error), (json!(-32602), json!(field)))).collect();
    assert!(told.iter().all(|(told, expected)| told == expected), "{refused:?}");
    let unknown = scout.post("/mcp-standard", rpc("tools/call", json!({"name": "no\u{0}such", "arguments": {"x": "\u{0}"}}))).await;
    assert_eq!(unknown.expect(StatusCode::OK)["result"]["isError"], true);

    let all = i64::try_from(refused.len() + 1).unwrap();
    let recorded = || async { (world.activities("tool_executed", Some("scout")).await == all).then_some(()) };
    world.until("every refusal has a row", recorded).await;
    let rows: Vec<Value> = sqlx::query_scalar("SELECT metadata FROM parallax_agent_activity WHERE activity_type = 'tool_executed'")
        .fetch_all(&world.pool)
        .await
        .unwrap();
    assert!(rows.iter().all(|row| row["success"] == false), "{rows:?}");
    assert!(rows.iter().any(|row| row["tool"] == "no\u{fffd}such" && row["params"]["x"] == "\u{fffd}"), "{rows:?}");
    let tasks: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks").fetch_one(&world.pool).await.unwrap();
    assert_eq!((world.activities("noted", None).await, tasks), (0, 0), "nothing ran");
    world.end().await;
}

/// One that is never taken does not cost the others, and of those that the database refuses for now none is lost.
#[sqlx::test]
async fn calls_that_the_database_refuses_for_now_are_written_later(pool: PgPool) {
    let world = World::new(pool).await;
    world.approved_agent("scout").await;
    sqlx::raw_sql(
        "CREATE TABLE refused_for_now (tool text);
         INSERT INTO refused_for_now VALUES ('later');
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.metadata ->> 'tool' = 'never' THEN RAISE 'never'; END IF;
             IF NEW.metadata ->> 'tool' IN (SELECT tool FROM refused_for_now) THEN
                 RAISE 'not now' USING ERRCODE = '40001';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON parallax_agent_activity FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(&world.pool)
    .await
    .unwrap();
    let call = |tool: &str, user| ToolCall {
        workspace: world.workspace,
        agent: Some("scout".parse().unwrap()),
        user: UserId(user),
        at: chrono::Utc::now(),
        tool: tool.to_owned(),
        params: json!({}),
        duration_ms: 1,
        outcome: Ok("nothing".to_owned()),
    };
    let user = world.account_of("scout").await;
    for tool in ["at once", "never", "later", "last"] {
        world.app().tool_calls.try_send(call(tool, user)).unwrap();
    }
    let written = |count: i64| {
        let world = &world;
        move || async move { (world.activities("tool_executed", Some("scout")).await == count).then_some(()) }
    };
    world.until("what comes before is written", written(1)).await;
    sqlx::query("DELETE FROM refused_for_now").execute(&world.pool).await.unwrap();
    world.until("the rest is written", written(3)).await;
    world.end().await;
}

#[sqlx::test]
async fn calls_that_wait_to_be_written_are_written_when_the_service_ends(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    for _ in 0..25 {
        world.with_key(&key).tool("tool_categories", json!({})).await.expect(StatusCode::OK);
    }
    let pool = world.pool.clone();
    world.end().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM parallax_agent_activity WHERE activity_type = 'tool_executed'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(count, 25);
}

/// A full queue costs the record its batching, never a row: the calls that find no room are written before they are answered.
#[sqlx::test]
async fn calls_that_find_the_queue_full_are_written_by_themselves_and_none_is_lost(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let (scout, queue) = (world.with_key(&key), world.app().tool_calls.clone());
    let mut holder = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE parallax_agent_activity IN SHARE ROW EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
    let call = ToolCall {
        workspace: world.workspace,
        agent: Some("scout".parse().unwrap()),
        user: UserId(world.account_of("scout").await),
        at: chrono::Utc::now(),
        tool: "tool_categories".to_owned(),
        params: json!({}),
        duration_ms: 1,
        outcome: Ok("categories: 1".to_owned()),
    };
    let waiting = |count: i64| waiting_for(&world, "parallax_agent_activity", count);
    queue.try_send(call.clone()).unwrap();
    world.until("the worker waits for the table", || waiting(1)).await;
    let mut calls = 1;
    while queue.try_send(call.clone()).is_ok() {
        calls += 1;
    }
    let (answers, ()) = tokio::join!(futures_util::future::join_all((0..3).map(|_| scout.tool("tool_categories", json!({})))), async {
        world.until("three calls write themselves", || waiting(4)).await;
        holder.rollback().await.unwrap();
    });
    for answer in answers {
        answer.expect(StatusCode::OK);
    }
    let all = || async { (world.activities("tool_executed", Some("scout")).await == calls + 3).then_some(()) };
    world.until("every call has a row", all).await;
    world.end().await;
}

/// D-07.
#[sqlx::test]
async fn a_key_that_is_revoked_amid_a_batch_has_the_rest_of_it_refused(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let owner = world.owner().await;
    for (path, id) in [("/mcp", "scout"), ("/mcp-standard", "other")] {
        let agent = world.agent_with(id, &["read:memory"]).await;
        let mut holder = world.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE agent_memories IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await.unwrap();
        let batch = json!([rpc("memory.days", json!({})), rpc("agent.profile", json!({})), rpc("ping", json!({}))]);
        let (answers, ()) = tokio::join!(agent.post(path, batch), async {
            world.until("the first call waits for the table", || waiting_for(&world, "agent_memories", 1)).await;
            owner.revoke(id).await.expect(StatusCode::OK);
            holder.rollback().await.unwrap();
        });
        let answers = answers.expect(StatusCode::OK);
        assert!(answers[0]["result"].is_array(), "let in before: {answers}");
        for answer in [&answers[1], &answers[2]] {
            assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32000), &json!(1)), "{answer}");
        }
        let row = || async { (world.activities("tool_executed", Some(id)).await == 1).then_some(()) };
        world.until("what was carried out has a row", row).await;
    }
    world.end().await;
}

/// Whether `count` statements wait for a table that is locked.
async fn waiting_for(world: &World, table: &str, count: i64) -> Option<()> {
    let query = "SELECT count(*) FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted";
    let found: i64 = sqlx::query_scalar(query).bind(table).fetch_one(&world.pool).await.unwrap();
    (found == count).then_some(())
}

#[sqlx::test]
async fn of_two_agents_that_claim_a_task_at_once_one_gets_it_and_may_give_it_away(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut keys = Vec::new();
    for id in ["scout", "other"] {
        world.pending_agent(id).await;
        let approved = owner.approve(id, &["write:tasks"]).await.expect(StatusCode::OK);
        owner
            .post(&format!("/parallax-agents/{id}/permissions"), json!({"permissions": ["write:tasks", "delegate:agents"]}))
            .await
            .expect(StatusCode::OK);
        keys.push(approved["data"]["mcpApiKey"].as_str().unwrap().to_owned());
    }
    world.app().access_cache.distrust();
    let (scout, other) = (world.with_key(&keys[0]), world.with_key(&keys[1]));
    let task = world.task("Write").await;
    let closed = scout.tool("agent_claim_task", json!({"taskId": task})).await.tool_text();
    assert_eq!(closed["code"], -32003, "nobody opened it to agents: {closed}");
    let set = |column: &'static str, value: bool| {
        let update = sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE tasks SET {column} = $2 WHERE id = $1"))).bind(task).bind(value);
        update.execute(&world.pool)
    };
    set("agent_live", true).await.unwrap();
    set("agent_accessible", false).await.unwrap();
    let hidden = scout.tool("agent_claim_task", json!({"taskId": task})).await.tool_text();
    assert_eq!(hidden["code"], -32001, "D-40: {hidden}");
    set("agent_accessible", true).await.unwrap();

    let (a, b) =
        tokio::join!(scout.tool("agent_claim_task", json!({"taskId": task})), other.tool("agent_claim_task", json!({"taskId": task})));
    let told = [a.tool_text(), b.tool_text()];
    assert_eq!(told.iter().filter(|told| told["success"] == true).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|told| told["code"] == -32004).count(), 1, "{told:?}");
    let (winner, loser, names) =
        if told[0]["success"] == true { (&scout, &other, ["scout", "other"]) } else { (&other, &scout, ["other", "scout"]) };

    let stolen = loser.tool("agent_delegate_task", json!({"taskId": task, "targetAgentId": names[0]})).await.tool_text();
    assert_eq!(stolen["code"], -32004, "what another works on is not given away: {stolen}");
    let given = winner.tool("agent_delegate", json!({"taskId": task, "targetAgentId": names[1], "reason": "busy"})).await.tool_text();
    assert_eq!(
        (&given["delegation"]["fromAgent"]["id"], &given["delegation"]["toAgent"]["id"]),
        (&json!(names[0]), &json!(names[1])),
        "{given}"
    );
    assert_eq!(winner.tool("agent_my_assignments", json!({})).await.tool_text()["totalTasks"], 0);
    assert_eq!(loser.tool("agent_my_assignments", json!({})).await.tool_text()["totalTasks"], 1);
    let counts = [
        world.activities("task_claimed", Some(names[0])).await,
        world.activities("task_delegated", Some(names[0])).await,
        world.activities("task_received", Some(names[1])).await,
    ];
    assert_eq!(counts, [1, 1, 1]);
    world.end().await;
}

#[sqlx::test]
async fn an_agent_tells_how_it_stands_and_what_it_did_and_forges_no_decisions(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let scout = world.with_key(&key);
    let set =
        scout.tool("agent_updateStatus", json!({"status": "working", "currentTask": "Write", "message": "half way"})).await.tool_text();
    assert_eq!(set["status"], "working", "{set}");
    let profile = scout.tool("agent.profile", json!({})).await.tool_text();
    assert_eq!((&profile["metadata"]["workingStatus"], &profile["metadata"]["currentTask"]), (&json!("working"), &json!("Write")));
    let listed = scout.tool("agent_list_workspace", json!({"status": "working"})).await.tool_text();
    assert_eq!((&listed["total"], &listed["agents"][0]["workingStatus"]), (&json!(1), &json!("working")));
    assert_eq!(scout.tool("agent_update_status", json!({"status": "asleep"})).await.tool_text()["code"], -32602);
    for (arguments, rows) in [
        (json!({"status": "paused", "reason": "lunch"}), 2),
        (json!({"status": "paused", "reason": "lunch"}), 2),
        (json!({"status": "paused", "reason": "a long lunch"}), 3),
        (json!({"status": "paused"}), 3),
        (json!({"status": "paused", "message": "back soon"}), 4),
    ] {
        assert_eq!(scout.tool("agent_update_status", arguments.clone()).await.tool_text()["status"], "paused");
        assert_eq!(world.activities("status_change", Some("scout")).await, rows, "after {arguments}");
    }

    let task = world.task("Write").await;
    let noted = scout
        .tool("agent_logActivity", json!({"activityType": "task_completed", "description": "It is written", "relatedTaskId": task}))
        .await
        .tool_text();
    assert_eq!(noted["success"], true, "{noted}");
    for forged in ["access_approved", "tool_executed", "Approval_granted", "task_claimed", "message_sent", "page_updated"] {
        let refused = scout.tool("agent_log_activity", json!({"actionType": forged})).await.tool_text();
        assert_eq!(refused["code"], -32003, "{forged}: {refused}");
    }
    for own in ["run_tests", "user_story_done", "key_insight", "message_written", "tool_x"] {
        assert_eq!(scout.tool("agent_log_activity", json!({"actionType": own})).await.tool_text()["success"], true, "{own}");
    }
    let long =
        scout.tool("agent_log_activity", json!({"actionType": "noted", "details": {"all": "x".repeat(16 * 1024)}})).await.tool_text();
    assert_eq!((&long["code"], &long["data"]["errors"][0]["field"]), (&json!(-32003), &json!("details")));
    let both = json!({"actionType": "noted", "activityType": "done"});
    assert_eq!(scout.tool("agent_log_activity", both).await.tool_text()["data"]["errors"][0]["field"], "activityType");
    let own = scout.tool("agent_activity", json!({"limit": 10})).await.tool_text();
    let row = own["activities"].as_array().unwrap().iter().find(|row| row["activityType"] == "task_completed").cloned().unwrap();
    assert_eq!((&row["description"], &row["taskId"]), (&json!("It is written"), &json!(task)));
    world.end().await;
}

/// One side of the wall between two workspaces: an agent that may do everything, and something of every kind that is its own.
struct Side<'w> {
    agent: Caller<'w>,
    workspace: uuid::Uuid,
    /// What every text of this side holds.
    marker: &'static str,
    /// For each name of an argument what it is on this side.
    own: serde_json::Map<String, Value>,
}

impl<'w> Side<'w> {
    async fn of(world: &'w World, owner: &Caller<'w>, workspace: uuid::Uuid, names: [&str; 2], marker: &'static str) -> Self {
        let all: Vec<&str> = permission::CATALOGUE.iter().map(|permission| permission.id).collect();
        let mut keys = Vec::new();
        for name in names {
            let mut request = world.access_request(name);
            request["workspaceId"] = json!(workspace);
            request["requestedPermissions"] = json!(all);
            world.control_plane().post("/parallax-agents/access-request", request).await.expect(StatusCode::CREATED);
            let approved = owner.approve(name, &all).await.expect(StatusCode::OK);
            keys.push(approved["data"]["mcpApiKey"].as_str().unwrap().to_owned());
        }
        let agent = world.with_key(&keys[0]);
        let one =
            async |query: &'static str| -> uuid::Uuid { sqlx::query_scalar(query).bind(workspace).fetch_one(&world.pool).await.unwrap() };
        let space = one("SELECT default_space_id FROM workspaces WHERE id = $1").await;
        let account = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND agent_id = $2").bind(workspace).bind(names[0]);
        let account: uuid::Uuid = account.fetch_one(&world.pool).await.unwrap();
        let page = agent.does("page_create", json!({"title": marker, "content": marker, "spaceId": space})).await;
        let deleted = agent.does("page_create", json!({"title": marker, "content": marker, "spaceId": space})).await;
        agent.does("page_delete", json!({"pageId": deleted["id"]})).await;
        let history = agent.does("page_get_history", json!({"pageId": page["id"]})).await;
        let project = agent.does("project_create", json!({"name": marker, "spaceId": space})).await;
        let task = agent.does("task_create", json!({"title": marker, "description": marker, "projectId": project["id"]})).await;
        sqlx::query("UPDATE tasks SET agent_live = true WHERE workspace_id = $1").bind(workspace).execute(&world.pool).await.unwrap();
        agent.does("agent_claim_task", json!({"taskId": task["id"]})).await;
        let comment = agent.does("comment_create", json!({"pageId": page["id"], "text": marker})).await;
        agent.does("memory_ingest", json!({"content": marker, "tags": [marker], "spaceId": space})).await;
        agent.does("memory_ingest", json!({"content": marker})).await;
        let asked =
            agent.does("approval_request", json!({"method": "page_delete", "params": {"pageId": page["id"]}, "reason": marker})).await;
        let own = json!({
            "spaceId": space, "pageId": page["id"], "slugId": page["slugId"], "deletedPageId": deleted["id"], "historyId": history["history"][0]["id"],
            "projectId": project["id"], "taskId": task["id"], "commentId": comment["id"], "id": asked["approvalId"],
            "userId": account, "colleague": names[1],
        });
        let Value::Object(own) = own else { unreachable!("it was made as an object") };
        Self { agent, workspace, marker, own }
    }

    /// What an argument of a tool is on this side; `None` for one that names nothing.
    fn named(&self, tool: &str, argument: &str) -> Option<Value> {
        let kind = match argument {
            "pageId" if tool == "page_restore" => "deletedPageId",
            "parentId" if tool == "comment_create" => "commentId",
            "parentCommentId" => "commentId",
            "parentPageId" | "parentId" | "relatedPageId" => "pageId",
            "parentTaskId" | "relatedTaskId" => "taskId",
            "assigneeId" => "userId",
            "toAgentId" | "targetAgentId" => "colleague",
            other => other,
        };
        self.own.get(kind).cloned()
    }

    /// What a call needs beside the argument that is tried: this side's own.
    fn beside(&self, tool: &Value, tried: &str) -> serde_json::Map<String, Value> {
        let (name, schema) = (tool["name"].as_str().unwrap(), &tool["inputSchema"]);
        let mut arguments = serde_json::Map::new();
        for property in schema["properties"].as_object().unwrap().keys().map(String::as_str) {
            let is_required = schema["required"].as_array().is_some_and(|required| required.contains(&json!(property)));
            let needed = is_required
                || (name == "task_create" && property == "spaceId" && tried != "projectId")
                || (name == "agent_delegate_task" && property == "toAgentId" && tried != "targetAgentId");
            let value = match property {
                "title" | "name" | "text" | "query" | "icon" | "reason" | "method" | "source" => json!("words"),
                "position" => json!("b0"),
                "bucket" => json!("inbox"),
                "permission" => json!("write:tasks"),
                "status" if name == "agent_update_status" => json!("idle"),
                "actionType" => json!("noted"),
                "content" => json!({"type": "doc", "content": []}),
                _ if needed => match self.named(name, property) {
                    Some(own) => own,
                    None => continue,
                },
                _ => continue,
            };
            arguments.insert(property.to_owned(), value);
        }
        arguments
    }

    /// Calls every tool with everything of the other side, which is answered as if it were not there.
    async fn tries(&self, tools: &[Value], other: &Side<'_>) -> usize {
        let mut tried = 0;
        for tool in tools {
            let name = tool["name"].as_str().unwrap();
            for property in tool["inputSchema"]["properties"].as_object().unwrap().keys() {
                let Some(theirs) = other.named(name, property) else { continue };
                let nothing = if theirs == other.own["colleague"] { json!("nobody") } else { json!(uuid::Uuid::new_v4()) };
                let mut pairs = vec![(theirs.clone(), nothing)];
                if theirs == other.own["pageId"]
                    && !property.starts_with("parent")
                    && !name.starts_with("task_")
                    && name != "agent_log_activity"
                {
                    pairs.push((other.own["slugId"].clone(), json!("nosuchslug")));
                }
                for (theirs, nothing) in pairs {
                    let with = |value: Value| {
                        let mut arguments = self.beside(tool, property);
                        arguments.insert(property.clone(), value);
                        json!(arguments)
                    };
                    let told = self.agent.tool(name, with(theirs)).await.tool_text();
                    let none = self.agent.tool(name, with(nothing)).await.tool_text();
                    assert_eq!(told, none, "{name} with another workspace's {property}, and with none");
                    assert_ne!(told["code"], -32602, "{name} {property}: the call did not get as far as looking for it: {told}");
                    assert_ne!(told["code"], -32005, "{name}");
                    tried += 1;
                }
            }
            for (argument, theirs) in [("workspaceId", json!(other.workspace)), ("agentId", json!("nobody"))] {
                let mut arguments = self.beside(tool, "");
                arguments.insert(argument.to_owned(), theirs);
                let refused = self.agent.tool(name, json!(arguments)).await.tool_text();
                assert_eq!(refused["code"], -32002, "{name} with another's {argument}: {refused}");
            }
        }
        tried
    }

    /// Calls every tool that reads, about this side; nothing of the other one is in any answer.
    async fn looks_around(&self, tools: &[Value], other: &Side<'_>) {
        for tool in tools.iter().filter(|tool| tool["annotations"]["readOnlyHint"] == true) {
            let told = self.agent.tool(tool["name"].as_str().unwrap(), json!(self.beside(tool, ""))).await.body.to_string();
            let theirs = other.own.values().filter_map(Value::as_str).chain([other.marker]);
            for text in theirs {
                assert!(!told.contains(text), "{} tells of {text}: {told}", tool["name"]);
            }
        }
    }
}

/// D-03, D-28: two workspaces with agents that may do everything, and every tool with everything of the other side, both ways.
#[sqlx::test]
async fn nothing_crosses_from_one_workspace_to_another(pool: PgPool) {
    let world = World::without_approvals(pool).await;
    let (owner, outsider) = (world.owner().await, world.outsider().await);
    let there: uuid::Uuid = sqlx::query_scalar("SELECT id FROM workspaces WHERE name = 'Other'").fetch_one(&world.pool).await.unwrap();
    let one = Side::of(&world, &owner, world.workspace.0, ["scout", "scout-mate"], "scoutsecret").await;
    let two = Side::of(&world, &outsider, there, ["raider", "raider-mate"], "raidersecret").await;
    let listed = world.anonymous().post("/mcp-standard/list_tools", json!({})).await.expect(StatusCode::OK);
    let tools = listed["tools"].as_array().unwrap();
    for (side, other) in [(&one, &two), (&two, &one)] {
        let before = contents(&world, other.workspace).await;
        assert!(before.to_string().matches(other.marker).count() > 8, "there is something of every kind: {before}");
        // First of all: later the feed has the arguments that were tried.
        side.looks_around(tools, other).await;
        let tried = side.tries(tools, other).await;
        assert!(tried > 80, "{tried} arguments were tried");
        assert_eq!(contents(&world, other.workspace).await, before, "nothing of the other workspace was changed");
    }
    world.end().await;
}

/// Everything of a workspace that tools could change. Rows of calls are written later than the calls.
async fn contents(world: &World, workspace: uuid::Uuid) -> Value {
    sqlx::query_scalar(
        "SELECT jsonb_build_object(
            'projects', (SELECT jsonb_agg(to_jsonb(p) ORDER BY id) FROM projects p WHERE workspace_id = $1),
            'tasks', (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM tasks t WHERE workspace_id = $1),
            'pages', (SELECT jsonb_agg(to_jsonb(p) - 'ydoc' - 'tsv' ORDER BY id) FROM pages p WHERE workspace_id = $1),
            'comments', (SELECT jsonb_agg(to_jsonb(c) ORDER BY id) FROM comments c WHERE workspace_id = $1),
            'memories', (SELECT jsonb_agg(to_jsonb(m) ORDER BY id) FROM agent_memories m WHERE workspace_id = $1),
            'assignments', (SELECT jsonb_agg(to_jsonb(a) ORDER BY id) FROM parallax_agent_assignments a WHERE workspace_id = $1),
            'agents', (SELECT jsonb_agg(to_jsonb(a) ORDER BY id) FROM parallax_agents a WHERE workspace_id = $1),
            'approvals', (SELECT jsonb_agg(to_jsonb(a) ORDER BY id) FROM mcp_approvals a WHERE workspace_id = $1),
            'activity', (SELECT count(*) FROM parallax_agent_activity WHERE workspace_id = $1 AND activity_type <> 'tool_executed'))",
    )
    .bind(workspace)
    .fetch_one(&world.pool)
    .await
    .unwrap()
}
