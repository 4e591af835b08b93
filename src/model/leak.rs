//! Finds secrets of ours in what a terminal shows, and masks them.
//!
//! A secret counts also where something that is not seen stands inside, such as a colour, the target of a link or a
//! character that was erased again, and where a program has broken it into lines, with spaces and the lines of a box or the
//! signs of a quote around the break. What may be the start of one is held back until more has come.

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
/// Of a secret that is cut off by the end, or by something else, this many characters after the prefix are enough to mask it.
const CUT_BY_END_CHARS_MIN: usize = 8;
const CUT_CHARS_MIN: usize = 24;
/// Characters that may stand behind the start of a secret and be erased again, once it has [`FIRM_CHARS`], and before.
const WRONG_CHARS_MAX: usize = 8;
const WRONG_CHARS_EARLY_MAX: usize = 1;
const FIRM_CHARS: usize = 4;
/// What programs put beside a line break besides spaces: boxes, quotes and comments.
const BESIDE_BREAKS: &[u8] = b" \t|>+#";
/// All prefixes have this character, but for one that an operator sets, maybe: nothing is looked at closely but what stands
/// right before it.
const MARK: u8 = b'_';
/// How far before one it is looked for a place where nothing has begun: so many bytes of a stretch without escape sequences,
/// and so many stretches. Where there is none, everything is looked at.
const SETTLED_WITHIN_BYTES: usize = 128;
const SETTLED_WITHIN_STRETCHES: usize = 8;
/// Begins an escape sequence.
const ESCAPE: u8 = 0x1b;
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
    /// In the content of a string, which is not seen; whether a bell ends it.
    Text {
        bell_ends: bool,
    },
}

/// All forms that are looked for.
struct Forms {
    list: Vec<Form>,
    /// Whether a byte begins a form.
    begins: [bool; 256],
    /// Whether a byte may stand beside a line break.
    beside_breaks: [bool; 256],
    /// Every prefix has one of these.
    marks: [u8; 2],
    /// So many characters in a row, of which none is a mark, end whatever had begun before them.
    end_all: usize,
}

impl Forms {
    fn new(list: Vec<Form>) -> Self {
        let (mut begins, mut beside_breaks) = ([false; 256], [false; 256]);
        for byte in BESIDE_BREAKS {
            beside_breaks[usize::from(*byte)] = true;
        }
        let mut marks = [MARK; 2];
        for form in &list {
            begins[usize::from(form.prefix[0])] = true;
            for byte in &form.prefix {
                beside_breaks[usize::from(*byte)] = false;
            }
            if !form.prefix.contains(&MARK) {
                marks[1] = form.prefix[0];
            }
        }
        let before_mark = |form: &Form| form.prefix.iter().position(|byte| marks.contains(byte)).unwrap_or(form.prefix.len());
        let end_all = list.iter().map(before_mark).max().unwrap_or(0) + WRONG_CHARS_MAX + 1;
        Self { list, begins, beside_breaks, marks, end_all }
    }

    fn is_seen(&self, byte: u8) -> bool {
        byte.is_ascii_graphic() && !self.beside_breaks[usize::from(byte)]
    }

    /// Whether nothing that begins with `first` outlasts the two characters behind it.
    fn end_a_start(&self, first: u8, second: u8, third: u8) -> bool {
        let goes_on = || self.list.iter().any(|form| form.takes(0, first) && form.takes(1, second));
        self.is_seen(second) && self.is_seen(third) && !goes_on()
    }

    fn first_mark(&self, bytes: &[u8]) -> Option<usize> {
        memchr::memchr2(self.marks[0], self.marks[1], bytes)
    }

    /// A place near the end of `bytes` where no escape sequence is open and nothing has begun that outlasts them. `bytes`
    /// begin at such a place and have no mark.
    fn settled(&self, bytes: &[u8]) -> usize {
        let mut end = bytes.len();
        for _ in 0..SETTLED_WITHIN_STRETCHES {
            let Some(escape) = memchr::memrchr(ESCAPE, &bytes[..end]) else {
                return self.settled_in_stretch(&bytes[..end]).unwrap_or(0);
            };
            // An escape begins a sequence whatever stands before it.
            if let Some(length) = control_sequence(&bytes[escape..end])
                && let Some(settled) = self.settled_in_stretch(&bytes[escape + length..end])
            {
                return escape + length + settled;
            }
            end = escape;
        }
        0
    }

