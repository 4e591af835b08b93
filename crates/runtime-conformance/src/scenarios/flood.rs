//! 64 MiB of output: a viewer gets all of it or is told what it missed, and the runtime's memory stays (contract §6.3).

use std::{fs, time::Duration};

use tokio::time::interval;

use crate::{
    Profile,
    report::Findings,
    stage::Stage,
    terminal::{Framing, Terminal},
    trouble::Trouble,
};

const FLOOD_BYTES: u64 = 64 * 1024 * 1024;
/// The original looks for words in all of its output, and keeps what is not read in its memory.
const FLOOD_BYTES_OF_ORIGINAL: u64 = 4 * 1024 * 1024;
const END: &[u8] = b"\x02END\x03";
/// What the runtime may take for a flood, in KiB: its ring, buffers of sockets, and room for an allocator.
const GROWTH_KIB_MAX: u64 = 48 * 1024;
/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    for &framing in &stage.plan.framings {
        flood(stage, findings, framing).await?;
    }
    Ok(())
}

async fn flood(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let name = framing.name();
    let flood = if stage.is(Profile::Parallax) { FLOOD_BYTES_OF_ORIGINAL } else { FLOOD_BYTES };
    let script = format!("stty raw -echo; head -c {flood} /dev/zero | tr '\\0' x; printf '\\002END\\003'; read -r _");
    let actor = stage.actor(&script).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    let before = stage.plan.pid.map(resident_kib).transpose()?;
    let mut peak = before;
    let received = tokio::select! {
        received = drain(&mut terminal) => received?,
        broken = watch(stage.plan.pid, &mut peak) => return Err(broken),
    };
    let claim = format!("{name}: a viewer gets all of {} MiB, or is told what it missed", flood / (1024 * 1024));
    match received {
        Received::All { bytes, told_missing } => {
            let expected = format!("{flood} bytes");
            findings.holds(claim, bytes + told_missing == flood, expected, format!("{bytes} bytes and {told_missing} told as missed"));
        }
        Received::Closed(code) if framing == Framing::Default => findings.equal(claim, &Some(4408), &code),
        Received::Closed(code) => findings.holds(claim, false, "lagged, and the rest", format!("closed with {code:?}")),
    }
    let claim = format!("{name}: the runtime's memory is bounded");
    match (before, peak) {
        (Some(before), Some(peak)) => {
            let (expected, seen) = (format!("at most {GROWTH_KIB_MAX} KiB more"), format!("{before} KiB before, {peak} KiB at the most"));
            findings.holds(claim, peak.saturating_sub(before) <= GROWTH_KIB_MAX, expected, seen);
        }
        _ => findings.not_applicable(claim, "no process id was given"),
    }
    if stage.is(Profile::Raven) && framing == Framing::Negotiated {
        let late = Terminal::open(stage.target, &actor.id, framing, "?since=0").await?;
        let offset = late.greeting["offset"].as_u64().unwrap_or_default();
        findings.holds("negotiated: who asks for lost output is told where it goes on", offset > 0, "an offset above 0", offset);
    }
    Ok(())
}

enum Received {
    All { bytes: u64, told_missing: u64 },
    Closed(Option<u16>),
}

/// Reads until the end of the flood, counting only.
async fn drain(terminal: &mut Terminal<'_>) -> Result<Received, Trouble> {
    let (mut bytes, mut tail) = (0, Vec::new());
    loop {
        bytes += terminal.seen.len() as u64;
        tail.append(&mut terminal.seen);
        if tail.ends_with(END) {
            return Ok(Received::All { bytes: bytes - END.len() as u64, told_missing: terminal.missed });
        }
        tail.drain(..tail.len().saturating_sub(END.len()));
        if !terminal.step().await? {
            return Ok(Received::Closed(terminal.closed.as_ref().map(|(code, _)| *code)));
        }
    }
}

/// Notes the most memory that the runtime has; ends only when that cannot be read.
async fn watch(pid: Option<u32>, peak: &mut Option<u64>) -> Trouble {
    let Some(pid) = pid else { return std::future::pending().await };
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        match resident_kib(pid) {
            Ok(now) => *peak = (*peak).max(Some(now)),
            Err(error) => return error.into(),
        }
    }
}

fn resident_kib(pid: u32) -> Result<u64, std::io::Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or_else(|| std::io::Error::other("no VmRSS"))
}
