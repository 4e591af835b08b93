//! Finds secrets of ours in what a terminal shows, and masks them.
//!
//! A secret counts also where a colour stands inside, and where a program has broken it into lines, with spaces and the
//! lines of a box around the break. What may be the start of one is held back until more has come.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::secret::{Secret, USER_KEY_PREFIX};

/// Characters of an API key after its prefix, and of every other secret after its own.
const KEY_CHARS: usize = 64;
const TOKEN_CHARS: usize = 43;
/// Prefixes of secrets other than API keys.
const TOKEN_PREFIXES: [&str; 3] = ["agent_inv_", "agent_claim_", "term_share_"];
/// The agents' prefix where the operator sets none; keys from before a change of it are known by it.
const AGENT_KEY_PREFIX: &str = "mcp_agent_";
/// A secret lies within this many bytes, colours and line breaks included.
const SPAN_BYTES_MAX: u64 = 4096;
/// Of a secret that is cut off by the end, this many characters after the prefix are enough to mask it.
const CUT_CHARS_MIN: usize = 8;
/// Begins an escape sequence.
const ESCAPE: u8 = 0x1b;
/// What two bytes may be the start of.
const MAY_BE_FORM: u8 = 1;
const MAY_BE_ESCAPE: u8 = 2;
/// What stands for each character of a secret.
const MASK: u8 = b'*';

/// A form that secrets have.
#[derive(Clone)]
struct Form {
    prefix: Vec<u8>,
    chars: usize,
    is_hex: bool,
}

impl Form {
    fn len(&self) -> usize {
        self.prefix.len() + self.chars
    }

    fn takes(&self, position: usize, byte: u8) -> bool {
        match self.prefix.get(position) {
            Some(expected) => *expected == byte,
            None if self.is_hex => byte.is_ascii_hexdigit(),
            None => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        }
    }
}

/// Where the scanner stands in an escape sequence (ECMA-48).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Control,
}

/// A secret's beginning.
struct Candidate {
    form: usize,
    matched: usize,
}

/// A secret that was found and masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// SHA-256 in hex, as [`Secret::hash`].
    pub hash: String,
    /// Position of its first byte.
    pub offset: u64,
    pub at: DateTime<Utc>,
}

/// A part of the output with its time.
pub type Part = (DateTime<Utc>, Vec<u8>);

/// Masks the secrets in one terminal's output.
pub struct Masker {
    forms: Vec<Form>,
    /// Whether a byte begins a form.
    begins: [bool; 256],
    /// For the first and the second byte of a pair, what it may be: only a pair that has something in common is looked at
    /// where nothing has begun.
    first: [u8; 256],
    second: [u8; 256],
    escape: Escape,
    candidates: Vec<Candidate>,
    /// The characters that the candidates are made of, with their positions.
    shown: VecDeque<(u64, u8)>,
    /// Whether there was a line break, and something that may stand beside one, since the last character.
    broken: bool,
    padded: bool,
    /// What is held back, and where it starts.
    held: VecDeque<Part>,
    held_from: u64,
    /// Position behind the last byte.
    end: u64,
    found: Vec<Found>,
}

impl Masker {
    /// For output from `offset` on, where agents' keys have `agent_prefix`.
    #[must_use]
    pub fn new(agent_prefix: &str, offset: u64) -> Self {
        let mut prefixes = vec![AGENT_KEY_PREFIX, USER_KEY_PREFIX];
        if !prefixes.contains(&agent_prefix) && !agent_prefix.is_empty() {
            prefixes.push(agent_prefix);
        }
        let keys = prefixes.into_iter().map(|prefix| (prefix, KEY_CHARS, true));
        let tokens = TOKEN_PREFIXES.into_iter().map(|prefix| (prefix, TOKEN_CHARS, false));
        let forms: Vec<Form> =
            keys.chain(tokens).map(|(prefix, chars, is_hex)| Form { prefix: prefix.as_bytes().to_vec(), chars, is_hex }).collect();
        let mut begins = [false; 256];
        for form in &forms {
            begins[usize::from(form.prefix[0])] = true;
        }
        let (mut first, mut second) = ([0; 256], [0; 256]);
        for byte in 0..=u8::MAX {
            let may_go_on = !byte.is_ascii_graphic() || forms.iter().any(|form| form.takes(1, byte));
            first[usize::from(byte)] = if begins[usize::from(byte)] { MAY_BE_FORM } else { 0 };
            second[usize::from(byte)] = MAY_BE_ESCAPE | if may_go_on { MAY_BE_FORM } else { 0 };
        }
        first[usize::from(ESCAPE)] = MAY_BE_ESCAPE;
        Self {
            forms,
            begins,
            first,
            second,
            escape: Escape::None,
            candidates: Vec::new(),
            shown: VecDeque::new(),
            broken: false,
            padded: false,
            held: VecDeque::new(),
            held_from: offset,
            end: offset,
            found: Vec::new(),
        }
    }

