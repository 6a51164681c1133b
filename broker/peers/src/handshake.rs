//! The first frames of a connection: who is at each end, and the proof that both know the cluster's secret.
//!
//! ```text
//!   connector                                    acceptor
//!   Hello: who I am, whom I want, a nonce   ->
//!                                           <-   Challenge: who I am, a nonce      or Refused
//!   Proof: HMAC over both, as connector     ->
//!                                           <-   Welcome: HMAC over both, as acceptor   or Refused
//! ```
//! A connector that has no secret yet sends a proof of zeros. That is taken only for joining, and only from the same machine.
//! `docs/peers.md` draws the bytes.
//!
//! Must not know: what the connection is used for afterwards.

use std::net::IpAddr;

use bytes::Bytes;
use cairn_protocol::ids::BrokerId;
use futures::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::FramedRead;
use uuid::Uuid;

use crate::bytes::{Cursor, Malformed, put_node, put_uuid_or_none};
use crate::frame::{Frame, FrameDecoder, FrameError, Kind, PAYLOAD_BYTES_MAX, head};
use crate::identity::Identity;
use crate::secret::PROOF_BYTES;

const MAGIC: [u8; 8] = *b"cairnpee";
/// The protocol of connections that this release speaks.
const VERSION: u16 = 1;
const NONCE_BYTES: usize = 32;
const CONNECTOR: &[u8] = b"cairn peer connector v1";
const ACCEPTOR: &[u8] = b"cairn peer acceptor v1";
/// A longer text of a refusal is cut.
const TEXT_BYTES_MAX: usize = 512;

/// What a connection is for. Each has connections of its own, so that none waits behind another's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Votes, entries of the metadata log, commands, heartbeats: small, and never late.
    Quorum = 0,
    /// Checkpoints of the metadata: large, and in no hurry.
    Bulk = 1,
    /// A broker that is no member yet asks to be one.
    Join = 2,
    /// Records for followers.
    Replication = 3,
}

impl Lane {
    fn of(code: u8) -> Option<Self> {
        [Self::Quorum, Self::Bulk, Self::Join, Self::Replication].into_iter().find(|lane| *lane as u8 == code)
    }

    /// The longest payload of a request.
    pub(crate) fn payload_max(self) -> usize {
        if self == Self::Replication { PAYLOAD_BYTES_MAX } else { 0 }
    }
}

/// Why one end does not talk to the other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No version is known to both.
    #[error("version: {0}")]
    Version(Box<str>),
    /// The other end is of another cluster, or of none.
    #[error("cluster: {0}")]
    Cluster(Box<str>),
    /// The other end is not the node that was wanted.
    #[error("node: {0}")]
    Node(Box<str>),
    /// The other end does not know the cluster's secret.
    #[error("join secret: {0}")]
    Secret(Box<str>),
    /// All connections are taken.
    #[error("busy: {0}")]
    Busy(Box<str>),
    /// Of a later release.
    #[error("{0}")]
    Other(Box<str>),
}

impl Refusal {
    fn encode(&self) -> Vec<u8> {
        let (code, text) = match self {
            Self::Version(text) => (1, text),
            Self::Cluster(text) => (2, text),
            Self::Node(text) => (3, text),
            Self::Secret(text) => (4, text),
            Self::Busy(text) => (5, text),
            Self::Other(text) => (0, text),
        };
        let mut bytes = vec![code];
        bytes.extend(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].bytes());
        bytes
    }

    pub(crate) fn decode(body: &[u8]) -> Self {
        let (code, text) = body.split_first().map_or((0, &[][..]), |(code, text)| (*code, text));
        // Control characters of whoever answers have no business in our log.
        let text = String::from_utf8_lossy(text);
        let text: Box<str> = text.chars().filter(|character| !character.is_control()).collect();
        match code {
            1 => Self::Version(text),
            2 => Self::Cluster(text),
            3 => Self::Node(text),
            4 => Self::Secret(text),
            5 => Self::Busy(text),
            _ => Self::Other(text),
        }
    }
}

/// A connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other end refuses.
    #[error("refused by the other end: {0}")]
    Refused(Refusal),
    /// The other end is not whom it should be.
    #[error("the other end is refused: {0}")]
    Refuses(Refusal),
    /// The other end went away.
    #[error("the connection was closed while it was being made")]
    Closed,
    /// The other end speaks something else.
    #[error("the other end does not speak as a Cairn peer: {0}")]
    Garbage(Box<str>),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<FrameError> for HandshakeError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            other => Self::Garbage(other.to_string().into()),
        }
    }
}

