//! Why a table cannot be opened, written or checkpointed.
//!
//! Must not know: how either is done.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::ConfigError;
use crate::consumer::{ConsumeError, OffsetsError};
use crate::error::MetadataError;
use crate::producer::ProduceError;

/// Why something about a table failed. Whatever may pass was tried again already.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The topic is not there, or nobody could be asked.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The ends of the log could not be asked for.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The log cannot be read: the table does not change any more. Open it anew.
    #[error("the table cannot read its topic: {0}")]
    Consume(#[from] ConsumeError),
    /// It was not written.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It was written to a partition that was not there when the table was opened. Open it anew.
    #[error("{topic} has more partitions than when its table was opened: open it anew")]
    Grown {
        /// The topic.
        topic: Arc<str>,
    },
    /// The checkpoint cannot be written.
    #[error("cannot write the checkpoint {}: {error}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}
