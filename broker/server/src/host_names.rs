//! What names of hosts stand for, where quotas name them: looked up on threads that may wait for an answer.
//!
//! Must not know: who is limited, and to what.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::quotas::Quotas;

/// Nobody waits longer for one name.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Names that could not be looked up are tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The address of a host: of several the one that the system gives first, as with Kafka.
pub(crate) async fn look_up(host: &str) -> io::Result<IpAddr> {
    let mut found = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, 0))).await??;
    let first = found.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(first.ip())
}

/// Looks up the names in quotas that are not known here: those of before the start. Goes on until `stop`.
pub(crate) async fn look_up_unknown(quotas: Arc<Quotas>, stop: CancellationToken) {
    loop {
        for host in quotas.unknown_hosts() {
            match look_up(&host).await {
                Ok(ip) => quotas.on_host(&host, ip),
                Err(error) => {
                    tracing::warn!(%host, %error, "the quota of a host is not in force: its name is not found");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            () = stop.cancelled() => return,
        }
    }
}
