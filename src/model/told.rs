//! What a program that is not ours says of itself: text of any length with anything in it.

/// Longest text that is kept of what a runtime says, in characters: a screen holds less.
pub const TEXT_CHARS_MAX: usize = 2_000;
/// Longest name that a runtime's own one for something may have, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The text without control characters but line breaks, cut to a length; `None` when nothing is left.
#[must_use]
pub fn readable(text: &str, chars_max: usize) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(chars_max).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The text fit to be kept and shown; empty when nothing is left of it.
#[must_use]
pub fn text(said: &str) -> String {
    readable(said, TEXT_CHARS_MAX).unwrap_or_default()
}

/// Whether the text is fit to name something in our tables: not empty, not long, and without control characters.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_lengths_are_bounded() {
        assert_eq!(text(" a\0b\u{1b}[31m\nc "), "ab[31m\nc");
        assert_eq!(text(&"ü".repeat(5_000)).chars().count(), TEXT_CHARS_MAX);
        assert_eq!(text("\0\0"), "");
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["pty-1", "a b", &"x".repeat(200)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a\0", "a\n", &"x".repeat(201), &"ü".repeat(101)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
