//! Two ends over real sockets: who gets in, what is answered, and what garbage does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peers::{
    BODY_BYTES_MAX, CallError, Failed, HandshakeError, Identity, JoinSecret, Lane, Limits, Local, Peers, Refusal,
    Remote, Request, Service, Target, accept_loop, bind,
};
use cairn_protocol::ids::BrokerId;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Far beyond what any step takes.
const LONG: Duration = Duration::from_secs(60);

/// Gives every request back; what begins with `wait` only when it is let go, and `never` not at all.
struct Echo {
    let_go: Arc<Semaphore>,
    begun: watch::Sender<usize>,
}

impl Service for Echo {
    fn call(&self, from: Remote, request: Request) -> BoxFuture<'static, Result<Bytes, Failed>> {
        self.begun.send_modify(|begun| *begun += 1);
        let let_go = Arc::clone(&self.let_go);
        async move {
            if request.body.starts_with(b"wait") {
                let_go.acquire().await.expect("open").forget();
            }
            if request.body.starts_with(b"never") {
                std::future::pending::<()>().await;
            }
            if request.body.starts_with(b"fail") {
                return Err(Failed(format!("{:?} must not", from.node).into()));
            }
            Ok([request.body, request.payload].concat().into())
        }
        .boxed()
    }
}

struct Listening {
    address: SocketAddr,
    local: Local,
    let_go: Arc<Semaphore>,
    begun: watch::Receiver<usize>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Listening {
    fn target(&self, node: Option<i32>) -> Target {
        Target { node: node.map(BrokerId), host: "127.0.0.1".into(), port: self.address.port() }
    }

    async fn begun(&self, wanted: usize) {
        let mut begun = self.begun.clone();
        tokio::time::timeout(LONG, begun.wait_for(|begun| *begun >= wanted)).await.expect("in time").expect("open");
    }
}

fn identity(cluster: Option<u128>, node: Option<i32>, secret: Option<&JoinSecret>) -> Identity {
    Identity {
        cluster: cluster.map(Uuid::from_u128),
        node: node.map(BrokerId),
        incarnation: Uuid::new_v4(),
        secret: secret.cloned(),
    }
}

async fn listen(identity: Identity, limits: Limits) -> Listening {
    let bound = bind("127.0.0.1", 0).await.expect("binds");
    let address = bound.address().expect("bound");
    let (local, stop, tasks) = (Local::new(identity), CancellationToken::new(), TaskTracker::new());
    let (let_go, begun) = (Arc::new(Semaphore::new(0)), watch::Sender::new(0));
    let begun_seen = begun.subscribe();
    let service: Arc<dyn Service> = Arc::new(Echo { let_go: Arc::clone(&let_go), begun });
    tasks.spawn(accept_loop(bound, (local.clone(), service), limits, stop.clone(), tasks.clone()));
    Listening { address, local, let_go, begun: begun_seen, stop, tasks }
}

fn peers(identity: Identity) -> Peers {
    Peers::new(Local::new(identity))
}

async fn ask(peers: &Peers, target: &Target, lane: Lane, text: &'static str) -> Result<Bytes, CallError> {
    peers.call(target, lane, Bytes::from_static(text.as_bytes()), LONG).await
}

#[tokio::test]
async fn answers_come_in_any_order_on_one_connection() {
    let secret = JoinSecret::random();
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), Limits::default()).await;
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    let target = listening.target(Some(1));
    let waiting = tokio::spawn({
        let (peers, target) = (peers.clone(), target.clone());
        async move { ask(&peers, &target, Lane::Quorum, "wait").await }
    });
    listening.begun(1).await;
    let texts: Vec<String> = (0..500).map(|number| format!("request {number}")).collect();
    let asked = texts.iter().map(|text| peers.call(&target, Lane::Quorum, Bytes::from(text.clone()), LONG));
    for (answer, text) in join_all(asked).await.into_iter().zip(&texts) {
        assert_eq!(answer.expect("answered"), text.as_bytes());
    }
    assert!(!waiting.is_finished());
    listening.let_go.add_permits(1);
    assert_eq!(waiting.await.expect("runs").expect("answered"), "wait");
    let failed = ask(&peers, &target, Lane::Quorum, "fail").await;
    assert!(matches!(&failed, Err(CallError::Failed { failed, .. }) if failed.0.contains("BrokerId(2)")), "{failed:?}");
    let large = Bytes::from(vec![7; BODY_BYTES_MAX]);
    let answer = peers.call(&target, Lane::Bulk, large.clone(), LONG).await.expect("answered");
    assert_eq!(answer, large);
    peers.close().await;
}

