//! An agent ends with its children, how it ended is told, and that once (contract §8).

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    Profile,
    report::Findings,
    stage::{Stage, told},
    terminal::{Events, Framing},
    trouble::Trouble,
};

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let framing = stage.plan.framings.first().copied().unwrap_or(Framing::Default);
    let mut events = Events::open(stage.target).await?;

    let family = stage.actor(r"sleep 1000 & trap 'exit 7' TERM; printf 'child %s END' $!; while :; do sleep 0.1; done").await?;
    let mut terminal = stage.curtain(&family, framing).await?;
    let child = child_of(&terminal.until("END").await?)?;
    let path = format!("/api/agents/{}", family.id);
    let stopped = stage.target.delete(&path).await?;
    findings.holds("a stop is answered when the agent is gone", stopped.status == 204, "204", told(&stopped));
    let event = events.until("agent_stopped", &family.id).await?;
    if stage.is(Profile::Parallax) {
        let again = stage.target.delete(&path).await?;
        let gone = again.status == 204 || (again.status == 500 && again.text("error").to_ascii_lowercase().contains("not found"));
        findings.holds("a second stop is answered as done, or with 500 not found", gone, "204, or 500 not found", told(&again));
        return Ok(());
    }
    if Path::new("/proc/self").exists() && event["data"]["agent"]["pid"].as_u64().is_some_and(|_| is_local(stage)) {
        let gone = async || Ok(if Path::new(&format!("/proc/{child}")).exists() { Err(format!("process {child}")) } else { Ok(()) });
        let gone = stage.target.until("the end of a child", gone).await;
        findings.holds(
            "its children end with it",
            gone.is_ok(),
            format!("no process {child}"),
            gone.err().map_or(String::new(), |late| late.to_string()),
        );
    } else {
        findings.not_applicable("its children end with it", "the runtime is on another host");
    }
    findings.equal("the exit code of the program is told in the event", &json!(7), &event["data"]["exitCode"]);
    let handle = stage.until_status(&family.id, "stopped").await?;
    findings.equal("and in the agent", &json!(7), &handle["exitCode"]);
    findings.equal("a second stop is as good as the first (RUN-08)", &204, &stage.target.delete(&path).await?.status);
    findings.equal("so is POST …/stop", &204, &stage.target.post(&format!("{path}/stop"), &json!({})).await?.status);
    let sent = stage.target.post(&format!("{path}/send"), &json!({ "message": "hello" })).await?;
    findings.equal("nothing can be sent any more", &(409, "AGENT_STOPPED".into()), &sent.status_and_code());

    let stubborn = stage.actor("trap '' TERM; printf READY; while :; do sleep 0.1; done").await?;
    let mut terminal = stage.curtain(&stubborn, framing).await?;
    terminal.until("READY").await?;
    let killed = stage.target.delete(&format!("/api/agents/{}?force=true", stubborn.id)).await?;
    findings.equal("a program that will not end is ended by force", &204, &killed.status);
    let event = events.until("agent_stopped", &stubborn.id).await?;
    findings.equal("and its signal is told", &json!("SIGKILL"), &event["data"]["signal"]);
    findings.equal("every end is told once (RUN-05)", &[1, 1], &[&family, &stubborn].map(|actor| events.count("agent_stopped", &actor.id)));
    let code = terminal.read_to_end().await?;
    findings.equal("the terminal closes with the code for an end", &Some(4410), &code);
    if framing == Framing::Negotiated || stage.plan.framings.contains(&Framing::Negotiated) {
        let mut late = crate::terminal::Terminal::open(stage.target, &stubborn.id, Framing::Negotiated, "").await?;
        late.read_to_end().await?;
        let exited = late.controls.iter().find(|control| control["type"] == "exited").cloned().unwrap_or_default();
        findings.equal("negotiated: exited tells the signal", &json!("SIGKILL"), &exited["signal"]);
    }
    let nobody = crate::terminal::Terminal::open(stage.target, "nobody-of-this-name", framing, "").await?;
    findings.equal("an unknown agent's terminal closes with its code", &Some(4404), &nobody.closed.map(|(code, _)| code));
    Ok(())
}

fn child_of(printed: &[u8]) -> Result<u32, Trouble> {
    let text = String::from_utf8_lossy(printed);
    let pid = text.split("child ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    pid.ok_or_else(|| Trouble::unexpected("a process id", Value::from(text.as_ref())))
}

fn is_local(stage: &Stage<'_>) -> bool {
    let authority = stage.target.authority().unwrap_or_default();
    authority.starts_with("127.") || authority.starts_with("localhost:") || authority.starts_with("[::1]")
}
