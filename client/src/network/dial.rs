//! Makes connections: resolves a name, connects to the first address that answers, encrypts, learns what the broker serves, and says who the
//! client is.
//!
//! Must not know: which broker is wanted for what.

use std::io;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ApiVersionsRequest;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authenticate::authenticate;
use super::{Address, Connection, Versions};
use crate::config::ClientConfig;
use crate::error::RequestError;
use crate::security::{Tls, TlsError};
use crate::stats::Traffic;

/// The newest ApiVersions that is tried; a broker that does not know it answers as version 0 (KIP-511).
const API_VERSIONS: i16 = 3;
const SOFTWARE_NAME: &str = "cairn-client";

/// Makes connections by a client's settings.
#[derive(Clone)]
pub(crate) struct Dialer {
    config: Arc<ClientConfig>,
    tls: Option<Arc<rustls::ClientConfig>>,
    traffic: Arc<Traffic>,
}

impl Dialer {
    pub(crate) fn new(config: Arc<ClientConfig>, traffic: Arc<Traffic>) -> Result<Self, TlsError> {
        let tls = config.security.tls.as_ref().map(Tls::config).transpose()?;
        Ok(Self { config, tls, traffic })
    }

    /// A connection that is ready for requests.
    ///
    /// Cancel-safe: what was connected so far is closed.
    pub(crate) async fn dial(&self, to: &Address) -> Result<Connection, RequestError> {
        let dialled = self.try_dial(to).await;
        if dialled.is_err() {
            self.traffic.failed.add(1);
        }
        dialled
    }

    async fn try_dial(&self, to: &Address) -> Result<Connection, RequestError> {
        let address: Arc<str> = to.to_string().into();
        let failed =
            |reason: io::Error| RequestError::Connect { address: Arc::clone(&address), reason: Arc::new(reason) };
        let connecting = tokio::time::timeout(self.config.connect_timeout, connect(to));
        let stream = match connecting.await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(failed)?;
        // Rare and large: boxed.
        let connection = match &self.tls {
            None => self.start(stream.into_split(), &address),
            Some(tls) => {
                let encrypting = tokio::time::timeout(self.config.connect_timeout, Box::pin(encrypt(tls, stream, to)));
                let encrypted = encrypting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let encrypted = encrypted.map_err(|error| tls_error(&address, error))?;
                self.start(tokio::io::split(encrypted), &address)
            }
        };
        connection.set_versions(self.learn_versions(&connection).await?);
        if let Some(sasl) = &self.config.security.sasl {
            Box::pin(authenticate(&connection, sasl, self.config.request_timeout)).await?;
        }
        tracing::debug!(%address, security = ?self.config.security, "connected");
        Ok(connection)
    }

    fn start(
        &self,
        halves: (impl AsyncRead + Unpin + Send + 'static, impl AsyncWrite + Unpin + Send + 'static),
        address: &Arc<str>,
    ) -> Connection {
        let ClientConfig { client_id, request_timeout, response_max_bytes, .. } = &*self.config;
        Connection::start(
            halves,
            Arc::clone(address),
            Arc::clone(client_id),
            *request_timeout,
            *response_max_bytes,
            Arc::clone(&self.traffic),
        )
    }

    async fn learn_versions(&self, connection: &Connection) -> Result<Versions, RequestError> {
        let request = ApiVersionsRequest {
            client_software_name: SOFTWARE_NAME.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        // A broker that does not know the version says so in the shape of version 0, so the shape is looked at first.
        let response = connection.call_api_versions(API_VERSIONS, &request, self.config.connect_timeout).await?;
        match crate::error::check(response.error_code) {
            Ok(()) => Ok(Versions::from_response(&response)),
            Err(ErrorCode::UnsupportedVersion) => {
                let oldest = ApiVersionsRequest::default();
                let response = connection.call_api_versions(0, &oldest, self.config.connect_timeout).await?;
                Ok(Versions::from_response(&response))
            }
            Err(code) => Err(RequestError::Connect {
                address: Arc::clone(connection.address()),
                reason: Arc::new(io::Error::other(code.to_string())),
            }),
        }
    }
}

async fn encrypt(tls: &Arc<rustls::ClientConfig>, stream: TcpStream, to: &Address) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(to.host.to_string()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls)).connect(name, stream).await
}

/// What rustls says about the other side stays so; what the network says may pass.
fn tls_error(address: &Arc<str>, error: io::Error) -> RequestError {
    let address = Arc::clone(address);
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(reason) => RequestError::Tls { address, reason: reason.to_string().into() },
        None => RequestError::Connect { address, reason: Arc::new(error) },
    }
}

/// The first of the name's addresses that accepts.
async fn connect(to: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((&*to.host, to.port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
