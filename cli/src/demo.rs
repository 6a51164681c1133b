//! `cairn demo`: a stream is written and read, the broker is killed in the middle, and the accounts show what that cost.
//!
//! Must not know: the wire, how a broker recovers.

mod accounts;
mod server;
mod stream;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cairn_client::{Client, NewTopic};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::accounts::{Accounts, Balance};
use self::server::{Home, Server};
use self::stream::{COMMIT_EVERY, RATE, Reader, Shared, Writer};
use crate::args::DemoArgs;
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::signals::Ending;

const TOPIC: &str = "demo";
const PARTITIONS: i32 = 3;
/// How long all is well before the kill: it comes between two commits, so that there is something to be read again.
const BEFORE: Duration = Duration::from_millis(5_300);
/// How long the broker stays dead.
const DEAD: Duration = Duration::from_secs(1);
/// How long the stream goes on after the restart.
const AFTER: Duration = Duration::from_secs(5);
/// How long the last records may take to be read.
const CATCH_UP: Duration = Duration::from_secs(10);
/// The clients' patience with a broker that is dead, in all.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the demo. Fails when anything that was acknowledged is missing.
pub(crate) async fn run(_: DemoArgs) -> Outcome {
    let mut ending = Ending::listen()?;
    let folder = tempfile::Builder::new().prefix("cairn-demo-").tempdir().context("cannot make a temporary folder")?;
    let mut demo = Demo { out: Output::stdout(), begun: Instant::now(), home: Home::new(folder.path()) };
    let told = tokio::select! {
        told = demo.tell() => told,
        // The folder and the broker go with what is dropped here.
        signal = ending.asked() => return Err(Failure::failed(format!("stopped by {signal}"))),
    };
    match told {
        Ok(()) => Ok(()),
        Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
        Err(failure) => {
            // Whoever wants to know why finds the data and the broker's log.
            let kept: PathBuf = folder.keep();
            eprintln!("The broker's data and its log are kept in {}", kept.display());
            Err(failure)
        }
    }
}

struct Demo {
    out: Output,
    begun: Instant,
    home: Home,
}

impl Demo {
    async fn tell(&mut self) -> Outcome {
        self.say("Cairn demo: a broker is killed in the middle of a stream, and nothing is lost.")?;
        self.say("")?;

        let server = Server::start(&self.home, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let (address, pid) = (server.address, server.pid());
        self.step(&format!(
            "A broker starts, a process of its own: pid {pid}, {address}, ready after {}.",
            ms(server.ready_after)
        ))?;
        let client = client(address)?;
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS);
        client.admin().create_topic(&topic).await.context("cannot create the topic")?;
        self.step(&format!("A topic is created: \"{TOPIC}\", {PARTITIONS} partitions."))?;

        let accounts = Shared::new(Mutex::new(Accounts::default()));
        let writer = Writer::start(&client, TOPIC, &accounts)?;
        let reader = Reader::start(&client, TOPIC, &accounts).await?;
        self.step(&format!(
            "A producer writes {RATE} records a second. A record counts when the broker has acknowledged it (acks=all)."
        ))?;
        self.more(&format!("A consumer reads them and commits how far it got, every {}.", ms(COMMIT_EVERY)))?;
        self.heading()?;
        self.watch(BEFORE, &accounts).await?;

        self.step(&format!("kill -9 {pid}: the broker is gone, without a warning. The consumer crashes with it."))?;
        server.kill()?;
        reader.crash();
        self.more("The producer goes on; what it writes waits for the broker to come back.")?;
        self.watch(DEAD, &accounts).await?;

        let restarted = Instant::now();
        let server = Server::start(&self.home, address).await?;
        let recovery = server.ready_after;
        self.step(&format!(
            "The broker is started again on the same data: pid {}, ready after {}.",
            server.pid(),
            ms(recovery)
        ))?;
        let reader = Reader::start(&self::client(address)?, TOPIC, &accounts).await?;
        let committed = reader.committed().await?;
        self.step(&format!(
            "A new consumer asks where the old one had got to: {committed} records are committed. It goes on there."
        ))?;
        if let Some(ack) = self.first_ack(&writer, restarted).await {
            self.more(&format!(
                "The producer had its first record acknowledged {} after the start.",
                ms(ack - restarted)
            ))?;
        }
        self.heading()?;
        self.watch(AFTER, &accounts).await?;

        writer.finish().await?;
        self.step("The producer has ended; the consumer reads the rest.")?;
        let is_whole = reader.catch_up(CATCH_UP).await?;
        reader.finish().await?;
        if !is_whole {
            self.more("It did not come to the end of the topic in time.")?;
        }
        let balance = accounts.lock().balance();
        self.account(&balance, recovery)
    }

