//! Every byte arrives, no character is cut, and who comes late sees what was (contract §6.3).

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    Profile,
    report::Findings,
    stage::Stage,
    terminal::{Framing, Terminal},
    trouble::Trouble,
};

/// Bytes of the block that is printed again and again: small enough to be typed into a shell.
const BLOCK_BYTES: usize = 2000;
/// How often it is printed, each time behind its number: half a MiB, which every history still holds.
const BLOCKS: usize = 256;
/// Behind the last block.
const END: &str = "\u{2}END\u{3}";

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    for &framing in &stage.plan.framings {
        exactness(stage, findings, framing).await?;
        split_characters(stage, findings, framing).await?;
    }
    Ok(())
}

async fn exactness(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    let name = framing.name();
    // The original decodes its output in a way of its own; only valid text has one reading.
    let block = if stage.is(Profile::Parallax) { text_block() } else { byte_block() };
    let script = format!(
        "stty raw -echo; f=$(mktemp); echo {} | base64 -d > \"$f\"; \
         for ((i = 0; i < {BLOCKS}; i++)); do printf '%s:' $i; cat \"$f\"; done; rm \"$f\"; printf '\\002END\\003'; read -r _; printf '\\002LATE\\003'; read -r _",
        BASE64_STANDARD.encode(&block)
    );
    let actor = stage.actor(&script).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    let seen = terminal.until(END).await?;

    let mut printed = Vec::new();
    for number in 0..BLOCKS {
        printed.extend_from_slice(format!("{number}:").as_bytes());
        printed.extend_from_slice(&block);
    }
    printed.extend_from_slice(END.as_bytes());
    let expected = match framing {
        Framing::Negotiated => printed,
        Framing::Default => String::from_utf8_lossy(&printed).into_owned().into_bytes(),
    };
    let claim = match framing {
        Framing::Negotiated => "negotiated: every byte arrives as it was printed",
        Framing::Default => "default: the output arrives as text, what is none of it as U+FFFD",
    };
    findings.holds(claim, seen == expected, summary(&expected), summary(&seen));

    let query = if framing == Framing::Default { "?replay=1" } else { "" };
    let mut late = Terminal::open(stage.target, &actor.id, framing, query).await?;
    terminal.type_keys("\n").await?;
    let history = late.until("\u{2}LATE\u{3}").await?;
    let history = history.strip_suffix("\u{2}LATE\u{3}".as_bytes()).unwrap_or_default();
    if stage.is(Profile::Parallax) {
        findings.holds(format!("{name}: a late viewer gets no history (RUN-09)"), history.is_empty(), "no history", summary(history));
    } else {
        let whole = history.ends_with(&expected);
        findings.holds(format!("{name}: a late viewer gets the history (RUN-09)"), whole, summary(&expected), summary(history));
    }
    Ok(())
}

async fn split_characters(stage: &Stage<'_>, findings: &mut Findings, framing: Framing) -> Result<(), Trouble> {
    // The pauses make it likely that each part is read by itself.
    let script = r"stty raw -echo; for b in '\xe2' '\x82\xac' '\xf0\x9f' '\x98' '\x80'; do printf $b; sleep 0.05; done; printf '\002END\003'; read -r _";
    let actor = stage.actor(script).await?;
    let mut terminal = stage.curtain(&actor, framing).await?;
    let seen = String::from_utf8_lossy(&terminal.until(END).await?).into_owned();
    findings.equal(format!("{}: a character that comes in parts is one", framing.name()), &format!("€😀{END}"), &seen);
    Ok(())
}

/// Bytes of every value, the same in every run, with whole and broken characters among them.
fn byte_block() -> Vec<u8> {
    let mut block: Vec<u8> = pseudo_random().take(BLOCK_BYTES - 256 - 16).map(|number| number.to_le_bytes()[3]).collect();
    block.extend(0..=u8::MAX);
    block.extend_from_slice("{é€😀 \u{1b}[0m".as_bytes());
    block
}

/// Characters of one to four bytes, the same in every run.
fn text_block() -> Vec<u8> {
    let characters = ['a', '{', '"', 'é', 'ß', '€', '中', '😀', ' ', '\n'];
    let mut text = String::new();
    for number in pseudo_random() {
        if text.len() >= BLOCK_BYTES {
            break;
        }
        text.push(characters[usize::from(number.to_le_bytes()[3]) % characters.len()]);
    }
    text.into_bytes()
}

/// A linear congruential generator (Knuth's constants): no randomness is needed, only variety.
fn pseudo_random() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(1_u32), |last| Some(last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
}

fn summary(bytes: &[u8]) -> String {
    format!("{} bytes, SHA-256 {}", bytes.len(), super::sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_has_every_byte_and_the_text_is_text() {
        let block = byte_block();
        assert!((0..=u8::MAX).all(|byte| block.contains(&byte)));
        assert!(String::from_utf8(block).is_err());
        assert!(String::from_utf8(text_block()).unwrap().contains('😀'));
    }
}
