//! Keys that order siblings: pages below a page, tasks in a list.
//!
//! Their form is the editor's: a letter that says how many digits to the base 62 follow as a whole
//! number, then digits behind the point; they are ordered by their bytes. We only add at the end, with
//! chance digits behind the point, so that two who add at once do not get the same key.

use uuid::Uuid;

/// The digits, in the order of their bytes.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Length of a position in characters at the most; keys that we make have 5.
pub const POSITION_CHARS_MAX: usize = 64;

/// A position behind `last`, the greatest one so far. The digits behind the point come from `chance`.
#[must_use]
pub fn after(last: Option<&str>, chance: Uuid) -> String {
    let whole = match last.map(|last| (last, next_whole(last.as_bytes()))) {
        None => "a0".to_owned(),
        Some((_, Some(next))) => next,
        // Not one of the editor's: whatever is longer than it comes behind it.
        Some((last, None)) => last.to_owned(),
    };
    let [first, second, third, ..] = *chance.as_bytes();
    let digit = |byte: u8, from: u8| char::from(DIGITS[usize::from(from + byte % (62 - from))]);
    // The last digit is no zero, as the editor wants it.
    [whole, String::from_iter([digit(first, 0), digit(second, 0), digit(third, 1)])].concat()
}

/// Whether a text can be a position.
#[must_use]
pub fn is_position(text: &str) -> bool {
    (1..=POSITION_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| DIGITS.contains(&byte))
}

/// The ten characters by which a page is known in addresses, from `chance`.
#[must_use]
pub fn slug_id(chance: Uuid) -> String {
    let bytes = chance.as_bytes();
    // The bytes of version and variant are no chance.
    [0, 1, 2, 3, 4, 5, 10, 11, 12, 13].into_iter().map(|place: usize| char::from(DIGITS[usize::from(bytes[place]) % 62])).collect()
}

/// The whole number after that of a key; `None` when the key has none or is the last one.
fn next_whole(key: &[u8]) -> Option<String> {
    let head = *key.first()?;
    let count = match head {
        b'a'..=b'z' => usize::from(head - b'a') + 1,
        b'A'..=b'Z' => usize::from(b'Z' - head) + 1,
        _ => return None,
    };
    let mut digits = key.get(1..=count)?.to_vec();
    for digit in digits.iter_mut().rev() {
        let place = DIGITS.iter().position(|known| known == digit)?;
        if let Some(next) = DIGITS.get(place + 1) {
            *digit = *next;
            return Some([&[head], digits.as_slice()].concat().iter().copied().map(char::from).collect());
        }
        *digit = b'0';
    }
    let (head, count) = match head {
        b'z' => return None,
        b'Z' => (b'a', 1),
        b'A'..=b'Y' => (head + 1, count - 1),
        _ => (head + 1, count + 1),
    };
    Some(std::iter::once(char::from(head)).chain(std::iter::repeat_n('0', count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_comes_behind_the_one_before() {
        let mut last = after(None, Uuid::new_v4());
        for _ in 0..5000 {
            let next = after(Some(&last), Uuid::new_v4());
            assert!(next.as_bytes() > last.as_bytes() && is_position(&next), "{next} behind {last}");
            last = next;
        }
    }

    #[test]
    fn keys_of_the_editor_and_others_are_followed() {
        let chance = Uuid::from_bytes([0; 16]);
        for (last, whole) in [("a0", "a1"), ("a0V8x", "a1"), ("az", "b00"), ("b0z", "b10"), ("Zz", "a0"), ("Yzz", "Z0"), ("Z1k", "Z2")] {
            let next = after(Some(last), chance);
            assert_eq!(next, format!("{whole}001"));
            assert!(next.as_str() > last);
        }
        for odd in ["", "5", "b1", "zzzzzzzzzzzzzzzzzzzzzzzzzzz", "a-"] {
            assert!(after(Some(odd), chance).as_str() > odd, "{odd}");
        }
    }

    #[test]
    fn slug_ids_have_ten_characters_and_differ() {
        let (a, b) = (slug_id(Uuid::new_v4()), slug_id(Uuid::new_v4()));
        assert_eq!(a.len(), 10);
        assert_ne!(a, b);
    }
}
