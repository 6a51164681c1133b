//! Makes connections: resolves a name, connects to the first address that answers, learns what the broker serves.
//!
//! Must not know: which broker is wanted for what.

use std::io;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ApiVersionsRequest;
use tokio::net::{TcpStream, lookup_host};

use super::{Address, Connection, Versions};
use crate::config::ClientConfig;
use crate::error::RequestError;

/// The newest ApiVersions that is tried; a broker that does not know it answers as version 0 (KIP-511).
const API_VERSIONS: i16 = 3;
const SOFTWARE_NAME: &str = "cairn-client";

/// Makes connections by a client's settings.
#[derive(Clone)]
pub(crate) struct Dialer {
    config: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    /// A connection that is ready for requests.
    ///
    /// Cancel-safe: what was connected so far is closed.
    pub(crate) async fn dial(&self, to: &Address) -> Result<Connection, RequestError> {
        let address: Arc<str> = to.to_string().into();
        let failed =
            |reason: io::Error| RequestError::Connect { address: Arc::clone(&address), reason: Arc::new(reason) };
        let connecting = tokio::time::timeout(self.config.connect_timeout, connect(to));
        let stream = match connecting.await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(failed)?;
        let connection = Connection::start(
            stream,
            Arc::clone(&address),
            Arc::clone(&self.config.client_id),
            self.config.request_timeout,
            self.config.response_max_bytes,
        );
        connection.set_versions(self.learn_versions(&connection).await?);
        tracing::debug!(%address, "connected");
        Ok(connection)
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