impl From<Malformed> for HandshakeError {
    fn from(malformed: Malformed) -> Self {
        Self::Garbage(malformed.to_string().into())
    }
}

/// Who wants to talk to whom, and what about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    versions: (u16, u16),
    pub(crate) lane: Lane,
    has_secret: bool,
    cluster: Option<Uuid>,
    pub(crate) from: Option<BrokerId>,
    to: Option<BrokerId>,
    pub(crate) incarnation: Uuid,
    nonce: [u8; NONCE_BYTES],
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    version: u16,
    cluster: Option<Uuid>,
    pub(crate) node: Option<BrokerId>,
    pub(crate) incarnation: Uuid,
    nonce: [u8; NONCE_BYTES],
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.versions.0.to_be_bytes());
        bytes.extend(self.versions.1.to_be_bytes());
        bytes.push(self.lane as u8);
        bytes.push(u8::from(self.has_secret));
        put_uuid_or_none(&mut bytes, self.cluster);
        put_node(&mut bytes, self.from);
        put_node(&mut bytes, self.to);
        bytes.extend(self.incarnation.as_bytes());
        bytes.extend(self.nonce);
        bytes
    }

    /// The versions come first and stay where they are: a later release can be told that it is too new.
    fn decode(body: &[u8]) -> Result<Result<Self, Refusal>, Malformed> {
        let mut cursor = Cursor(body);
        if cursor.array()? != MAGIC {
            return Err(Malformed);
        }
        let versions = (cursor.u16()?, cursor.u16()?);
        if !(versions.0..=versions.1).contains(&VERSION) {
            let text = format!("this release speaks {VERSION}, wanted is {} to {}", versions.0, versions.1);
            return Ok(Err(Refusal::Version(text.into())));
        }
        let lane = cursor.u8()?;
        let (has_secret, cluster) = (cursor.flag()?, cursor.uuid_or_none()?);
        let (from, to, incarnation, nonce) = (cursor.node()?, cursor.node()?, cursor.uuid()?, cursor.array()?);
        cursor.end()?;
        let Some(lane) = Lane::of(lane) else {
            return Ok(Err(Refusal::Version(format!("this release has no lane {lane}").into())));
        };
        Ok(Ok(Self { versions, lane, has_secret, cluster, from, to, incarnation, nonce }))
    }
}

impl Challenge {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.version.to_be_bytes().to_vec();
        put_uuid_or_none(&mut bytes, self.cluster);
        put_node(&mut bytes, self.node);
        bytes.extend(self.incarnation.as_bytes());
        bytes.extend(self.nonce);
        bytes
    }

    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(body);
        let (version, cluster, node) = (cursor.u16()?, cursor.uuid_or_none()?, cursor.node()?);
        let (incarnation, nonce) = (cursor.uuid()?, cursor.array()?);
        cursor.end()?;
        Ok(Self { version, cluster, node, incarnation, nonce })
    }
}

/// Both halves of a connection under way.
pub(crate) struct Halves {
    pub(crate) frames: FramedRead<OwnedReadHalf, FrameDecoder>,
    pub(crate) writer: OwnedWriteHalf,
    pub(crate) peer: IpAddr,
}

/// The connector's side: tells who we are and finds out who answers.
pub(crate) async fn connect(
    halves: &mut Halves,
    local: &Identity,
    (to, lane): (Option<BrokerId>, Lane),
) -> Result<Challenge, HandshakeError> {
    if local.secret.is_none() && !(lane == Lane::Join && halves.peer.to_canonical().is_loopback()) {
        let text = format!("{} is not on this machine: a join secret is needed (--join-secret-file)", halves.peer);
        return Err(HandshakeError::Refuses(Refusal::Secret(text.into())));
    }
    let hello = Hello {
        versions: (VERSION, VERSION),
        lane,
        has_secret: local.secret.is_some(),
        cluster: local.cluster,
        from: local.node,
        to,
        incarnation: local.incarnation,
        nonce: rand::random(),
    };
    let hello = hello.encode();
    send(&mut halves.writer, Kind::Hello, &hello).await?;
    let challenged = expect(&mut halves.frames, Kind::Challenge).await?;
    let challenge = Challenge::decode(&challenged)?;
    check_acceptor(local, to, lane, &challenge).map_err(HandshakeError::Refuses)?;
    let transcript = [&hello[..], &challenged[..]];
    let proof = local.secret.as_ref().map_or([0; PROOF_BYTES], |secret| secret.proof(CONNECTOR, transcript));
    send(&mut halves.writer, Kind::Proof, &proof).await?;
    let welcome = expect(&mut halves.frames, Kind::Welcome).await?;
    let welcome: [u8; PROOF_BYTES] = welcome[..].try_into().map_err(|_| Malformed)?;
    if let Some(secret) = &local.secret
        && !secret.verify(ACCEPTOR, transcript, &welcome)
    {
        let text = "the other end does not know this cluster's join secret";
        return Err(HandshakeError::Refuses(Refusal::Secret(text.into())));
    }
    Ok(challenge)
}

