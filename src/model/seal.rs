//! Encryption at rest for the few secrets that must be shown again (D-04, D-22).

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;

use super::secret::Secret;

/// Length of the random nonce before each ciphertext, in bytes (NIST SP 800-38D).
const NONCE_BYTES: usize = 12;

/// Seals and opens secrets with AES-256-GCM under a key derived from `APP_SECRET` (RFC 5869).
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256Gcm,
}

/// The ciphertext was not made with this key for this place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored secret cannot be opened: APP_SECRET changed, or the row was tampered with")]
pub struct CannotOpen;

impl Sealer {
    #[must_use]
    pub fn new(app_secret: &str) -> Self {
        let mut key = [0u8; 32];
        Hkdf::<Sha256>::new(None, app_secret.as_bytes())
            .expand(b"raven-agents sealed secrets v1", &mut key)
            .expect("32 bytes are a valid HKDF length");
        Self { cipher: Aes256Gcm::new(&key.into()) }
    }

    /// Encrypts `secret` for `place`, such as a table and row: elsewhere it does not open.
    #[must_use]
    pub fn seal(&self, place: &str, secret: &Secret) -> Vec<u8> {
        let nonce = rand::random::<[u8; NONCE_BYTES]>();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: place.as_bytes() };
        let ciphertext = self.cipher.encrypt(&Nonce::from(nonce), payload).expect("AES-GCM encrypts any short text");
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// Decrypts what [`Self::seal`] made for the same place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Secret, CannotOpen> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CannotOpen)?;
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        let plain = self.cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| CannotOpen)?;
        String::from_utf8(plain).map(|text| Secret::presented(&text)).map_err(|_| CannotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_in_its_place_and_under_its_key() {
        let sealer = Sealer::new("one secret of at least thirty-two characters");
        let token = Secret::invite_token();
        let sealed = sealer.seal("invite/1", &token);
        assert!(sealer.open("invite/1", &sealed) == Ok(token));
        assert!(sealer.open("invite/2", &sealed).is_err());
        assert!(Sealer::new("another").open("invite/1", &sealed).is_err());
        assert!(sealer.open("invite/1", &sealed[..5]).is_err());
    }
}
