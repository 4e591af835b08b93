//! Keys arrive in order, and nothing that a person types or pastes is mistaken for control (contract §6.3).

use std::fmt::Write as _;

use crate::{
    Profile,
    report::Findings,
    stage::Stage,
    terminal::{Framing, Terminal},
    trouble::Trouble,
};

/// Numbered inputs whose order is looked at.
const CHUNKS: usize = 200;
/// A large paste, in bytes.
const PASTE_BYTES: usize = 64 * 1024;
/// What people and programs type that looks like control, or begins like it.
const VECTORS: [&str; 6] =
    [r#"{"a":1}"#, "{{x", "a{", "\u{1b}[200~{\"b\":[1,2]}\u{1b}[201~", r#"{"type":"resize","cols":1,"rows":1}"#, r#"{"type":"snapshot"}"#];

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    for &framing in &stage.plan.framings {
        order(stage, findings, framing).await?;
        vectors(stage, findings, framing).await?;
        paste(stage, findings, framing).await?;
    }
    if stage.plan.framings.contains(&Framing::Default) {
        one_frame(stage, findings).await?;
    }
    Ok(())
}

/// An actor that gives back exactly this many bytes and ends.
async fn parrot<'t>(stage: &Stage<'t>, bytes: usize, framing: Framing) -> Result<Terminal<'t>, Trouble> {
    let actor = stage.actor(&format!(r"stty raw -echo; printf '\002READY\003'; head -c {bytes}; printf '\002END\003'")).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    terminal.until("\u{2}READY\u{3}").await?;
    Ok(terminal)
}

async fn heard(terminal: &mut Terminal<'_>) -> Result<String, Trouble> {
    let heard = terminal.until("\u{2}END\u{3}").await?;
    let text = String::from_utf8_lossy(&heard).into_owned();
    Ok(text.trim_end_matches("\u{2}END\u{3}").to_owned())
}

async fn order(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let chunks: Vec<String> = (0..CHUNKS).map(|number| format!("{number} ")).collect();
    let sent = chunks.concat();
    let mut terminal = parrot(stage, sent.len(), framing).await?;
    for chunk in &chunks {
        terminal.type_keys(chunk).await?;
    }
    findings.equal(format!("{}: {CHUNKS} inputs arrive in order", framing.name()), &sent, &heard(&mut terminal).await?);
    Ok(())
}

async fn vectors(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    for vector in VECTORS {
        let mut terminal = parrot(stage, vector.len(), framing).await?;
        terminal.type_keys(vector).await?;
        findings.equal(format!("{}: {vector:?} arrives as typed", framing.name()), &vector.to_owned(), &heard(&mut terminal).await?);
    }
    Ok(())
}

async fn paste(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let pasted: String = (0..PASTE_BYTES / 8).fold(String::new(), |mut text, number| {
        write!(text, "{number:07} ").expect("writing to a string cannot fail");
        text
    });
    let script = format!(r"stty raw -echo; printf '\002READY\003'; head -c {PASTE_BYTES} | sha256sum; printf '\002END\003'");
    let actor = stage.actor(&script).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    terminal.until("\u{2}READY\u{3}").await?;
    terminal.type_keys(&pasted).await?;
    let digest = super::sha256(pasted.as_bytes());
    let heard = heard(&mut terminal).await?;
    findings.holds(format!("{}: a paste of 64 KiB arrives whole", framing.name()), heard.contains(&digest), digest, heard);
    Ok(())
}

/// A frame of JSON that is no control: keys in ours, swallowed by the original.
async fn one_frame(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let json = r#"{"a":1}"#;
    if stage.is(Profile::Parallax) {
        let mut terminal = parrot(stage, 3, Framing::Default).await?;
        terminal.send_text(json).await?;
        terminal.type_keys("abc").await?;
        findings.equal("default: JSON in one frame is swallowed (RUN-11)", &"abc".to_owned(), &heard(&mut terminal).await?);
        return Ok(());
    }
    let mut terminal = parrot(stage, json.len(), Framing::Default).await?;
    terminal.send_text(json).await?;
    findings.equal("default: JSON in one frame that is no control is typed (RUN-11)", &json.to_owned(), &heard(&mut terminal).await?);
    Ok(())
}
