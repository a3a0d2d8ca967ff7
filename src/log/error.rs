//! What can go wrong in the log, by what was asked of it.

use std::io;
use std::path::{Path, PathBuf};

use super::producer_state::SequenceError;
use crate::common::ids::{Offset, ProducerId, Timestamp};

/// A file's content does not add up; the text says what. It may quote a line of the file, which may be long: what is shown
/// ends before that tires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", shortened(.0))]
pub struct Damage(pub String);

/// How many characters of a damage are shown.
const SHOWN: usize = 300;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The disk, or what lies on it, keeps the log from its work.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A call to the file system failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A sync failed, after which nobody knows what of the file is on the disk.
    #[error("syncing {path}: {source}; what was appended since the last sync may be lost")]
    SyncFailed {
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {damage}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// An earlier write failed and could not be taken back: the log can be read, and written again once it was opened
    /// anew.
    #[error("the log in {0} takes no writes: an earlier write failed and could not be taken back")]
    Failed(PathBuf),
    /// The log was closed: what a broker does while it stops comes too late.
    #[error("the log in {0} is closed")]
    Closed(PathBuf),
    /// Another process has the folder.
    #[error("{path} is in use by process {holder}: a data dir belongs to one broker at a time")]
    Locked {
        /// The folder.
        path: PathBuf,
        /// What its lock file says of the holder.
        holder: String,
    },
    /// A broker has the folder that was to be read behind its back.
    #[error(
        "{path} is in use by the broker of process {holder}, which may cut its files at any moment: read the topics \
         through the broker, or stop it first"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, as far as it can be told.
        holder: String,
    },
    /// The folder is not what it was taken for.
    #[error("{path} is no data dir: {text}")]
    NoDataDir {
        /// The folder.
        path: PathBuf,
        /// Why not.
        text: String,
    },
    /// The folder belongs to another broker or cluster.
    #[error("{path}: {text}")]
    Foreign {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        text: String,
    },
}

impl StorageError {
    /// An I/O error while trying `what` on `path`.
    pub(crate) fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + use<'a> {
        move |source| StorageError::Io { what, path: path.to_owned(), source }
    }
}

/// A record that is refused: the others of its batch would have been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// The record's index in its request's partition, from 0.
    pub batch_index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Why batches were not appended; none of them was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// CORRUPT_MESSAGE: length, CRC or structure are wrong.
    #[error("a corrupt batch: {0}")]
    CorruptMessage(String),
    /// A batch of another format than magic 2. UNSUPPORTED_FOR_MESSAGE_FORMAT; to Produce, Kafka says INVALID_RECORD.
    #[error("a batch has magic {0}: only 2 is taken")]
    UnsupportedMagic(i8),
    /// INVALID_RECORD: whole, but not allowed here.
    #[error("{message}")]
    InvalidRecord {
        /// The records to blame; empty where it is the batch.
        record_errors: Vec<RecordError>,
        /// What is wrong.
        message: String,
    },
    /// INVALID_TIMESTAMP: further from now than the topic allows.
    #[error("{message}")]
    InvalidTimestamp {
        /// The records to blame.
        record_errors: Vec<RecordError>,
        /// What is wrong.
        message: String,
    },
    /// MESSAGE_TOO_LARGE.
    #[error("a batch of {size} bytes: max.message.bytes is {limit}")]
    MessageTooLarge {
        /// Its size.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// RECORD_LIST_TOO_LARGE: all batches of an append share a segment.
    #[error("{size} bytes of batches: segment.bytes is {limit}")]
    RecordListTooLarge {
        /// Their size.
        size: usize,
        /// The size of a segment.
        limit: u64,
    },
    /// UNSUPPORTED_COMPRESSION_TYPE.
    #[error("compression type {0} is not known")]
    UnsupportedCompression(u8),
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("sequence {sequence} of producer {producer_id} does not follow: the next is {expected}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: ProducerId,
        /// The first sequence of the batch.
        sequence: i32,
        /// The one that would have been right.
        expected: i32,
    },
    /// INVALID_PRODUCER_EPOCH.
    #[error("{0}")]
    InvalidProducerEpoch(SequenceError),
    /// A follower's batch does not begin at the log's end.
    #[error("a batch begins at offset {offset}: the log ends at {expected}")]
    UnexpectedOffset {
        /// Where it begins.
        offset: Offset,
        /// Where it should.
        expected: Offset,
    },
    /// KAFKA_STORAGE_ERROR.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<SequenceError> for AppendError {
    fn from(error: SequenceError) -> AppendError {
        match error {
            SequenceError::OutOfOrderSequence { producer_id, sequence, expected } => {
                AppendError::OutOfOrderSequence { producer_id, sequence, expected }
            }
            SequenceError::InvalidProducerEpoch { .. } => AppendError::InvalidProducerEpoch(error),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is not in the log: it holds {log_start_offset}..{log_end_offset}")]
    OffsetOutOfRange {
        /// The offset that was asked for.
        offset: Offset,
        /// The first that may be.
        log_start_offset: Offset,
        /// The first that may not.
        log_end_offset: Offset,
    },
    /// CORRUPT_MESSAGE: the log itself is damaged there.
    #[error("the log is damaged at offset {offset}: {text}")]
    Corrupt {
        /// Near where.
        offset: Offset,
        /// What was found.
        text: String,
    },
    /// KAFKA_STORAGE_ERROR.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What of a log opening had to give up, for the caller's log line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// How many segments were scanned.
    pub segments_scanned: usize,
    /// How many bytes of log were scanned.
    pub bytes_scanned: u64,
    /// Where the log was cut, if it was.
    pub truncated_at: Option<Offset>,
    /// How many bytes were dropped.
    pub dropped_bytes: u64,
    /// What else was mended, and why bytes were dropped, in sentences.
    pub notes: Vec<String>,
}

impl RecoveryReport {
    /// Whether all was as it should be.
    pub fn is_clean(&self) -> bool {
        self.truncated_at.is_none() && self.notes.is_empty()
    }
}

/// What is wrong with a timestamp.
pub(crate) fn timestamp_text(timestamp: Timestamp, from: Timestamp, to: Timestamp) -> String {
    format!("timestamp {timestamp} is out of range: it must be within [{from}, {to}]")
}
