//! SASL as users name it: mechanisms and what they need.
//!
//! Must not know: messages.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use zeroize::Zeroizing;

/// A token of OAUTHBEARER, as the application's own authority gave it (RFC 6750).
#[derive(Clone)]
pub struct Token(pub(crate) Arc<Zeroizing<String>>);

impl Token {
    /// A token, without `Bearer`.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(token.into())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why there is no token.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

type Provide = dyn Fn() -> BoxFuture<'static, Result<Token, TokenError>> + Send + Sync;

/// How a client proves who it is (`sasl.mechanism`).
#[derive(Clone)]
#[must_use]
pub struct Sasl(pub(crate) Mechanism);

/// Which hash SCRAM works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScramHash {
    Sha256,
    Sha512,
}

#[derive(Clone)]
pub(crate) enum Mechanism {
    Plain(Login),
    Scram(ScramHash, Login),
    OauthBearer(Arc<Provide>),
}

#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: Arc<str>,
    pub(crate) password: Arc<Zeroizing<String>>,
}

impl Login {
    fn new(user: impl Into<Arc<str>>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Arc::new(Zeroizing::new(password.into())) }
    }
}

impl Sasl {
    /// `PLAIN`: the broker is told the password (RFC 4616). Use it with TLS only.
    pub fn plain(user: impl Into<Arc<str>>, password: impl Into<String>) -> Self {
        Self(Mechanism::Plain(Login::new(user, password)))
    }

    /// `SCRAM-SHA-256`: both sides prove that they know the password, and neither tells it (RFC 5802, RFC 7677).
    pub fn scram_sha_256(user: impl Into<Arc<str>>, password: impl Into<String>) -> Self {
        Self(Mechanism::Scram(ScramHash::Sha256, Login::new(user, password)))
    }

    /// `SCRAM-SHA-512`: the same with the longer hash.
    pub fn scram_sha_512(user: impl Into<Arc<str>>, password: impl Into<String>) -> Self {
        Self(Mechanism::Scram(ScramHash::Sha512, Login::new(user, password)))
    }

    /// `OAUTHBEARER` (RFC 7628, KIP-255): `provide` is asked for a token for each new connection, and again before the session that the
    /// broker gave to it ends. It should keep a token that is still good.
    ///
    /// ```
    /// use cairn_client::{Sasl, Token};
    ///
    /// let sasl = Sasl::oauth_bearer(|| async { Ok(Token::new(std::env::var("TOKEN")?)) });
    /// ```
    pub fn oauth_bearer<F>(provide: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, TokenError>> + Send + 'static,
    {
        Self(Mechanism::OauthBearer(Arc::new(move || Box::pin(provide()))))
    }

    /// As the broker is told it.
    pub(crate) fn name(&self) -> &'static str {
        match self.0 {
            Mechanism::Plain(_) => "PLAIN",
            Mechanism::Scram(ScramHash::Sha256, _) => "SCRAM-SHA-256",
            Mechanism::Scram(ScramHash::Sha512, _) => "SCRAM-SHA-512",
            Mechanism::OauthBearer(_) => "OAUTHBEARER",
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sasl").field(&self.name()).finish_non_exhaustive()
    }
}
