use std::sync::Mutex;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Advertise;
use crate::net::ListenerInfo;

/// Answers each request with its own bytes; the first byte says how.
struct Echo {
    seen: mpsc::UnboundedSender<u8>,
    /// What requests that begin with `W` or `A` wait for.
    gate: Arc<Semaphore>,
}

impl Service for Echo {
    fn call(&self, request: Request) -> Answer {
        let frame = request.frame;
        self.seen.send(frame[0]).unwrap();
        let gate = Arc::clone(&self.gate);
        let later = |frame: Bytes| {
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                if frame[0] == b'E' { Err("no answer".into()) } else { Ok(Reply::from(vec![frame])) }
            })
        };
        match frame[0] {
            b'W' | b'E' => Answer::Later(later(frame), Order::Pipelined),
            b'A' => Answer::Later(later(frame), Order::Alone),
            b'J' => Answer::Later(later(Bytes::from_static(b"J")), Order::AloneAndLight),
            b'N' => Answer::Now(Reply::default()),
            b'M' => Answer::Now(muted(frame)),
            b'L' => Answer::Now(vec![Bytes::from(vec![b'L'; 1 << 20]); 64].into()),
            b'X' => Answer::Close("as asked".into()),
            _ => Answer::Now(vec![frame].into()),
        }
    }
}

/// The request's own bytes, and a mute of so many milliseconds as the bytes behind the first say.
fn muted(frame: Bytes) -> Reply {
    let millis: [u8; 4] = frame[1..5].try_into().unwrap();
    let time = Duration::from_millis(u32::from_be_bytes(millis).into());
    let counted = Held::new(&Gauge::default());
    Reply { pieces: vec![frame], mute: Some(Mute { time, counted }) }
}

struct Fixture {
    client: TcpStream,
    ended: JoinHandle<Ended>,
    seen: mpsc::UnboundedReceiver<u8>,
    gate: Arc<Semaphore>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

const LIMITS: Limits = Limits {
    frame_max: 8 << 20,
    in_flight_max: 4,
    queued_bytes_max: 1 << 20,
    request_bytes_max: 4 << 20,
    idle: Duration::from_secs(600),
    request_timeout: Duration::from_secs(600),
    write_timeout: Duration::from_secs(600),
};

impl Fixture {
    async fn new(limits: Limits, budget: &RequestBudget) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let client = TcpStream::connect(bound).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let info = Arc::new(ConnectionInfo {
            listener: Arc::new(ListenerInfo::for_tests("PLAINTEXT", Advertise::Reached, bound)),
            peer,
            local: bound,
        });
        let (seen_tx, seen) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let service = Arc::new(Echo { seen: seen_tx, gate: Arc::clone(&gate) });
        let connection = Connection::new(stream, info, Arc::new(limits), budget.clone(), service);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = tokio::spawn(connection.run(async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { client, ended, seen, gate, stop: Some(stop) }
    }

    async fn send(&mut self, kind: u8, length: usize) {
        self.client.write_all(&frame(kind, length)).await.unwrap();
    }

    async fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        self.client.read_exact(&mut answer).await.unwrap();
        answer
    }

    async fn handled(&mut self) -> u8 {
        self.seen.recv().await.unwrap()
    }
}

fn frame(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = i32::try_from(length).unwrap().to_be_bytes().to_vec();
    bytes.resize(4 + length, kind);
    bytes
}

fn budget() -> RequestBudget {
    RequestBudget::new(64 << 20)
}

#[tokio::test]
async fn answers_leave_in_the_order_of_the_requests() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    for kind in [b'W', b'1', b'N', b'2'] {
        f.send(kind, 8).await;
    }
    for kind in [b'W', b'1', b'N', b'2'] {
        assert_eq!(f.handled().await, kind, "later requests begin while the first waits");
    }
    f.gate.add_permits(1);
    assert_eq!(f.receive(24).await, b"WWWWWWWW1111111122222222");
}

