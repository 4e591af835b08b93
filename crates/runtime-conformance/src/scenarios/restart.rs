//! The runtime is killed and started again: its agents go on, or are told to be gone (contract §7, §17.1).

use std::process::Stdio;

use tokio::{process::Command, time::timeout};

use crate::{
    Profile,
    report::Findings,
    stage::{Actor, Stage, told},
    terminal::{Events, Framing, Terminal},
    trouble::Trouble,
};

/// Prints numbered lines for as long as it lives.
const COUNTING: &str = "stty raw -echo; i=0; while :; do i=$((i+1)); printf '%d;' $i; sleep 0.02; done";

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let Some(command) = &stage.plan.restart else {
        findings.not_applicable("agents outlive the runtime or are told to be gone", "no command was given that restarts it");
        return Ok(());
    };
    let framing = if stage.plan.framings.contains(&Framing::Negotiated) { Framing::Negotiated } else { Framing::Default };
    let actor = stage.actor(COUNTING).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    let mut printed = terminal.until(";20;").await?;
    restart(stage, command).await?;
    while terminal.step().await? {}
    printed.append(&mut terminal.seen);

    let found = stage.handle(&actor.id).await?;
    let lives = found.status == 200 && !matches!(found.text("status"), "stopping" | "stopped" | "error");
    if stage.is(Profile::Parallax) {
        findings.holds("its agents are gone with it", !lives, "no live agent", told(&found));
        return Ok(());
    }
    if lives {
        goes_on(stage, findings, &actor, framing, &printed).await?;
    } else if stage.plan.agents_survive {
        findings.holds("an agent outlives the runtime", false, "a live agent", told(&found));
    } else {
        findings.holds("an agent that is gone is told as such", true, "", "");
    }
    let fresh = stage.actor("stty raw -echo; printf 'fresh %s' start").await?;
    let mut terminal = stage.curtain(&fresh, framing).await?;
    terminal.until("fresh start").await?;
    findings.holds("new agents can be started", true, "", "");
    Ok(())
}

/// The agent that was there before prints on, and nothing of what it printed is lost or doubled.
async fn goes_on(stage: &Stage<'_>, findings: &mut Findings, actor: &Actor, framing: Framing, printed: &[u8]) -> Result<(), Trouble> {
    findings.holds("an agent outlives the runtime", true, "", "");
    let mut terminal = Terminal::open(stage.target, &actor.id, framing, "?replay=1").await?;
    let last = numbers(printed).last().copied().unwrap_or_default();
    let goal = format!(";{};", last + 20);
    let again = terminal.until(&goal).await?;
    // A history may begin in the middle, so its first number may be cut.
    let numbers = numbers(&again);
    let numbers = numbers.get(1..).unwrap_or_default();
    let gapless = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let overlaps = numbers.first().is_some_and(|first| *first <= last + 1);
    let seen = format!("from {:?} to {:?}, without gaps: {gapless}; {last} was the last before", numbers.first(), numbers.last());
    findings.holds("its output goes on without a gap", gapless && overlaps, "every number once", seen);

    let mut events = Events::open(stage.target).await?;
    let stopped = stage.target.delete(&format!("/api/agents/{}?force=true", actor.id)).await?;
    findings.holds("it can be stopped", stopped.status == 204, "204", told(&stopped));
    events.until("agent_stopped", &actor.id).await?;
    findings.equal("and its end is told once", &1, &events.count("agent_stopped", &actor.id));
    Ok(())
}

fn numbers(printed: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(printed);
    let complete = text.rsplit_once(';').map_or("", |(complete, _)| complete);
    complete.split(';').filter_map(|number| number.parse().ok()).collect()
}

async fn restart(stage: &Stage<'_>, command: &str) -> Result<(), Trouble> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let status = timeout(stage.target.patience(), shell.status()).await;
    let status = status.map_err(|_| stage.target.late("the end of the command that restarts the runtime", ""))??;
    if !status.success() {
        return Err(Trouble::unexpected("the command that restarts the runtime to succeed", status));
    }
    let health = async || Ok(stage.target.get("/api/health").await.map(|_| ()).map_err(|trouble| trouble.to_string()));
    stage.target.until("health of the restarted runtime", health).await
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn a_number_that_is_not_finished_does_not_count() {
        assert_eq!(numbers(b"\x02BEGIN\x03;1;2;3"), [1, 2]);
    }
}
