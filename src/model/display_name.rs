//! Names as terminals and pages can show them: plain text of one line.

/// Characters of a name that are shown.
const SHOWN_CHARS: usize = 64;

/// A name without anything that a terminal would act upon or that would turn the text around it, in at most 64
/// characters. The original's web UI writes messages into the terminal, so an escape sequence in a name would act there.
#[must_use]
pub fn shown(name: &str) -> String {
    let plain: String = name.chars().filter(|c| !c.is_control() && !is_invisible(*c)).take(SHOWN_CHARS).collect();
    let plain = plain.trim();
    if plain.is_empty() { "Somebody".to_owned() } else { plain.to_owned() }
}

/// A name as it is where nothing in it acts on a terminal, else what [`shown`] makes of it.
#[must_use]
pub fn harmless(name: &str) -> String {
    if name.chars().any(char::is_control) { shown(name) } else { name.to_owned() }
}

/// Characters without a shape that change the direction or the joining of others, and tags (Unicode, general category Cf).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_acts_on_a_terminal() {
        assert_eq!(shown("Ada\u{1b}[2J \u{9b}31mLovelace\r\n"), "Ada[2J 31mLovelace");
        assert_eq!(shown("\u{202e}evil\u{200b}"), "evil");
        assert_eq!(shown(" \u{7} "), "Somebody");
        assert_eq!((harmless("Scout \u{1b}[2J"), harmless(&"é".repeat(100))), ("Scout [2J".into(), "é".repeat(100)));
        assert_eq!(shown(&"é".repeat(100)).chars().count(), SHOWN_CHARS);
    }
}
