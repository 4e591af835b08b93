//! Keys by their names, as the bytes that a terminal sends for them (runtime contract §8).

use std::fmt::Write as _;

/// Keys with one form of their own.
const PLAIN: [(&str, &str); 21] = [
    ("enter", "\r"),
    ("return", "\r"),
    ("tab", "\t"),
    ("shift+tab", "\u{1b}[Z"),
    ("escape", "\u{1b}"),
    ("esc", "\u{1b}"),
    ("space", " "),
    ("backspace", "\u{7f}"),
    ("delete", "\u{1b}[3~"),
    ("insert", "\u{1b}[2~"),
    ("pageup", "\u{1b}[5~"),
    ("pagedown", "\u{1b}[6~"),
    ("f1", "\u{1b}OP"),
    ("f2", "\u{1b}OQ"),
    ("f3", "\u{1b}OR"),
    ("f4", "\u{1b}OS"),
    ("f5", "\u{1b}[15~"),
    ("f6", "\u{1b}[17~"),
    ("f7", "\u{1b}[18~"),
    ("f8", "\u{1b}[19~"),
    ("f9", "\u{1b}[20~"),
];
/// The rest of the function keys, whose numbers skip one.
const LATE_FUNCTION: [(&str, &str); 3] = [("f10", "\u{1b}[21~"), ("f11", "\u{1b}[23~"), ("f12", "\u{1b}[24~")];
/// Keys that take modifiers, with the letter that ends their sequence (xterm's cursor keys).
const CURSOR: [(&str, char); 6] = [("up", 'A'), ("down", 'B'), ("right", 'C'), ("left", 'D'), ("home", 'H'), ("end", 'F')];

/// What a terminal sends for these keys, one after the other. Names are as people write them: case and the
/// spelling of modifiers do not matter, and a modifier alone belongs to the key behind it. Any other text is typed as it is.
#[must_use]
pub fn bytes_of(keys: &[String]) -> String {
    let mut typed = String::new();
    let mut modifiers = String::new();
    for key in keys {
        if let Some(modifier) = modifier_of(key.trim()) {
            modifiers.push_str(modifier);
            modifiers.push('+');
            continue;
        }
        // Without a modifier before it, text that is no name keeps its case and its spaces.
        let joined = format!("{modifiers}{key}");
        modifiers.clear();
        typed.push_str(&sequence_of(&joined).unwrap_or(joined));
    }
    typed
}

/// The one spelling of a modifier.
fn modifier_of(text: &str) -> Option<&'static str> {
    Some(match text.to_ascii_lowercase().as_str() {
        "ctrl" | "control" | "command" | "cmd" => "ctrl",
        "alt" | "option" | "opt" => "alt",
        "shift" => "shift",
        _ => return None,
    })
}

/// The sequence of one key with its modifiers; `None` for text that names none.
fn sequence_of(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.trim().split('+').collect();
    let (name, before) = parts.split_last()?;
    let mut modifiers: Vec<&str> = before.iter().map(|part| modifier_of(part.trim())).collect::<Option<_>>()?;
    modifiers.sort_unstable();
    modifiers.dedup();
    let name = name.trim().to_ascii_lowercase();
    let whole = modifiers.iter().rev().fold(name.clone(), |whole, modifier| format!("{modifier}+{whole}"));
    if let Some((_, sequence)) = PLAIN.iter().chain(&LATE_FUNCTION).find(|(known, _)| *known == whole) {
        return Some((*sequence).to_owned());
    }
    if let Some((_, last)) = CURSOR.iter().find(|(known, _)| *known == name) {
        return Some(cursor_sequence(&modifiers, *last));
    }
    let letter = name.chars().next().filter(|letter| name.len() == 1 && letter.is_ascii_alphabetic())?;
    match modifiers.as_slice() {
        // The control code of a letter is its place in the alphabet (ECMA-48).
        ["ctrl"] => Some(char::from(letter as u8 & 0x1f).to_string()),
        ["alt"] => Some(format!("\u{1b}{letter}")),
        _ => None,
    }
}

fn cursor_sequence(modifiers: &[&str], last: char) -> String {
    // xterm counts one and adds up: shift 1, alt 2, control 4.
    let weight = |modifier: &&str| match *modifier {
        "shift" => 1,
        "alt" => 2,
        _ => 4,
    };
    let code = 1 + modifiers.iter().map(weight).sum::<u8>();
    let mut sequence = String::from("\u{1b}[");
    if code > 1 {
        write!(sequence, "1;{code}").expect("text takes any length");
    }
    sequence.push(last);
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[&str]) -> String {
        bytes_of(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_become_what_a_terminal_sends() {
        for (key, bytes) in [
            ("enter", "\r"),
            ("Return", "\r"),
            ("shift+tab", "\u{1b}[Z"),
            ("ESC", "\u{1b}"),
            ("ctrl+c", "\u{3}"),
            ("Control+C", "\u{3}"),
            ("cmd+d", "\u{4}"),
            ("opt+b", "\u{1b}b"),
            ("up", "\u{1b}[A"),
            ("ctrl+left", "\u{1b}[1;5D"),
            ("shift+alt+end", "\u{1b}[1;4F"),
            ("pagedown", "\u{1b}[6~"),
            ("f1", "\u{1b}OP"),
            ("f12", "\u{1b}[24~"),
        ] {
            assert_eq!(typed(&[key]), bytes, "{key}");
        }
    }

    #[test]
    fn other_text_is_typed_and_a_lone_modifier_joins_the_next_key() {
        assert_eq!(typed(&["echo Hi", "enter"]), "echo Hi\r");
        assert_eq!(typed(&["ctrl", "c"]), "\u{3}");
        assert_eq!(typed(&["shift", "up", "x"]), "\u{1b}[1;2Ax");
        assert_eq!(typed(&["1+1", "a+b", "{", ""]), "1+1a+b{");
    }
}
