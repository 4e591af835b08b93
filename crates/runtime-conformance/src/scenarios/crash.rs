//! An agent ends because its process did, and never because of a word on its screen (contract §8, RUN-05).

use serde_json::json;

use crate::{
    Profile,
    report::Findings,
    stage::Stage,
    terminal::{Events, Framing},
    trouble::Trouble,
};

/// Prints what the original takes for an end, answers a line, and is killed upon the next.
const SCRIPT: &str = r"stty -echo; echo 'exit'; echo 'bash: foo: command not found'; echo 'Process exited with code 1'; printf 'WORDS\n'; read -r _; echo still here; read -r _; kill -KILL $$";

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let framing = stage.plan.framings.last().copied().unwrap_or(Framing::Default);
    let mut events = Events::open(stage.target).await?;
    let actor = stage.actor(SCRIPT).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    terminal.until("WORDS").await?;
    if stage.is(Profile::Parallax) {
        events.until("agent_stopped", &actor.id).await?;
        findings.holds("words on the screen are told as an end (RUN-05)", true, "", "");
        terminal.type_keys("\n").await?;
        let usable = terminal.until("still here").await.is_ok();
        findings.holds("but the terminal goes on", usable, "an answer", "none");
        return Ok(());
    }
    terminal.type_keys("\n").await?;
    terminal.until("still here").await?;
    let status = stage.handle(&actor.id).await?.text("status").to_owned();
    let lives = !matches!(status.as_str(), "stopping" | "stopped" | "error");
    findings.holds("words on the screen end nothing (RUN-05)", lives, "a live agent", status);
    let told_early = events.count("agent_stopped", &actor.id);

    terminal.type_keys("\n").await?;
    let event = events.until("agent_stopped", &actor.id).await?;
    findings.equal("the signal that ended the process is told in the event", &json!("SIGKILL"), &event["data"]["signal"]);
    let handle = stage.until_status(&actor.id, "stopped").await?;
    findings.equal("and in the agent", &json!("SIGKILL"), &handle["signal"]);
    let code = terminal.read_to_end().await?;
    findings.equal("the terminal closes after the last output", &Some(4410), &code);
    if framing == Framing::Negotiated {
        let exited = terminal.controls.iter().find(|control| control["type"] == "exited").cloned().unwrap_or_default();
        findings.equal("negotiated: exited tells the signal", &json!("SIGKILL"), &exited["signal"]);
    }

    // The next agent's end comes after whatever else this one would have been told.
    let sentinel = stage.agent("echo", &json!({})).await?;
    stage.target.delete(&format!("/api/agents/{sentinel}?force=true")).await?;
    events.until("agent_stopped", &sentinel).await?;
    let told = events.count("agent_stopped", &actor.id);
    findings.equal("the end is told once, and not before it was (RUN-05)", &(0, 1), &(told_early, told));
    Ok(())
}
