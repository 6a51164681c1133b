//! `cairn demo`: a stream is written to three brokers and read, one of them is killed in the middle, and the accounts show what that cost.
//!
//! Must not know: the wire, how a broker recovers.

mod accounts;
mod cluster;
mod server;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use cairn_client::{Admin, BrokerId, Client, NewTopic, PartitionIndex};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::accounts::{Accounts, Balance};
use self::cluster::{BROKERS, Cluster, until_all_serve, until_in_sync, until_led};
use self::stream::{COMMIT_EVERY, RATE, Reader, Shared, Writer};
use crate::args::DemoArgs;
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::signals::Ending;

const TOPIC: &str = "demo";
const PARTITIONS: i32 = 3;
/// How long all is well before the kill.
const BEFORE: Duration = Duration::from_secs(3);
/// How long the stream goes on without the broker, once another one leads.
const WITHOUT: Duration = Duration::from_secs(2);
/// How long the stream goes on once the broker is in sync again.
const AFTER: Duration = Duration::from_secs(2);
/// By then a partition has a record acknowledged under its new leader.
const FIRST_ACK: Duration = Duration::from_secs(30);
/// How long the last records may take to be read.
const CATCH_UP: Duration = Duration::from_secs(10);
/// The clients' patience with a broker that is dead, in all.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the demo. Fails when anything that was acknowledged is missing.
pub(crate) async fn run(_: DemoArgs) -> Outcome {
    let mut ending = Ending::listen()?;
    let folder = tempfile::Builder::new().prefix("cairn-demo-").tempdir().context("cannot make a temporary folder")?;
    let mut demo = Demo { out: Output::stdout(), begun: Instant::now() };
    let told = tokio::select! {
        told = demo.tell(folder.path()) => told,
        // The folder and the brokers go with what is dropped here.
        signal = ending.asked() => return Err(Failure::failed(format!("stopped by {signal}"))),
    };
    match told {
        Ok(()) => Ok(()),
        Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
        Err(failure) => {
            // Whoever wants to know why finds the data and the brokers' logs.
            let kept: PathBuf = folder.keep();
            eprintln!("The brokers' data and their logs are kept in {}", kept.display());
            Err(failure)
        }
    }
}

struct Demo {
    out: Output,
    begun: Instant,
}

/// What failed over.
struct Victim {
    broker: BrokerId,
    /// A partition that it leads.
    partition: PartitionIndex,
}

impl Demo {
    async fn tell(&mut self, folder: &Path) -> Outcome {
        self.say(
            "Cairn demo: the leader is killed in the middle of a stream, another broker leads, and nothing is lost.",
        )?;
        self.say("")?;
        let mut cluster = self.form(folder).await?;
        let client = client(&cluster)?;
        let admin = client.admin();
        let controller = self.make_topic(&cluster, &admin).await?;

        let accounts = Shared::new(Mutex::new(Accounts::default()));
        let writer = Writer::start(&client, TOPIC, PARTITIONS, &accounts)?;
        let reader = Reader::start(&self::client(&cluster)?, TOPIC, &accounts).await?;
        self.step(&format!(
            "A producer writes {RATE} records a second. A record counts when all in-sync replicas have it (acks=all)."
        ))?;
        self.more(&format!("A consumer reads them and commits how far it got, every {}.", ms(COMMIT_EVERY)))?;
        self.heading()?;
        self.watch(BEFORE, &accounts).await?;

        let victim = victim(&admin, controller).await?;
        let failover = self.fail_over(&mut cluster, &admin, &victim, &accounts).await?;
        self.heading()?;
        self.watch(WITHOUT, &accounts).await?;
        self.bring_back(&mut cluster, &admin, &victim).await?;
        self.heading()?;
        self.watch(AFTER, &accounts).await?;

        writer.finish().await?;
        self.step("The producer has ended; the consumer reads the rest.")?;
        let is_whole = reader.catch_up(CATCH_UP).await?;
        let committed = reader.finish().await?;
        self.more(&format!("Its group has committed {committed} records."))?;
        if !is_whole {
            self.more("It did not come to the end of the topic in time.")?;
        }
        let (balance, pause) = {
            let accounts = accounts.lock();
            (accounts.balance(), accounts.longest_pause())
        };
        self.account(&balance, failover, pause)
    }

