//! A resize reaches the program; one that cannot be followed is never typed (contract §6.3).

use crate::{Profile, report::Findings, stage::Stage, terminal::Framing, trouble::Trouble};

const BAD: [&str; 4] = [
    r#"{"type":"resize","cols":-1,"rows":5}"#,
    r#"{"type":"resize","cols":0,"rows":0}"#,
    r#"{"type":"resize","cols":"80","rows":24}"#,
    r#"{"type":"resize"}"#,
];

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    for &framing in &stage.plan.framings {
        valid(stage, findings, framing).await?;
        invalid(stage, findings, framing).await?;
    }
    Ok(())
}

async fn valid(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let actor = stage.actor(r"stty -echo; printf '\002READY\003'; read -r _; printf 'size %s END' ''; stty size").await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    terminal.until("\u{2}READY\u{3}").await?;
    terminal.send_text(r#"{"type":"resize","cols":100,"rows":30}"#).await?;
    terminal.type_keys("\n").await?;
    terminal.until("END").await?;
    let size = String::from_utf8_lossy(&terminal.until("\n").await?).trim().to_owned();
    findings.equal(format!("{}: a resize reaches the program", framing.name()), &"30 100".to_owned(), &size);
    Ok(())
}

async fn invalid(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let actor = stage.actor(r"stty raw -echo; printf '\002READY\003'; head -c 3; printf '\002END\003'").await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    terminal.until("\u{2}READY\u{3}").await?;
    for bad in BAD {
        terminal.send_text(bad).await?;
    }
    terminal.type_keys("abc").await?;
    let heard = String::from_utf8_lossy(&terminal.until("\u{2}END\u{3}").await?).into_owned();
    let heard = heard.trim_end_matches("\u{2}END\u{3}").to_owned();
    if stage.is(Profile::Parallax) {
        findings.holds("default: a bad resize may be typed (RUN-11)", heard.len() == 3, "three characters", heard);
        return Ok(());
    }
    findings.equal(format!("{}: a bad resize is never typed (RUN-11)", framing.name()), &"abc".to_owned(), &heard);
    Ok(())
}
