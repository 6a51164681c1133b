//! A broker that is no member asks a cluster to take it in, until it is.
//!
//! Must not know: what the cluster does about it.

use std::io;
use std::time::Duration;

use cairn_peers::{CallError, HandshakeError, Lane, Target};
use cairn_protocol::ids::BrokerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::record::MemberRecord;
use super::seeding::Waiting;
use super::serving::{PeersAnswer, peers_request};
use super::wire::{self, Join, Joined};
use super::{MembershipError, Peering};
use crate::config::HostPort;

/// How long one member may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a member's client listener may take to say where members are reached.
const PEERS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the asking rests when nobody took it.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of the list of members.
const PEERS_BYTES_MAX: usize = 64 << 10;
/// So many tries in vain go by before the next one is told.
const TRIES_PER_WARNING: u32 = 25;

/// How a broker that was none became a member.
#[derive(Debug)]
pub(super) enum Formed {
    /// A cluster has taken it in.
    Joined(MemberRecord),
    /// There is no cluster, and it founds the one of its seeds.
    Founds,
}

/// Asks one after the other until the cluster has taken the broker in, or says why not; one that waits for its seeds may found a cluster
/// instead, when none of them has members.
pub(super) async fn join(
    peering: &Peering,
    at: &[HostPort],
    ask: &Join,
    (waiting, stop): (Option<&Waiting>, &CancellationToken),
) -> Result<Formed, MembershipError> {
    for tries in 0u32.. {
        let trying = async {
            for at in at {
                match try_once(peering, at, ask).await {
                    Ok(joined) => return Some(joined.map(Formed::Joined)),
                    Err(Again(why)) if tries % TRIES_PER_WARNING == 0 => {
                        tracing::warn!(join = %at, why, "not taken in yet; asking on");
                    }
                    Err(Again(_)) => {}
                }
            }
            if let Some(waiting) = waiting {
                match waiting.founds(at).await {
                    Ok(true) => return Some(Ok(Formed::Founds)),
                    Ok(false) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            tokio::time::sleep(PAUSE).await;
            None
        };
        let joined = tokio::select! {
            joined = trying => joined,
            () = stop.cancelled() => return Err(MembershipError::Stopped),
        };
        if let Some(joined) = joined {
            return joined;
        }
    }
    Err(MembershipError::Stopped)
}

/// It may work later.
struct Again(String);

async fn try_once(
    peering: &Peering,
    at: &HostPort,
    ask: &Join,
) -> Result<Result<MemberRecord, MembershipError>, Again> {
    let found = tokio::time::timeout(PEERS_TIMEOUT, ask_for_peers(at)).await;
    let found = found.map_err(|_| Again(format!("{at} did not answer")))?;
    let PeersAnswer { members } = found.map_err(|error| Again(format!("{at}: {error}")))?;
    let mut last = format!("{at} knows no member that could be asked");
    for (node, host, port, _) in members {
        let target = Target { node: Some(BrokerId(node)), host, port };
        let request = wire::request(wire::JOIN, ask);
        match peering.peers.call(&target, Lane::Join, request, ANSWER_TIMEOUT).await {
            Ok(answer) => match wire::read(&answer) {
                Some(Joined::Member { cluster, node, secret }) => {
                    let given = secret.and_then(|text| text.parse().ok());
                    let Some(secret) = peering.local.get().secret.clone().or(given) else {
                        return Ok(Err(MembershipError::Refused(format!("{target} gave no join secret"))));
                    };
                    return Ok(Ok(MemberRecord { cluster, node: BrokerId(node), port: ask.port, secret }));
                }
                Some(Joined::Refused(why)) => return Ok(Err(MembershipError::Refused(why.into()))),
                Some(Joined::NotController) => last = format!("{target} is not the controller"),
                None => last = format!("{target} answers what is not understood"),
            },
            Err(CallError::Handshake {
                target,
                source: HandshakeError::Refused(refusal) | HandshakeError::Refuses(refusal),
            }) => return Ok(Err(MembershipError::Refused(format!("{target}: {refusal}")))),
            Err(error) => last = error.to_string(),
        }
    }
    Err(Again(last))
}

/// Asks a broker at its client address which members vote on the cluster's metadata, as far as it knows.
///
/// Cancel-safe.
///
/// # Errors
/// When it does not answer, or is no broker of this kind.
pub async fn voters(host: &str, port: u16) -> io::Result<Vec<BrokerId>> {
    let asked = tokio::time::timeout(PEERS_TIMEOUT, ask_for_peers(&HostPort { host: host.into(), port })).await;
    let PeersAnswer { members } = asked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let voter = |(node, _, _, votes): (i32, Box<str>, u16, bool)| votes.then_some(BrokerId(node));
    Ok(members.into_iter().filter_map(voter).collect())
}

/// Asks a member's client listener where members are reached by their peers.
async fn ask_for_peers(at: &HostPort) -> io::Result<PeersAnswer> {
    let mut stream = TcpStream::connect((at.host.as_str(), at.port)).await?;
    stream.write_all(&peers_request()).await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > PEERS_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long: no Cairn broker?"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    PeersAnswer::decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer of a Cairn broker"))
}
