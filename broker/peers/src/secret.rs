//! The secret that brokers of a cluster share, and the proof of knowing it: never the secret itself goes over the wire.
//!
//! Must not know: sockets, where the secret is kept.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Bytes of a proof: HMAC-SHA-256.
pub(crate) const PROOF_BYTES: usize = 32;

/// What only brokers of one cluster know. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinSecret(Zeroizing<[u8; SECRET_BYTES]>);

/// A text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join secret: it has {expected} hexadecimal digits, as `cairn cluster secret` prints it", expected = 2 * SECRET_BYTES)]
pub struct ParseSecretError;

impl JoinSecret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The text that [`FromStr`] reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The proof of one end of a connection: `label` says which end it is, so that nobody's proof can be given back to it.
    pub(crate) fn proof(&self, label: &[u8], transcript: [&[u8]; 2]) -> [u8; PROOF_BYTES] {
        self.mac(label, transcript).finalize().into_bytes().into()
    }

    /// Whether the other end knows the secret. Takes as long for a wrong proof as for a right one.
    pub(crate) fn verify(&self, label: &[u8], transcript: [&[u8]; 2], proof: &[u8; PROOF_BYTES]) -> bool {
        self.mac(label, transcript).verify_slice(proof).is_ok()
    }

    fn mac(&self, label: &[u8], transcript: [&[u8]; 2]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("a key may have any length");
        for part in [label, transcript[0], transcript[1]] {
            // Behind its length each: where one part ends is part of what is proven.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl FromStr for JoinSecret {
    type Err = ParseSecretError;

    fn from_str(text: &str) -> Result<Self, ParseSecretError> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * SECRET_BYTES {
            return Err(ParseSecretError);
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(secret))
    }
}

fn digit(character: u8) -> Result<u8, ParseSecretError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        b'A'..=b'F' => Ok(character - b'A' + 10),
        _ => Err(ParseSecretError),
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_back_and_not_shown() {
        let secret = JoinSecret::random();
        let text = secret.to_text();
        assert_eq!(text.parse::<JoinSecret>(), Ok(secret.clone()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse::<JoinSecret>(), Ok(secret.clone()));
        assert!(!format!("{secret:?}").contains(&text[..4]));
        for wrong in ["", "ab", &text[1..], &text.replace(&text[..1], "g"), &format!("{}00", &*text)] {
            assert_eq!(wrong.parse::<JoinSecret>(), Err(ParseSecretError), "{wrong}");
        }
    }

    #[test]
    fn a_proof_is_of_one_secret_one_end_and_one_connection() {
        let (secret, other) = (JoinSecret::random(), JoinSecret::random());
        let proof = secret.proof(b"a", [b"hello", b"challenge"]);
        assert!(secret.verify(b"a", [b"hello", b"challenge"], &proof));
        assert!(!other.verify(b"a", [b"hello", b"challenge"], &proof));
        assert!(!secret.verify(b"b", [b"hello", b"challenge"], &proof));
        assert!(!secret.verify(b"a", [b"helloc", b"hallenge"], &proof));
    }
}
