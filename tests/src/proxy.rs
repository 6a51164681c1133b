//! A way between a client and a broker that does what networks do: delays, slow lines, silence, half-open connections, cuts, garbage.
//!
//! It carries bytes and must not know what they mean.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::dice::Dice;

/// How much is carried at a time.
const PIECE_BYTES: usize = 16 << 10;
/// How much of what a client says may be under way.
const PIECES_HELD_MAX: usize = 256;

/// What happens to all that is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// Every piece arrives so much later.
    Late(Duration),
    /// So many bytes arrive in a millisecond.
    Slow(usize),
    /// Nothing arrives, and connections stay. What is under way arrives when this is over, where the client still waits for it.
    Silent,
    /// Nothing that the broker says arrives, ever; what the client says does. Connections that were made by then stay so when this is over.
    HalfOpen,
    /// Connections end as soon as they are made.
    Refused,
}

/// Connections of clients, carried to a broker.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: Arc<Way>,
    _runtime: Runtime,
}

#[derive(Debug)]
struct Way {
    /// The broker's port.
    to: OnceLock<u16>,
    weather: watch::Sender<Weather>,
    /// Counts the cuts: whoever was there before ends.
    cuts: watch::Sender<u64>,
    /// What the broker says next is garbage.
    garbles: AtomicBool,
    dice: Mutex<Dice>,
    open: AtomicUsize,
}

impl Proxy {
    /// Listens. Where it leads is said by [`Proxy::lead_to`].
    pub fn start(dice: Dice) -> io::Result<Proxy> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let way = Arc::new(Way {
            to: OnceLock::new(),
            weather: watch::Sender::new(Weather::Fair),
            cuts: watch::Sender::new(0),
            garbles: AtomicBool::new(false),
            dice: Mutex::new(dice),
            open: AtomicUsize::new(0),
        });
        runtime.spawn(accept(listener, Arc::clone(&way)));
        Ok(Proxy { address, way, _runtime: runtime })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's port on this machine. What was said first counts.
    pub fn lead_to(&self, port: u16) {
        self.way.to.get_or_init(|| port);
    }

    /// What happens from now on.
    pub fn set(&self, weather: Weather) {
        self.way.weather.send_replace(weather);
    }

    /// All connections that there are end.
    pub fn cut(&self) {
        self.way.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Instead of what the broker says next on some connection random bytes arrive, and the connection ends.
    pub fn garble(&self) {
        self.way.garbles.store(true, Ordering::SeqCst);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.way.open.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        let (weather, to) = (*way.weather.borrow(), way.to.get());
        if let (true, Some(port)) = (weather != Weather::Refused, to) {
            tokio::spawn(carry(client, *port, Arc::clone(&way)));
        }
    }
}

async fn carry(client: TcpStream, port: u16, way: Arc<Way>) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    way.open.fetch_add(1, Ordering::SeqCst);
    let mut cuts = way.cuts.subscribe();
    // Small pieces go out as they come, as with brokers and clients themselves.
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
    tokio::select! {
        () = there(from_client, to_broker, &way) => {}
        () = back(from_broker, to_client, &way) => {}
        _ = cuts.changed() => {}
    }
    way.open.fetch_sub(1, Ordering::SeqCst);
}

/// What the client says, until it ends. What has not arrived by then never does: else what a client has given up long ago, and said otherwise
/// since, would come in after that.
async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way) {
    let (read, mut held) = mpsc::channel::<Vec<u8>>(PIECES_HELD_MAX);
    let reading = async {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            if read.send(piece[..length].to_vec()).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some(piece) = held.recv().await {
            if pass(&mut to, &piece, way).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// What the broker says, until it ends.
async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if *way.weather.borrow() == Weather::HalfOpen {
            // The other direction sees when the client gives it up.
            std::future::pending::<()>().await;
        }
        let garbles = way.garbles.swap(false, Ordering::SeqCst);
        if garbles {
            let mut dice = way.dice.lock().unwrap_or_else(PoisonError::into_inner);
            piece[..length].iter_mut().for_each(|byte| *byte = dice.roll().to_le_bytes()[0]);
        }
        if pass(&mut to, &piece[..length], way).await.is_err() || garbles {
            return;
        }
    }
}

async fn pass(to: &mut OwnedWriteHalf, piece: &[u8], way: &Way) -> io::Result<()> {
    let weather = *way.weather.borrow();
    match weather {
        Weather::Late(by) => tokio::time::sleep(by).await,
        Weather::Slow(bytes) => {
            for part in piece.chunks(bytes.max(1)) {
                to.write_all(part).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Ok(());
        }
        Weather::Silent => {
            let mut changes = way.weather.subscribe();
            drop(changes.wait_for(|now| *now != Weather::Silent).await);
        }
        Weather::Fair | Weather::HalfOpen | Weather::Refused => {}
    }
    to.write_all(piece).await
}
