//! Brokers that are all started with one list of client addresses, and become one cluster: exactly one of them founds it.
//!
//! ```text
//!   a seed has members -> the broker joins there, whoever it is
//!   none has           -> the first of the list founds, once each seed has said that it waits as well; the others ask on
//! ```
//! A second cluster cannot come about while another one has members among the seeds: to found one the first of the list needs the word of
//! every other seed that its data directory is empty and that it has the same list, so one that is down is waited for. Who waits founds
//! nothing but as the first of the list, so nobody's word goes stale.
//!
//! Must not know: what the cluster does about a broker that joins.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::MembershipError;
use super::serving::PEERS_KEY;
use super::wire;
use crate::config::HostPort;
use crate::net::Bound;

/// Beside [`PEERS_KEY`]: whether a broker waits. Nobody else knows it, and ends the connection.
const WAITS_KEY: [u8; 2] = 20_002_i16.to_be_bytes();
const REQUEST_BYTES: usize = 8;
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a seed may take to answer, and an asker to ask.
const WITHIN: Duration = Duration::from_secs(2);
/// Askers that are answered at a time.
const ASKERS_MAX: usize = 64;

/// What a broker says that waits for the cluster of its seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waits {
    /// By this a broker finds itself among the seeds.
    token: Uuid,
    seeds: Vec<Box<str>>,
}

/// A broker with an empty data directory that was started with seeds.
#[derive(Debug)]
pub(super) struct Waiting {
    own: Waits,
}

impl Waiting {
    pub(super) fn new(seeds: &[HostPort]) -> Self {
        let seeds = seeds.iter().map(|seed| seed.to_string().into()).collect();
        Self { own: Waits { token: Uuid::new_v4(), seeds } }
    }

    /// Whether this broker founds the cluster now: it is the first of the seeds, and all of them wait.
    pub(super) async fn founds(&self, seeds: &[HostPort]) -> Result<bool, MembershipError> {
        let told = join_all(seeds.iter().map(ask)).await;
        self.decide(&told)
    }

    /// `told` by the seeds, in the order of the list; none by who is not there, or is a member.
    fn decide(&self, told: &[Option<Waits>]) -> Result<bool, MembershipError> {
        if told.first().and_then(Option::as_ref).is_none_or(|first| first.token != self.own.token) {
            return Ok(false);
        }
        for (seed, told) in self.own.seeds.iter().zip(told) {
            if told.as_ref().is_some_and(|told| told.seeds != self.own.seeds) {
                return Err(MembershipError::Seeds(format!("{seed} was started with another list")));
            }
        }
        let there: Vec<Uuid> = told.iter().flatten().map(|waits| waits.token).collect();
        if there.iter().collect::<BTreeSet<_>>().len() < there.len() {
            return Err(MembershipError::Seeds("one broker is in the list twice".to_owned()));
        }
        Ok(there.len() == self.own.seeds.len())
    }

    /// Answers who asks the clients' listener, and closes the connection of everybody else. Never returns; to be dropped.
    pub(super) async fn answer(&self, listener: &Bound) {
        let mut askers = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if askers.len() < ASKERS_MAX => match accepted {
                    Ok(stream) => askers.push(tokio::time::timeout(WITHIN, self.answer_one(stream))),
                    // Others are waited for as well: there is no hurry.
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept");
                        tokio::time::sleep(WITHIN).await;
                    }
                },
                Some(answered) = askers.next() => {
                    if let Ok(Err(error)) = answered {
                        tracing::trace!(%error, "an asker is gone");
                    }
                }
            }
        }
    }

    async fn answer_one(&self, mut stream: TcpStream) -> io::Result<()> {
        let length = stream.read_u32().await?;
        if usize::try_from(length) != Ok(REQUEST_BYTES) {
            return Ok(());
        }
        let mut request = [0; REQUEST_BYTES];
        stream.read_exact(&mut request).await?;
        let body = match [request[0], request[1]] {
            WAITS_KEY => wire::answer(&self.own),
            // It knows no members yet.
            PEERS_KEY => wire::answer(&Vec::<(i32, Box<str>, u16, bool)>::new()),
            _ => return Ok(()),
        };
        let answer = [&request[4..], &body].concat();
        stream.write_u32(u32::try_from(answer.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&answer).await
    }
}

/// What a seed says, if it waits.
async fn ask(seed: &HostPort) -> Option<Waits> {
    tokio::time::timeout(WITHIN, ask_once(seed)).await.ok()?.ok().flatten()
}

async fn ask_once(seed: &HostPort) -> io::Result<Option<Waits>> {
    let mut stream = TcpStream::connect((seed.host.as_str(), seed.port)).await?;
    let request = [&[0, 0, 0, 8][..], &WAITS_KEY, &[0, 0], b"seed"].concat();
    stream.write_all(&request).await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes.strip_prefix(b"seed").and_then(wire::read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Vec<HostPort>, Vec<Waiting>) {
        let seeds: Vec<HostPort> = (1..=3).map(|port| HostPort { host: "h".into(), port }).collect();
        let waiting = seeds.iter().map(|_| Waiting::new(&seeds)).collect();
        (seeds, waiting)
    }

    fn says(waiting: &Waiting) -> Option<Waits> {
        Some(waiting.own.clone())
    }

    #[test]
    fn only_the_first_founds_and_only_when_all_wait() {
        let (_, brokers) = waiting();
        let all: Vec<_> = brokers.iter().map(says).collect();
        let decided: Vec<bool> = brokers.iter().map(|broker| broker.decide(&all).expect("one list")).collect();
        assert_eq!(decided, [true, false, false]);
        for missing in 0..3 {
            let mut some = all.clone();
            // It is down, or has members.
            some[missing] = None;
            for broker in &brokers {
                assert!(!broker.decide(&some).expect("one list"), "{missing} is missing");
            }
        }
    }

    #[test]
    fn lists_that_differ_and_brokers_that_are_named_twice_are_refused() {
        let (mut seeds, brokers) = waiting();
        seeds.reverse();
        let other = Waiting::new(&seeds);
        let told = [says(&brokers[0]), says(&other), says(&brokers[2])];
        assert!(
            brokers[0].decide(&told).expect_err("differs").to_string().contains("h:2 was started with another list")
        );
        let told = [says(&brokers[0]), says(&brokers[1]), says(&brokers[0])];
        assert!(brokers[0].decide(&told).expect_err("twice").to_string().contains("twice"));
    }
}
