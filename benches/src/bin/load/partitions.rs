//! Many partitions: makes them, has them described, and waits until every one of them is served.
//!
//! A partition is served when Metadata has a leader for it and ListOffsets tells its end.
//!
//! Must not know: which broker it meets.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::create_topics_request::CreatableTopic;
use cairn_protocol::messages::describe_topic_partitions_request::TopicRequest;
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::{
    CreateTopicsRequest, DescribeTopicPartitionsRequest, ListOffsetsRequest, MetadataRequest,
};
use clap::Args;
use tokio::time::sleep;

use crate::wire::Wire;

// Versions that both brokers have.
const CREATE_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
/// ListOffsets' word for the end of a partition.
const LATEST: i64 = -1;
/// Between two looks whether all is served.
const LOOK: Duration = Duration::from_millis(20);
/// When waiting is given up.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The topics that are meant, `many-0` and so on.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Topics.
    #[arg(long, default_value_t = 10)]
    topics: u32,
    /// Partitions of each.
    #[arg(long, default_value_t = 1_000)]
    partitions: i32,
}

/// The topics that are to be made.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    many: Served,
}

/// Makes the topics one after the other, and has all of them described.
pub(crate) async fn create(bootstrap: &str, load: &Create) -> Result<()> {
    let began = Instant::now();
    for topic in names(load.many) {
        make(bootstrap, &topic, load.many.partitions).await?;
    }
    let created = began.elapsed();
    wait_served(bootstrap, load.many).await?;
    let served = began.elapsed();
    let described = Instant::now();
    let partitions = describe(bootstrap, load.many).await?;
    println!(
        "partitions={partitions} create_s={:.3} served_s={:.3} describe_s={:.3}",
        created.as_secs_f64(),
        served.as_secs_f64(),
        described.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Waits until all is served, from a broker that may not even listen yet.
pub(crate) async fn served(bootstrap: &str, load: &Served) -> Result<()> {
    let began = Instant::now();
    let partitions = wait_served(bootstrap, *load).await?;
    println!("partitions={partitions} served_s={:.3}", began.elapsed().as_secs_f64());
    Ok(())
}

/// Makes one topic, or leaves it as it is.
pub(crate) async fn make(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let mut wire = Wire::connect(bootstrap).await?;
    let topic = CreatableTopic {
        name: topic.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
    let made = wire.call(CREATE_VERSION, &request).await?;
    for topic in made.topics {
        let fine = [ErrorCode::None.code(), ErrorCode::TopicAlreadyExists.code()].contains(&topic.error_code);
        ensure!(fine, "topic {} was not made: {} {:?}", topic.name, topic.error_code, topic.error_message);
    }
    Ok(())
}

fn names(load: Served) -> Vec<String> {
    (0..load.topics).map(|number| format!("many-{number}")).collect()
}

async fn wait_served(bootstrap: &str, load: Served) -> Result<usize> {
    let began = Instant::now();
    let names = names(load);
    // The topics that are not served whole yet: who is done is not asked again.
    let mut left: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wire = None;
    while began.elapsed() < WAIT_MAX {
        if wire.is_none() {
            wire = Wire::connect(bootstrap).await.ok();
        }
        if let Some(open) = &mut wire {
            match look(open, &left, load.partitions).await {
                Ok(done) => left.retain(|name| !done.iter().any(|served| served == name)),
                Err(_) => wire = None,
            }
        }
        if left.is_empty() {
            return Ok(names.len() * usize::try_from(load.partitions)?);
        }
        sleep(LOOK).await;
    }
    bail!("not all partitions were served within {WAIT_MAX:?}")
}

/// The topics of these that are served whole.
async fn look(wire: &mut Wire, topics: &[&str], partitions: i32) -> Result<Vec<String>> {
    let wanted = usize::try_from(partitions)?;
    let named = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest {
        topics: Some(topics.iter().map(named).collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let told = wire.call(METADATA_VERSION, &request).await?;
    let led = told.topics.into_iter().filter(|topic| {
        topic.error_code == 0
            && topic.partitions.len() == wanted
            && topic.partitions.iter().all(|partition| partition.error_code == 0 && partition.leader_id >= 0)
    });
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: LATEST,
        ..ListOffsetsPartition::default()
    };
    let topics = led
        .filter_map(|topic| topic.name)
        .map(|name| ListOffsetsTopic { name, partitions: (0..partitions).map(partition).collect() });
    let request = ListOffsetsRequest { replica_id: -1, topics: topics.collect(), ..ListOffsetsRequest::default() };
    let told = wire.call(LIST_OFFSETS_VERSION, &request).await?;
    let whole =
        told.topics.into_iter().filter(|topic| topic.partitions.iter().all(|partition| partition.error_code == 0));
    Ok(whole.map(|topic| topic.name.into()).collect())
}

/// All partitions by DescribeTopicPartitions, page by page, as Kafka's own tools ask for them.
async fn describe(bootstrap: &str, load: Served) -> Result<usize> {
    let mut wire = Wire::connect(bootstrap).await?;
    let mut found = 0;
    let mut request = DescribeTopicPartitionsRequest {
        topics: names(load).iter().map(|name| TopicRequest { name: name.as_str().into() }).collect(),
        response_partition_limit: 2_000,
        ..DescribeTopicPartitionsRequest::default()
    };
    loop {
        let page = wire.call(0, &request).await?;
        found += page.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>();
        let Some(next) = page.next_cursor else { return Ok(found) };
        request.cursor = Some(cairn_protocol::messages::describe_topic_partitions_request::Cursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
        });
    }
}