fn check_acceptor(local: &Identity, to: Option<BrokerId>, lane: Lane, challenge: &Challenge) -> Result<(), Refusal> {
    if challenge.version != VERSION {
        return Err(Refusal::Version(format!("this release speaks {VERSION}, not {}", challenge.version).into()));
    }
    if let (Some(ours), Some(theirs)) = (local.cluster, challenge.cluster)
        && ours != theirs
    {
        return Err(other_cluster(ours, theirs));
    }
    if lane != Lane::Join && challenge.cluster.is_none() {
        return Err(Refusal::Cluster("it is not a member of a cluster yet".into()));
    }
    match (to, challenge.node) {
        (Some(wanted), found) if found != Some(wanted) => Err(Refusal::Node(wrong_node(wanted, found))),
        _ => Ok(()),
    }
}

fn other_cluster(ours: Uuid, theirs: Uuid) -> Refusal {
    Refusal::Cluster(format!("this broker is of the cluster {ours}, the other end of {theirs}").into())
}

fn wrong_node(wanted: BrokerId, found: Option<BrokerId>) -> Box<str> {
    match found {
        Some(found) => format!("wanted was node {wanted}, reached was node {found}").into(),
        None => format!("wanted was node {wanted}, reached was a broker without a node id").into(),
    }
}

/// The acceptor's side: finds out who connects, and tells it who we are. What is refused is told to both ends.
pub(crate) async fn accept(halves: &mut Halves, local: &Identity) -> Result<Hello, HandshakeError> {
    let greeted = expect(&mut halves.frames, Kind::Hello).await?;
    let hello = match Hello::decode(&greeted)?.and_then(|hello| check_connector(local, halves.peer, hello)) {
        Ok(hello) => hello,
        Err(refusal) => return refuse(halves, refusal).await,
    };
    let challenge = Challenge {
        version: VERSION,
        cluster: local.cluster,
        node: local.node,
        incarnation: local.incarnation,
        nonce: rand::random(),
    };
    let challenge = challenge.encode();
    send(&mut halves.writer, Kind::Challenge, &challenge).await?;
    let proof = expect(&mut halves.frames, Kind::Proof).await?;
    let proof: [u8; PROOF_BYTES] = proof[..].try_into().map_err(|_| Malformed)?;
    let transcript = [&greeted[..], &challenge[..]];
    // Without a secret of its own the connector was let through above only where none is needed.
    let secret = local.secret.as_ref().filter(|_| hello.has_secret);
    if let Some(secret) = secret
        && !secret.verify(CONNECTOR, transcript, &proof)
    {
        let text = "it is not this cluster's (`cairn cluster secret` prints that on any member)";
        return refuse(halves, Refusal::Secret(text.into())).await;
    }
    let welcome = secret.map_or([0; PROOF_BYTES], |secret| secret.proof(ACCEPTOR, transcript));
    send(&mut halves.writer, Kind::Welcome, &welcome).await?;
    Ok(hello)
}

fn check_connector(local: &Identity, peer: IpAddr, hello: Hello) -> Result<Hello, Refusal> {
    if let (Some(ours), Some(theirs)) = (local.cluster, hello.cluster)
        && ours != theirs
    {
        return Err(other_cluster(ours, theirs));
    }
    if hello.lane != Lane::Join {
        if local.cluster.is_none() {
            return Err(Refusal::Cluster("this broker is not a member of a cluster yet".into()));
        }
        if hello.cluster.is_none() || hello.from.is_none() {
            return Err(Refusal::Cluster("only members of the cluster are served".into()));
        }
    }
    if let Some(wanted) = hello.to
        && local.node != Some(wanted)
    {
        return Err(Refusal::Node(wrong_node(wanted, local.node)));
    }
    match (hello.has_secret, &local.secret) {
        (true, Some(_)) => Ok(hello),
        (true, None) => Err(Refusal::Secret("this broker has none to compare with".into())),
        (false, _) if hello.lane == Lane::Join && peer.to_canonical().is_loopback() => Ok(hello),
        (false, _) => Err(Refusal::Secret("one is needed from another machine (--join-secret-file)".into())),
    }
}