    /// Starts the brokers; returns when all of them vote.
    async fn form(&mut self, folder: &Path) -> Result<Cluster, Failure> {
        let began = Instant::now();
        let cluster = Cluster::start(folder).await?;
        self.step(&format!(
            "{BROKERS} brokers start, each a process of its own; the second and the third --join the first."
        ))?;
        let brokers: Vec<_> = cluster.running().collect();
        for (id, pid, address) in brokers {
            self.more(&format!("broker {id}: pid {pid}, {address}"))?;
        }
        cluster.until_all_vote().await?;
        self.more(&format!("After {} they are a cluster, and each has a vote on its metadata.", ms(began.elapsed())))?;
        Ok(cluster)
    }

    /// Gives the controller.
    async fn make_topic(&mut self, cluster: &Cluster, admin: &Admin) -> Result<BrokerId, Failure> {
        let controller = until_all_serve(admin).await?;
        let topic = NewTopic::new(TOPIC).partitions(PARTITIONS).replication_factor(3);
        admin.create_topic(&topic).await.context("cannot create the topic")?;
        // A group's offsets have a topic of their own, which the first group brings about.
        let consumer = client(cluster)?.consumer().group("demo").build().context("cannot make a consumer")?;
        consumer.assign_topic(TOPIC, cairn_client::StartAt::Committed).await.context("cannot read the topic")?;
        until_in_sync(admin, &[TOPIC, "__consumer_offsets"]).await?;
        self.step(&format!(
            "A topic is created: \"{TOPIC}\", {PARTITIONS} partitions, each with a replica on all {BROKERS} brokers."
        ))?;
        let topic = admin.describe_topic(TOPIC).await.context("cannot describe the topic")?;
        for it in &topic.partitions {
            let leader = it.leader.map_or_else(|| "nobody".to_owned(), |leader| format!("broker {leader}"));
            self.more(&format!("{TOPIC}-{}: led by {leader}, {} in sync", it.partition, it.in_sync.len()))?;
        }
        self.more(&format!("broker {controller} is the controller as well."))?;
        Ok(controller)
    }

    /// Kills the broker; gives the time until its partition had a record acknowledged by another leader.
    async fn fail_over(
        &mut self,
        cluster: &mut Cluster,
        admin: &Admin,
        victim: &Victim,
        accounts: &Shared,
    ) -> Result<Duration, Failure> {
        let Victim { broker, partition } = *victim;
        let index = usize::try_from(partition.0).map_err(|_| anyhow!("a partition without a place"))?;
        let pid = cluster.kill(broker)?;
        let killed = Instant::now();
        accounts.lock().await_ack(partition);
        self.step(&format!("kill -9 {pid}: broker {broker} is gone without a warning. It led {TOPIC}-{partition}, and was the controller."))?;
        let over = async { tokio::try_join!(until_led(admin, TOPIC, index, broker), first_ack(accounts)) };
        let (leader, ack) = self.watch_until(over, accounts).await??;
        let failover = ack - killed;
        self.step(&format!("Broker {leader} leads {TOPIC}-{partition} now."))?;
        self.more(&format!(
            "The first record that was written to it since is acknowledged {} after the kill.",
            ms(failover)
        ))?;
        Ok(failover)
    }

