//! TLS: whom to trust, and what to show.
//!
//! Must not know: sockets.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What was given is of no use for TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct TlsError {
    /// Which part.
    what: &'static str,
    reason: Arc<str>,
}

fn wrong(what: &'static str, reason: &(impl ToString + ?Sized)) -> TlsError {
    TlsError { what, reason: reason.to_string().into() }
}

/// Whether the broker's certificate has to be for the name that was connected to (`ssl.endpoint.identification.algorithm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HostNames {
    /// It has to (`https`).
    #[default]
    Verified,
    /// Any certificate of a trusted authority will do (empty): whoever has one can pretend to be the broker.
    Any,
}

/// TLS 1.2 and 1.3, by rustls.
#[derive(Clone)]
#[must_use]
pub struct Tls {
    roots: Arc<RootCertStore>,
    identity: Option<Arc<Identity>>,
    host_names: HostNames,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    /// Trusts the authorities that this machine trusts. Reads their certificates from files.
    ///
    /// # Errors
    /// When there are none.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reason = found.errors.first().map_or_else(|| "none is installed".to_owned(), ToString::to_string);
            return Err(wrong("the system's trusted certificates", &reason));
        }
        Ok(Self::trusting(roots))
    }

    /// Trusts the authorities of these certificates only, in PEM (`ssl.truststore.certificates`).
    ///
    /// # Errors
    /// When there is no certificate, or one that is malformed.
    pub fn trusting_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in chain("trusted certificates", certificates)? {
            roots.add(certificate).map_err(|error| wrong("trusted certificates", &error))?;
        }
        Ok(Self::trusting(roots))
    }

    fn trusting(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(roots), identity: None, host_names: HostNames::Verified }
    }

    /// Shows brokers that ask for it (`ssl.client.auth`) this certificate, with those between it and an authority that they trust, and proves
    /// with the private key that it is the client's; all in PEM (`ssl.keystore.certificate.chain`, `ssl.keystore.key`).
    ///
    /// # Errors
    /// When there is no certificate, the key is malformed or encrypted, or they do not belong together.
    pub fn identity_pem(mut self, certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = chain("certificate of the client", certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| wrong("private key of the client", "it is no unencrypted PEM key (PKCS#8, PKCS#1 or SEC1)"))?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        self.config()?;
        Ok(self)
    }

    /// Whether the broker's certificate has to be for its name. Default [`HostNames::Verified`].
    pub fn host_names(mut self, host_names: HostNames) -> Self {
        self.host_names = host_names;
        self
    }

    /// What connections are made by.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong("TLS", &error))?;
        let builder = match self.host_names {
            HostNames::Verified => builder.with_root_certificates(Arc::clone(&self.roots)),
            HostNames::Any => {
                let verifier = AnyName::new(Arc::clone(&self.roots), &provider)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| wrong("certificate and private key of the client", &error))?,
        };
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = if self.identity.is_some() { "given" } else { "none" };
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("identity", &identity)
            .field("host_names", &self.host_names)
            .finish()
    }
}

fn chain(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(wrong(what, "no PEM certificate is there")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(what, &error)),
    }
}

/// Verifies all but for whom a certificate is.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl AnyName {
    fn new(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        Ok(Self(verifier.map_err(|error| wrong("trusted certificates", &error))?))
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: all else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_refused_with_what_is_wrong() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            let error = Tls::trusting_pem(text.as_bytes()).expect_err(text).to_string();
            assert!(error.starts_with("trusted certificates: "), "{error}");
        }
        let nobody = Tls::trusting(RootCertStore::empty());
        assert!(nobody.identity_pem(b"", b"").expect_err("nothing").to_string().contains("certificate of the client"));
    }
}