    /// As [`Self::settled`] of bytes without escape sequences, which may begin anywhere outside of one.
    fn settled_in_stretch(&self, bytes: &[u8]) -> Option<usize> {
        // Characters in a row up to here, and whether what may stand beside a line break stands before them.
        let (mut in_a_row, mut is_apart) = (0, false);
        for (index, byte) in bytes.iter().enumerate().rev().take(SETTLED_WITHIN_BYTES) {
            if self.is_seen(*byte) {
                if is_apart {
                    // What is on both sides of a space, with no line break beside it, belongs to no one secret.
                    return bytes[index..].iter().skip(1).position(|byte| self.is_seen(*byte)).map(|behind| index + 1 + behind);
                }
                in_a_row += 1;
                if in_a_row == self.end_all {
                    return Some(index);
                }
            } else if *byte >= 0x80 || self.beside_breaks[usize::from(*byte)] {
                is_apart |= in_a_row > 0;
            } else {
                // A line break, or something that erases.
                (in_a_row, is_apart) = (0, false);
            }
        }
        None
    }
}

/// How long the control sequence is that `bytes` begin with, if they do and it ends in them. A further escape is not of it.
fn control_sequence(bytes: &[u8]) -> Option<usize> {
    let sequence = bytes.strip_prefix(&[ESCAPE, b'['])?;
    let last = sequence.iter().position(|byte| !matches!(byte, 0x20..=0x3f))?;
    Some(2 + last + usize::from(sequence[last] != ESCAPE))
}

/// A secret's beginning, and how many characters that do not belong to it have come since.
struct Candidate {
    form: usize,
    matched: usize,
    wrong: usize,
}

impl Candidate {
    fn len(&self) -> usize {
        self.matched + self.wrong
    }

    fn is_lost(&self) -> bool {
        self.wrong > if self.matched < FIRM_CHARS { WRONG_CHARS_EARLY_MAX } else { WRONG_CHARS_MAX }
    }
}

/// Characters that follow each other, and the secrets that they may become.
#[derive(Default)]
struct Trail {
    candidates: Vec<Candidate>,
    /// The characters that the candidates are made of, with their positions, and where those were that are erased.
    shown: VecDeque<(u64, u8)>,
    erased: VecDeque<u64>,
    /// Whether there was a line break, and how much that may stand beside one, since the last character.
    broken: bool,
    padding: usize,
    /// Positions that are to be masked.
    hidden: Vec<u64>,
    /// Secrets that are whole, with the positions of their first bytes.
    whole: Vec<(String, u64)>,
}

impl Trail {
    fn scan(&mut self, forms: &Forms, position: u64, byte: u8) {
        match byte {
            b'\r' | b'\n' => self.broken = true,
            0x08 => self.erase(),
            // A code point that is not ASCII counts once.
            0xc0.. => self.padding += 1,
            0x80..0xc0 => self.padding = self.padding.max(1),
            _ if forms.beside_breaks[usize::from(byte)] => self.padding += 1,
            0..0x20 | 0x7f => {}
            _ => self.show(forms, position, byte),
        }
    }

