//! Where a scan's batches come from.
//!
//! A [`Source`] knows the partitions of one topic: where they begin and end, where a time lies, and how to read one of
//! them from an offset on ([`Cursor`]). What comes are chunks of whole batches, as they lie in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;

use super::ScanError;
use crate::common::ids::{Offset, ProducerId, Timestamp, TopicPartition, Uuid};
use crate::log::{LogReader, ReadError, ReadOnlyDir, StorageError};

/// How much a cursor over a log hands out at once.
const CHUNK: usize = 8 << 20;

/// Offsets of one partition: from `start`, up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRange {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: Offset,
    /// The offset behind the last.
    pub end: Offset,
}

/// Batches that lie behind each other in a log.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Whole batches.
    pub batches: Bytes,
    /// For committed reads: the aborted transactions in them, by producer and first offset.
    pub aborted: Vec<(ProducerId, Offset)>,
}

/// Reads one partition, forwards.
pub trait Cursor: Send {
    /// The next batches; `None` when the partition has no more up to the end that the cursor was opened with.
    ///
    /// # Errors
    /// The log's or the cluster's. It may not be asked again then.
    fn next(&mut self) -> Result<Option<Chunk>, ScanError>;
}

/// The partitions of one topic. Calls may wait: for a disk or for a cluster.
pub trait Source: fmt::Debug + Send + Sync {
    /// The topic.
    fn topic(&self) -> &str;

    /// The topic's id; [`Uuid::ZERO`] where it is not known.
    fn topic_id(&self) -> Uuid {
        Uuid::ZERO
    }

    /// The partitions, with their first offset and the offset behind the last record that may be read now.
    ///
    /// # Errors
    /// The cluster's.
    fn bounds(&self, read_committed: bool) -> Result<Vec<PartitionRange>, ScanError>;

    /// For each of these partitions the offset of the first record that is not older than `timestamp`; a partition that
    /// has none is left out.
    ///
    /// # Errors
    /// The log's or the cluster's.
    fn offsets_for_time(&self, partitions: &[i32], timestamp: Timestamp) -> Result<BTreeMap<i32, Offset>, ScanError>;

    /// Reads these offsets; the first chunk begins with the batch that holds the first of them.
    ///
    /// # Errors
    /// The log's or the cluster's.
    fn open(&self, range: PartitionRange, read_committed: bool) -> Result<Box<dyn Cursor>, ScanError>;
}

/// One partition's log in this process.
#[derive(Debug, Clone)]
pub struct LocalPartition {
    /// Its log.
    pub reader: LogReader,
    /// Up to where its records may be read: the high watermark.
    pub end: Offset,
}

/// A topic whose logs lie in this process: batches are slices of the mapped segments.
#[derive(Debug, Clone)]
pub struct LogSource {
    topic: String,
    topic_id: Uuid,
    partitions: BTreeMap<i32, LocalPartition>,
}

impl LogSource {
    /// The topic over its logs, by partition.
    pub fn new(topic: impl Into<String>, partitions: BTreeMap<i32, LocalPartition>) -> LogSource {
        LogSource { topic: topic.into(), topic_id: Uuid::ZERO, partitions }
    }

    /// The same, knowing the topic's id.
    pub fn with_id(self, topic_id: Uuid) -> LogSource {
        LogSource { topic_id, ..self }
    }

    /// A topic in the data dir of a broker that has stopped: all that its logs hold, up to their ends. Also, in sentences,
    /// what of them is damaged and left out. `None` where the dir has nothing of the topic.
    ///
    /// # Errors
    /// As [`ReadOnlyDir::open_topic`].
    pub fn in_dir(dir: &ReadOnlyDir, topic: &str) -> Result<Option<(LogSource, Vec<String>)>, StorageError> {
        let mut notes = Vec::new();
        let mut partitions = BTreeMap::new();
        for (partition, found) in dir.open_topic(topic)? {
            let name = TopicPartition::new(topic, partition);
            notes.extend(found.report.notes.iter().map(|note| format!("{name}: {note}")));
            let end = found.reader.log_end_offset();
            partitions.insert(partition, LocalPartition { reader: found.reader, end });
        }
        Ok((!partitions.is_empty()).then(|| (LogSource::new(topic, partitions), notes)))
    }

