//! Keys by name, as the bytes that a terminal sends for them (runtime contract §8).
//!
//! Cursor keys, and with them home and end, are sent in the mode that the program asked for.

use std::time::Duration;

/// Names in one request at the most: more than any dialog asks for.
pub const KEYS_MAX: usize = 256;
/// Bytes of all names together, since unknown names are typed as they are: 16 KiB is a long paste.
pub const NAMES_BYTES_MAX: usize = 16 * 1024;
/// Pause behind an Escape: programs wait up to 50 ms to tell it from the beginning of another key.
pub const AFTER_ESCAPE: Duration = Duration::from_millis(60);

const ESCAPE: u8 = 0x1b;

/// Why keys cannot be pressed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("must be 1 to {KEYS_MAX} keys")]
    Count,
    #[error("must be at most {NAMES_BYTES_MAX} bytes")]
    TooLong,
    #[error("a modifier at the end has no key to go with")]
    LoneModifier,
}

/// The bytes for `names`, in pieces: after each but the last the program needs a moment, since an
/// Escape that other keys follow at once would be read as their Alt.
///
/// A name is a key (`enter`, `up`, `f5`), a key with modifiers (`ctrl+c`, `alt+shift+left`), or
/// anything else, which is typed as it is. A modifier alone goes with the key after it.
///
/// With `application` the program asked for cursor keys in application mode.
///
/// Errors: `Count`, `TooLong`, `LoneModifier`.
pub fn encode(names: &[String], application: bool) -> Result<Vec<Vec<u8>>, BadKeys> {
    if !(1..=KEYS_MAX).contains(&names.len()) {
        return Err(BadKeys::Count);
    }
    if names.iter().map(String::len).sum::<usize>() > NAMES_BYTES_MAX {
        return Err(BadKeys::TooLong);
    }
    let mut pieces = vec![Vec::new()];
    let mut held = Modifiers::NONE;
    for name in names {
        if let Some(modifier) = Modifiers::named(name) {
            held = held.and(modifier);
            continue;
        }
        let bytes = press(name, std::mem::take(&mut held), application);
        let escape = bytes == [ESCAPE];
        if let Some(piece) = pieces.last_mut() {
            piece.extend(bytes);
        }
        if escape {
            pieces.push(Vec::new());
        }
    }
    if held != Modifiers::NONE {
        return Err(BadKeys::LoneModifier);
    }
    pieces.retain(|piece| !piece.is_empty());
    Ok(pieces)
}

/// Which modifier keys are held down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modifiers {
    shift: bool,
    alt: bool,
    ctrl: bool,
}

impl Modifiers {
    const NONE: Self = Self { shift: false, alt: false, ctrl: false };

    /// Terminals know three modifiers; the command key counts as Alt, as Meta does.
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "shift" => Self { shift: true, ..Self::NONE },
            "alt" | "option" | "opt" | "meta" | "command" | "cmd" => Self { alt: true, ..Self::NONE },
            "ctrl" | "control" => Self { ctrl: true, ..Self::NONE },
            _ => return None,
        })
    }

    fn and(self, other: Self) -> Self {
        Self { shift: self.shift || other.shift, alt: self.alt || other.alt, ctrl: self.ctrl || other.ctrl }
    }

    /// The number that stands for them in a control sequence (xterm's PC-style function keys).
    fn parameter(self) -> u8 {
        1 + u8::from(self.shift) + 2 * u8::from(self.alt) + 4 * u8::from(self.ctrl)
    }
}

/// The bytes of one name with the modifiers `held` before it.
fn press(name: &str, held: Modifiers, application: bool) -> Vec<u8> {
    let mut modifiers = held;
    let mut key = name;
    while let Some((front, rest)) = key.split_once('+') {
        let Some(modifier) = Modifiers::named(front.trim()).filter(|_| !rest.is_empty()) else {
            break;
        };
        modifiers = modifiers.and(modifier);
        key = rest.trim_start();
    }
    let bytes = special(&key.to_ascii_lowercase(), modifiers, application).or_else(|| character(key, modifiers));
    // Unknown, so it is text: all of it, with what looked like modifiers.
    bytes.unwrap_or_else(|| name.as_bytes().to_vec())
}

