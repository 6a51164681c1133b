//! Who keeps frames: a leader that pushes them on, followers that take them.
//!
//! Must not know: who produces, what is measured.

use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread::Scope;

use anyhow::Result;
use memmap2::{MmapMut, MmapOptions};
use parking_lot::Mutex;

use crate::link::{Ack, receive, send};

/// What each replica keeps before it begins anew.
const MAP_BYTES: usize = if cfg!(test) { 1 << 20 } else { 256 << 20 };

/// Memory that is populated before anything is received.
struct Kept {
    map: MmapMut,
    batch: usize,
    at: usize,
}

impl Kept {
    fn new(batch: usize) -> Result<Self> {
        let bytes = MAP_BYTES.max(batch);
        Ok(Self { map: MmapOptions::new().len(bytes).populate().map_anon()?, batch, at: 0 })
    }

    /// The place of the next frame.
    fn next(&mut self) -> Range<usize> {
        if self.at + self.batch > self.map.len() {
            self.at = 0;
        }
        let place = self.at..self.at + self.batch;
        self.at = place.end;
        place
    }
}

/// Takes frames and acknowledges each.
pub(crate) fn follow(mut stream: TcpStream, batch: usize) -> Result<()> {
    let mut kept = Kept::new(batch)?;
    let mut count = 0;
    loop {
        let place = kept.next();
        if receive(&mut stream, &mut kept.map[place])?.is_none() {
            return Ok(());
        }
        count += 1;
        Ack(count).send(&mut stream)?;
    }
}

/// Which frames are kept by whom; the producer is told of those that all have.
struct Progress {
    producer: TcpStream,
    /// The leader's count first, then its followers'.
    counts: Vec<u64>,
    told: u64,
}

impl Progress {
    fn on_kept(&mut self, who: usize, count: u64) -> Result<()> {
        self.counts[who] = count;
        let by_all = self.counts.iter().copied().min().unwrap_or(0);
        if by_all > self.told {
            self.told = by_all;
            Ack(by_all).send(&mut self.producer)?;
        }
        Ok(())
    }
}

/// Takes frames, pushes them to the followers, and acknowledges those that all have.
pub(crate) fn lead<'scope>(
    threads: &'scope Scope<'scope, '_>,
    mut stream: TcpStream,
    mut followers: Vec<TcpStream>,
    batch: usize,
) -> Result<()> {
    let counts = vec![0; followers.len() + 1];
    let progress = Arc::new(Mutex::new(Progress { producer: stream.try_clone()?, counts, told: 0 }));
    let mut answers = Vec::new();
    for (who, follower) in (1..).zip(&followers) {
        let (mut follower, progress) = (follower.try_clone()?, Arc::clone(&progress));
        answers.push(threads.spawn(move || -> Result<()> {
            while let Some(Ack(count)) = Ack::receive(&mut follower)? {
                progress.lock().on_kept(who, count)?;
            }
            Ok(())
        }));
    }
    let pushed = push_all(&mut stream, &mut followers, batch, &progress);
    for follower in &followers {
        // One that is gone already needs no word.
        let _ = follower.shutdown(Shutdown::Write);
    }
    for answer in answers {
        // An end before its time shows in the count that the producer has.
        let _ = answer.join();
    }
    let _ = stream.shutdown(Shutdown::Both);
    pushed
}

fn push_all(
    stream: &mut TcpStream,
    followers: &mut [TcpStream],
    batch: usize,
    progress: &Mutex<Progress>,
) -> Result<()> {
    let mut kept = Kept::new(batch)?;
    let mut count = 0;
    loop {
        let place = kept.next();
        let payload = &mut kept.map[place];
        let Some(header) = receive(stream, payload)? else { return Ok(()) };
        for follower in &mut *followers {
            send(follower, &header, payload)?;
        }
        count += 1;
        progress.lock().on_kept(0, count)?;
    }
}