    /// A character that is seen.
    fn show(&mut self, forms: &Forms, position: u64, byte: u8) {
        if self.padding > 0 && !self.broken {
            self.give_up(forms, CUT_CHARS_MIN, |_| true);
        }
        (self.padding, self.broken) = (0, false);
        let begins = forms.begins[usize::from(byte)];
        if self.candidates.is_empty() {
            self.shown.clear();
            self.erased.clear();
            if !begins {
                return;
            }
        }
        self.shown.push_back((position, byte));
        let mut is_any_lost = false;
        for candidate in &mut self.candidates {
            if candidate.wrong == 0 && forms.list[candidate.form].takes(candidate.matched, byte) {
                candidate.matched += 1;
            } else {
                candidate.wrong += 1;
                is_any_lost |= candidate.is_lost();
            }
        }
        if is_any_lost {
            self.give_up(forms, CUT_CHARS_MIN, Candidate::is_lost);
        }
        if begins {
            let new = forms.list.iter().enumerate().filter(|(_, form)| form.prefix[0] == byte);
            self.candidates.extend(new.map(|(form, _)| Candidate { form, matched: 1, wrong: 0 }));
        }
        while let Some(index) = self.candidates.iter().position(|candidate| candidate.matched == forms.list[candidate.form].len()) {
            let whole = self.candidates.remove(index);
            let first = self.shown.len() - whole.len();
            let text: String = self.shown.range(first..).map(|(_, byte)| char::from(*byte)).collect();
            self.whole.push((text, self.shown[first].0));
            self.hide(&whole);
        }
        let longest = self.candidates.iter().map(Candidate::len).max().unwrap_or(0);
        self.shown.drain(..self.shown.len() - longest);
        let first = self.shown.front().map_or(u64::MAX, |(first, _)| *first);
        while self.erased.pop_front_if(|erased| *erased < first).is_some() {}
    }

    /// A backspace: what comes next stands where the last character is.
    fn erase(&mut self) {
        if self.padding > 0 {
            self.padding -= 1;
            return;
        }
        if self.broken || self.candidates.is_empty() {
            return;
        }
        self.erased.extend(self.shown.pop_back().map(|(position, _)| position));
        for candidate in &mut self.candidates {
            if candidate.wrong > 0 {
                candidate.wrong -= 1;
            } else {
                candidate.matched -= 1;
            }
        }
        self.candidates.retain(|candidate| candidate.matched > 0);
    }

    /// Position of a candidate's first byte.
    fn start(&self, candidate: &Candidate) -> u64 {
        self.shown[self.shown.len() - candidate.len()].0
    }

    /// Lets go of candidates that become no secret; those that have `chars_min` characters behind the prefix are masked.
    fn give_up(&mut self, forms: &Forms, chars_min: usize, which: impl Fn(&Candidate) -> bool) {
        let mut kept = Vec::new();
        for candidate in std::mem::take(&mut self.candidates) {
            if !which(&candidate) {
                kept.push(candidate);
            } else if candidate.matched >= forms.list[candidate.form].prefix.len() + chars_min {
                self.hide(&candidate);
            }
        }
        self.candidates = kept;
    }

    /// Lets go of everything.
    fn end(&mut self, forms: &Forms, chars_min: usize) {
        self.give_up(forms, chars_min, |_| true);
        self.shown.clear();
        self.erased.clear();
        (self.padding, self.broken) = (0, false);
    }

    /// Has the characters of a candidate masked, and what was erased between them.
    fn hide(&mut self, candidate: &Candidate) {
        let first = self.shown.len() - candidate.len();
        let positions = || self.shown.range(first..first + candidate.matched).map(|(position, _)| *position);
        let (Some(from), Some(to)) = (positions().next(), positions().next_back()) else { return };
        self.hidden.extend(positions());
        self.hidden.extend(self.erased.iter().filter(|erased| (from..to).contains(erased)));
        self.hidden.sort_unstable();
    }
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
    forms: Forms,
    escape: Escape,
    /// What is seen, and the content of the string that is not.
    outer: Trail,
    inner: Trail,
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
        Self {
            forms: Forms::new(forms),
            escape: Escape::None,
            outer: Trail::default(),
            inner: Trail::default(),
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
        let mut last: Vec<u8> = self.held.iter().rev().flat_map(|(_, part)| part.iter().rev()).take(3).copied().collect();
        last.reverse();
        let mut keep_from = self.end - cut_code_point(&last) as u64;
        let far_before = self.end.saturating_sub(SPAN_BYTES_MAX);
        for trail in [&mut self.outer, &mut self.inner] {
            let length = trail.candidates.iter().filter(|candidate| trail.start(candidate) >= far_before).map(Candidate::len).max();
            let length = length.unwrap_or(0);
            trail.give_up(&self.forms, CUT_CHARS_MIN, |candidate| candidate.len() > length);
            keep_from = trail.candidates.iter().map(|candidate| trail.start(candidate)).fold(keep_from, u64::min);
        }
        self.mask(at);
        self.release(keep_from)
    }

