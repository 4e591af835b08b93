//! A viewer that reads nothing for a while slows neither the agent nor anybody else (contract §6.3).

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{
    Profile,
    report::Findings,
    stage::Stage,
    terminal::{Framing, Terminal},
    trouble::Trouble,
};

/// Far above what a ring and the buffers of two sockets hold.
const PRINTED_BYTES: u64 = 32 * 1024 * 1024;
/// The original looks for words in all of its output, and keeps what is not read in its memory.
const PRINTED_BYTES_OF_ORIGINAL: u64 = 4 * 1024 * 1024;
/// Printed at once, with a moment for whoever reads before the next: less than a history holds.
const PIECE_BYTES: u64 = 256 * 1024;
/// What an answer to a key may take meanwhile, with a machine busy with the flood.
const ANSWER_MAX: Duration = Duration::from_secs(2);

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let printed = if stage.is(Profile::Parallax) { PRINTED_BYTES_OF_ORIGINAL } else { PRINTED_BYTES };
    let pieces = printed / PIECE_BYTES;
    let script = format!(
        "stty raw -echo; printf READY; head -c 1 > /dev/null; \
         for ((i = 0; i < {pieces}; i++)); do head -c {PIECE_BYTES} /dev/zero | tr '\\0' x; sleep 0.01; done; \
         printf '\\002END\\003'; head -c 1 > /dev/null"
    );
    let actor = stage.actor(&script).await?;
    // Who is told of a gap may read on, should this machine be too busy to keep up.
    let framing = stage.plan.framings.last().copied().unwrap_or(Framing::Default);
    let mut fast = stage.curtain(&actor, framing).await?;
    fast.until("READY").await?;
    let mut slow = Vec::new();
    for &framing in &stage.plan.framings {
        slow.push((framing, Terminal::open(stage.target, &actor.id, framing, "").await?));
    }
    let other = stage.actor("stty raw -echo; printf READY; cat").await?;
    let mut neighbour = stage.curtain(&other, framing).await?;
    neighbour.until("READY").await?;

    let began = Instant::now();
    let reading_again = began + stage.plan.stall;
    fast.type_keys("g").await?;
    let (ended, slowest) = tokio::join!(read_all(&mut fast, reading_again), ping(&mut neighbour, reading_again));
    let ended = ended?;
    let took = ended.map_or_else(|| "nothing of its end".to_owned(), |at| format!("after {:.1} s", (at - began).as_secs_f64()));
    findings.holds("the agent is not stalled, and another viewer sees its end meanwhile", ended.is_some(), "the end", took);
    let slowest = slowest?;
    findings.holds("another agent answers meanwhile", slowest <= ANSWER_MAX, format!("{ANSWER_MAX:?} at the most"), format!("{slowest:?}"));

    for (framing, mut viewer) in slow {
        let name = framing.name();
        match (stage.plan.profile, framing) {
            (Profile::Parallax, _) => {
                let whole = counted_to_end(&mut viewer).await?;
                findings.holds("default: the queue of a slow viewer has no bound (RUN-09)", whole >= printed, printed, whole);
            }
            (Profile::Raven, Framing::Default) => {
                let code = viewer.read_to_end().await?;
                findings.equal(format!("{name}: a viewer that is too slow is closed as such"), &Some(4408), &code);
            }
            (Profile::Raven, Framing::Negotiated) => {
                counted_to_end(&mut viewer).await?;
                let lagged = viewer.controls.iter().find(|control| control["type"] == "lagged").cloned().unwrap_or_default();
                let told = lagged["offset"].as_u64().is_some();
                findings.holds(
                    format!("{name}: a viewer that is too slow is told where it goes on"),
                    told,
                    "lagged with an offset",
                    lagged,
                );
            }
        }
    }
    Ok(())
}

/// Reads the flood; when its end came, if that was before `until`.
async fn read_all(terminal: &mut Terminal<'_>, until: Instant) -> Result<Option<Instant>, Trouble> {
    tokio::select! {
        read = counted_to_end(terminal) => read.map(|_| Some(Instant::now())),
        () = sleep_until(until) => Ok(None),
    }
}

/// Types a key and waits for it, again and again; the longest wait.
async fn ping(terminal: &mut Terminal<'_>, until: Instant) -> Result<Duration, Trouble> {
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let sent = Instant::now();
        terminal.type_keys("k").await?;
        terminal.until("k").await?;
        slowest = slowest.max(sent.elapsed());
        sleep_until((sent + Duration::from_millis(100)).min(until)).await;
    }
    Ok(slowest)
}

/// Reads until the end of the flood, keeping nothing; the bytes of it.
async fn counted_to_end(terminal: &mut Terminal<'_>) -> Result<u64, Trouble> {
    const END: &[u8] = b"\x02END\x03";
    let (mut bytes, mut tail) = (0, Vec::new());
    loop {
        tail.append(&mut terminal.seen);
        if tail.ends_with(END) {
            return Ok(bytes);
        }
        tail.drain(..tail.len().saturating_sub(END.len()));
        if !terminal.step().await? {
            return Err(Trouble::unexpected("the end of the flood", format!("closed with {:?}", terminal.closed)));
        }
        bytes += terminal.seen.len() as u64;
    }
}
