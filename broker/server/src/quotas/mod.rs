//! Client quotas: what each client may use, what it used lately, and how long it is to wait when that was more.
//!
//! ```text
//!   metadata's quotas -> limits: which holds for whom        used now -> sensors: rates and tokens -> throttle time
//! ```
//!
//! Clients are told the time in the answer, and are not read from meanwhile (KIP-219). Without authentication every client is
//! the user `ANONYMOUS`. Where no quota of a kind is set, its whole cost is one relaxed load.
//!
//! Must not know: clocks (the time is given in), sockets, messages.

mod bucket;
mod limits;
mod meter;
mod mutations;
mod rate;
mod sensors;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use cairn_metadata::QuotaEntity;
use parking_lot::Mutex;

use bucket::TokenBucket;
pub(crate) use limits::{CLIENT_ID, CONNECTION_CREATION_RATE, IP, Kind, USER};
use limits::{Limit, Limits};
pub(crate) use meter::{Meter, Metered};
pub(crate) use mutations::{Enforcement, Mutations, QuotaExceeded};
use rate::Rate;
pub(crate) use rate::Windows;
use sensors::Sensors;

/// The user that every client is while there is no authentication.
const ANONYMOUS: &str = "ANONYMOUS";

/// For how long a client is to wait, in Kafka's milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Throttle(i32);

impl Throttle {
    /// Not at all.
    pub(crate) const NONE: Self = Self(0);

    /// What an answer says.
    pub(crate) fn from_millis(millis: i32) -> Self {
        Self(millis.max(0))
    }

    /// Rounded as Kafka does; nothing below zero, and at most what an answer can say.
    fn from_seconds(seconds: f64) -> Self {
        let millis = (seconds * 1000.0).round().clamp(0.0, f64::from(i32::MAX));
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what it holds")]
        Self(millis as i32)
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn millis(self) -> i32 {
        self.0
    }

    pub(crate) fn time(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    fn at_most(self, most: Duration) -> Self {
        self.min(Self(i32::try_from(most.as_millis()).unwrap_or(i32::MAX)))
    }

    /// What is left of it after some time.
    fn after(self, passed: Duration) -> Self {
        Self(i32::try_from(self.time().saturating_sub(passed).as_millis()).unwrap_or(i32::MAX))
    }
}

/// What is done about a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is served.
    Now,
    /// It is served after this time, and so are those behind it: the broker takes no more connections a second.
    After(Duration),
    /// It is closed after this time: its address makes too many connections.
    RefusedAfter(Duration),
}

/// The cluster's quotas, and the addresses of hosts that they name.
#[derive(Debug, Default)]
struct Given {
    quotas: BTreeMap<QuotaEntity, cairn_metadata::Quotas>,
    hosts: HashMap<Box<str>, IpAddr>,
}

/// The quotas in force, and what has been used of them here.
#[derive(Debug)]
pub(crate) struct Quotas {
    windows: Windows,
    mutation_windows: Windows,
    /// A bit for each kind of which any client has a quota.
    on: AtomicU8,
    /// What `limits` is made of.
    given: Mutex<Given>,
    limits: ArcSwap<Limits>,
    rates: [Mutex<Sensors<Rate>>; Kind::ALL.len()],
    mutations: Mutex<Sensors<TokenBucket>>,
    addresses: Mutex<Sensors<Rate>>,
    /// Connections of all addresses.
    accepted: Mutex<Rate>,
    keys: RandomState,
}

impl Quotas {
    pub(crate) fn new(windows: Windows, mutation_windows: Windows) -> Self {
        Self {
            windows,
            mutation_windows,
            on: AtomicU8::new(0),
            given: Mutex::default(),
            limits: ArcSwap::default(),
            rates: Default::default(),
            mutations: Mutex::default(),
            addresses: Mutex::default(),
            accepted: Mutex::default(),
            keys: RandomState::new(),
        }
    }

    /// Puts quotas in force. What was used stays, and counts against the new limits.
    pub(crate) fn update(&self, quotas: &BTreeMap<QuotaEntity, cairn_metadata::Quotas>) {
        let mut given = self.given.lock();
        given.quotas.clone_from(quotas);
        let named: HashSet<&str> = limits::hosts(quotas).collect();
        given.hosts.retain(|host, _| named.contains(&**host));
        self.put_in_force(&given);
    }

    /// What a name of a host stands for from now on.
    pub(crate) fn on_host(&self, host: &str, ip: IpAddr) {
        let mut given = self.given.lock();
        given.hosts.insert(host.into(), ip);
        self.put_in_force(&given);
    }

    /// The hosts that have a quota and whose address is not known: it is not in force for them.
    pub(crate) fn unknown_hosts(&self) -> Vec<Box<str>> {
        let given = self.given.lock();
        limits::hosts(&given.quotas).filter(|host| !given.hosts.contains_key(*host)).map(Into::into).collect()
    }

    fn put_in_force(&self, given: &Given) {
        let limits = Limits::new(&given.quotas, &given.hosts);
        let on = Kind::ALL.into_iter().filter(|kind| limits.has(*kind)).fold(0, |on, kind| on | bit(kind));
        let has_addresses = limits.has_addresses();
        self.limits.store(limits.into());
        self.on.store(on, Ordering::Relaxed);
        for kind in Kind::ALL.into_iter().filter(|kind| on & bit(*kind) == 0) {
            self.rates[kind as usize].lock().clear();
            if kind == Kind::ControllerMutation {
                self.mutations.lock().clear();
            }
        }
        if !has_addresses {
            self.addresses.lock().clear();
        }
    }