#[tokio::test]
async fn an_answer_that_there_is_not_ends_the_connection_and_no_later_one_leaves() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    for kind in [b'W', b'E', b'1'] {
        f.send(kind, 8).await;
        assert_eq!(f.handled().await, kind);
    }
    f.gate.add_permits(2);
    assert_eq!(f.receive(8).await, b"WWWWWWWW");
    assert!(matches!(f.ended.await.unwrap(), Ended::Garbage(_)));
    assert_eq!(f.client.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_goes_alone_holds_the_next_one_back() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    f.send(b'A', 8).await;
    f.send(b'1', 8).await;
    assert_eq!(f.handled().await, b'A');
    assert_eq!(f.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    f.gate.add_permits(1);
    assert_eq!(f.receive(16).await, b"AAAAAAAA11111111");
}

#[tokio::test]
async fn no_more_requests_begin_than_may_be_in_flight() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    for _ in 0..9 {
        f.send(b'W', 8).await;
    }
    for _ in 0..4 {
        assert_eq!(f.handled().await, b'W');
    }
    for _ in 0..5 {
        assert_eq!(f.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty));
        f.gate.add_permits(1);
        f.receive(8).await;
        assert_eq!(f.handled().await, b'W');
    }
}

#[tokio::test]
async fn no_more_bytes_begin_than_may_be_in_flight() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    let (mut reader, mut writer) = f.client.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..4 {
            writer.write_all(&frame(b'W', 3 << 20)).await.unwrap();
        }
        writer
    });
    for _ in 0..2 {
        assert_eq!(f.seen.recv().await, Some(b'W'));
    }
    let mut answer = vec![0; 3 << 20];
    for _ in 0..2 {
        assert_eq!(f.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty), "two are more than the bound");
        f.gate.add_permits(1);
        reader.read_exact(&mut answer).await.unwrap();
        assert_eq!(f.seen.recv().await, Some(b'W'));
    }
    f.gate.add_permits(2);
    reader.read_exact(&mut answer).await.unwrap();
    reader.read_exact(&mut answer).await.unwrap();
    sending.await.unwrap();
}

