//! Brings packets to hosts, at once or later.
//!
//! It must not know why some are late.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tappers::linux::Tun;

/// Beyond this many packets on their way further late ones are lost, as in a router.
const LATE_PACKETS_MAX: usize = 20_000;
/// How long it may take to notice that the network is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Post {
    devices: HashMap<u8, Arc<Tun>>,
    late: Mutex<Late>,
    changed: Condvar,
    ended: Arc<AtomicBool>,
}

#[derive(Default)]
struct Late {
    packets: BinaryHeap<Reverse<Packet>>,
    sent: u64,
}

/// Ordered by when it is due, then by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    number: u64,
    to: u8,
    bytes: Vec<u8>,
}

impl Post {
    pub(super) fn new(devices: Vec<(u8, Tun)>, ended: Arc<AtomicBool>) -> Post {
        let devices = devices.into_iter().map(|(host, device)| (host, Arc::new(device))).collect();
        Post { devices, late: Mutex::default(), changed: Condvar::new(), ended }
    }

    /// The hosts' devices.
    pub(super) fn devices(&self) -> Vec<(u8, Arc<Tun>)> {
        self.devices.iter().map(|(&host, device)| (host, Arc::clone(device))).collect()
    }

    /// Brings a packet to a host, not before `late` has gone by.
    pub(super) fn send(&self, to: u8, packet: &[u8], late: Duration) {
        if late.is_zero() {
            return self.hand_over(to, packet);
        }
        let mut waiting = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.packets.len() >= LATE_PACKETS_MAX {
            return;
        }
        waiting.sent += 1;
        let packet = Packet { due: Instant::now() + late, number: waiting.sent, to, bytes: packet.to_vec() };
        waiting.packets.push(Reverse(packet));
        self.changed.notify_one();
    }

    /// Hands over late packets when they are due, until the network is gone.
    pub(super) fn deliver(&self) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.ended.load(Ordering::Relaxed) {
            let now = Instant::now();
            match late.packets.peek() {
                Some(Reverse(packet)) if packet.due <= now => {
                    if let Some(Reverse(Packet { to, bytes, .. })) = late.packets.pop() {
                        drop(late);
                        self.hand_over(to, &bytes);
                        late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                    }
                }
                next => {
                    let time = next.map_or(LOOK_EVERY, |Reverse(packet)| (packet.due - now).min(LOOK_EVERY));
                    late = self.changed.wait_timeout(late, time).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn hand_over(&self, to: u8, packet: &[u8]) {
        if let Some(device) = self.devices.get(&to) {
            // A host whose queue is full loses packets, as hosts do.
            drop(device.send(packet));
        }
    }
}