/// A key that has a name of its own.
fn special(key: &str, modifiers: Modifiers, application: bool) -> Option<Vec<u8>> {
    Some(match key {
        "enter" | "return" => plain(b"\r", modifiers),
        "tab" if modifiers.shift => plain(b"\x1b[Z", modifiers),
        "tab" => plain(b"\t", modifiers),
        "escape" | "esc" => plain(&[ESCAPE], modifiers),
        "space" if modifiers.ctrl => plain(b"\0", modifiers),
        "space" => plain(b" ", modifiers),
        "backspace" if modifiers.ctrl => plain(b"\x08", modifiers),
        "backspace" => plain(b"\x7f", modifiers),
        "up" => cursor('A', modifiers, application),
        "down" => cursor('B', modifiers, application),
        "right" => cursor('C', modifiers, application),
        "left" => cursor('D', modifiers, application),
        "home" => cursor('H', modifiers, application),
        "end" => cursor('F', modifiers, application),
        "insert" => numbered(2, modifiers),
        "delete" => numbered(3, modifiers),
        "pageup" => numbered(5, modifiers),
        "pagedown" => numbered(6, modifiers),
        "f1" => function('P', modifiers),
        "f2" => function('Q', modifiers),
        "f3" => function('R', modifiers),
        "f4" => function('S', modifiers),
        "f5" => numbered(15, modifiers),
        "f6" => numbered(17, modifiers),
        "f7" => numbered(18, modifiers),
        "f8" => numbered(19, modifiers),
        "f9" => numbered(20, modifiers),
        "f10" => numbered(21, modifiers),
        "f11" => numbered(23, modifiers),
        "f12" => numbered(24, modifiers),
        _ => return None,
    })
}

/// One character, held down with modifiers; `None` for anything longer.
fn character(key: &str, modifiers: Modifiers) -> Option<Vec<u8>> {
    let mut chars = key.chars();
    let (Some(char), None) = (chars.next(), chars.next()) else {
        return None;
    };
    let char = if modifiers.shift { char.to_ascii_uppercase() } else { char };
    let mut buffer = [0; 4];
    let typed = char.encode_utf8(&mut buffer).as_bytes();
    match (modifiers.ctrl, typed) {
        (false, typed) => Some(plain(typed, modifiers)),
        (true, b"?") => Some(plain(b"\x7f", modifiers)),
        // Control characters are the letters and a few signs without their upper bits.
        (true, [byte]) if matches!(byte.to_ascii_uppercase(), b'@'..=b'_') => Some(plain(&[byte.to_ascii_uppercase() & 0x1f], modifiers)),
        (true, _) => None,
    }
}

/// Alt puts an Escape in front; the other modifiers are in `bytes` already, or change nothing.
fn plain(bytes: &[u8], modifiers: Modifiers) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + 1);
    if modifiers.alt {
        all.push(ESCAPE);
    }
    all.extend_from_slice(bytes);
    all
}

/// A cursor key, which application mode changes as long as nothing is held.
fn cursor(letter: char, modifiers: Modifiers, application: bool) -> Vec<u8> {
    if application { function(letter, modifiers) } else { lettered(letter, modifiers) }
}

/// A control sequence that ends in its letter.
fn lettered(letter: char, modifiers: Modifiers) -> Vec<u8> {
    match modifiers.parameter() {
        1 => format!("\x1b[{letter}"),
        parameter => format!("\x1b[1;{parameter}{letter}"),
    }
    .into_bytes()
}

/// One of the first four function keys, which have sequences of their own as long as nothing is held.
fn function(letter: char, modifiers: Modifiers) -> Vec<u8> {
    if modifiers == Modifiers::NONE { format!("\x1bO{letter}").into_bytes() } else { lettered(letter, modifiers) }
}

