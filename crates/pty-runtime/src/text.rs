//! Terminal output as text: decoding it as it comes, and taking control sequences out.

/// Decodes UTF-8 that arrives in pieces, without ever splitting a code point.
#[derive(Default)]
pub(crate) struct Decoder {
    /// The first bytes of a code point whose rest has not come yet; three at the most.
    pending: Vec<u8>,
}

impl Decoder {
    /// The text so far complete; invalid bytes become U+FFFD.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest: &[u8] = &self.pending;
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = invalid;
            let Some(bad) = error.error_len() else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[bad..];
        }
        self.pending = rest.to_vec();
        text
    }

    /// The bytes of a code point that is not finished yet.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// What an unfinished code point comes to when nothing more follows.
    pub(crate) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.pending).is_empty() { "" } else { "\u{fffd}" }
    }
}

/// Takes out escape sequences (ECMA-48) and every control character but line feed, carriage
/// return and tab.
pub(crate) fn plain(text: &str) -> String {
    Printed::of(text).collect()
}

/// What of a terminal's output is text.
struct Printed<'a> {
    chars: std::str::Chars<'a>,
    /// Line feeds so far, those inside of control sequences too.
    feeds: usize,
}

impl<'a> Printed<'a> {
    fn of(text: &'a str) -> Self {
        Self { chars: text.chars(), feeds: 0 }
    }
}

impl Iterator for Printed<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let rest = self.chars.as_str();
            match self.chars.next()? {
                '\u{1b}' => skip_escape(&mut self.chars),
                '\u{9b}' => skip_until_final(&mut self.chars),
                '\n' => {
                    self.feeds += 1;
                    return Some('\n');
                }
                space @ ('\r' | '\t') => return Some(space),
                control if control.is_control() => {}
                printable => return Some(printable),
            }
            let skipped = &rest[..rest.len() - self.chars.as_str().len()];
            self.feeds += skipped.matches('\n').count();
        }
    }
}

fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_until_final(chars),
        // OSC, DCS, SOS, PM and APC carry a string up to BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' || (char == '\u{1b}' && chars.next().is_some()) {
                    return;
                }
            }
        }
        Some(' '..='/') => skip_while_intermediate(chars),
        Some(_) | None => {}
    }
}

fn skip_until_final(chars: &mut std::str::Chars<'_>) {
    for char in chars {
        if ('@'..='~').contains(&char) {
            return;
        }
    }
}

fn skip_while_intermediate(chars: &mut std::str::Chars<'_>) {
    for char in chars {
        if !(' '..='/').contains(&char) {
            return;
        }
    }
}

/// `text` with any run of spaces as one, and none at its ends.
pub(crate) fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The last `tail` lines as a person would read them: joined, without control sequences, and of
/// a line that was redrawn in place only what was written last. Each comes with the number of line
/// feeds before it in `output`, of which a control sequence may have swallowed some.
pub(crate) fn lines(output: &str, tail: usize) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let (mut printed, mut line) = (Printed::of(output), (0, String::new()));
    while let Some(char) = printed.next() {
        if char == '\n' {
            lines.push(std::mem::replace(&mut line, (printed.feeds, String::new())));
        } else {
            line.1.push(char);
        }
    }
    if !line.1.trim_end_matches('\r').is_empty() {
        lines.push(line);
    }
    let skip = lines.len().saturating_sub(tail);
    let shown = |(feeds, line): (usize, String)| {
        let line = line.trim_end_matches('\r');
        (feeds, line.rsplit('\r').next().unwrap_or(line).to_owned())
    };
    lines.into_iter().skip(skip).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_point_cut_anywhere_comes_out_whole() {
        let whole = "a€😀é";
        for cut in 0..=whole.len() {
            let (front, back) = whole.as_bytes().split_at(cut);
            let mut decoder = Decoder::default();
            let text = decoder.decode(front) + &decoder.decode(back);
            assert_eq!(text + decoder.finish(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn invalid_and_unfinished_bytes_become_replacement_characters() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(decoder.decode(b"c"), "\u{fffd}c");
        assert_eq!(decoder.decode(b"\xf0\x9f"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn lines_are_joined_and_free_of_control_sequences() {
        let output = "\u{1b}[?2004h\u{1b}]0;title\u{7}one\r\n10%\r99%\r\n\u{1b}(B\u{1b}[1;31mtwo\u{1b}[0m\r\n\u{1b}P1$r\u{1b}\\three";
        let shown = |tail| lines(output, tail).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(shown(100), ["one", "99%", "two", "three"]);
        assert_eq!(shown(2), ["two", "three"]);
        assert!(lines("", 5).is_empty());
    }

    #[test]
    fn a_line_knows_its_place_even_behind_a_swallowed_line_feed() {
        let feeds: Vec<_> = lines("a\nb\u{1b}]0;ti\ntle\u{7}c\nd", 9).into_iter().collect();
        assert_eq!(feeds, [(0, "a".into()), (1, "bc".into()), (3, "d".into())]);
    }
}
