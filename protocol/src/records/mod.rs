//! Record batches v2, the one format of producer, wire, disk and consumer: checked views in place, records, a builder,
//! compressions.
//!
//! Must not know: files, requests, what a broker does with a batch.

mod builder;
mod compression;
mod crc;
mod header;
mod lz4;
mod recompress;
mod record;
mod retain;
mod snappy;
mod stream;
mod validate;
mod view;
mod zstandard;

pub use builder::{AppendError, BatchBuilder, FinishError, NewRecord};
pub use compression::{
    CompressError, Compression, DecompressError, DecompressLimits, OUTPUT_BYTES_MAX, ZSTD_WINDOW_LOG_MAX, compress,
    decompress,
};
pub use header::{
    Attributes, BatchHeader, BatchProducer, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC, TimestampPolicy, TimestampType,
    stamped_header,
};
pub use recompress::RecompressError;
pub use record::{Header, Headers, Record, RecordError, RecordIter, Records};
pub use retain::RetainError;
pub use validate::{HEADERS_MAX, InvalidProduced, ProduceLimits, Produced, TimestampAt};
pub use view::{BatchIter, BatchView, CrcMismatch, ParseBatchError, RECORD_BYTES_MIN, Tail};

use crate::varint::VarintError;
