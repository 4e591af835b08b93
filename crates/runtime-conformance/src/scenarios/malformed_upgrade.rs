//! Bytes that are no handshake are refused, and the runtime lives (contract §18, RUN-02).

use crate::{
    Profile,
    report::Findings,
    stage::{Stage, told},
    trouble::Trouble,
};

/// Above what any client needs for a head, in bytes.
const HEAD_BYTES: usize = 1024 * 1024;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What is sent, and the statuses that refuse it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    allowed: &'static [u16],
    /// Whether hanging up without a word is an answer too: where there is no request to answer.
    silence: bool,
    kills_original: bool,
}

pub(super) async fn play(stage: &Stage<'_>, findings: &mut Findings) -> Result<(), Trouble> {
    let Some(host) = stage.target.authority() else {
        findings.not_applicable("bytes that are no handshake are refused", "bare bytes cannot be sent over TLS");
        return Ok(());
    };
    let witness = stage.actor("stty raw -echo; cat").await?;
    let is_original = stage.is(Profile::Parallax);
    for case in cases(&host, &stage.target.authorization_line()) {
        let claim = format!("{} is refused", case.name);
        if is_original && case.kills_original {
            findings.not_applicable(claim, "it ends the original with all its agents (RUN-02)");
            continue;
        }
        let answer = stage.target.exchange(&case.bytes).await?;
        if is_original {
            findings.not_applicable(claim, "the original may take it");
        } else {
            let refused = status_of(&answer).is_some_and(|status| case.allowed.contains(&status)) || answer.is_empty() && case.silence;
            let seen = String::from_utf8_lossy(&answer).lines().next().unwrap_or("the end of the connection").to_owned();
            findings.holds(claim, refused, format!("{:?}", case.allowed), seen);
        }
        let health = stage.target.get("/api/health").await?;
        findings.holds(format!("after {} the runtime lives", case.name), health.status == 200, "200", told(&health));
    }
    let handle = stage.handle(&witness.id).await?;
    let lives = !matches!(handle.text("status"), "" | "stopped" | "error");
    findings.holds("and so do its agents", lives, "a live agent", told(&handle));
    Ok(())
}

fn cases(host: &str, authorization: &str) -> Vec<Case> {
    let head = |target: &str, host: &str, rest: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}Upgrade: websocket\r\nConnection: Upgrade\r\n{rest}\r\n")
            .into_bytes()
    };
    let (key, version) = (format!("Sec-WebSocket-Key: {KEY}\r\n"), "Sec-WebSocket-Version: 13\r\n");
    let sound = format!("{key}{version}");
    let events = |rest: &str| head("/ws/events", host, rest);
    let case = |name, bytes, allowed| Case { name, bytes, allowed, silence: false, kills_original: false };
    let deadly = |name, bytes, allowed| Case { kills_original: true, ..case(name, bytes, allowed) };
    let unreadable = |name, bytes, allowed| Case { silence: true, ..case(name, bytes, allowed) };
    let (long, too_large): (_, &[u16]) = ("x".repeat(HEAD_BYTES), &[400, 413, 414, 431]);
    vec![
        deadly("an upgrade of //", head("//", host, &sound), &[400, 404]),
        deadly("an upgrade of //[", head("//[", host, &sound), &[400, 404]),
        deadly("an upgrade with a Host that is none", head("/ws/events", "[", &sound), &[400]),
        deadly("an upgrade with a port that is none", head("/ws/events", "host:port", &sound), &[400]),
        case("an upgrade with a short key", events(&format!("Sec-WebSocket-Key: abc\r\n{version}")), &[400]),
        case("an upgrade without a key", events(version), &[400]),
        case("an upgrade without a version", events(&key), &[400]),
        case("an upgrade of another version", events(&format!("{key}Sec-WebSocket-Version: 8\r\n")), &[400, 426]),
        unreadable("a head that has no end", events(&format!("{sound}X-Long: {long}\r\n")), too_large),
        unreadable("a target that has no end", head(&format!("/{long}"), host, &sound), too_large),
        unreadable("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\r\n\r\n".to_vec(), &[400]),
        unreadable("a header that is no header", events("no colon here\r\n"), &[400]),
    ]
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn only_an_answer_has_a_status() {
        assert_eq!(status_of(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some(400));
        assert_eq!(status_of(b""), None);
        assert_eq!(status_of(b"\x15\x03"), None);
    }
}
