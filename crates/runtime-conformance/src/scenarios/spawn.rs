//! Identify the dialect, start agents, and ask for what cannot be started (contract §3, §4.1, §5).

use serde_json::{Value, json};

use crate::{
    Profile,
    report::Findings,
    stage::{Stage, told},
    terminal::Events,
    trouble::Trouble,
};

/// Types of agents whose programs are seldom on a machine all at once.
const CLIS: [&str; 4] = ["aider", "gemini", "codex", "claude"];

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    match stage.plan.profile {
        Profile::Raven => raven(stage, findings).await,
        Profile::Parallax => parallax(stage, findings).await,
    }
}

async fn raven(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let target = stage.target;
    let health = target.get("/api/health").await?;
    let complete = health.status == 200 && health.body["healthy"] == true && health.body["version"].is_string();
    findings.holds(
        "health names version and active agents",
        complete && health.body["activeAgents"].is_u64(),
        "200 {healthy: true, version, activeAgents}",
        told(&health),
    );
    findings.equal("health answers without the prefix too", &200, &target.get("/health").await?.status);
    let described = target.get("/").await?;
    findings.holds("the service describes itself", described.body["service"].is_string(), "{service, …}", told(&described));

    let mut events = Events::open(target).await?;
    let mut body = json!({ "agentType": "echo", "count": 2, "name": "pair", "workspaceId": target.workspace(), "config": {} });
    let pair = target.post("/api/spawn", &body).await?;
    let agents: Vec<Value> = pair.body["agents"].as_array().cloned().unwrap_or_default();
    agents.iter().filter_map(|agent| agent["id"].as_str()).for_each(|id| stage.remember(id));
    let members = ["id", "name", "type", "status", "runtimeSessionId", "runtimeEndpoint"];
    let shaped = agents.len() == 2 && agents.iter().all(|agent| members.iter().all(|member| agent[member].is_string()));
    let expected = "201 {success: true, agents: 2 × {id, name, type, status, runtimeSessionId, runtimeEndpoint}}";
    findings.holds("a spawn of two tells both", pair.status == 201 && pair.body["success"] == true && shaped, expected, told(&pair));
    let names: Vec<&str> = agents.iter().filter_map(|agent| agent["name"].as_str()).collect();
    findings.equal("agents of one spawn are numbered", &vec!["pair-1", "pair-2"], &names);
    let Some(first) = agents.first().and_then(|agent| agent["id"].as_str()) else {
        return Err(Trouble::unexpected("an agent", told(&pair)));
    };
    events.until("agent_ready", first).await?;
    findings.equal("one agent_started comes before agent_ready", &1, &events.count("agent_started", first));

    body = json!({ "id": format!("{first}-twin"), "name": "original", "type": "echo", "capabilities": ["code"] });
    let single = target.post("/api/agents", &body).await?;
    let id = single.text("id").to_owned();
    stage.remember(&id);
    let bare = single.status == 201 && single.text("type") == "echo" && single.body["capabilities"] == json!(["code"]);
    findings.holds("POST /api/agents answers with the bare agent", bare, "201 {id, name, type, status, capabilities}", told(&single));
    body["name"] = "impostor".into();
    let twin = target.post("/api/agents", &body).await?;
    findings.equal("an id is given once (RUN-14)", &(409, "AGENT_EXISTS".into()), &twin.status_and_code());
    findings.equal("the agent that has it keeps its name", &"original".to_owned(), &stage.handle(&id).await?.text("name").to_owned());
    let listed = target.get("/api/agents").await?;
    let ids: Vec<&str> = listed.body["agents"].as_array().into_iter().flatten().filter_map(|agent| agent["id"].as_str()).collect();
    findings.holds("the list has them all", ids.len() == 3 && ids.contains(&id.as_str()), "three agents", told(&listed));

    refusals(stage, findings).await?;
    missing_cli(stage, findings, &mut events).await?;
    if target.has_token() {
        let stranger = target.get_as_stranger("/api/agents").await?;
        findings.equal("without the token nothing is told (RUN-01)", &(401, "UNAUTHORIZED".into()), &stranger.status_and_code());
    } else {
        findings.not_applicable("without the token nothing is told (RUN-01)", "no token was given");
    }
    Ok(())
}

