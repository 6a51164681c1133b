//! The exchange of one authentication, message by message.
//!
//! ```text
//!   begin -> first message -> (the broker's -> Step::Send ..)* -> Step::Done
//! ```
//! Must not know: who carries the messages.

use std::sync::Arc;

use super::sasl::{Login, Mechanism, Sasl, ScramHash};
use super::scram::{self, ServerFirst};

/// What follows from a message of the broker.
#[derive(Debug)]
pub(crate) enum Step {
    /// This is said next.
    Send(Vec<u8>),
    /// The broker has proved what it has to.
    Done,
}

/// An authentication that has begun.
pub(crate) struct Exchange(Expects);

enum Expects {
    /// Nothing that says anything.
    Word,
    ServerFirst {
        hash: ScramHash,
        login: Login,
        nonce: String,
        first_bare: String,
    },
    ServerFinal {
        expected: Vec<u8>,
    },
    /// Nothing, or why the token is not taken.
    Verdict,
    /// The broker has said why, and says next that it refuses.
    Refusal {
        why: Arc<str>,
    },
}

impl Exchange {
    /// The exchange, and what is said first.
    pub(crate) async fn begin(sasl: &Sasl) -> Result<(Self, Vec<u8>), Arc<str>> {
        match &sasl.0 {
            Mechanism::Plain(login) => {
                let message = format!("\0{}\0{}", login.user, login.password.as_str());
                Ok((Self(Expects::Word), message.into_bytes()))
            }
            Mechanism::Scram(hash, login) => {
                let nonce = format!("{:032x}", rand::random::<u128>());
                let (message, first_bare) = scram::client_first(&login.user, &nonce);
                let expects = Expects::ServerFirst { hash: *hash, login: login.clone(), nonce, first_bare };
                Ok((Self(expects), message.into_bytes()))
            }
            Mechanism::OauthBearer(provide) => {
                let token = provide().await.map_err(|error| format!("there is no token: {error}"))?;
                let message = format!("n,,\x01auth=Bearer {}\x01\x01", token.0.as_str());
                Ok((Self(Expects::Verdict), message.into_bytes()))
            }
        }
    }

    /// What the broker said. Computes for some milliseconds, where a password is proved.
    pub(crate) fn on_message(&mut self, message: &[u8]) -> Result<Step, Arc<str>> {
        let wrong = |error: scram::ScramError| Arc::<str>::from(error.to_string());
        match &self.0 {
            Expects::Word => Ok(Step::Done),
            Expects::ServerFirst { hash, login, nonce, first_bare } => {
                let server = ServerFirst::parse(message, nonce).map_err(wrong)?;
                let (message, expected) = scram::client_final(*hash, &login.password, first_bare, &server);
                self.0 = Expects::ServerFinal { expected };
                Ok(Step::Send(message.into_bytes()))
            }
            Expects::ServerFinal { expected } => {
                scram::check_server_final(message, expected).map_err(wrong)?;
                Ok(Step::Done)
            }
            Expects::Verdict if message.is_empty() => Ok(Step::Done),
            Expects::Verdict => {
                let why = String::from_utf8_lossy(message).into_owned().into();
                self.0 = Expects::Refusal { why };
                // The client has to say that it has heard it (RFC 7628, 3.2.3).
                Ok(Step::Send(vec![1]))
            }
            Expects::Refusal { why } => Err(Arc::clone(why)),
        }
    }

    /// What the broker has said about why it will refuse.
    pub(crate) fn refusal(&self) -> Option<Arc<str>> {
        match &self.0 {
            Expects::Refusal { why } => Some(Arc::clone(why)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    #[tokio::test]
    async fn plain_says_it_in_one_message() {
        let (mut exchange, message) = Exchange::begin(&Sasl::plain("alice", "secret")).await.expect("begins");
        assert_eq!(message, b"\0alice\0secret");
        assert!(matches!(exchange.on_message(b"").expect("done"), Step::Done));
    }

    #[tokio::test]
    async fn a_token_that_is_not_taken_is_told_with_the_reason() {
        let sasl = Sasl::oauth_bearer(|| async { Ok(Token::new("abc")) });
        let (mut exchange, message) = Exchange::begin(&sasl).await.expect("begins");
        assert_eq!(message, b"n,,\x01auth=Bearer abc\x01\x01");
        let Step::Send(heard) = exchange.on_message(b"{\"status\":\"invalid_token\"}").expect("goes on") else {
            panic!("it is not over")
        };
        assert_eq!(heard, [1]);
        assert_eq!(exchange.refusal().as_deref(), Some("{\"status\":\"invalid_token\"}"));
        let none = Sasl::oauth_bearer(|| async { Err("the authority is away".into()) });
        let why = Exchange::begin(&none).await.map(drop).expect_err("no token");
        assert_eq!(&*why, "there is no token: the authority is away");
    }

    #[tokio::test]
    async fn each_scram_exchange_has_a_nonce_of_its_own() {
        let sasl = Sasl::scram_sha_512("alice", "secret");
        let (mut first, one) = Exchange::begin(&sasl).await.expect("begins");
        let (_, two) = Exchange::begin(&sasl).await.expect("begins");
        assert_ne!(one, two);
        assert!(first.on_message(b"r=x,s=YQ==,i=4096").is_err());
    }
}