async fn refuse<T>(halves: &mut Halves, refusal: Refusal) -> Result<T, HandshakeError> {
    send(&mut halves.writer, Kind::Refused, &refusal.encode()).await?;
    Err(HandshakeError::Refuses(refusal))
}

/// Tells a connector that it is not even listened to.
pub(crate) async fn turn_away(writer: &mut OwnedWriteHalf, refusal: &Refusal) -> std::io::Result<()> {
    send(writer, Kind::Refused, &refusal.encode()).await
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), kind: Kind, body: &[u8]) -> std::io::Result<()> {
    writer.write_all(&[&head(kind, 0, body, 0)[..], body].concat()).await
}

async fn expect(frames: &mut FramedRead<OwnedReadHalf, FrameDecoder>, wanted: Kind) -> Result<Bytes, HandshakeError> {
    match frames.next().await.ok_or(HandshakeError::Closed)?? {
        Frame { kind, body, .. } if kind == wanted => Ok(body),
        Frame { kind: Kind::Refused, body, .. } => Err(HandshakeError::Refused(Refusal::decode(&body))),
        Frame { kind, .. } => Err(HandshakeError::Garbage(format!("{kind:?} in place of {wanted:?}").into())),
    }
}

/// Reads a body as each of the first frames; what is taken is written the same.
#[cfg(fuzzing)]
pub(crate) fn read_all(body: &[u8]) {
    if let Ok(Ok(hello)) = Hello::decode(body) {
        assert_eq!(hello.encode(), body);
    }
    if let Ok(challenge) = Challenge::decode(body) {
        assert_eq!(challenge.encode(), body);
    }
    assert!(!Refusal::decode(body).to_string().contains(char::is_control));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: (1, 1),
            lane: Lane::Bulk,
            has_secret: true,
            cluster: Some(Uuid::from_u128(1)),
            from: Some(BrokerId(2)),
            to: None,
            incarnation: Uuid::from_u128(3),
            nonce: [9; NONCE_BYTES],
        }
    }

    #[test]
    fn an_id_that_is_not_there_has_no_bytes() {
        let mut bytes = Hello { cluster: None, ..hello() }.encode();
        assert!(matches!(Hello::decode(&bytes), Ok(Ok(Hello { cluster: None, .. }))));
        bytes[MAGIC.len() + 7] = 1;
        assert_eq!(Hello::decode(&bytes), Err(Malformed));
    }

    #[test]
    fn golden_bytes() {
        let expected = [
            &b"cairnpee"[..],
            &[0, 1, 0, 1, 1, 1],
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 2, 255, 255, 255, 255],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            &[9; 32],
        ]
        .concat();
        assert_eq!(hello().encode(), expected);
        assert_eq!(Hello::decode(&expected), Ok(Ok(hello())));
        let challenge = Challenge {
            version: 1,
            cluster: None,
            node: Some(BrokerId(7)),
            incarnation: Uuid::from_u128(4),
            nonce: [8; NONCE_BYTES],
        };
        let expected = [&[0, 1, 0][..], &[0; 16], &[0, 0, 0, 7], &[0; 15], &[4], &[8; 32]].concat();
        assert_eq!(challenge.encode(), expected);
        assert_eq!(Challenge::decode(&expected), Ok(challenge));
    }

    #[test]
    fn cut_or_longer_bytes_are_refused() {
        let bytes = hello().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), Err(Malformed), "{cut}");
        }
        assert_eq!(Hello::decode(&[&bytes[..], &[0]].concat()), Err(Malformed));
        let mut other = bytes.clone();
        other[12] = 200;
        assert!(matches!(Hello::decode(&other), Ok(Err(Refusal::Version(_)))), "an unknown lane");
    }

    #[test]
    fn a_later_release_is_told_so_whatever_else_it_sends() {
        let later = [&MAGIC[..], &[0, 2, 0, 9], b"what later releases send"].concat();
        assert!(matches!(Hello::decode(&later), Ok(Err(Refusal::Version(_)))));
    }

    #[test]
    fn refusals_are_read_back_and_cut() {
        let refusal = Refusal::Secret("wrong".into());
        assert_eq!(Refusal::decode(&refusal.encode()), refusal);
        let long = Refusal::Node("\u{20ac}".repeat(1000).into());
        assert!(long.encode().len() <= TEXT_BYTES_MAX + 1);
        assert_eq!(Refusal::decode(b"\x04a\x1b[31mb\n"), Refusal::Secret("a[31mb".into()));
        assert_eq!(Refusal::decode(&[]), Refusal::Other("".into()));
    }
}