    /// Position of the first byte that was not given out.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.held_from
    }

    /// Takes output in and gives out what is known to be no part of a secret that is still to come. A code point that is
    /// cut by the end waits, too.
    pub fn push(&mut self, at: DateTime<Utc>, bytes: &[u8]) -> Vec<Part> {
        if bytes.is_empty() {
            return Vec::new();
        }
        self.held.push_back((at, bytes.to_vec()));
        let mut rest = bytes;
        loop {
            let plain = self.plain(rest);
            self.end += plain as u64;
            let Some((byte, after)) = rest[plain..].split_first() else { break };
            self.scan(at, *byte);
            self.end += 1;
            rest = after;
        }
        let (end, shown) = (self.end, self.shown.len());
        let earliest = |candidate: &Candidate| self.shown[shown - candidate.matched].0;
        let mut last: Vec<u8> = self.held.iter().rev().flat_map(|(_, part)| part.iter().rev()).take(3).copied().collect();
        last.reverse();
        let tail = cut_code_point(&last) as u64;
        let mut keep_from = end - tail;
        let mut kept = Vec::with_capacity(self.candidates.len());
        for candidate in &self.candidates {
            let start = earliest(candidate);
            let is_near = end - start <= SPAN_BYTES_MAX;
            kept.push(is_near);
            if is_near {
                keep_from = keep_from.min(start);
            }
        }
        let mut kept = kept.into_iter();
        self.candidates.retain(|_| kept.next().unwrap_or(false));
        self.release(keep_from)
    }

    /// Gives out all that is held back: nothing follows, or something is missing in between. A secret that is cut off
    /// here is masked as far as it goes.
    pub fn finish(&mut self) -> Vec<Part> {
        let candidates = std::mem::take(&mut self.candidates);
        for candidate in candidates {
            if candidate.matched >= self.forms[candidate.form].prefix.len() + CUT_CHARS_MIN {
                self.mask(candidate.matched);
            }
        }
        self.shown.clear();
        self.escape = Escape::None;
        (self.broken, self.padded) = (false, false);
        self.release(self.end)
    }

    /// Goes on at a later position, after [`Masker::finish`].
    pub fn skip_to(&mut self, offset: u64) {
        self.end = offset;
        self.held_from = offset;
    }

    /// The secrets found since this was last asked.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    /// How many bytes at the start of `rest` can be no part of a secret, whatever follows. Nearly all output is passed over
    /// here, at several times the speed of a look at each byte.
    fn plain(&self, rest: &[u8]) -> usize {
        if !self.candidates.is_empty() || self.escape != Escape::None {
            return 0;
        }
        let mut plain = 0;
        loop {
            let counts = |pair: &[u8]| self.first[usize::from(pair[0])] & self.second[usize::from(pair[1])] != 0;
            let Some(passed) = rest[plain..].windows(2).position(counts) else {
                let begins = rest[plain..].last().is_some_and(|last| self.first[usize::from(*last)] != 0);
                return rest.len() - usize::from(begins);
            };
            plain += passed;
            let (first, second) = (rest[plain], rest[plain + 1]);
            if first == ESCAPE {
                let Some(sequence) = rest[plain..].strip_prefix(b"\x1b[") else { return plain };
                let Some(last) = sequence.iter().position(|byte| !matches!(byte, 0x20..=0x3f)) else { return plain };
                // Another one that begins instead of an end is looked at next.
                plain += 2 + last + usize::from(sequence[last] != ESCAPE);
                continue;
            }
            // A character that is seen and continues no form, or follows a space, ends whatever the first may have begun.
            let ends = match second {
                b' ' => rest.get(plain + 2).is_some_and(u8::is_ascii_graphic),
                _ => second.is_ascii_graphic() && !self.forms.iter().any(|form| form.takes(0, first) && form.takes(1, second)),
            };
            if !ends {
                return plain;
            }
            plain += 1;
        }
    }

    fn scan(&mut self, at: DateTime<Utc>, byte: u8) {
        match (self.escape, byte) {
            (_, ESCAPE) => self.escape = Escape::Begun,
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            (Escape::Begun, 0x20..=0x2f) | (Escape::Control, 0x20..=0x3f) => {}
            // CAN and SUB end a sequence. What names a title or a link is scanned like text.
            (_, 0x18 | 0x1a) | (Escape::Begun, _) => self.escape = Escape::None,
            (Escape::Control, final_byte) => {
                self.escape = Escape::None;
                // Movements of the cursor break a line, too.
                self.broken |= matches!(final_byte, b'A'..=b'H' | b'd' | b'f');
            }
            (Escape::None, b'\r' | b'\n') => self.broken = true,
            (Escape::None, b' ' | b'\t' | 0x80..) => self.padded = true,
            (Escape::None, 0..0x20 | 0x7f) => {}
            (Escape::None, _) => self.show(at, byte),
        }
    }

    /// A character that is seen.
    fn show(&mut self, at: DateTime<Utc>, byte: u8) {
        if self.padded && !self.broken {
            self.candidates.clear();
        }
        (self.padded, self.broken) = (false, false);
        let begins = self.begins[usize::from(byte)];
        if self.candidates.is_empty() {
            self.shown.clear();
            if !begins {
                return;
            }
        }
        self.shown.push_back((self.end, byte));
        let forms = &self.forms;
        self.candidates.retain_mut(|candidate| {
            let goes_on = forms[candidate.form].takes(candidate.matched, byte);
            candidate.matched += 1;
            goes_on
        });
        if begins {
            let new = forms.iter().enumerate().filter(|(_, form)| form.prefix[0] == byte);
            self.candidates.extend(new.map(|(form, _)| Candidate { form, matched: 1 }));
        }
        while let Some(index) = self.candidates.iter().position(|candidate| candidate.matched == self.forms[candidate.form].len()) {
            let matched = self.candidates.remove(index).matched;
            let first = self.shown.len() - matched;
            let text: String = self.shown.range(first..).map(|(_, byte)| char::from(*byte)).collect();
            self.found.push(Found { hash: Secret::presented(&text).hash(), offset: self.shown[first].0, at });
            self.mask(matched);
        }
        let longest = self.candidates.iter().map(|candidate| candidate.matched).max().unwrap_or(0);
        self.shown.drain(..self.shown.len() - longest);
    }

    /// Masks the last characters that were seen.
    fn mask(&mut self, characters: usize) {
        let first = self.shown.len() - characters;
        let mut start = self.held_from;
        let mut positions = self.shown.range(first..).map(|(position, _)| *position).peekable();
        for (_, part) in &mut self.held {
            let end = start + part.len() as u64;
            while let Some(position) = positions.next_if(|position| *position < end) {
                if let Ok(index) = usize::try_from(position - start) {
                    part[index] = MASK;
                }
            }
            start = end;
        }
    }

    fn release(&mut self, until: u64) -> Vec<Part> {
        let mut released = Vec::new();
        while self.held_from < until {
            let Some((at, mut part)) = self.held.pop_front() else { break };
            let length = usize::try_from(until - self.held_from).unwrap_or(usize::MAX);
            if length < part.len() {
                let rest = part.split_off(length);
                self.held.push_front((at, rest));
            }
            self.held_from += part.len() as u64;
            released.push((at, part));
        }
        released
    }
}