    /// The first acknowledgement after the restart; the wait for it is part of the show.
    async fn first_ack(&self, writer: &Writer, restarted: Instant) -> Option<Instant> {
        tokio::time::timeout(AFTER, writer.ack_after(restarted)).await.ok().flatten()
    }

    /// Shows the accounts once a second for so long.
    async fn watch(&mut self, span: Duration, accounts: &Shared) -> Outcome {
        let until = Instant::now() + span;
        let mut seconds = tokio::time::interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
        while Instant::now() + Duration::from_millis(500) < until {
            seconds.tick().await;
            let (written, balance) = {
                let accounts = accounts.lock();
                (accounts.written(), accounts.balance())
            };
            let time = self.begun.elapsed().as_secs_f32();
            let Balance { acked, read, repeated, .. } = balance;
            self.say(&format!("     {time:5.1} s  {written:>9}  {acked:>12}  {read:>9}  {repeated:>10}"))?;
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    fn account(&mut self, balance: &Balance, recovery: Duration) -> Outcome {
        let Balance { acked, read, lost, repeated, doubled, failed } = *balance;
        self.step("The accounts:")?;
        self.more(&format!("acknowledged {acked:>8}   what the broker promised to keep"))?;
        self.more(&format!("read         {read:>8}   different records that the consumers saw"))?;
        self.more(&format!("lost         {lost:>8}   acknowledged, and not found where they were said to be"))?;
        self.more(&format!(
            "repeated     {repeated:>8}   read again, since the first consumer crashed before it committed them"
        ))?;
        self.more(&format!(
            "doubled      {doubled:>8}   twice in the log, although the producer had to send some again"
        ))?;
        if failed > 0 {
            self.more(&format!("given up     {failed:>8}   never acknowledged, so nobody relied on them"))?;
        }
        self.say("")?;
        let recovery_ms = recovery.as_millis();
        self.say(&format!("acked={acked} read={read} lost={lost} repeated={repeated} recovery_ms={recovery_ms}"))?;
        match (lost, acked) {
            (0, 1..) => Ok(()),
            (0, 0) => Err(Failure::Failed(anyhow!("nothing was acknowledged"))),
            (lost, _) => Err(Failure::Failed(anyhow!("{lost} acknowledged records are missing"))),
        }
    }

    fn heading(&mut self) -> Outcome {
        self.say("")?;
        self.say("        time    written  acknowledged       read  read again")
    }

    fn step(&mut self, text: &str) -> Outcome {
        self.say("")?;
        self.say(&format!("  => {text}"))
    }

    fn more(&mut self, text: &str) -> Outcome {
        self.say(&format!("     {text}"))
    }

    fn say(&mut self, text: &str) -> Outcome {
        self.out.line(text.as_bytes())?;
        self.out.flush()
    }
}

fn client(address: SocketAddr) -> Result<Client, Failure> {
    let client =
        Client::builder(&address.to_string()).client_id("cairn-demo").operation_timeout(OPERATION_TIMEOUT).build();
    client.map_err(|error| Failure::Failed(anyhow!(error)))
}

fn ms(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}
