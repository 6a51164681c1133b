//! How a client reaches brokers, and how each side proves who it is: TLS and SASL.
//!
//! Must not know: connections, what is asked over them.

mod jaas;
mod mechanism;
mod properties;
mod sasl;
mod scram;
mod tls;

use std::fmt;

pub(crate) use mechanism::{Exchange, Step};
pub use properties::SecurityError;
pub use sasl::{Sasl, Token, TokenError};
pub use tls::{HostNames, Tls, TlsError};

/// What a [`Client`](crate::Client) does on each new connection before it asks anything. Nothing, unless told otherwise
/// (`security.protocol=PLAINTEXT`).
///
/// ```
/// use cairn_client::{Client, Sasl, Security, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let security = Security::default().tls(Tls::system()?).sasl(Sasl::scram_sha_512("alice", "secret"));
/// let client = Client::builder("broker.example.com:9094").security(security).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Security {
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
}

impl Security {
    /// Connections are encrypted, and the broker has to prove who it is (`security.protocol` `SSL` or `SASL_SSL`).
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The client proves who it is (`security.protocol` `SASL_PLAINTEXT` or `SASL_SSL`). Without TLS whoever listens in can read a
    /// password of `PLAIN` and a token.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        };
        f.debug_struct("Security").field("protocol", &protocol).field("sasl", &self.sasl).finish_non_exhaustive()
    }
}