/// How many of the last three bytes are the start of a code point that is not whole.
fn cut_code_point(tail: &[u8]) -> usize {
    let Some(lead) = tail.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return 0 };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.error_len().is_none() => tail.len() - lead,
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn masked(parts: &[&[u8]]) -> (Vec<u8>, Vec<Found>) {
        let mut masker = Masker::new("mcp_agent_", 7);
        let mut out: Vec<Part> = parts.iter().flat_map(|part| masker.push(at(), part)).collect();
        out.extend(masker.finish());
        assert_eq!(masker.released(), 7 + parts.iter().map(|part| part.len() as u64).sum::<u64>());
        (out.into_iter().flat_map(|(_, bytes)| bytes).collect(), masker.take_found())
    }

    fn secrets() -> [Secret; 4] {
        [Secret::api_key("mcp_agent_"), Secret::api_key("mcp_"), Secret::invite_token(), Secret::claim_secret()]
    }

    #[test]
    fn a_secret_is_masked_wherever_it_is_cut() {
        for secret in secrets() {
            let text = format!("key={} ok", secret.expose());
            for cut in 0..=text.len() {
                let (out, found) = masked(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
                assert_eq!(String::from_utf8(out).unwrap(), format!("key={} ok", "*".repeat(secret.expose().len())), "cut at {cut}");
                assert_eq!(found, [Found { hash: secret.hash(), offset: 11, at: at() }]);
            }
        }
    }

    #[test]
    fn colours_and_line_breaks_inside_hide_no_secret() {
        let secret = Secret::api_key("mcp_agent_");
        let (a, rest) = secret.expose().split_at(9);
        let (b, c) = rest.split_at(30);
        for between in ["\u{1b}[1;31m", "\r\n", " \u{2502}\r\n\u{1b}[2K\u{2502} ", "\u{1b}[0m\u{1b}[4;1H", "\u{1b}(B"] {
            let text = format!("{a}{between}{b}{between}{c}");
            let (out, found) = masked(&[text.as_bytes()]);
            let stars = |text: &str| "*".repeat(text.len());
            assert_eq!(String::from_utf8(out).unwrap(), format!("{}{between}{}{between}{}", stars(a), stars(b), stars(c)));
            assert_eq!(found[0].hash, secret.hash());
        }
    }

    #[test]
    fn words_beside_each_other_are_no_secret_and_a_cut_one_is_masked_at_the_end() {
        let secret = Secret::api_key("mcp_agent_");
        let spaced = format!("{} {}", &secret.expose()[..20], &secret.expose()[20..]);
        assert_eq!(masked(&[spaced.as_bytes()]).0, spaced.as_bytes());
        let (out, found) = masked(&[&secret.expose().as_bytes()[..40]]);
        assert_eq!((out, found), (vec![b'*'; 40], Vec::new()));
        assert_eq!(masked(&[b"mcp_agent_"]).0, b"mcp_agent_");
    }

    #[test]
    fn nothing_is_held_back_for_long() {
        let mut masker = Masker::new("mcp_agent_", 0);
        assert!(masker.push(at(), b"mcp_").is_empty());
        let released: usize = masker.push(at(), &[b'\n'; 5000]).iter().map(|(_, part)| part.len()).sum();
        assert_eq!(released, 5004);
        assert_eq!(masker.push(at(), "x\u{1f600}".as_bytes().split_at(3).0), [(at(), b"x".to_vec())]);
    }

    proptest! {
        #[test]
        fn whatever_has_no_secret_is_left_alone(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..30)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(masked(&parts).0, parts.concat());
        }

        #[test]
        fn what_is_found_does_not_depend_on_what_is_passed_over(
            words in prop::collection::vec("[mat c_x]{0,6}|\u{1b}\\[[0-9;]{0,3}[mHx]|\r\n|mcp_agent_|agent_inv_", 0..12),
            at_word in 0usize..12,
        ) {
            let secret = Secret::invite_token();
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words.insert(at_word.min(words.len()), secret.expose());
            let text = words.concat();
            let (out, found) = masked(&[text.as_bytes()]);
            let (one_by_one, found_one_by_one) = masked(&text.as_bytes().chunks(1).collect::<Vec<_>>());
            prop_assert_eq!(out, one_by_one);
            prop_assert_eq!(found, found_one_by_one);
        }

        #[test]
        fn text_of_the_letters_of_prefixes_keeps_its_length(text in "[macp_gentirsh01 \n]{0,300}", cut in 0usize..300) {
            let cut = cut.min(text.len());
            let (out, _) = masked(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            prop_assert_eq!(out.len(), text.len());
        }
    }
}