/// A key that a control sequence names by number.
fn numbered(number: u8, modifiers: Modifiers) -> Vec<u8> {
    match modifiers.parameter() {
        1 => format!("\x1b[{number}~"),
        parameter => format!("\x1b[{number};{parameter}~"),
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        String::from_utf8(encode(&names, false).unwrap().concat()).unwrap()
    }

    #[test]
    fn every_named_key_has_its_bytes() {
        for (name, bytes) in [
            ("enter", "\r"),
            ("Return", "\r"),
            ("tab", "\t"),
            ("shift+tab", "\x1b[Z"),
            ("escape", "\x1b"),
            ("esc", "\x1b"),
            ("space", " "),
            ("backspace", "\x7f"),
            ("delete", "\x1b[3~"),
            ("insert", "\x1b[2~"),
            ("up", "\x1b[A"),
            ("down", "\x1b[B"),
            ("left", "\x1b[D"),
            ("right", "\x1b[C"),
            ("home", "\x1b[H"),
            ("end", "\x1b[F"),
            ("pageup", "\x1b[5~"),
            ("pagedown", "\x1b[6~"),
            ("f1", "\x1bOP"),
            ("f4", "\x1bOS"),
            ("f5", "\x1b[15~"),
            ("f12", "\x1b[24~"),
            ("ctrl+c", "\x03"),
            ("Control+C", "\x03"),
            ("ctrl+[", "\x1b"),
            ("ctrl+space", "\0"),
            ("alt+b", "\x1bb"),
            ("option+b", "\x1bb"),
            ("opt+b", "\x1bb"),
            ("cmd+b", "\x1bb"),
            ("command + b", "\x1bb"),
            ("ctrl+alt+c", "\x1b\x03"),
            ("alt+enter", "\x1b\r"),
            ("shift+a", "A"),
            ("ctrl+left", "\x1b[1;5D"),
            ("alt+up", "\x1b[1;3A"),
            ("shift+end", "\x1b[1;2F"),
            ("ctrl+shift+home", "\x1b[1;6H"),
            ("shift+f1", "\x1b[1;2P"),
            ("ctrl+delete", "\x1b[3;5~"),
            ("y", "y"),
            ("é", "é"),
        ] {
            assert_eq!(typed(&[name]), bytes, "{name}");
        }
    }

    #[test]
    fn cursor_keys_are_sent_in_the_mode_that_the_program_asked_for() {
        let names = ["up", "home", "ctrl+left", "pageup"].map(str::to_owned);
        assert_eq!(encode(&names, true).unwrap().concat(), b"\x1bOA\x1bOH\x1b[1;5D\x1b[5~");
    }

    #[test]
    fn unknown_names_are_typed_as_they_are() {
        for text in ["hello", "1+1", "ctrl+hello", "ctrl+é", "+", "a+", "ctrl+", "f13"] {
            assert_eq!(typed(&[text]), text);
        }
    }

    #[test]
    fn a_modifier_alone_goes_with_the_key_after_it() {
        assert_eq!(typed(&["ctrl", "c", "d"]), "\x03d");
        assert_eq!(typed(&["shift", "control", "left"]), "\x1b[1;6D");
        assert_eq!(encode(&["x".into(), "ctrl".into()], false), Err(BadKeys::LoneModifier));
    }

    #[test]
    fn an_escape_ends_its_piece() {
        let pieces = encode(&["a".into(), "esc".into(), "b".into()], false).unwrap();
        assert_eq!(pieces, [b"a\x1b".to_vec(), b"b".to_vec()]);
        assert_eq!(encode(&["esc".into()], false).unwrap(), [b"\x1b".to_vec()]);
    }

    #[test]
    fn keys_are_bounded() {
        assert_eq!(encode(&[], false), Err(BadKeys::Count));
        assert_eq!(encode(&vec!["a".to_owned(); KEYS_MAX + 1], false), Err(BadKeys::Count));
        assert_eq!(encode(&["a".repeat(NAMES_BYTES_MAX + 1)], false), Err(BadKeys::TooLong));
    }
}