#[tokio::test]
async fn lengths_that_are_none_end_the_connection() {
    for length in [-1, 0, 7, (8 << 20) + 1, i32::MAX, i32::MIN] {
        let mut f = Fixture::new(LIMITS, &budget()).await;
        f.client.write_all(&length.to_be_bytes()).await.unwrap();
        assert!(matches!(f.ended.await.unwrap(), Ended::Receive(ReceiveError::Length { .. })), "{length}");
        assert_eq!(f.client.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn garbage_is_told_after_the_answers_before_it() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    for kind in [b'W', b'X', b'1'] {
        f.send(kind, 8).await;
    }
    assert_eq!(f.handled().await, b'W');
    assert_eq!(f.handled().await, b'X');
    f.gate.add_permits(1);
    assert_eq!(f.receive(8).await, b"WWWWWWWW");
    assert!(matches!(f.ended.await.unwrap(), Ended::Garbage(_)));
    assert!(f.seen.recv().await.is_none(), "nothing behind the garbage is looked at");
}

#[tokio::test]
async fn what_was_sent_before_closing_is_still_handled() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    for kind in [b'A', b'1', b'2'] {
        f.send(kind, 8).await;
    }
    f.client.shutdown().await.unwrap();
    f.gate.add_permits(1);
    let mut answers = Vec::new();
    f.client.read_to_end(&mut answers).await.unwrap();
    assert_eq!(answers, b"AAAAAAAA1111111122222222");
    assert!(matches!(f.ended.await.unwrap(), Ended::Receive(ReceiveError::Closed)));
}

#[tokio::test]
async fn a_request_that_does_not_arrive_whole_ends_the_connection() {
    let limits = Limits { request_timeout: Duration::from_millis(30), ..LIMITS };
    for part in [1, 4, 5, 11] {
        let mut f = Fixture::new(limits.clone(), &budget()).await;
        f.client.write_all(&frame(b'1', 8)[..part]).await.unwrap();
        assert!(matches!(f.ended.await.unwrap(), Ended::SlowRequest), "{part}");
        assert!(f.seen.recv().await.is_none());
    }
}

/// Room in the budget is held for what a length promises: a promise alone must not hold it for minutes.
#[tokio::test]
async fn a_length_buys_no_time_that_bytes_do_not() {
    let budget = budget();
    let limits = Limits { request_timeout: Duration::from_millis(30), ..LIMITS };
    let mut f = Fixture::new(limits, &budget).await;
    let available = budget.available();
    f.client.write_all(&frame(b'1', 8 << 20)[..1000]).await.unwrap();
    assert!(matches!(f.ended.await.unwrap(), Ended::SlowRequest));
    assert_eq!(budget.available(), available);
}

#[tokio::test]
async fn a_request_that_does_not_arrive_whole_beside_a_long_poll_ends_the_connection() {
    let limits = Limits { request_timeout: Duration::from_millis(30), ..LIMITS };
    let mut f = Fixture::new(limits, &budget()).await;
    f.send(b'W', 8).await;
    assert_eq!(f.handled().await, b'W');
    f.client.write_all(&frame(b'1', 1 << 20)[..1000]).await.unwrap();
    assert!(matches!(f.ended.await.unwrap(), Ended::SlowRequest));
}

#[tokio::test]
async fn an_idle_connection_ends_but_one_that_waits_for_the_broker_does_not() {
    let limits = Limits { idle: Duration::from_millis(30), ..LIMITS };
    let f = Fixture::new(limits.clone(), &budget()).await;
    assert!(matches!(f.ended.await.unwrap(), Ended::Idle(_)));

    let mut waiting = Fixture::new(limits.clone(), &budget()).await;
    waiting.send(b'W', 8).await;
    waiting.handled().await;
    let other = Fixture::new(limits, &budget()).await;
    assert!(matches!(other.ended.await.unwrap(), Ended::Idle(_)), "begun later, ended earlier");
    assert!(!waiting.ended.is_finished());
    waiting.gate.add_permits(1);
    assert_eq!(waiting.receive(8).await, b"WWWWWWWW");
    assert!(matches!(waiting.ended.await.unwrap(), Ended::Idle(_)));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_ends_its_connection() {
    let limits = Limits { write_timeout: Duration::from_millis(30), ..LIMITS };
    let mut f = Fixture::new(limits, &budget()).await;
    f.send(b'L', 8).await;
    assert!(matches!(f.ended.await.unwrap(), Ended::SlowReader(_)));
}

#[tokio::test]
async fn answers_that_are_not_taken_hold_requests_back() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    f.send(b'L', 8).await;
    assert_eq!(f.handled().await, b'L');
    f.send(b'1', 8).await;
    f.receive(1 << 20).await;
    assert_eq!(f.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty), "more than the bound still waits");
    f.receive(63 << 20).await;
    assert_eq!(f.receive(8).await, b"11111111");
}