    /// Gives out all that is held back: nothing follows, or something is missing in between. A secret that is cut off
    /// here is masked as far as it goes.
    pub fn finish(&mut self) -> Vec<Part> {
        self.outer.end(&self.forms, CUT_BY_END_CHARS_MIN);
        self.inner.end(&self.forms, CUT_BY_END_CHARS_MIN);
        self.hide();
        self.escape = Escape::None;
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

    /// How many bytes at the start of `rest` can be no part of a secret, whatever follows: nearly all output is passed
    /// over here, without a look at each byte.
    fn plain(&self, rest: &[u8]) -> usize {
        if self.escape != Escape::None || !(self.outer.candidates.is_empty() && self.inner.candidates.is_empty()) {
            return 0;
        }
        let mut plain = 0;
        while plain < rest.len() {
            let mark = self.forms.first_mark(&rest[plain..]).map(|mark| plain + mark);
            plain += self.forms.settled(&rest[plain..mark.unwrap_or(rest.len())]);
            let end = mark.map_or(rest.len(), |mark| mark + 1);
            while plain < end {
                let counts = |byte: &u8| *byte == ESCAPE || self.forms.begins[usize::from(*byte)];
                let Some(passed) = rest[plain..end].iter().position(counts) else {
                    plain = end;
                    break;
                };
                plain += passed;
                plain += match &rest[plain..] {
                    // A control sequence shows nothing. Another escape in place of its end is looked at next.
                    [ESCAPE, ..] => match control_sequence(&rest[plain..]) {
                        Some(length) => length,
                        None => return plain,
                    },
                    // Two characters that are seen, of which the first goes on with no form, end whatever had begun.
                    [first, second, third, ..] if self.forms.end_a_start(*first, *second, *third) => 1,
                    _ => return plain,
                };
            }
        }
        plain
    }

    fn scan(&mut self, at: DateTime<Utc>, byte: u8) {
        let before = self.escape;
        match (before, byte) {
            (_, ESCAPE) => self.escape = Escape::Begun,
            // CAN and SUB end a sequence.
            (_, 0x18 | 0x1a) | (Escape::Text { bell_ends: true }, 0x07) => self.escape = Escape::None,
            (Escape::Text { .. }, _) => self.inner.scan(&self.forms, self.end, byte),
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            // OSC, DCS, SOS, PM and APC.
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => self.escape = Escape::Text { bell_ends: byte == b']' },
            (Escape::Begun, 0x20..=0x2f) | (Escape::Control, 0x20..=0x3f) => {}
            (Escape::Begun, _) => self.escape = Escape::None,
            (Escape::Control, final_byte) => {
                self.escape = Escape::None;
                // Movements of the cursor break a line, too.
                self.outer.broken |= matches!(final_byte, b'A'..=b'H' | b'd' | b'f');
            }
            (Escape::None, _) => self.outer.scan(&self.forms, self.end, byte),
        }
        if matches!(before, Escape::Text { .. }) && self.escape != before {
            self.inner.end(&self.forms, CUT_CHARS_MIN);
        }
        if !(self.outer.hidden.is_empty() && self.inner.hidden.is_empty()) {
            self.mask(at);
        }
    }

    /// Masks what is known to be secret by now, and notes what of it is whole.
    fn mask(&mut self, at: DateTime<Utc>) {
        for trail in [&mut self.outer, &mut self.inner] {
            for (text, offset) in trail.whole.drain(..) {
                self.found.push(Found { hash: Secret::presented(&text).hash(), offset, at });
            }
        }
        self.hide();
    }

    fn hide(&mut self) {
        for trail in [&mut self.outer, &mut self.inner] {
            if trail.hidden.is_empty() {
                continue;
            }
            let mut start = self.held_from;
            let mut positions = trail.hidden.drain(..).peekable();
            for (_, part) in &mut self.held {
                let end = start + part.len() as u64;
                while let Some(position) = positions.next_if(|position| *position < end) {
                    if let Some(byte) = position.checked_sub(start).and_then(|index| part.get_mut(usize::try_from(index).ok()?)) {
                        *byte = MASK;
                    }
                }
                start = end;
            }
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

    proptest! {
        #[test]
        fn what_is_passed_over_is_no_part_of_a_secret(
            pieces in prop::collection::vec("[matcp_ex \u{8}|]{0,6}|[a-z ]{0,30}|[a-z]{20}|\u{1b}\\[[0-9;]{0,4}[mAHK]|\u{1b}\\]0;[mcp_]{0,4}\u{7}|\r\n|\u{e9}", 0..12),
            cut in 0usize..69,
        ) {
            let secret = Secret::api_key("mcp_agent_");
            let (before, after) = secret.expose().split_at(cut.min(secret.expose().len()));
            let noise = pieces.concat();
            for text in [format!("{noise}{}{noise}", secret.expose()), format!("{noise}{before}{noise}{after}{noise}")] {
                // Single bytes are never passed over together.
                let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
                prop_assert_eq!(masked(&[text.as_bytes()]), masked(&bytes), "{:?}", text);
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
    fn a_secret_in_what_is_not_seen_is_masked() {
        let secret = Secret::api_key("mcp_agent_");
        for (before, after) in [("\u{1b}]8;;https://", "\u{7}"), ("\u{1b}P", "\u{1b}\\"), ("\u{1b}_", "\u{1b}\\")] {
            let (out, found) = masked(&[format!("{before}{}{after}ok", secret.expose()).as_bytes()]);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{before}{}{after}ok", "*".repeat(secret.expose().len())));
            assert_eq!(found[0].hash, secret.hash());
        }
    }

    #[test]
    fn what_was_printed_over_itself_is_masked_and_so_is_most_of_a_key() {
        let secret = Secret::api_key("mcp_agent_");
        let bold: String = secret.expose().chars().flat_map(|char| [char, '\u{8}', char]).collect();
        let (out, found) = masked(&[bold.as_bytes()]);
        assert_eq!(found[0].hash, secret.hash());
        let left = out.iter().filter(|byte| **byte != b'*' && **byte != 8).count();
        assert!(left <= 2, "{}", String::from_utf8_lossy(&out));
        for end in [" rest of the line", "\" } and so on", "... (cut)", "\r\nwho\r\nknows what else"] {
            let (out, found) = masked(&[&secret.expose().as_bytes()[..60], end.as_bytes()]);
            assert_eq!((String::from_utf8(out).unwrap(), found), (format!("{}{end}", "*".repeat(60)), Vec::new()));
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

    const NOT_SEEN: [&str; 10] = [
        "\u{1b}]8;;https://example.org/agent_inv_\u{7}",
        "\u{1b}]133;A\u{1b}\\",
        "\u{1b}Pq#0\u{7}mcp\u{1b}\\",
        "\u{1b}_text\u{1b}\\",
        "!\u{8}",
        " \u{8}",
        " |\r\n| ",
        "\r\n> ",
        "\n# ",
        " \u{2502}|\r\n\u{1b}[2K\u{2502}+ ",
    ];

    proptest! {
        #[test]
        fn whatever_is_not_seen_hides_no_secret(
            which in 0usize..4,
            mut inside in prop::collection::vec((1usize..53, 0..NOT_SEEN.len()), 0..6),
            cuts in prop::collection::vec(0usize..400, 0..4),
        ) {
            inside.sort_unstable();
            inside.dedup_by_key(|(at, _)| *at);
            let secret = &secrets()[which];
            let (mut text, mut expected) = ("key=".to_owned(), "key=".to_owned());
            for (at, char) in secret.expose().char_indices() {
                if let Some((_, unseen)) = inside.iter().find(|(before, _)| *before == at) {
                    text.push_str(NOT_SEEN[*unseen]);
                    expected.push_str(&NOT_SEEN[*unseen].replace('!', "*"));
                }
                text.push(char);
                expected.push('*');
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let (out, found) = masked(&parts);
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
            prop_assert_eq!(found, [Found { hash: secret.hash(), offset: 11, at: at() }]);
        }

        #[test]
        fn whatever_has_no_secret_is_left_alone(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..30)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(masked(&parts).0, parts.concat());
        }

        #[test]
        fn text_of_the_letters_of_prefixes_keeps_its_length(text in "[macp_gentirsh01 \n]{0,300}", cut in 0usize..300) {
            let cut = cut.min(text.len());
            let (out, _) = masked(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            prop_assert_eq!(out.len(), text.len());
        }
    }
}
