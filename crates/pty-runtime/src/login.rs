//! What a login takes, as far as a screen tells: the address, the code, and whether the address
//! can be trusted.
//!
//! A model can have a program print any address. So an address counts as verified only if its host
//! is one that the adapter's file allows.

use std::sync::LazyLock;

use regex::Regex;
use reqwest::Url;
use terminal_screen::{Row, without_frames};

/// Longest address that is reported, in bytes; those of real logins have up to about 1,000.
const URL_BYTES_MAX: usize = 4096;
/// Columns that a frame and its padding may take at the end of a full row.
const FRAME_COLS: usize = 8;
/// Lines around the word "code" in which the code itself may stand.
const CODE_LINES: usize = 4;

/// An address found on a screen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) verified: bool,
}

/// The first address on `rows` whose host is among `hosts`, or else the first one.
pub(crate) fn address(rows: &[Row], cols: usize, hosts: &[String]) -> Option<Address> {
    let found = addresses(rows, cols);
    let verified = found.iter().find(|url| is_verified(url, hosts));
    let chosen = verified.or(found.first())?;
    Some(Address { url: chosen.to_string(), verified: verified.is_some() })
}

/// The code to enter elsewhere: groups of capitals and digits with dashes, near the word "code".
pub(crate) fn device_code(lines: &[String]) -> Option<String> {
    static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| built(r"(?:^|[\s:(])([A-Z0-9]{3,10}(?:-[A-Z0-9]{3,10}){1,3})(?:$|[\s.,)])"));
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| built(r"(?i)\bcode\b"));
    let (code, word) = (CODE.as_ref()?, WORD.as_ref()?);
    let near = |index: usize| lines[index.saturating_sub(CODE_LINES)..lines.len().min(index + 2)].iter().any(|line| word.is_match(line));
    let candidates = lines.iter().enumerate().filter(|(index, _)| near(*index));
    let mut codes = candidates.filter_map(|(_, line)| {
        let code = code.captures(line)?.get(1)?.as_str();
        // Words in capitals such as ONE-TIME look alike; a code has digits or a line of its own.
        (code.bytes().any(|byte| byte.is_ascii_digit()) || code == line.trim()).then(|| code.to_owned())
    });
    codes.next()
}

/// Whether `url` leads to one of `hosts` or a host below it, over https, with nothing about it
/// that could make a person take one host for another.
fn is_verified(url: &Url, hosts: &[String]) -> bool {
    let plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none() && url.port().is_none();
    let Some(domain) = url.domain().filter(|_| plain) else {
        return false;
    };
    let lookalike = domain.split('.').any(|label| label.starts_with("xn--"));
    let allowed = |host: &String| domain == host || domain.strip_suffix(host.as_str()).is_some_and(|below| below.ends_with('.'));
    !lookalike && hosts.iter().any(allowed)
}

/// Every address on `rows`. Programs break long ones at the edge of the screen or of a frame,
/// with or without the terminal knowing, so the next row may hold the rest.
fn addresses(rows: &[Row], cols: usize) -> Vec<Url> {
    let texts: Vec<String> = rows.iter().map(|row| without_frames(&row.text)).collect();
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        for (start, _) in text.match_indices("http") {
            let mut piece = token(&text[start..]);
            let address = piece.starts_with("http://") || piece.starts_with("https://");
            // In parentheses it is the source of an error, such as a request that failed.
            if !address || text[..start].ends_with('(') {
                continue;
            }
            let mut whole = piece.to_owned();
            let mut end = start + piece.len();
            for (above, next) in texts.iter().enumerate().skip(index + 1) {
                let runs_on = text_ends(&texts[above - 1], end) && reaches_edge(&texts[above - 1], cols);
                piece = token(next.trim_start());
                let alone = !piece.is_empty() && piece == next.trim() && !piece.starts_with("http");
                if !runs_on || !(alone || rows[above - 1].wrapped) || whole.len() > URL_BYTES_MAX {
                    break;
                }
                whole.push_str(piece);
                end = next.len() - next.trim_start().len() + piece.len();
            }
            let trimmed = whole.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '>', '\'', '"']);
            if trimmed.len() <= URL_BYTES_MAX {
                found.extend(Url::parse(trimmed).ok().filter(Url::has_host));
            }
        }
    }
    found
}