#[tokio::test]
async fn large_requests_wait_for_the_brokers_budget_and_small_ones_do_not() {
    let budget = RequestBudget::new(3 << 20);
    let mut first = Fixture::new(LIMITS, &budget).await;
    let mut second = Fixture::new(LIMITS, &budget).await;
    let mut third = Fixture::new(LIMITS, &budget).await;
    first.send(b'W', 2 << 20).await;
    assert_eq!(first.handled().await, b'W');
    second.client.write_all(&frame(b'1', 2 << 20)[..1000]).await.unwrap();
    third.send(b'2', 8).await;
    assert_eq!(third.receive(8).await, b"22222222");
    assert_eq!(second.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    first.gate.add_permits(1);
    first.receive(2 << 20).await;
    second.client.write_all(&frame(b'1', 2 << 20)[1000..]).await.unwrap();
    assert_eq!(second.handled().await, b'1');
    second.receive(2 << 20).await;
    third.send(b'2', 8).await;
    third.receive(8).await;
    assert_eq!(budget.available(), 3 << 20);
}

#[tokio::test]
async fn a_request_of_which_nothing_is_kept_holds_no_budget_while_it_waits() {
    let budget = RequestBudget::new(3 << 20);
    let mut waiting = Fixture::new(LIMITS, &budget).await;
    waiting.send(b'J', 2 << 20).await;
    assert_eq!(waiting.handled().await, b'J');
    let mut other = Fixture::new(LIMITS, &budget).await;
    other.send(b'1', 2 << 20).await;
    assert_eq!(other.handled().await, b'1', "there is room for others");
    waiting.send(b'2', 8).await;
    other.receive(2 << 20).await;
    assert_eq!(waiting.seen.try_recv(), Err(mpsc::error::TryRecvError::Empty), "the next request waits all the same");
    waiting.gate.add_permits(1);
    assert_eq!(waiting.receive(9).await, b"J22222222");
}

#[tokio::test]
async fn memory_grows_by_what_arrives_and_not_by_what_is_promised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let inbox = Mutex::new(Inbox::new(100 << 20, RequestBudget::new(128 << 20)));
    client.write_all(&frame(b'1', 64 << 20)[..300_000]).await.unwrap();
    poll_fn(|cx| {
        let mut inbox = inbox.lock().unwrap();
        assert!(inbox.poll_frame(&mut stream, cx, Instant::now()).is_pending());
        if inbox.buffered() == 300_000 - 4 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert!(inbox.lock().unwrap().capacity() <= 4 * 300_000);
}

#[tokio::test]
async fn a_stopping_broker_answers_what_it_has_begun() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    f.send(b'W', 8).await;
    f.handled().await;
    f.stop.take().unwrap().send(()).unwrap();
    tokio::task::yield_now().await;
    f.gate.add_permits(1);
    assert_eq!(f.receive(8).await, b"WWWWWWWW");
    assert!(matches!(f.ended.await.unwrap(), Ended::Shutdown));
}

const HOUR_MS: u32 = 3_600_000;
const HOUR: Duration = Duration::from_millis(HOUR_MS as u64);

/// A frame of eight bytes that mutes its connection.
fn muting(millis: u32) -> Vec<u8> {
    let mut bytes = frame(b'M', 8);
    bytes[5..9].copy_from_slice(&millis.to_be_bytes());
    bytes
}

#[tokio::test]
async fn a_muted_client_is_answered_at_once_and_not_read_from_until_its_time_is_over() {
    let mut f = Fixture::new(LIMITS, &budget()).await;
    let sent = Instant::now();
    f.send(b'W', 8).await;
    f.client.write_all(&muting(40)).await.unwrap();
    f.client.write_all(&muting(200)).await.unwrap();
    f.send(b'1', 8).await;
    assert_eq!((f.handled().await, f.handled().await), (b'W', b'M'));
    f.gate.add_permits(1);
    assert_eq!(&f.receive(16).await[..9], b"WWWWWWWWM", "what was begun is answered while it is muted");
    assert_eq!(f.handled().await, b'M');
    assert!(sent.elapsed() >= Duration::from_millis(40), "the first time was over");
    f.receive(8).await;
    assert_eq!(f.handled().await, b'1');
    assert!(sent.elapsed() >= Duration::from_millis(240), "the second as well");
    assert_eq!(f.receive(8).await, b"11111111");
}

#[tokio::test]
async fn a_muted_client_that_leaves_is_not_waited_for_unless_it_left_something_to_do() {
    let limits = Limits { idle: HOUR, ..LIMITS };
    let mut f = Fixture::new(limits.clone(), &budget()).await;
    f.client.write_all(&muting(HOUR_MS)).await.unwrap();
    f.receive(8).await;
    f.client.shutdown().await.unwrap();
    assert!(matches!(f.ended.await.unwrap(), Ended::Receive(ReceiveError::Closed)));

    let mut f = Fixture::new(limits, &budget()).await;
    f.client.write_all(&[muting(50), frame(b'1', 8)].concat()).await.unwrap();
    f.client.shutdown().await.unwrap();
    assert_eq!((f.handled().await, f.handled().await), (b'M', b'1'));
    assert_eq!(&f.receive(16).await[8..], b"11111111");
    assert!(matches!(f.ended.await.unwrap(), Ended::Receive(ReceiveError::Closed)));
}

#[tokio::test]
async fn a_muted_client_is_idle_after_all() {
    let limits = Limits { idle: Duration::from_millis(30), ..LIMITS };
    let mut f = Fixture::new(limits, &budget()).await;
    f.client.write_all(&muting(HOUR_MS)).await.unwrap();
    f.receive(8).await;
    assert!(matches!(f.ended.await.unwrap(), Ended::Idle(_)));
}
