//! A login prompt is told with its address, its instructions and its code in members of their own (contract §9).

use serde_json::json;

use crate::{Profile, report::Findings, stage::Stage, terminal::Events, trouble::Trouble};

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let Some(agent_type) = &stage.plan.login_type else {
        findings.not_applicable("a login prompt is told", "no agent type was named whose program asks for a login");
        return Ok(());
    };
    let mut events = Events::open(stage.target).await?;
    let id = stage.agent(agent_type, &json!({})).await?;
    let event = events.until("login_required", &id).await?;
    let data = &event["data"];
    let url = data["loginUrl"].as_str().unwrap_or_default();
    let is_address = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if stage.is(Profile::Parallax) {
        findings.holds("loginUrl has the instructions (RUN-03)", !url.is_empty() && !is_address, "a sentence", data);
        return Ok(());
    }
    findings.holds("loginUrl is an address and nothing else (RUN-03)", is_address, "an http or https address", data);
    let instructions = data["instructions"].as_str().unwrap_or_default();
    findings.holds("instructions are a member of their own", !instructions.is_empty(), "instructions", data);
    let code = data["deviceCode"].as_str();
    if let Some(code) = code {
        findings.holds("the device code is one", code.contains('-') && !code.contains(' '), "letters and digits with dashes", code);
    } else {
        findings.not_applicable("the device code is one", "the program shows none");
    }
    let status = stage.until_status(&id, "authenticating").await?;
    findings.equal("the agent waits for its login", &json!("authenticating"), &status["status"]);
    let sent = stage.target.post(&format!("/api/agents/{id}/send"), &json!({ "message": "hello" })).await?;
    findings.equal("a message to it is refused", &(409, "AUTH_REQUIRED".into()), &sent.status_and_code());
    findings.equal("it is told once", &1, &events.count("login_required", &id));
    Ok(())
}
