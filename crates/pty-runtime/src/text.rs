//! Terminal output as text: taking control sequences out.

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
