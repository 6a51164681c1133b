//! A client from the command line's `--bootstrap`.
//!
//! Must not know: what the client is for.

use std::time::Duration;

use cairn_client::Client;

use crate::args::Bootstrap;
use crate::exit::Failure;

/// A person waits: shorter than the library's own.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for this cluster. Wrong addresses are wrong usage.
pub(crate) fn client(cluster: &Bootstrap) -> Result<Client, Failure> {
    Client::builder(&cluster.bootstrap)
        .client_id("cairn-cli")
        .operation_timeout(OPERATION_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(|error| Failure::usage(error.to_string()))
}