/// The part of `text` up to the first character that no address has (RFC 3986 §2).
fn token(text: &str) -> &str {
    let foreign = |char: char| !char.is_ascii_graphic() || matches!(char, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    &text[..text.find(foreign).unwrap_or(text.len())]
}

fn text_ends(text: &str, at: usize) -> bool {
    text.get(at..).is_none_or(|rest| rest.trim().is_empty())
}

fn reaches_edge(text: &str, cols: usize) -> bool {
    text.trim_end().chars().count() + FRAME_COLS >= cols
}

fn built(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).inspect_err(|error| tracing::error!(%error, "built-in pattern cannot be used")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Row> {
        texts.iter().map(|text| Row { text: (*text).to_owned(), wrapped: false }).collect()
    }

    fn hosts() -> Vec<String> {
        vec!["claude.ai".into(), "auth.openai.com".into()]
    }

    #[test]
    fn an_address_that_was_broken_at_the_edge_is_joined() {
        let long = format!("https://claude.ai/oauth/authorize?code=true&state={}", "x".repeat(90));
        let (first, rest) = long.split_at(76);
        for broken in [
            vec!["Open:".to_owned(), first.to_owned(), rest.to_owned(), String::new(), "Paste the code".to_owned()],
            vec![format!("\u{2502} {first} \u{2502}"), format!("\u{2502} {rest:<76} \u{2502}"), "\u{2570}\u{2500}".to_owned()],
        ] {
            let rows: Vec<Row> = broken.into_iter().map(|text| Row { text, wrapped: false }).collect();
            assert_eq!(address(&rows, 80, &hosts()), Some(Address { url: long.clone(), verified: true }));
        }
        let short = rows(&["see https://claude.ai/login", "now"]);
        assert_eq!(address(&short, 80, &hosts()).unwrap().url, "https://claude.ai/login");
    }

    #[test]
    fn only_the_makers_own_hosts_are_verified() {
        for (url, verified) in [
            ("https://claude.ai/login", true),
            ("https://console.claude.ai/login", true),
            ("https://auth.openai.com/codex/device", true),
            ("http://claude.ai/login", false),
            ("https://claude.ai.evil.example/login", false),
            ("https://evilclaude.ai/login", false),
            ("https://claude.ai@evil.example/login", false),
            ("https://user@claude.ai/login", false),
            ("https://claude.ai:8443/login", false),
            ("https://xn--cloude-6ta.claude.ai/", false),
            ("https://cl\u{430}ude.ai/", false),
            ("https://127.0.0.1/", false),
            ("https://[::1]/", false),
            ("https://openai.com/", false),
        ] {
            let found = address(&rows(&[url]), 80, &hosts());
            assert_eq!(found.is_some_and(|found| found.verified), verified, "{url}");
        }
    }

    #[test]
    fn a_verified_address_is_preferred_and_others_are_told_as_unverified() {
        let both = rows(&["docs: https://example.com/help.", "login: https://claude.ai/login"]);
        assert_eq!(address(&both, 80, &hosts()), Some(Address { url: "https://claude.ai/login".into(), verified: true }));
        assert_eq!(address(&both[..1], 80, &hosts()), Some(Address { url: "https://example.com/help".into(), verified: false }));
        assert_eq!(address(&rows(&["request failed (https://claude.ai/token)"]), 80, &hosts()), None);
        assert_eq!(address(&rows(&["javascript:alert(1) ftp://claude.ai httpd"]), 80, &hosts()), None);
    }

    #[test]
    fn a_device_code_stands_near_the_word_and_is_no_plain_word() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(device_code(&lines("2. Enter this one-time code\n\n  ABCD-12345")), Some("ABCD-12345".into()));
        assert_eq!(device_code(&lines("Your code: WXYZ-QRST\n")), None);
        assert_eq!(device_code(&lines("Your code is\nWXYZ-QRST")), Some("WXYZ-QRST".into()));
        assert_eq!(device_code(&lines("ENTER THIS ONE-TIME CODE")), None);
        assert_eq!(device_code(&lines("ABCD-12345\nis a part number")), None);
    }
}
