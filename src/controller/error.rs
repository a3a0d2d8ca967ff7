//! Why the metadata cannot be read or written.

use crate::common::ids::Offset;
use crate::log::{AppendError, ReadError, StorageError};
use crate::metadata::image::ImageError;
use crate::metadata::records::RecordError;
use crate::record::BatchError;

/// Why the metadata cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The log cannot be opened or synced.
    #[error("the metadata log: {0}")]
    Storage(#[from] StorageError),
    /// The log cannot be read.
    #[error("the metadata log: {0}")]
    Read(#[from] ReadError),
    /// The log takes no change.
    #[error("the metadata log: {0}")]
    Append(#[from] AppendError),
    /// A batch in the log or a snapshot is damaged.
    #[error("the metadata log at offset {offset}: {source}")]
    Batch {
        /// The offset of the batch.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A record cannot be understood.
    #[error("the metadata log at offset {offset}: {source}")]
    Record {
        /// The record's offset.
        offset: Offset,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A record does not fit what came before.
    #[error("the metadata log at offset {offset}: {source}")]
    Image {
        /// The record's offset.
        offset: Offset,
        /// Why it does not fit.
        source: ImageError,
    },
    /// A record cannot be written.
    #[error("record {offset} of a change: {problem}")]
    Encode {
        /// Its place in the change, from 0.
        offset: Offset,
        /// Why.
        problem: String,
    },
    /// A change is larger than a batch may be.
    #[error("a change of the metadata comes to {size} bytes: at most {limit} are written at once")]
    TooLarge {
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A snapshot cannot be read or written.
    #[error("the metadata snapshot {name}: {source}")]
    Snapshot {
        /// Its file name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The vote cannot be read or written.
    #[error("{path}: {problem}")]
    Vote {
        /// Its file.
        path: String,
        /// Why.
        problem: String,
    },
    /// What another controller sent, or what lies in the log, does not go with what is here.
    #[error("the metadata log at offset {offset}: {problem}")]
    Mismatch {
        /// Where.
        offset: Offset,
        /// What does not fit.
        problem: String,
    },
    /// The quorum's machinery has ended.
    #[error("the quorum has ended: {0}")]
    Ended(String),
}