/// The refusal that each end gives for the same attempt.
async fn refused(acceptor: Identity, connector: Identity, node: Option<i32>, lane: Lane) -> (Refusal, bool) {
    let listening = listen(acceptor, Limits::default()).await;
    let peers = peers(connector);
    let asked = ask(&peers, &listening.target(node), lane, "x").await;
    peers.close().await;
    assert_eq!(*listening.begun.borrow(), 0, "nothing is served to whom is refused");
    match asked {
        Err(error @ CallError::Handshake { .. }) => {
            assert!(error.was_not_sent());
            let CallError::Handshake { source, .. } = error else { unreachable!() };
            match source {
                HandshakeError::Refused(refusal) => (refusal, true),
                HandshakeError::Refuses(refusal) => (refusal, false),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_not_of_the_cluster_is_refused_and_told_why() {
    let (secret, other) = (JoinSecret::random(), JoinSecret::random());
    let member = |node| identity(Some(1), Some(node), Some(&secret));
    let wrong_secret = refused(member(1), identity(Some(1), Some(2), Some(&other)), Some(1), Lane::Quorum).await;
    assert!(matches!(wrong_secret, (Refusal::Secret(_), true)), "{wrong_secret:?}");
    let none = refused(member(1), identity(Some(1), Some(2), None), Some(1), Lane::Quorum).await;
    assert!(matches!(none, (Refusal::Secret(_), false)), "a member without a secret does not even ask: {none:?}");
    let nothing_to_compare = refused(identity(Some(1), Some(1), None), member(2), Some(1), Lane::Quorum).await;
    assert!(matches!(nothing_to_compare, (Refusal::Secret(_), true)), "{nothing_to_compare:?}");
    let other_cluster = refused(member(1), identity(Some(9), Some(2), Some(&secret)), Some(1), Lane::Quorum).await;
    assert!(matches!(other_cluster, (Refusal::Cluster(_), true)), "{other_cluster:?}");
    let other_node = refused(member(1), member(2), Some(3), Lane::Quorum).await;
    assert!(matches!(other_node, (Refusal::Node(_), true)), "{other_node:?}");
    let no_member = refused(member(1), identity(None, None, Some(&secret)), Some(1), Lane::Quorum).await;
    assert!(matches!(no_member, (Refusal::Cluster(_), true)), "{no_member:?}");
    let not_yet = refused(identity(None, None, Some(&secret)), member(2), None, Lane::Quorum).await;
    assert!(matches!(not_yet, (Refusal::Cluster(_), true)), "{not_yet:?}");
    let wrong_join = refused(member(1), identity(None, None, Some(&other)), None, Lane::Join).await;
    assert!(matches!(wrong_join, (Refusal::Secret(_), true)), "a wrong secret is worse than none: {wrong_join:?}");
}

/// An acceptor that only pretends: it has another secret, and its welcome proves that.
#[tokio::test]
async fn an_acceptor_has_to_prove_itself_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let secret = JoinSecret::random();
    let honest = listen(identity(Some(1), Some(1), Some(&secret)), Limits::default()).await;
    // It lets the true acceptor answer, and changes the last frame.
    let pretending = tokio::spawn(async move {
        let (mut front, _) = listener.accept().await.expect("accepts");
        let mut back = TcpStream::connect(honest.address).await.expect("connects");
        let mut bytes = [0; 4096];
        for round in 0..2 {
            let read = front.read(&mut bytes).await.expect("reads");
            back.write_all(&bytes[..read]).await.expect("writes");
            let read = back.read(&mut bytes).await.expect("reads");
            if round == 1 {
                bytes[read - 1] ^= 1;
                let checksum = crc32c(&bytes[8..read]);
                bytes[4..8].copy_from_slice(&checksum.to_be_bytes());
            }
            front.write_all(&bytes[..read]).await.expect("writes");
        }
        honest
    });
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    let target = Target { node: Some(BrokerId(1)), host: "127.0.0.1".into(), port };
    let asked = ask(&peers, &target, Lane::Quorum, "x").await;
    let told = asked.expect_err("refused").to_string();
    assert!(told.contains("does not know this cluster's join secret"), "{told}");
    let honest = pretending.await.expect("runs");
    assert_eq!(*honest.begun.borrow(), 0);
}

/// The checksum of frames, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[tokio::test]
async fn on_one_machine_a_joiner_needs_no_secret_and_may_only_join() {
    let secret = JoinSecret::random();
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), Limits::default()).await;
    let joiner = peers(identity(None, None, None));
    assert_eq!(ask(&joiner, &listening.target(None), Lane::Join, "let me in").await.expect("served"), "let me in");
    let refused = ask(&joiner, &listening.target(None), Lane::Quorum, "let me vote").await;
    assert!(matches!(refused, Err(CallError::Handshake { .. })), "{refused:?}");
    // It becomes a member, and is one at the next connection.
    joiner.local().set(identity(Some(1), Some(2), Some(&secret)));
    assert_eq!(ask(&joiner, &listening.target(Some(1)), Lane::Quorum, "vote").await.expect("served"), "vote");
    listening.local.set(identity(Some(1), Some(1), Some(&JoinSecret::random())));
    assert_eq!(ask(&joiner, &listening.target(Some(1)), Lane::Quorum, "still").await.expect("served"), "still");
}

async fn closed(mut stream: TcpStream) -> io::Result<usize> {
    let mut rest = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("is closed in the end")
}

#[tokio::test]
async fn garbage_drops_only_its_own_connection() {
    let secret = JoinSecret::random();
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), Limits::default()).await;
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    let target = listening.target(Some(1));
    ask(&peers, &target, Lane::Quorum, "before").await.expect("answered");
    let frames: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0],
        &[0xff; 100],
        &[0, 0, 0, 13, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in frames {
        let mut stream = TcpStream::connect(listening.address).await.expect("connects");
        stream.write_all(bytes).await.expect("writes");
        // Closed with bytes unread, which is a reset to this end.
        let _ = closed(stream).await;
    }
    assert_eq!(ask(&peers, &target, Lane::Quorum, "after").await.expect("answered"), "after");
    assert_eq!(*listening.begun.borrow(), 2);
}

