//! A network of hosts inside this machine: each host is a network namespace with one address, and every packet between two of them goes
//! through this process, which may lose it or hold it back, in one direction or in both.
//!
//! Real sockets of real kernels see what they see on a network: a packet that is lost is not a connection that is refused. The hosts are
//! seen by this process and its children only, and are gone with them. It must not know what runs on the hosts.

mod enclosed;
mod links;
mod post;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tappers::Interface;
use tappers::linux::Tun;

pub use enclosed::{Enclosed, enclose};
pub use links::Link;
use links::Links;
use post::Post;

use crate::dice::Dice;
use crate::process::run;

/// Addresses that nobody on a network has: they are for benches (RFC 2544).
const NETWORK: (u8, u8) = (198, 18);
/// The host of this process, and of the clients that it starts.
pub const HERE: u8 = 254;
const PREFIX: u8 = 24;
/// Longer than any packet: a device gives what it is asked for, or the packet's end is lost.
const PACKET_MAX: usize = 65_536;
/// How long a host's reader may take to notice that the network is gone.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Hosts and what lies between them; dropping it ends the network. The processes on the hosts have to have ended by then.
#[derive(Debug)]
pub struct Wire {
    /// Which network of this process it is: several may be there at a time.
    number: u8,
    hosts: Vec<u8>,
    links: Arc<Links>,
    ended: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Makes hosts 1, 2, 3..., all linked with each other and with [`HERE`]. The process has to be [enclosed](enclose).
    pub fn new(hosts: u8, dice: &mut Dice) -> anyhow::Result<Wire> {
        static NUMBERS: AtomicU8 = AtomicU8::new(0);
        ensure!(hosts < HERE, "{hosts} hosts");
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut wire = Wire {
            number,
            hosts: (1..=hosts).collect(),
            links: Arc::default(),
            ended: Arc::default(),
            readers: Vec::new(),
        };
        let mut devices = vec![(HERE, wire.device(HERE)?)];
        for host in wire.hosts.clone() {
            devices.push((host, wire.make(host).with_context(|| format!("make host {host}"))?));
        }
        let post = Arc::new(Post::new(devices, Arc::clone(&wire.ended)));
        for (host, device) in post.devices() {
            let (links, post, ended) = (Arc::clone(&wire.links), Arc::clone(&post), Arc::clone(&wire.ended));
            let dice = Dice::new(dice.roll());
            wire.readers.push(thread::spawn(move || read(host, &device, &links, &post, &ended, dice)));
        }
        wire.readers.push(thread::spawn(move || post.deliver()));
        Ok(wire)
    }

    /// A host's address.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(NETWORK.0, NETWORK.1, self.number, host)
    }

    /// A program on a host, ready for arguments.
    pub fn command(&self, host: u8, program: &Path) -> Command {
        // Not `ip netns exec`, which makes a copy of all mounts: disks would stay in use.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.place(host).display())).arg(program);
        command
    }

    /// What becomes of packets from one host to another; nothing is said of the way back.
    pub fn set(&self, from: u8, to: u8, link: Link) {
        self.links.set(from, to, link);
    }

    /// All links are as they were at first.
    pub fn heal(&self) {
        self.links.clear();
    }

    /// How many packets were lost on purpose so far.
    pub fn lost(&self) -> u64 {
        self.links.lost()
    }

    fn name(&self, host: u8) -> String {
        format!("host-{}-{host}", self.number)
    }

    fn place(&self, host: u8) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name(host))
    }

    /// A host with its device, which is made by a thread that goes there and ends there.
    fn make(&self, host: u8) -> anyhow::Result<Tun> {
        let name = self.name(host);
        run(Command::new("ip").args(["netns", "add", &name]), b"")?;
        let place = self.place(host);
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                let place = open(&place, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                move_into_link_name_space(rustix::fd::AsFd::as_fd(&place), Some(LinkNameSpaceType::Network))?;
                run(Command::new("ip").args(["link", "set", "lo", "up"]), b"")?;
                self.device(host)
            });
            made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A device with a host's address, in the namespace of this thread.
    fn device(&self, host: u8) -> anyhow::Result<Tun> {
        let name = format!("wire{}", self.number);
        let device = Tun::create_named(Interface::new(&name)?)?;
        let address = format!("{}/{PREFIX}", self.address(host));
        run(Command::new("ip").args(["addr", "add", &address, "dev", &name]), b"")?;
        run(Command::new("ip").args(["link", "set", &name, "up"]), b"")?;
        Ok(device)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            // A reader that panicked has said why.
            drop(reader.join());
        }
        for &host in &self.hosts {
            // What cannot be removed is gone with the process.
            drop(run(Command::new("ip").args(["netns", "del", &self.name(host)]), b""));
        }
    }
}

/// Takes the packets that a host sends, until the network is gone.
fn read(host: u8, device: &Tun, links: &Links, post: &Post, ended: &AtomicBool, mut dice: Dice) {
    let mut packet = vec![0; PACKET_MAX];
    while !ended.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(device, PollFlags::IN)];
        if !matches!(poll(&mut waiting, Some(&LOOK_EVERY)), Ok(1..)) {
            continue;
        }
        let Ok(length) = device.recv(&mut packet) else { continue };
        let packet = &packet[..length];
        let Some(to) = receiver(packet) else { continue };
        if let Some(late) = links.passes(host, to, &mut dice) {
            post.send(to, packet, late);
        }
    }
}

/// The last byte of the address that a packet goes to; none for what is not IPv4.
fn receiver(packet: &[u8]) -> Option<u8> {
    const VERSION_4: u8 = 4;
    const TO_LAST: usize = 19;
    (packet.first()? >> 4 == VERSION_4).then(|| packet.get(TO_LAST).copied())?
}

/// The whole range of time that a packet may be held back.
const LATE_MAX: Duration = Duration::from_secs(10);
