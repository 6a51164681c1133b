//! Security by Kafka's property names.
//!
//! Must not know: other properties.

use std::sync::Arc;

use super::jaas::Jaas;
use super::{HostNames, Sasl, Security, Tls, TlsError};

/// Security that cannot be had as the properties ask for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecurityError {
    /// A property says what it must not.
    #[error("{name} must be {wanted}")]
    Property {
        /// Its name.
        name: &'static str,
        /// What is allowed. What was given may be secret.
        wanted: &'static str,
    },
    /// A file cannot be read.
    #[error("{name}: cannot read {path}: {reason}")]
    File {
        /// The property that names it.
        name: &'static str,
        /// The file.
        path: Arc<str>,
        /// What the system said.
        reason: Arc<str>,
    },
    /// What was given is of no use for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The names that [`Security::from_properties`] knows.
const NAMES: [&str; 11] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.jaas.config",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.certificates",
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.endpoint.identification.algorithm",
];

impl Security {
    /// Whether a property is about security.
    pub(crate) fn knows(name: &str) -> bool {
        NAMES.contains(&name)
    }

    pub(crate) fn names() -> [&'static str; 11] {
        NAMES
    }

    /// Security as the Java clients are told it: `security.protocol`, `sasl.mechanism` (`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`; tokens need
    /// code, [`Sasl::oauth_bearer`]), `sasl.jaas.config`, and the `ssl.*` of PEM stores. Other names are passed over. Reads the files that are
    /// named.
    ///
    /// ```
    /// # use cairn_client::Security;
    /// let login = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"a\" password=\"b\";";
    /// let properties =
    ///     [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.jaas.config", login)];
    /// let security = Security::from_properties(properties)?;
    /// # Ok::<(), cairn_client::SecurityError>(())
    /// ```
    ///
    /// # Errors
    /// When a property says what it must not, or names what is of no use.
    pub fn from_properties<'p>(
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, SecurityError> {
        let given: Vec<(&str, &str)> = properties.into_iter().filter(|(name, _)| Self::knows(name)).collect();
        // What comes later counts.
        let get = |name: &str| given.iter().rev().find(|(other, _)| *other == name).map(|(_, value)| value.trim());
        let (tls, sasl) = match get("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase().as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => return Err(wrong("security.protocol", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")),
        };
        Ok(Self {
            tls: if tls { Some(tls_of(&get)?) } else { None },
            sasl: if sasl { Some(sasl_of(&get)?) } else { None },
        })
    }
}

fn wrong(name: &'static str, wanted: &'static str) -> SecurityError {
    SecurityError::Property { name, wanted }
}

fn tls_of<'p>(get: &impl Fn(&str) -> Option<&'p str>) -> Result<Tls, SecurityError> {
    for name in ["ssl.truststore.type", "ssl.keystore.type"] {
        // Java's default is JKS: whoever names a store has to say that it is not one.
        let is_named = get(&name.replace("type", "location")).is_some();
        if get(name).map_or(is_named, |kind| !kind.eq_ignore_ascii_case("PEM")) {
            return Err(wrong(name, "PEM: convert the store with keytool and openssl"));
        }
    }
    let trusted = text(get, "ssl.truststore.certificates", "ssl.truststore.location")?;
    let tls = trusted.map_or_else(Tls::system, |pem| Tls::trusting_pem(pem.as_bytes()))?;
    let host_names = match get("ssl.endpoint.identification.algorithm") {
        None => HostNames::Verified,
        Some("") => HostNames::Any,
        Some(https) if https.eq_ignore_ascii_case("https") => HostNames::Verified,
        Some(_) => return Err(wrong("ssl.endpoint.identification.algorithm", "https, or empty")),
    };
    let tls = tls.host_names(host_names);
    // A file has both.
    let chain = text(get, "ssl.keystore.certificate.chain", "ssl.keystore.location")?;
    let key = text(get, "ssl.keystore.key", "ssl.keystore.location")?;
    match (chain, key) {
        (None, None) => Ok(tls),
        (Some(chain), Some(key)) => Ok(tls.identity_pem(chain.as_bytes(), key.as_bytes())?),
        (Some(_), None) => Err(wrong("ssl.keystore.key", "given with ssl.keystore.certificate.chain")),
        (None, Some(_)) => Err(wrong("ssl.keystore.certificate.chain", "given with ssl.keystore.key")),
    }
}

/// What stands in the property, or else in the file that the other one names.
fn text<'p>(
    get: &impl Fn(&str) -> Option<&'p str>,
    name: &str,
    location: &'static str,
) -> Result<Option<String>, SecurityError> {
    match (get(name), get(location)) {
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let failed = |error: std::io::Error| SecurityError::File {
                name: location,
                path: path.into(),
                reason: error.to_string().into(),
            };
            std::fs::read_to_string(path).map(Some).map_err(failed)
        }
    }
}

fn sasl_of<'p>(get: &impl Fn(&str) -> Option<&'p str>) -> Result<Sasl, SecurityError> {
    let wanted = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; for OAUTHBEARER give Sasl::oauth_bearer to the builder";
    let mechanism = get("sasl.mechanism").ok_or(wrong("sasl.mechanism", wanted))?;
    let jaas = get("sasl.jaas.config").and_then(Jaas::parse);
    let jaas = jaas.ok_or(wrong("sasl.jaas.config", "MODULE required username=\"..\" password=\"..\";"))?;
    let login = jaas.options.get("username").zip(jaas.options.get("password"));
    let (user, password) = login.ok_or(wrong("sasl.jaas.config", "with a username and a password"))?;
    let (user, password) = (user.as_str(), password.as_str());
    match (mechanism, jaas.module.as_str()) {
        ("PLAIN", "PlainLoginModule") => Ok(Sasl::plain(user, password)),
        ("SCRAM-SHA-256", "ScramLoginModule") => Ok(Sasl::scram_sha_256(user, password)),
        ("SCRAM-SHA-512", "ScramLoginModule") => Ok(Sasl::scram_sha_512(user, password)),
        ("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512", _) => {
            Err(wrong("sasl.jaas.config", "of the login module of sasl.mechanism"))
        }
        _ => Err(wrong("sasl.mechanism", wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_takes_is_taken_and_what_is_wrong_is_named() {
        let plain =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hidden\";";
        let given = |properties: &[(&'static str, &'static str)]| {
            Security::from_properties(properties.iter().copied()).map(|security| format!("{security:?}"))
        };
        let sasl = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", plain)];
        let shown = given(&sasl).expect("right");
        assert!(shown.contains("SASL_PLAINTEXT") && shown.contains("PLAIN") && !shown.contains("hidden"), "{shown}");
        assert!(given(&[("linger.ms", "5")]).expect("right").contains("PLAINTEXT"));

        let scram = [sasl[0], ("sasl.mechanism", "SCRAM-SHA-256"), sasl[2]];
        for (properties, named) in [
            (&[("security.protocol", "TLS")][..], "security.protocol"),
            (&sasl[..1], "sasl.mechanism"),
            (&sasl[..2], "sasl.jaas.config"),
            (&scram, "sasl.jaas.config"),
            (&[("security.protocol", "SSL"), ("ssl.truststore.location", "/x.jks")], "ssl.truststore.type"),
            (
                &[
                    ("security.protocol", "SSL"),
                    ("ssl.truststore.type", "PEM"),
                    ("ssl.truststore.location", "/no/such/file"),
                ],
                "ssl.truststore.location",
            ),
        ] {
            let error = given(properties).expect_err(named).to_string();
            assert!(error.starts_with(named) && !error.contains("hidden"), "{error}");
        }
    }
}