#[tokio::test]
async fn who_does_not_say_who_it_is_loses_its_place() {
    let secret = JoinSecret::random();
    let limits = Limits { strangers: 2, handshake: Duration::from_millis(50), ..Limits::default() };
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), limits).await;
    let silent: Vec<TcpStream> = join_all((0..20).map(|_| TcpStream::connect(listening.address)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for stream in silent {
        let _ = closed(stream).await;
    }
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    ask(&peers, &listening.target(Some(1)), Lane::Quorum, "x").await.expect("answered");
}

#[tokio::test]
async fn peers_are_bounded_and_the_bound_is_told() {
    let secret = JoinSecret::random();
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), Limits { peers: 1, ..Limits::default() }).await;
    let (first, second) =
        (peers(identity(Some(1), Some(2), Some(&secret))), peers(identity(Some(1), Some(3), Some(&secret))));
    let target = listening.target(Some(1));
    ask(&first, &target, Lane::Quorum, "x").await.expect("answered");
    let refused = ask(&second, &target, Lane::Quorum, "x").await.expect_err("all places are taken");
    assert!(refused.to_string().contains("lost") || refused.to_string().contains("busy"), "{refused}");
    first.close().await;
    // The place is free again once the other end has noticed.
    let in_time = async {
        while ask(&second, &target, Lane::Quorum, "x").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, in_time).await.expect("a place becomes free");
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_the_rest_waits() {
    let secret = JoinSecret::random();
    let limits = Limits { in_flight: 4, ..Limits::default() };
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), limits).await;
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    let target = listening.target(Some(1));
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (peers, target) = (peers.clone(), target.clone());
            tokio::spawn(async move { ask(&peers, &target, Lane::Quorum, "wait").await })
        })
        .collect();
    listening.begun(4).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*listening.begun.borrow(), 4);
    // Another lane is not behind them.
    assert_eq!(ask(&peers, &target, Lane::Bulk, "x").await.expect("answered"), "x");
    listening.let_go.add_permits(10);
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("runs").expect("answered"), "wait");
    }
}

#[tokio::test]
async fn a_silent_peer_costs_its_connection_and_the_next_request_makes_a_new_one() {
    let secret = JoinSecret::random();
    let listening = listen(identity(Some(1), Some(1), Some(&secret)), Limits::default()).await;
    let peers = peers(identity(Some(1), Some(2), Some(&secret)));
    let target = listening.target(Some(1));
    let never = peers.call(&target, Lane::Quorum, Bytes::from_static(b"never"), Duration::from_millis(50)).await;
    assert!(matches!(never, Err(CallError::Timeout { .. })), "{never:?}");
    assert!(!never.unwrap_err().was_not_sent(), "it may have been carried out");
    assert_eq!(ask(&peers, &target, Lane::Quorum, "x").await.expect("answered"), "x");
    // The end of the other side is noticed, and nobody waits for ever.
    let asked = tokio::spawn({
        let (peers, target) = (peers.clone(), target.clone());
        async move { ask(&peers, &target, Lane::Quorum, "wait").await }
    });
    listening.begun(3).await;
    listening.stop.cancel();
    let lost = asked.await.expect("runs");
    assert!(matches!(lost, Err(CallError::Lost(_))), "{lost:?}");
    listening.tasks.close();
    listening.tasks.wait().await;
    let gone = ask(&peers, &target, Lane::Quorum, "x").await.expect_err("nobody is there");
    assert!(gone.was_not_sent(), "{gone}");
    peers.close().await;
    let stopped = ask(&peers, &target, Lane::Quorum, "x").await.expect_err("it has stopped");
    assert!(stopped.was_not_sent(), "{stopped}");
}