    /// Whether any client has a quota of this kind.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.on.load(Ordering::Relaxed) & bit(kind) != 0
    }

    /// Whether any client has a quota.
    pub(crate) fn has_any(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0
    }

    /// A client has sent so many bytes to be appended.
    pub(crate) fn on_produced(&self, client: &str, bytes: usize, now: Instant) -> Throttle {
        let windows = self.windows;
        let throttle = self.with_rate(Kind::Produce, client, now, |rate, most| {
            rate.record(windows, as_amount(bytes), now);
            rate.throttle(windows, most, now)
        });
        throttle.unwrap_or_default()
    }

    /// The most that one fetch may find so that it can be given at all without a wait.
    pub(crate) fn most_fetched(&self, client: &str) -> Option<u64> {
        if !self.has(Kind::Fetch) {
            return None;
        }
        let most = self.limits.load().find(Kind::Fetch, ANONYMOUS, client)?.most * self.windows.full().as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates")]
        Some(most as u64)
    }

    /// A client is to be given an answer of so many bytes, unless it has to wait: then they do not count, as they are not given.
    /// `by_request`: how long it has to wait anyhow.
    ///
    /// A client that has fetched nothing lately is given what there is: a batch that is larger than all windows hold could
    /// never be given otherwise. What follows pays for it.
    pub(crate) fn on_fetched(&self, client: &str, bytes: u64, by_request: Throttle, now: Instant) -> Throttle {
        let windows = self.windows;
        let throttle = self.with_rate(Kind::Fetch, client, now, |rate, most| {
            let bytes = as_amount(usize::try_from(bytes).unwrap_or(usize::MAX));
            let is_first = rate.is_unused(windows, now);
            rate.record(windows, bytes, now);
            let by_bytes = if is_first { Throttle::NONE } else { rate.throttle(windows, most, now) };
            let throttle = by_bytes.max(by_request);
            if !throttle.is_none() {
                rate.record(windows, -bytes, now);
            }
            throttle
        });
        throttle.unwrap_or(by_request)
    }

    /// A request has kept a thread busy for so long. No wait is longer than a window, as in Kafka.
    pub(crate) fn on_request(&self, client: &str, spent: Duration, now: Instant) -> Throttle {
        const PERCENT: f64 = 100.0;
        let windows = self.windows;
        let throttle = self.with_rate(Kind::Request, client, now, |rate, most| {
            rate.record(windows, spent.as_secs_f64() * PERCENT, now);
            rate.throttle(windows, most, now).at_most(windows.length)
        });
        throttle.unwrap_or_default()
    }

    /// A connection has come from this address; `most` are taken from all addresses in a second.
    pub(crate) fn on_connection(&self, ip: IpAddr, most: u32, now: Instant) -> Admission {
        let windows = self.windows;
        if let Some(most) = self.limits.load().of_address(ip) {
            let key = self.keys.hash_one(ip.to_canonical());
            let mut sensors = self.addresses.lock();
            let is_over = |rate: &Rate| rate.is_over(windows, now);
            if let Some(rate) = sensors.get(key, now, windows.span(), is_over, Rate::default) {
                rate.record(windows, 1.0, now);
                let throttle = rate.throttle(windows, most, now).at_most(windows.length);
                if !throttle.is_none() {
                    rate.record(windows, -1.0, now);
                    return Admission::RefusedAfter(throttle.time());
                }
            }
        }
        if most == UNLIMITED {
            return Admission::Now;
        }
        let mut rate = self.accepted.lock();
        rate.record(windows, 1.0, now);
        let throttle = rate.throttle(windows, f64::from(most), now).at_most(windows.length);
        if throttle.is_none() { Admission::Now } else { Admission::After(throttle.time()) }
    }

    /// Has `act` work with the client's rate and limit, where it has one.
    fn with_rate<T>(&self, kind: Kind, client: &str, now: Instant, act: impl FnOnce(&mut Rate, f64) -> T) -> Option<T> {
        if !self.has(kind) {
            return None;
        }
        let limit = self.limits.load().find(kind, ANONYMOUS, client)?;
        let mut sensors = self.rates[kind as usize].lock();
        let is_over = |rate: &Rate| rate.is_over(self.windows, now);
        let rate = sensors.get(self.key(&limit), now, self.windows.span(), is_over, Rate::default)?;
        Some(act(rate, limit.most))
    }

    /// Has `act` work with the client's tokens and limit, where it has one.
    fn with_tokens<T>(&self, client: &str, now: Instant, act: impl FnOnce(&mut TokenBucket, f64) -> T) -> Option<T> {
        if !self.has(Kind::ControllerMutation) {
            return None;
        }
        let limit = self.limits.load().find(Kind::ControllerMutation, ANONYMOUS, client)?;
        let mut sensors = self.mutations.lock();
        let windows = self.mutation_windows;
        let new = || TokenBucket::new(windows, limit.most, now);
        let bucket = sensors.get(self.key(&limit), now, windows.span(), |bucket| bucket.is_over(now), new)?;
        Some(act(bucket, limit.most))
    }

    fn key(&self, limit: &Limit<'_>) -> u64 {
        self.keys.hash_one((limit.user, limit.client))
    }
}

/// `max.connection.creation.rate` that is no limit.
const UNLIMITED: u32 = i32::MAX.unsigned_abs();

fn bit(kind: Kind) -> u8 {
    1 << kind as u8
}

#[expect(clippy::cast_precision_loss, reason = "no rate is off by a byte of a petabyte")]
fn as_amount(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests;
