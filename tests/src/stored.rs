//! A log whose every record says by its offset what it has to be: what the appending process writes, and what its judges verify.
//!
//! It must not know how the process or the machine ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use cairn_protocol::ids::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchIter, BatchProducer, DecompressLimits, NewRecord};
use cairn_storage::dir::{DataDir, DirConfig};
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{Durability, FirstBatch, Limits, Log, LogConfig, LogName, LogReader};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::dice::Dice;

/// So much of the log is kept, so that runs that go on over hundreds of crashes stay small, and delete under the crash too.
const RETAINED_BYTES: u64 = 4 << 20;
/// Small, so that crashes meet segments that begin and end.
const SEGMENT_BYTES: u64 = 128 << 10;
/// The most records of a batch, and the longest filler of a record.
const BATCH_RECORDS_MAX: u64 = 9;
const FILLER_BYTES_MAX: u64 = 1500;
const READ_BYTES: u64 = 1 << 20;

/// The log's settings.
pub fn config(durability: Durability) -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        index_interval_bytes: 1024,
        retention_ms: None,
        retention_bytes: Some(RETAINED_BYTES),
        durability,
        ..LogConfig::default()
    }
}

/// Opens the data directory at `path` and its one log, which is made when the directory is new.
pub fn open(path: &Path, durability: Durability) -> anyhow::Result<(DataDir, Log)> {
    let disk: Arc<dyn Disk> = Arc::new(MappedDisk::new(MappedLimits::default())?);
    // Loop devices are small: the reserve is another test's matter.
    let dir = DataDir::open(disk, path, &DirConfig { reserve_bytes: Some(0), ..DirConfig::default() })?;
    let name = LogName::new("judged", PartitionIndex(0))?;
    let log = if dir.list_logs()?.contains(&name) {
        dir.open_log(&name, config(durability))?
    } else {
        dir.create_log(&name, TopicId(uuid::Uuid::from_u128(0xca12)), config(durability))?
    };
    Ok((dir, log))
}

/// What the record at this offset has to be.
pub fn value_at(offset: i64) -> Vec<u8> {
    let mut dice = Dice::new(offset.unsigned_abs());
    let length = usize::try_from(dice.among(0..FILLER_BYTES_MAX)).unwrap_or(0);
    let mut value = format!("{offset}:").into_bytes();
    while value.len() < length {
        value.extend_from_slice(&dice.roll().to_le_bytes());
    }
    value
}

/// A batch for the end of the log, of one idempotent producer whose sequence is the offset: a log that forgot or repeated something
/// refuses it.
pub fn batch_at(end: Offset, dice: &mut Dice) -> anyhow::Result<Bytes> {
    let mut builder = BatchBuilder::new();
    for offset in (end.0..).take(usize::try_from(dice.among(1..BATCH_RECORDS_MAX + 1))?) {
        let value = value_at(offset);
        builder.append(&NewRecord { timestamp: Timestamp(offset), key: None, value: Some(&value), headers: &[] })?;
    }
    let producer = BatchProducer { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: i32::try_from(end.0)? };
    Ok(builder.finish(Some(producer))?)
}

/// What the appending process told before it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Every record below this offset was acknowledged.
    pub end: i64,
    /// Retention may have removed what lies below this offset, and nothing else.
    pub start: i64,
}

impl Told {
    /// Takes one line of the process: `A END` or `S START`.
    pub fn hear(&mut self, line: &str) -> anyhow::Result<()> {
        match line.split_once(' ') {
            Some(("A", end)) => self.end = end.parse()?,
            Some(("S", start)) => self.start = start.parse()?,
            _ => bail!("the appender said {line:?}"),
        }
        Ok(())
    }
}

/// Everything that was told is in the log, readable, and as it was written; what is there beyond it is as it was written too.
/// Returns how many records were read.
pub fn verify(log: &Log, told: Told) -> anyhow::Result<i64> {
    let reader = log.reader();
    let (start, end) = (reader.start_offset(), reader.end_offset());
    ensure!(end.0 >= told.end, "acknowledged up to {}, and the log ends at {end}", told.end);
    ensure!(start.0 <= told.start, "nothing from {} on was removed, and the log starts at {start}", told.start);
    let read = read_all(&reader, start, end)?;
    ensure!(read == end.0 - start.0, "{read} records from {start} to {end}");
    Ok(read)
}

fn read_all(reader: &LogReader, start: Offset, end: Offset) -> anyhow::Result<i64> {
    let mut expected = start.0;
    let mut offset = start;
    while offset < end {
        let limits = Limits { max_bytes: READ_BYTES, first_batch: FirstBatch::AtLeastOne, end };
        let batches = reader.read(offset, limits).with_context(|| format!("read at {offset} of {start} to {end}"))?;
        ensure!(!batches.bytes.is_empty(), "nothing at {offset} of {start} to {end}");
        for view in BatchIter::new(&batches.bytes) {
            let view = view?;
            view.verify_crc()?;
            for record in view.records(&batches.bytes, &DecompressLimits::default())?.iter() {
                let record = record?;
                // The first batch may begin below the log's start.
                if record.offset < start {
                    continue;
                }
                ensure!(record.offset.0 == expected, "offset {} where {expected} was expected", record.offset);
                let value = record.value.unwrap_or_default();
                ensure!(value == value_at(expected).as_slice(), "another value at {expected}");
                expected += 1;
            }
        }
        offset = batches.next_offset;
    }
    Ok(expected - start.0)
}

/// The appending process at work.
#[derive(Debug)]
pub struct Appender {
    child: Child,
    lines: BufReader<ChildStdout>,
    told: Told,
}

impl Appender {
    /// Starts `program`, the `appender` of this crate, on a data directory. `told` is what earlier processes told.
    pub fn start(
        program: &Path,
        path: &Path,
        durability: Durability,
        dice: &mut Dice,
        told: Told,
    ) -> anyhow::Result<Self> {
        let durability = match durability {
            Durability::Replicated => "replicated",
            Durability::Synced => "synced",
        };
        let mut command = Command::new(program);
        command.arg(path).arg(durability).arg(dice.roll().to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its standard output")?);
        Ok(Appender { child, lines, told })
    }

    /// Waits until it has told so many more lines; returns what it has told in all.
    pub fn hear(&mut self, lines: u64) -> anyhow::Result<Told> {
        for _ in 0..lines {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                bail!("the appender ended by itself: {}", self.child.wait()?);
            }
            self.told.hear(line.trim_end())?;
        }
        Ok(self.told)
    }

    /// Makes it stand still; returns all that it had told by then.
    pub fn pause(&mut self) -> anyhow::Result<Told> {
        let pid = self.pid()?;
        kill_process(pid, Signal::STOP)?;
        waitpid(Some(pid), WaitOptions::UNTRACED)?;
        // It writes whole lines, so what is in the pipe ends with one.
        while !self.lines.buffer().is_empty() || ioctl_fionread(self.lines.get_ref())? > 0 {
            self.hear(1)?;
        }
        Ok(self.told)
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("a process id")
    }

    /// `kill -9`; returns all that it had told by then, down to the last line in the pipe.
    pub fn kill9(mut self) -> anyhow::Result<Told> {
        self.child.kill()?;
        self.child.wait()?;
        let mut line = String::new();
        // A line that was cut off by the kill has not been told.
        while self.lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.told.hear(line.trim_end())?;
            line.clear();
        }
        Ok(self.told)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // A test that fails in between must not leave a process behind that holds its disk.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
