//! What can go wrong while a topic is read as a table, or a table is sent to one.

use arrow_schema::ArrowError;

use crate::client::ClientError;
use crate::common::ids::{Offset, TopicPartition};
use crate::log::ReadError;
use crate::record::BatchError;

/// Why a scan cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Retention, compaction of a prefix, or DeleteRecords took records that the scan had fixed.
    #[error(
        "records {from} to {log_start} of {partition} are gone: retention or DeleteRecords took them before they were \
         read; begin anew with what is left"
    )]
    Gone {
        /// Which partition.
        partition: TopicPartition,
        /// What the scan wanted.
        from: Offset,
        /// What is still there.
        log_start: Offset,
    },
    /// The log was cut below the end that the scan had fixed (its leader lost them in a failover).
    #[error("{partition} ends at {log_end} now and reached to {end} before; begin anew")]
    Cut {
        /// Which partition.
        partition: TopicPartition,
        /// Where the scan ends.
        end: Offset,
        /// Where the log ends.
        log_end: Offset,
    },
    /// The log's files went away with their topic or their data dir.
    #[error("the log of {partition} is gone: its topic was deleted, or its cluster's data dir")]
    Removed {
        /// Which partition.
        partition: TopicPartition,
    },
    /// The log cannot be read.
    #[error("{partition}: {source}")]
    Read {
        /// Which partition.
        partition: TopicPartition,
        /// Why.
        source: ReadError,
    },
    /// A batch is damaged.
    #[error("{partition}: {source}")]
    Batch {
        /// Which partition.
        partition: TopicPartition,
        /// How.
        source: BatchError,
    },
    /// A record's bytes are not what the scan was told they are.
    #[error("the {column} of the record at offset {offset} of {partition} is not {wanted}: {reason}")]
    Decode {
        /// Which partition.
        partition: TopicPartition,
        /// Which record.
        offset: Offset,
        /// `key` or `value`.
        column: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// The cluster did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Arrow cannot hold it.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

impl From<ScanError> for ArrowError {
    /// What a reader behind Arrow's interface is told.
    fn from(error: ScanError) -> ArrowError {
        match error {
            ScanError::Arrow(error) => error,
            error => ArrowError::ExternalError(Box::new(error)),
        }
    }
}

/// Why a table cannot be sent, or not to its end. What is wrong with one row only is told of that row.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// What was asked for makes no sense; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The data ended early, or cannot be understood.
    #[error("the data cannot be read from row {row} on (the rows before it were sent): {source}")]
    Data {
        /// The first row that was not sent.
        row: u64,
        /// Why.
        source: ArrowError,
    },
    /// The producer cannot go on.
    #[error(transparent)]
    Client(#[from] ClientError),
}
