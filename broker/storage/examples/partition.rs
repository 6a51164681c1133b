//! Writes a partition, or reads one that Apache Kafka wrote: `partition write DIR [BATCHES]`, `partition read DIR FOLDER`.
//!
//! `write` makes `DIR/orders-0` with several segments, all compressions and two idempotent producers, and closes it in good
//! order. `read` opens `DIR/FOLDER` as a log, reads all of it and prints `records=N start=N end=N segments=N producers=N`.

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId};
use cairn_protocol::records::{
    BatchBuilder, BatchIter, BatchProducer, BatchView, Compression, DecompressLimits, NewRecord, TimestampPolicy,
};
use cairn_storage::dir::{DataDir, DirConfig};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendAs, FirstBatch, Limits, LogConfig, LogName};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", dir] => write(dir.as_ref(), 400),
        ["write", dir, batches] => write(dir.as_ref(), batches.parse()?),
        ["read", dir, folder] => read(dir.as_ref(), folder),
        _ => Err("usage: partition write DIR [BATCHES] | partition read DIR FOLDER".into()),
    }
}

fn open(dir: &Path) -> Result<DataDir, Box<dyn std::error::Error>> {
    Ok(DataDir::open(Arc::new(MappedDisk::new(MappedLimits::default())?), dir, &DirConfig::default())?)
}

fn write(path: &Path, batches: i32) -> Outcome {
    let dir = open(path)?;
    let config = LogConfig { segment_bytes: 1 << 20, retention_ms: None, ..LogConfig::default() };
    let mut log = dir.create_log(&LogName::new("orders", PartitionIndex(0))?, TopicId(uuid::Uuid::new_v4()), config)?;
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut sequences = [0; 2];
    for number in 0..batches {
        let codec = codecs[usize::try_from(number)? % codecs.len()];
        let mut builder = BatchBuilder::new().with_compression(codec, None)?;
        let now = Timestamp(1_700_000_000_000 + i64::from(number) * 10);
        for record in 0..10i64 {
            let value = format!("batch {number} record {record} ").repeat(40);
            let key = record.to_string();
            let headers = [("origin", Some(&b"example"[..]))];
            builder.append(&NewRecord {
                timestamp: Timestamp(now.0 + record),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &headers,
            })?;
        }
        let who = usize::try_from(number)? % 3;
        let producer = sequences.get_mut(who).map(|sequence| {
            *sequence += 10;
            let id = ProducerId(i64::try_from(who).unwrap_or(0) + 4000);
            BatchProducer { id, epoch: ProducerEpoch(1), base_sequence: *sequence - 10 }
        });
        let batch = builder.finish(producer)?;
        let epoch = LeaderEpoch(number / 100);
        log.append(&BatchView::parse(&batch)?, AppendAs::Leader { epoch, now, timestamps: TimestampPolicy::Keep })?;
        if number % 50 == 49
            && let Some(job) = log.begin_sync()
        {
            log.on_synced(job.run()?);
        }
    }
    println!("end={} segments={}", log.end_offset(), log.reader().segment_count());
    log.close()?;
    println!("{:?}", dir.close()?);
    Ok(())
}

fn read(path: &Path, folder: &str) -> Outcome {
    let dir = open(path)?;
    let log = dir.open_log(&LogName::from_folder(folder)?, LogConfig::default())?;
    let reader = log.reader();
    let (mut records, mut offset) = (0u64, reader.start_offset());
    loop {
        let end = reader.end_offset();
        let read = reader.read(offset, Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end })?;
        if read.bytes.is_empty() {
            break;
        }
        for batch in BatchIter::new(&read.bytes) {
            let batch = batch?;
            batch.verify_crc()?;
            for record in batch.records(&read.bytes, &DecompressLimits::default())?.iter() {
                record?;
                records += 1;
            }
        }
        offset = read.next_offset;
    }
    println!(
        "records={records} start={} end={} segments={} producers={}",
        reader.start_offset(),
        reader.end_offset(),
        reader.segment_count(),
        log.producers().count()
    );
    Ok(())
}
