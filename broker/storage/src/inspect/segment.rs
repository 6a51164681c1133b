//! A segment's file: its batches one by one, and what ends them.
//!
//! Must not know: indexes, other segments.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchProducer, BatchView, Compression, DecompressLimits, Records, TimestampType};

use super::{Detail, InspectError, Verdict, read};
use crate::disk::{Disk, SealedFile};
use crate::log::{BadBatch, Stored};

/// Zeros are looked at so many at a time.
const ZEROS_PIECE_BYTES: u64 = 1 << 20;

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// Where it begins in the segment.
    pub position: u64,
    /// Its bytes.
    pub size: u64,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// How many records it says it has.
    pub record_count: i32,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its largest timestamp.
    pub max_timestamp: Timestamp,
    /// Whose clock that is.
    pub timestamp_type: TimestampType,
    /// Compression; nothing when it is unknown.
    pub compression: Option<Compression>,
    /// Its producer, if that one is idempotent.
    pub producer: Option<BatchProducer>,
    /// Whether it is part of a transaction.
    pub is_transactional: bool,
    /// Whether it is a marker of a transaction.
    pub is_control: bool,
    /// What does not hold.
    pub unsound: Vec<Unsound>,
}

/// Something in a batch that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Checksum, order of offsets or epochs.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// Records that cannot be read, or do not fit the header.
    #[error("records: {0}")]
    Records(String),
}

/// One record, as far as a dump tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordReport {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// How many headers it has.
    pub header_count: usize,
}

/// What is behind the last batch of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Nothing: the file ends there.
    Exact {
        /// The position.
        position: u64,
    },
    /// Zeros to the end of the file: a segment that takes appends.
    Prepared {
        /// The end of the last batch.
        position: u64,
        /// How many zeros.
        bytes: u64,
    },
    /// Something else.
    Garbage {
        /// The end of the last batch.
        position: u64,
        /// How many bytes.
        bytes: u64,
        /// Why they are no batch.
        reason: BadBatch,
    },
}

/// Walks the batches of a segment's file. [`SegmentWalk::end`] says what is behind them.
#[derive(Debug)]
pub struct SegmentWalk {
    file: Arc<dyn SealedFile>,
    position: u64,
    expected: Option<Offset>,
    base: Offset,
    last_epoch: Option<LeaderEpoch>,
    end: Option<SegmentEnd>,
}

impl SegmentWalk {
    /// Begins at the start of the file at `path`, whose name says `base`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(disk: &dyn Disk, path: &Path, base: Offset) -> Result<Self, InspectError> {
        let file = disk.open_sealed(path).map_err(read(path))?;
        Ok(Self { file, position: 0, expected: None, base, last_epoch: None, end: None })
    }

    /// What is behind the last batch, once the walk is there.
    #[must_use]
    pub fn end(&self) -> Option<&SegmentEnd> {
        self.end.as_ref()
    }

    /// The offset behind the last batch so far.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.expected.unwrap_or(self.base)
    }

    /// The records of a batch of this walk.
    ///
    /// # Errors
    /// When the file cannot be read; records that do not hold end the list, and are in the batch's report.
    pub fn records(&self, batch: &BatchReport) -> std::io::Result<Vec<RecordReport>> {
        let bytes = self.file.slice(batch.position..batch.position + batch.size)?;
        Ok(read_records(&bytes).0)
    }

    fn next_batch(&mut self) -> std::io::Result<Option<BatchReport>> {
        let (position, len) = (self.position, self.file.len());
        if self.end.is_some() {
            return Ok(None);
        }
        if position == len {
            self.end = Some(SegmentEnd::Exact { position });
            return Ok(None);
        }
        let rest = len - position;
        let front = self.file.slice(position..position + rest.min(crate::log::BATCH_HEADER_BYTES))?;
        let whole = Stored::parse(&front).and_then(|batch| match batch.size {
            size if size > rest => Err(BadBatch::Short { wanted: size, left: rest }),
            _ => Ok(batch),
        });
        let batch = match whole {
            Ok(batch) => batch,
            Err(reason) => {
                self.end = Some(self.end_with(reason)?);
                return Ok(None);
            }
        };
        let bytes = self.file.slice(position..position + batch.size)?;
        let report = self.report(position, &batch, &bytes);
        self.position += batch.size;
        self.expected = Some(batch.header.end_offset());
        self.last_epoch = batch.header.leader_epoch.or(self.last_epoch);
        Ok(Some(report))
    }

    fn end_with(&self, reason: BadBatch) -> std::io::Result<SegmentEnd> {
        let position = self.position;
        let bytes = self.file.len() - position;
        let mut at = position;
        while at < self.file.len() {
            let to = self.file.len().min(at + ZEROS_PIECE_BYTES);
            if self.file.slice(at..to)?.iter().any(|byte| *byte != 0) {
                return Ok(SegmentEnd::Garbage { position, bytes, reason });
            }
            at = to;
        }
        Ok(SegmentEnd::Prepared { position, bytes })
    }

    fn report(&self, position: u64, batch: &Stored, bytes: &Bytes) -> BatchReport {
        let header = &batch.header;
        let mut unsound = Vec::new();
        let expected = self.end_offset();
        if header.base_offset < expected {
            unsound.push(BadBatch::Offset { found: header.base_offset, expected }.into());
        }
        if let (Some(found), Some(before)) = (header.leader_epoch, self.last_epoch)
            && found < before
        {
            unsound.push(BadBatch::Epoch { found, before }.into());
        }
        match batch.verify(bytes) {
            Err(bad) => unsound.push(bad.into()),
            Ok(()) => {
                if let (_, Some(reason)) = read_records(bytes) {
                    unsound.push(Unsound::Records(reason));
                }
            }
        }
        BatchReport {
            position,
            size: batch.size,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            record_count: header.record_count,
            leader_epoch: header.leader_epoch,
            max_timestamp: header.max_timestamp,
            timestamp_type: header.attributes.timestamp_type(),
            compression: header.attributes.compression().ok(),
            producer: header.producer,
            is_transactional: header.attributes.is_transactional(),
            is_control: header.attributes.is_control(),
            unsound,
        }
    }
}

