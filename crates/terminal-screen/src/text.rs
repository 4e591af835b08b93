//! Terminal output as text: decoding it as it comes.

/// Decodes UTF-8 that arrives in pieces, without ever splitting a code point.
#[derive(Default)]
pub struct Decoder {
    /// The first bytes of a code point whose rest has not come yet; three at the most.
    pending: Vec<u8>,
}

impl Decoder {
    /// The text so far complete; invalid bytes become U+FFFD.
    pub fn decode(&mut self, bytes: &[u8]) -> String {
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
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// What an unfinished code point comes to when nothing more follows.
    pub fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.pending).is_empty() { "" } else { "\u{fffd}" }
    }
}

/// `text` with any run of spaces as one, and none at its ends.
#[must_use]
pub fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
}
