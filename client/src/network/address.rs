//! A broker's address as users and brokers write it.
//!
//! Must not know: name resolution, sockets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// Without brackets.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

/// The text is no `HOST:PORT`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // A listener name is forgiven, as Kafka's own clients do: PLAINTEXT://host:port.
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // An IPv6 address without brackets cannot be told from its port.
        if bare.is_none() && host.contains(':') {
            return Err(AddressError);
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(AddressError);
        }
        Ok(Self { host: host.into(), port: port.parse().map_err(|_| AddressError)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port, shown) in [
            ("localhost:9092", "localhost", 9092, "localhost:9092"),
            ("[::1]:1", "::1", 1, "[::1]:1"),
            ("PLAINTEXT://h:65535", "h", 65535, "h:65535"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((&*address.host, address.port, address.to_string().as_str()), (host, port, shown));
        }
        for text in ["", "h", ":9092", "h:", "h:65536", "h:-1", "::1:9092", "a b:1"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError), "{text:?}");
        }
    }
}