impl Iterator for SegmentWalk {
    type Item = std::io::Result<BatchReport>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// The records that can be read, and why not all can.
fn read_records(bytes: &Bytes) -> (Vec<RecordReport>, Option<String>) {
    let records: Records = match BatchView::parse(bytes)
        .map_err(|error| error.to_string())
        .and_then(|view| view.records(bytes, &DecompressLimits::default()).map_err(|error| error.to_string()))
    {
        Ok(records) => records,
        Err(reason) => return (Vec::new(), Some(reason)),
    };
    let mut reports = Vec::new();
    let (mut newest, header) = (Timestamp(-1), *records.header());
    for record in records.iter() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return (reports, Some(error.to_string())),
        };
        if record.offset < header.base_offset || record.offset > header.last_offset() {
            return (reports, Some(format!("offset {} outside of the batch", record.offset)));
        }
        newest = newest.max(record.timestamp);
        reports.push(RecordReport {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(|key| records.share(key)),
            value: record.value.map(|value| records.share(value)),
            header_count: record.headers.count(),
        });
    }
    let reason = (newest > header.max_timestamp)
        .then(|| format!("a record of timestamp {newest} in a batch that says {} at most", header.max_timestamp));
    (reports, reason)
}

impl fmt::Display for BatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, size, base_offset, last_offset, record_count, max_timestamp, .. } = self;
        write!(f, "position={position} size={size} offsets={base_offset}..={last_offset} records={record_count}")?;
        let clock = match self.timestamp_type {
            TimestampType::CreateTime => "create",
            TimestampType::LogAppendTime => "append",
        };
        write!(f, " max_timestamp={max_timestamp} ({clock})")?;
        match self.leader_epoch {
            Some(epoch) => write!(f, " epoch={epoch}")?,
            None => write!(f, " epoch=none")?,
        }
        if let Some(compression) = self.compression {
            write!(f, " compression={}", compression.name())?;
        }
        if let Some(producer) = self.producer {
            write!(f, " producer={}/{} sequence={}", producer.id, producer.epoch, producer.base_sequence)?;
        }
        if self.is_transactional {
            write!(f, " transactional")?;
        }
        if self.is_control {
            write!(f, " control")?;
        }
        for unsound in &self.unsound {
            write!(f, " UNSOUND: {unsound}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RecordReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Option<Bytes>| match bytes {
            None => "null".to_owned(),
            Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        };
        write!(
            f,
            "  offset={} timestamp={} headers={} key={} value={}",
            self.offset,
            self.timestamp,
            self.header_count,
            text(&self.key),
            text(&self.value)
        )
    }
}

impl fmt::Display for SegmentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { position } => write!(f, "end at position {position}"),
            Self::Prepared { position, bytes } => {
                write!(f, "end at position {position}, then {bytes} zeros: the segment takes appends, or did")
            }
            Self::Garbage { position, bytes, reason } => {
                write!(f, "end at position {position}, then {bytes} bytes that are no batch: {reason}")
            }
        }
    }
}

pub(super) fn dump(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    detail: Detail,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    writeln!(out, "segment {} base_offset={base}", path.display())?;
    let mut walk = SegmentWalk::open(disk, path, base)?;
    while let Some(batch) = walk.next() {
        let batch = batch.map_err(read(path))?;
        writeln!(out, "{batch}")?;
        if detail == Detail::Records {
            for record in walk.records(&batch).map_err(read(path))? {
                writeln!(out, "{record}")?;
            }
        }
    }
    if let Some(end) = walk.end() {
        writeln!(out, "{end}")?;
    }
    Ok(())
}

/// Answers where the segment's sound batches end.
pub(super) fn verify(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    verdict: &mut Verdict,
) -> Result<Offset, InspectError> {
    verdict.files += 1;
    let mut walk = SegmentWalk::open(disk, path, base)?;
    for batch in walk.by_ref() {
        let batch = batch.map_err(read(path))?;
        verdict.batches += 1;
        verdict.records += u64::try_from(batch.record_count).unwrap_or(0);
        verdict.bytes += batch.size;
        for unsound in &batch.unsound {
            verdict.problem(path, format!("position {} offset {}: {unsound}", batch.position, batch.base_offset));
        }
    }
    match walk.end() {
        Some(end @ SegmentEnd::Garbage { .. }) => verdict.problem(path, end.to_string()),
        Some(end @ SegmentEnd::Prepared { .. }) => verdict.remark(path, end.to_string()),
        Some(SegmentEnd::Exact { .. }) | None => {}
    }
    Ok(walk.end_offset())
}

/// The header of the batch at `position` of a segment's file, if one is there.
pub(super) fn batch_at(file: &dyn SealedFile, position: u64) -> std::io::Result<Result<Stored, BadBatch>> {
    let len = file.len();
    if position >= len {
        return Ok(Err(BadBatch::Short { wanted: position, left: len }));
    }
    let front = file.slice(position..len.min(position + crate::log::BATCH_HEADER_BYTES))?;
    Ok(Stored::parse(&front))
}
