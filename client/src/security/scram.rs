//! SCRAM's messages (RFC 5802) as Kafka speaks it: without channel binding, names and passwords as they are.
//!
//! Must not know: who carries them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::sasl::ScramHash;

/// Fewer would make it cheap to guess a password from what is seen of the exchange.
const ITERATIONS_MIN: u32 = 4_096;
/// More would be an attack on this side.
const ITERATIONS_MAX: u32 = 10_000_000;

/// What the other side said is not SCRAM, or not from who knows the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("the broker's message is no SCRAM message")]
    Malformed,
    #[error("the broker's nonce does not begin with the client's")]
    Nonce,
    #[error("the broker asks for {0} iterations, and 4,096 to 10,000,000 are allowed")]
    Iterations(u32),
    #[error("the broker does not know the password: it is not who it says")]
    Signature,
}

/// What the broker answers to the first message.
#[derive(Debug)]
pub(crate) struct ServerFirst {
    text: String,
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl ServerFirst {
    pub(crate) fn parse(message: &[u8], own_nonce: &str) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(ScramError::Malformed);
        let nonce = part("r=")?.to_owned();
        let salt = STANDARD.decode(part("s=")?).map_err(|_| ScramError::Malformed)?;
        let iterations: u32 = part("i=")?.parse().map_err(|_| ScramError::Malformed)?;
        if !nonce.starts_with(own_nonce) || nonce.len() == own_nonce.len() {
            return Err(ScramError::Nonce);
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Iterations(iterations));
        }
        Ok(Self { text: text.to_owned(), nonce, salt, iterations })
    }
}

/// The first message, and the part of it that is signed later.
pub(crate) fn client_first(user: &str, nonce: &str) -> (String, String) {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    let bare = format!("n={user},r={nonce}");
    (format!("n,,{bare}"), bare)
}

/// The second message, and what the broker has to sign with. Takes milliseconds of a processor.
pub(crate) fn client_final(
    hash: ScramHash,
    password: &str,
    first_bare: &str,
    server: &ServerFirst,
) -> (String, Vec<u8>) {
    // "biws" is "n,," again: no channel binding.
    let without_proof = format!("c=biws,r={}", server.nonce);
    let signed = format!("{first_bare},{},{without_proof}", server.text);
    let keys = match hash {
        ScramHash::Sha256 => Keys::of_sha_256(password, server),
        ScramHash::Sha512 => Keys::of_sha_512(password, server),
    };
    let signature = sign(hash, &keys.stored, signed.as_bytes());
    let proof: Vec<u8> = keys.client.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
    let message = format!("{without_proof},p={}", STANDARD.encode(proof));
    (message, sign(hash, &keys.server, signed.as_bytes()))
}

/// The broker's last word proves that it knows the password too.
pub(crate) fn check_server_final(message: &[u8], expected: &[u8]) -> Result<(), ScramError> {
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
    let signature = text.strip_prefix("v=").and_then(|text| text.split(',').next()).ok_or(ScramError::Malformed)?;
    let signature = STANDARD.decode(signature).map_err(|_| ScramError::Malformed)?;
    if signature == expected { Ok(()) } else { Err(ScramError::Signature) }
}

struct Keys {
    client: Zeroizing<Vec<u8>>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    fn of_sha_256(password: &str, server: &ServerFirst) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &server.salt, server.iterations, &mut *salted);
        Self::of(ScramHash::Sha256, &*salted)
    }

    fn of_sha_512(password: &str, server: &ServerFirst) -> Self {
        let mut salted = Zeroizing::new([0; 64]);
        pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), &server.salt, server.iterations, &mut *salted);
        Self::of(ScramHash::Sha512, &*salted)
    }

    fn of(hash: ScramHash, salted: &[u8]) -> Self {
        let client = Zeroizing::new(sign(hash, salted, b"Client Key"));
        let stored = match hash {
            ScramHash::Sha256 => Sha256::digest(&*client).to_vec(),
            ScramHash::Sha512 => Sha512::digest(&*client).to_vec(),
        };
        Self { client, stored, server: sign(hash, salted, b"Server Key") }
    }
}

fn sign(hash: ScramHash, key: &[u8], text: &[u8]) -> Vec<u8> {
    fn with<M: Mac + hmac::digest::KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = <M as Mac>::new_from_slice(key).expect("any length of key will do");
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        ScramHash::Sha256 => with::<Hmac<Sha256>>(key, text),
        ScramHash::Sha512 => with::<Hmac<Sha512>>(key, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let (message, bare) = client_first("user", NONCE);
        assert_eq!(message, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let server = ServerFirst::parse(first, NONCE).expect("a message");
        let (message, expected) = client_final(ScramHash::Sha256, "pencil", &bare, &server);
        assert_eq!(
            message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(check_server_final(last, &expected), Ok(()));
        let (_, expected) = client_final(ScramHash::Sha256, "pencils", &bare, &server);
        assert_eq!(check_server_final(last, &expected), Err(ScramError::Signature));
    }

    #[test]
    fn a_broker_that_is_none_is_found_out() {
        let parse = |text: &str| ServerFirst::parse(text.as_bytes(), "abc").expect_err(text);
        assert_eq!(parse("r=abd1,s=YQ==,i=4096"), ScramError::Nonce);
        assert_eq!(parse("r=abc,s=YQ==,i=4096"), ScramError::Nonce, "it adds nothing of its own");
        assert_eq!(parse("r=abc1,s=YQ==,i=1"), ScramError::Iterations(1));
        assert_eq!(parse("r=abc1,s=YQ==,i=4000000000"), ScramError::Iterations(4_000_000_000));
        assert_eq!(parse("m=x,r=abc1,s=YQ==,i=4096"), ScramError::Malformed, "an extension that has to be understood");
        assert_eq!(check_server_final(b"e=other-error", b""), Err(ScramError::Malformed));
        assert_eq!(client_first("a=b,c", "x").1, "n=a=3Db=2Cc,r=x");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ServerFirst::parse(&bytes, "abc");
            let _ = check_server_final(&bytes, b"abc");
        }
    }
}
