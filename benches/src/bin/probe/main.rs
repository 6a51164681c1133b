//! What can this machine do at most with records that go through sockets into memory, and are replicated?
//!
//! A producer sends frames over loopback, with so many on the way; a leader receives them straight into a populated map and checks
//! their checksum; with three replicas it pushes them to two followers, which do the same; then it acknowledges. There is no Kafka
//! codec, no file behind the maps (they are used round and round), no runtime, and one process. `benches/compare/probe` runs it beside
//! `cairn bench`, and tells which share of it Cairn reaches.
//!
//! Must not know: brokers.

mod link;
mod replica;

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, scope};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use cairn_load::{Latencies, processor_time};
use clap::Parser;

use crate::link::{Ack, frame_of};

#[derive(Parser, Clone, Copy)]
#[command(about = "The most that sockets and memory give, for benches/compare/probe")]
struct Arguments {
    /// On how many each frame is kept: 1 or more.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    replicas: u32,
    /// Bytes of a frame's payload.
    #[arg(long, default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    batch_bytes: u32,
    /// Frames that are not acknowledged yet.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    in_flight: u32,
    /// How long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cpu = processor_time();
    let (latencies, took) = scope(|threads| run(threads, arguments))?;
    let cpu = (processor_time() - cpu).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let bytes = latencies.count() as f64 * f64::from(arguments.batch_bytes);
    let at = |quantile| latencies.at(quantile).as_micros();
    println!(
        "mb_per_second={:.1} p50_us={} p99_us={} cpu_s_per_gb={:.3}",
        bytes / 1e6 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu * 1e9 / bytes
    );
    Ok(())
}

/// The producer; replicas run beside it and end when their streams do.
fn run<'scope>(threads: &'scope Scope<'scope, '_>, arguments: Arguments) -> Result<(Latencies, Duration)> {
    let batch = usize::try_from(arguments.batch_bytes)?;
    let mut followers = Vec::new();
    for _ in 1..arguments.replicas {
        let (near, far) = pair()?;
        threads.spawn(move || replica::follow(far, batch));
        followers.push(near);
    }
    let (producer, leader) = pair()?;
    threads.spawn(move || replica::lead(threads, leader, followers, batch));
    let in_flight = usize::try_from(arguments.in_flight)?;
    // What has no place in it waits: one more is in the sender's hand.
    let (sent, to_ack) = sync_channel(in_flight.saturating_sub(1));
    let answers = producer.try_clone()?;
    let acked = threads.spawn(move || take_acks(answers, &to_ack));
    let began = Instant::now();
    produce(producer, batch, Duration::from_secs(arguments.seconds), &sent)?;
    drop(sent);
    let latencies = acked.join().map_err(|_| anyhow!("who takes acknowledgements ended"))??;
    Ok((latencies, began.elapsed()))
}

fn produce(stream: TcpStream, batch: usize, length: Duration, sent: &SyncSender<Instant>) -> Result<()> {
    let mut link = stream;
    let mut payload = vec![b'x'; batch];
    let began = Instant::now();
    let mut number = 0_u64;
    while began.elapsed() < length {
        // Each frame differs, so that its checksum is worth something.
        let stamp = number.to_be_bytes();
        let place = payload.len().min(stamp.len());
        payload[..place].copy_from_slice(&stamp[..place]);
        let header = frame_of(&payload);
        if sent.send(Instant::now()).is_err() {
            // The reason is told by whoever took acknowledgements.
            break;
        }
        link::send(&mut link, &header, &payload).context("cannot send a frame")?;
        number += 1;
    }
    link.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}

fn take_acks(mut stream: TcpStream, sent: &Receiver<Instant>) -> Result<Latencies> {
    let mut latencies = Latencies::new();
    let mut next = 0;
    while let Some(Ack(end)) = Ack::receive(&mut stream)? {
        ensure!(end >= next, "an acknowledgement that goes back");
        while next < end {
            let due = sent.recv().context("an acknowledgement of nothing")?;
            latencies.record(due.elapsed());
            next += 1;
        }
    }
    Ok(latencies)
}

/// Two ends of a connection over loopback.
fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
    }
    Ok((near, far))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_acknowledged_by_all_replicas() {
        for replicas in [1, 3] {
            let (producer, leader) = pair().expect("a connection");
            let acked = scope(|threads| {
                let mut followers = Vec::new();
                for _ in 1..replicas {
                    let (near, far) = pair().expect("a connection");
                    threads.spawn(move || replica::follow(far, 3_000));
                    followers.push(near);
                }
                threads.spawn(move || replica::lead(threads, leader, followers, 3_000));
                let mut stream = producer;
                let payload = vec![7; 3_000];
                for _ in 0..100 {
                    link::send(&mut stream, &frame_of(&payload), &payload).expect("sent");
                }
                stream.shutdown(std::net::Shutdown::Write).expect("shut down");
                let mut last = 0;
                while let Some(Ack(end)) = Ack::receive(&mut stream).expect("an answer") {
                    last = end;
                }
                last
            });
            assert_eq!(acked, 100, "{replicas} replicas");
        }
    }

    #[test]
    fn a_damaged_frame_is_not_acknowledged() {
        let (mut stream, leader) = pair().expect("a connection");
        let answer = scope(|threads| {
            threads.spawn(move || replica::lead(threads, leader, Vec::new(), 100));
            let payload = vec![7; 100];
            let mut header = frame_of(&payload);
            header[7] ^= 1;
            link::send(&mut stream, &header, &payload).expect("sent");
            Ack::receive(&mut stream)
        });
        assert!(matches!(answer, Ok(None) | Err(_)), "it was acknowledged");
    }
}