/// Requests that cannot be carried out, each with its status, its code and the name of what is wrong.
async fn refusals(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let target = stage.target;
    let invalid = (400, "INVALID_REQUEST".to_owned());
    let spawn = |member: &str, value: Value| {
        let mut body = json!({ "agentType": "echo", "count": 1, "workspaceId": target.workspace(), "config": {} });
        body[member] = value;
        body
    };
    for (field, path, body) in [
        ("name", "/api/agents", json!({ "type": "echo" })),
        ("type", "/api/agents", json!({ "name": "a" })),
        ("count", "/api/spawn", spawn("count", json!("many"))),
        ("count", "/api/spawn", spawn("count", json!(100_000))),
        ("env", "/api/spawn", spawn("config", json!({ "env": { "A=B": "c" } }))),
        ("workdir", "/api/spawn", spawn("config", json!({ "workdir": 1 }))),
    ] {
        let refused = target.post(path, &body).await?;
        findings.equal(format!("{path} refuses a bad {field}"), &invalid, &refused.status_and_code());
        let names_it = refused.text("error").contains(field);
        findings.holds(format!("the refusal of a bad {field} names it"), names_it, field, told(&refused));
    }
    let escape = target.post("/api/spawn", &spawn("config", json!({ "workdir": "../../.." }))).await?;
    let refused = (400..500).contains(&escape.status) || escape.text("code") == "SPAWN_FAILED";
    findings.holds("a working directory outside the runtime's root is refused (RUN-15)", refused, "a refusal", told(&escape));
    let broken = target.post_text("/api/spawn", "{").await?;
    findings.equal("broken JSON is told as JSON", &invalid, &broken.status_and_code());
    let unknown = target.post("/api/spawn", &spawn("agentType", json!("no-such-type"))).await?;
    findings.equal("an unknown type is refused", &(400, "UNSUPPORTED_TYPE".into()), &unknown.status_and_code());
    let nobody = "/api/agents/nobody-of-this-name";
    let not_found = (404, "AGENT_NOT_FOUND".to_owned());
    for (claim, reply) in [
        ("an unknown agent is not found", target.get(nobody).await?),
        ("nor is it stopped", target.delete(nobody).await?),
        ("nor are its logs read", target.get(&format!("{nobody}/logs")).await?),
        ("nor is it sent anything (RUN-19)", target.post(&format!("{nobody}/send"), &json!({ "message": "a" })).await?),
    ] {
        findings.equal(claim, &not_found, &reply.status_and_code());
    }
    Ok(())
}

/// A program that is not there is told before anything is started.
async fn missing_cli(stage: &Stage<'_>, findings: &mut Findings, events: &mut Events<'_>) -> Result<(), Trouble> {
    let claim = "a program that is not there is told before forking (RUN-19)";
    for cli in CLIS {
        let reply = stage.ask_for(cli, &json!({})).await?;
        reply.body["agents"].as_array().into_iter().flatten().filter_map(|agent| agent["id"].as_str()).for_each(|id| stage.remember(id));
        if reply.status == 201 {
            continue;
        }
        findings.equal(claim, &(422, "CLI_NOT_FOUND".into()), &reply.status_and_code());
        let sentinel = stage.agent("echo", &json!({})).await?;
        events.until("agent_started", &sentinel).await?;
        let started =
            events.heard.iter().filter(|event| event["event"] == "agent_started" && event["data"]["agent"]["type"] == cli).count();
        findings.equal("and no agent_started is told for it", &0, &started);
        return Ok(());
    }
    findings.not_applicable(claim, format!("all of {} are installed there", CLIS.join(", ")));
    Ok(())
}

async fn parallax(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let target = stage.target;
    let health = target.get("/api/health").await?;
    let expected = "200 {healthy, message} without version and activeAgents";
    let bare = health.status == 200 && health.body["healthy"].is_boolean() && health.body["activeAgents"].is_null();
    findings.holds("health counts agents in words only (RUN-32)", bare, expected, told(&health));
    let described = target.get("/").await?;
    let identified = described.text("service").contains("Parallax");
    findings.holds("the service document identifies the dialect", identified, "a Parallax runtime", told(&described));
    let spawn = json!({ "agentType": "echo", "count": 1, "workspaceId": target.workspace(), "config": {} });
    findings.equal("there is no POST /api/spawn", &404, &target.post("/api/spawn", &spawn).await?.status);

    let mut events = Events::open(target).await?;
    let body = json!({ "name": "single", "type": "echo", "capabilities": [] });
    let single = target.post("/api/agents", &body).await?;
    let id = single.text("id").to_owned();
    stage.remember(&id);
    let bare = single.status == 201 && !id.is_empty() && single.text("type") == "echo";
    findings.holds("POST /api/agents answers with the bare agent", bare, "201 {id, name, type, status, capabilities}", told(&single));
    events.until("agent_started", &id).await?;
    findings.equal("the agent is found", &200, &stage.handle(&id).await?.status);
    let twin = json!({ "id": id, "name": "impostor", "type": "echo" });
    for (claim, status, reply) in [
        ("an id that is taken is 500", 500, target.post("/api/agents", &twin).await?),
        ("a missing name is 400", 400, target.post("/api/agents", &json!({ "type": "echo" })).await?),
        ("an unknown type is 500", 500, target.post("/api/agents", &json!({ "name": "a", "type": "no-such-type" })).await?),
        ("an unknown agent is 404", 404, target.get("/api/agents/nobody-of-this-name").await?),
        ("but 500 when it is stopped (RUN-19)", 500, target.delete("/api/agents/nobody-of-this-name").await?),
        ("and 500 when its logs are read (RUN-19)", 500, target.get("/api/agents/nobody-of-this-name/logs").await?),
    ] {
        findings.holds(claim, reply.status == status && reply.body["error"].is_string(), format!("{status} {{error}}"), told(&reply));
    }
    Ok(())
}
