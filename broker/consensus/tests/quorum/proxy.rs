//! What lies between nodes: each is reached through a proxy, and what goes from one to another can be held back.
//!
//! Who connects is read in its first frame (`docs/peers.md`). What is held back arrives later, as after a partition of a network: no
//! connection is reset.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the first frame says who connects.
const FROM_AT: usize = 52;
const READ_BYTES: usize = 16 << 10;

type Pairs = BTreeSet<(i32, i32)>;

#[derive(Clone)]
pub(crate) struct Net {
    cut: watch::Sender<Pairs>,
    behind: Arc<Mutex<BTreeMap<i32, SocketAddr>>>,
    stop: CancellationToken,
}

impl Default for Net {
    fn default() -> Self {
        Self { cut: watch::Sender::default(), behind: Arc::default(), stop: CancellationToken::new() }
    }
}

impl Net {
    /// From now on nothing of `from` arrives at `to`.
    pub(crate) fn cut(&self, from: i32, to: i32) {
        self.cut.send_modify(|cut| {
            cut.insert((from, to));
        });
    }

    /// What was held back arrives.
    pub(crate) fn heal(&self) {
        self.cut.send_modify(BTreeSet::clear);
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The node listens there from now on.
    pub(crate) fn put_behind(&self, id: i32, address: SocketAddr) {
        self.behind.lock().insert(id, address);
    }

    /// The port by which others reach the node.
    pub(crate) async fn listen(&self, to: i32) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let net = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        tokio::spawn(net.clone().carry(stream, to));
                    }
                    () = net.stop.cancelled() => return,
                }
            }
        });
        port
    }

    async fn carry(self, mut front: TcpStream, to: i32) {
        let mut first = [0; FROM_AT + 4];
        if front.read_exact(&mut first).await.is_err() {
            return;
        }
        let from = i32::from_be_bytes(first[FROM_AT..].try_into().expect("four bytes"));
        self.pass(from, to).await;
        let behind = self.behind.lock().get(&to).copied();
        let Some(behind) = behind else { return };
        let Ok(mut back) = TcpStream::connect(behind).await else { return };
        if back.write_all(&first).await.is_err() {
            return;
        }
        let ((front_in, front_out), (back_in, back_out)) = (front.into_split(), back.into_split());
        tokio::select! {
            () = self.pump((from, to), front_in, back_out) => {}
            () = self.pump((to, from), back_in, front_out) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn pump(
        &self,
        (from, to): (i32, i32),
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let Ok(read @ 1..) = reader.read(&mut bytes).await else { return };
            self.pass(from, to).await;
            if writer.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    }

    /// Waits while the way is cut.
    async fn pass(&self, from: i32, to: i32) {
        let _ = self.cut.subscribe().wait_for(|cut| !cut.contains(&(from, to))).await;
    }
}