    async fn bring_back(&mut self, cluster: &mut Cluster, admin: &Admin, victim: &Victim) -> Outcome {
        let began = Instant::now();
        let server = cluster.restart(victim.broker).await?;
        let (pid, ready) = (server.pid(), server.ready_after);
        self.step(&format!(
            "Broker {} is started again on its data: pid {pid}, ready after {}.",
            victim.broker,
            ms(ready)
        ))?;
        until_in_sync(admin, &[TOPIC]).await?;
        self.more(&format!("After {} it has caught up: all replicas are in sync again.", ms(began.elapsed())))
    }

    /// Shows the accounts once a second for so long.
    async fn watch(&mut self, span: Duration, accounts: &Shared) -> Outcome {
        self.watch_until(tokio::time::sleep(span), accounts).await
    }

    /// Shows the accounts once a second until that is done.
    async fn watch_until<T>(&mut self, done: impl Future<Output = T>, accounts: &Shared) -> Result<T, Failure> {
        let mut done = std::pin::pin!(done);
        let mut seconds = tokio::time::interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                _ = seconds.tick() => self.row(accounts)?,
                done = &mut done => return Ok(done),
            }
        }
    }

    fn row(&mut self, accounts: &Shared) -> Outcome {
        let (written, balance) = {
            let accounts = accounts.lock();
            (accounts.written(), accounts.balance())
        };
        let time = self.begun.elapsed().as_secs_f32();
        let Balance { acked, read, repeated, .. } = balance;
        self.say(&format!("     {time:5.1} s  {written:>9}  {acked:>12}  {read:>9}  {repeated:>10}"))
    }

    fn account(&mut self, balance: &Balance, failover: Duration, pause: Duration) -> Outcome {
        let Balance { acked, read, lost, repeated, doubled, failed } = *balance;
        self.step("The accounts:")?;
        self.more(&format!("acknowledged  {acked:>8}      what the brokers promised to keep"))?;
        self.more(&format!("read          {read:>8}      different records that the consumer saw"))?;
        self.more(&format!("lost          {lost:>8}      acknowledged, and not found where they were said to be"))?;
        self.more(&format!("repeated      {repeated:>8}      read more than once"))?;
        self.more(&format!(
            "doubled       {doubled:>8}      twice in the log, although the producer had to send some again"
        ))?;
        if failed > 0 {
            self.more(&format!("given up      {failed:>8}      never acknowledged, so nobody relied on them"))?;
        }
        let (failover_ms, longest_pause_ms) = (failover.as_millis(), pause.as_millis());
        self.more(&format!("longest pause {longest_pause_ms:>8} ms   between two acknowledgements of one partition"))?;
        self.say("")?;
        self.say(&format!(
            "acked={acked} read={read} lost={lost} repeated={repeated} failover_ms={failover_ms} longest_pause_ms={longest_pause_ms}"
        ))?;
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

/// The controller, and a partition that it leads: the death that costs most. Leaders are spread evenly, so that it leads one.
async fn victim(admin: &Admin, controller: BrokerId) -> Result<Victim, Failure> {
    let topic = admin.describe_topic(TOPIC).await.context("cannot describe the topic")?;
    let led = topic.partitions.iter().find(|it| it.leader == Some(controller));
    let led = led.ok_or_else(|| anyhow!("broker {controller} leads none of {PARTITIONS} partitions"))?;
    Ok(Victim { broker: controller, partition: led.partition })
}

/// Waits until the partition that is waited for has a record acknowledged, and gives when.
async fn first_ack(accounts: &Shared) -> Result<Instant> {
    let acked = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            let awaited = accounts.lock().awaited();
            if let Some(at) = awaited {
                return at;
            }
        }
    };
    let acked = tokio::time::timeout(FIRST_ACK, acked).await;
    acked.with_context(|| format!("no record was acknowledged within {FIRST_ACK:?} of the kill"))
}

fn client(cluster: &Cluster) -> Result<Client, Failure> {
    let client = Client::builder(&cluster.bootstrap()).client_id("cairn-demo").operation_timeout(OPERATION_TIMEOUT);
    client.build().map_err(|error| Failure::Failed(anyhow!(error)))
}

fn ms(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}
