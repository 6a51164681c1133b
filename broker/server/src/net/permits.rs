//! What a connection and a request need before they may take memory: permits, counted for the whole broker.
//!
//! Must not know: sockets, requests.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who may connect: so many in all, so many from one address.
pub(crate) struct ConnectionPermits {
    most: Box<dyn Fn(IpAddr) -> MostConnections + Send + Sync>,
    taken: Mutex<Taken>,
}

/// How many connections there may be now, in all and from the address that is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MostConnections {
    pub(crate) all: u32,
    pub(crate) of_address: u32,
}

impl fmt::Debug for ConnectionPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPermits").field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_ip: HashMap<IpAddr, u32>,
}

/// Gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    permits: Arc<ConnectionPermits>,
    ip: IpAddr,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionRefused {
    #[error("all {0} connections are taken (max.connections)")]
    TooMany(u32),
    #[error("all {0} connections of this address are taken (max.connections.per.ip)")]
    TooManyFromAddress(u32),
}

impl ConnectionPermits {
    /// `most` is asked with every connection.
    pub(crate) fn new(most: impl Fn(IpAddr) -> MostConnections + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { most: Box::new(most), taken: Mutex::default() })
    }

    /// Takes a place for a connection from `ip`.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Result<ConnectionPermit, ConnectionRefused> {
        let ip = ip.to_canonical();
        let most = (self.most)(ip);
        let mut taken = self.taken.lock();
        if taken.all >= most.all {
            return Err(ConnectionRefused::TooMany(most.all));
        }
        let of_ip = taken.by_ip.entry(ip).or_default();
        if *of_ip >= most.of_address {
            return Err(ConnectionRefused::TooManyFromAddress(most.of_address));
        }
        *of_ip += 1;
        taken.all += 1;
        Ok(ConnectionPermit { permits: Arc::clone(self), ip })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.permits.taken.lock();
        taken.all -= 1;
        let of_ip = taken.by_ip.get_mut(&self.ip).expect("a permit was counted when it was taken");
        *of_ip -= 1;
        if *of_ip == 0 {
            taken.by_ip.remove(&self.ip);
        }
    }
}

/// The bytes of all requests that are being received or handled.
#[derive(Clone, Debug)]
pub(crate) struct RequestBudget(Arc<Semaphore>);

/// Gives its bytes back when dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl RequestBudget {
    pub(crate) fn new(bytes: u32) -> Self {
        Self(Arc::new(Semaphore::new(bytes as usize)))
    }

    /// Takes the bytes at once, when they are there and nobody waits for some.
    pub(crate) fn try_take(&self, bytes: u32) -> Option<RequestPermit> {
        Arc::clone(&self.0).try_acquire_many_owned(bytes).ok().map(RequestPermit)
    }

    /// Waits for the bytes, in order of arrival.
    pub(crate) async fn take(self, bytes: u32) -> RequestPermit {
        RequestPermit(self.0.acquire_many_owned(bytes).await.expect("the budget is never closed"))
    }

    /// Bytes that are not taken.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.0.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address with a bound of its own.
    fn own() -> IpAddr {
        "10.0.0.9".parse().unwrap()
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let permits =
            ConnectionPermits::new(|ip| MostConnections { all: 3, of_address: if ip == own() { 1 } else { 2 } });
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = permits.take(a).unwrap();
        let _second = permits.take(mapped).unwrap();
        assert_eq!(permits.take(a).unwrap_err(), ConnectionRefused::TooManyFromAddress(2));
        let third = permits.take(b).unwrap();
        assert_eq!(permits.take(b).unwrap_err(), ConnectionRefused::TooMany(3));
        drop(first);
        let fourth = permits.take(b).unwrap();
        assert_eq!(permits.taken.lock().by_ip.len(), 2);
        let one_of_two = permits.take(own());
        assert_eq!(one_of_two.unwrap_err(), ConnectionRefused::TooMany(3));
        drop(fourth);
        let _fifth = permits.take(own()).unwrap();
        drop(third);
        assert_eq!(permits.take(own()).unwrap_err(), ConnectionRefused::TooManyFromAddress(1));
    }

    #[tokio::test]
    async fn bytes_come_back_and_waiters_are_served_in_order() {
        let budget = RequestBudget::new(100);
        let first = budget.try_take(60).unwrap();
        assert!(budget.try_take(60).is_none());
        let waiting = tokio::spawn(budget.clone().take(60));
        tokio::task::yield_now().await;
        assert!(budget.try_take(10).is_none(), "who came first is served first");
        drop(first);
        let second = waiting.await.unwrap();
        assert_eq!(budget.available(), 40);
        drop(second);
        assert_eq!(budget.available(), 100);
    }
}
