//! Secrets that we mint: invite tokens, claim secrets, tokens of shares and API keys.
//!
//! A [`Secret`] exists in plain text only between its making and the one response that carries it;
//! the database keeps its SHA-256. It has no `Debug` and no `Serialize`, so that no log, event or
//! span can hold it by accident.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::hex;

/// Hex digits at the end of an API key that are a checksum of the rest, so that a typo costs no query.
const CHECKSUM_HEX: usize = 8;
/// Hex digits of an API key after its prefix: 28 random bytes and the checksum.
const KEY_HEX: usize = 64;
/// Characters after its issuer's prefix that may be shown of a secret, to tell one from another.
const SHOWN_CHARS: usize = 8;

/// Prefix of the API keys of people. Agents' keys have a prefix of their own, from the settings.
pub const USER_KEY_PREFIX: &str = "mcp_";

/// A secret in plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret that somebody presented.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// `agent_inv_` and 43 characters: 256 random bits.
    #[must_use]
    pub fn invite_token() -> Self {
        Self(format!("agent_inv_{}", random_text()))
    }

    /// `agent_claim_` and 43 characters: 256 random bits.
    #[must_use]
    pub fn claim_secret() -> Self {
        Self(format!("agent_claim_{}", random_text()))
    }

    /// `term_share_` and 43 characters: 256 random bits.
    #[must_use]
    pub fn share_token() -> Self {
        Self(format!("term_share_{}", random_text()))
    }

    /// `prefix` and 64 hex digits: 224 random bits and a 32-bit checksum.
    #[must_use]
    pub fn api_key(prefix: &str) -> Self {
        let body = format!("{prefix}{}", hex(&rand::random::<[u8; 28]>()));
        let checksum = checksum(&body);
        Self(body + &checksum)
    }

    /// The plain text, for the response that hands it out.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 in hex, as the database keeps it.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

    /// The first characters, to tell secrets apart in a list.
    #[must_use]
    pub fn shown_prefix(&self) -> String {
        let issuer = ["agent_inv_", "agent_claim_", "term_share_", "mcp_agent_", USER_KEY_PREFIX]
            .into_iter()
            .find(|prefix| self.0.starts_with(prefix));
        self.0.chars().take(issuer.map_or(0, str::len) + SHOWN_CHARS).collect()
    }

    /// Whether this can be a key that we issued with `agent_prefix`. Keys under other prefixes may
    /// have been issued without a checksum, so only a look-up can tell.
    #[must_use]
    pub fn is_plausible_key(&self, agent_prefix: &str) -> bool {
        let Some(hex_part) = self.0.strip_prefix(agent_prefix).filter(|_| agent_prefix != USER_KEY_PREFIX) else {
            return !self.0.is_empty();
        };
        hex_part.len() == KEY_HEX
            && hex_part.bytes().all(|b| b.is_ascii_hexdigit())
            && checksum(&self.0[..self.0.len() - CHECKSUM_HEX]) == self.0[self.0.len() - CHECKSUM_HEX..]
    }
}

fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn checksum(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes())[..CHECKSUM_HEX / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_one_changed_digit_is_refused_without_a_look_up() {
        let key = Secret::api_key("mcp_agent_");
        assert_eq!(key.expose().len(), "mcp_agent_".len() + 64);
        assert!(key.is_plausible_key("mcp_agent_"));
        for position in "mcp_agent_".len()..key.expose().len() {
            let mut typo = key.expose().to_owned().into_bytes();
            typo[position] = if typo[position] == b'0' { b'1' } else { b'0' };
            let typo = Secret::presented(std::str::from_utf8(&typo).unwrap());
            assert!(!typo.is_plausible_key("mcp_agent_"), "digit {position}");
        }
    }

    #[test]
    fn keys_of_people_and_of_other_issuers_are_left_to_the_look_up() {
        for text in ["mcp_00", "raven_sk_1"] {
            assert!(Secret::presented(text).is_plausible_key("mcp_agent_"), "{text}");
        }
    }

    #[test]
    fn the_hash_is_the_sha256_of_the_whole_text() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Secret::presented("abc").hash(), expected);
    }
}