    /// Its logs, by partition.
    pub fn partitions(&self) -> &BTreeMap<i32, LocalPartition> {
        &self.partitions
    }

    fn name(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    fn get(&self, partition: i32) -> Result<&LocalPartition, ScanError> {
        self.partitions.get(&partition).ok_or_else(|| {
            let count = self.partitions.len();
            ScanError::Invalid(format!("topic {} has no partition {partition}: it has {count}", self.topic))
        })
    }
}

impl Source for LogSource {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    fn bounds(&self, read_committed: bool) -> Result<Vec<PartitionRange>, ScanError> {
        let range = |(partition, local): (&i32, &LocalPartition)| {
            let end = if read_committed { local.end.min(local.reader.last_stable_offset()) } else { local.end };
            PartitionRange { partition: *partition, start: local.reader.log_start_offset().min(end), end }
        };
        Ok(self.partitions.iter().map(range).collect())
    }

    fn offsets_for_time(&self, partitions: &[i32], timestamp: Timestamp) -> Result<BTreeMap<i32, Offset>, ScanError> {
        let mut found = BTreeMap::new();
        for partition in partitions {
            let local = self.get(*partition)?;
            let read = |source| ScanError::Read { partition: self.name(*partition), source };
            let at = local.reader.offset_for_timestamp(timestamp).map_err(read)?;
            if let Some(at) = at.filter(|at| at.offset < local.end) {
                found.insert(*partition, at.offset);
            }
        }
        Ok(found)
    }

    fn open(&self, range: PartitionRange, read_committed: bool) -> Result<Box<dyn Cursor>, ScanError> {
        let local = self.get(range.partition)?.clone();
        let cursor = LogCursor { name: self.name(range.partition), local, range, read_committed };
        Ok(Box::new(cursor))
    }
}

struct LogCursor {
    name: TopicPartition,
    local: LocalPartition,
    range: PartitionRange,
    read_committed: bool,
}

impl Cursor for LogCursor {
    fn next(&mut self) -> Result<Option<Chunk>, ScanError> {
        let PartitionRange { start, end, .. } = self.range;
        if start >= end {
            return Ok(None);
        }
        let read = self.local.reader.read(start, CHUNK, self.local.end.max(end), true);
        let read = read.map_err(|error| match error {
            ReadError::OffsetOutOfRange { log_start_offset, .. } if start < log_start_offset => {
                ScanError::Gone { partition: self.name.clone(), from: start, log_start: log_start_offset }
            }
            ReadError::OffsetOutOfRange { log_end_offset, .. } => {
                ScanError::Cut { partition: self.name.clone(), end, log_end: log_end_offset }
            }
            ReadError::Storage(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                ScanError::Removed { partition: self.name.clone() }
            }
            source => ScanError::Read { partition: self.name.clone(), source },
        })?;
        let Some(last) = last_batch_end(&read.records) else {
            self.range.start = end;
            return Ok(None);
        };
        let aborted = match self.read_committed {
            true => self.local.reader.aborted_transactions(start, last),
            false => Vec::new(),
        };
        let aborted = aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect();
        self.range.start = last;
        Ok(Some(Chunk { batches: read.records, aborted }))
    }
}

/// The offset behind the last whole batch; `None` where there is none.
pub(super) fn last_batch_end(bytes: &[u8]) -> Option<Offset> {
    crate::record::batches(bytes).map_while(Result::ok).last().map(|batch| batch.next_offset())
}

/// A source that several scans share.
pub type SharedSource = Arc<dyn Source>;
