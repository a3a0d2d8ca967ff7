//! Control records: what brokers write between the data, and no consumer sees.
//!
//! ```text
//! key:   version i16 (0) | type i16
//! value of an end marker: version i16 (0) | coordinator epoch i32
//! ```
//! A control batch holds one record. Only the ends of transactions are built here; the other kinds are recognised.

use bytes::Bytes;

use crate::common::ids::{ProducerEpoch, ProducerId, Timestamp};

use super::batch::Batch;
use super::builder::{BatchBuilder, BatchOptions, ProducerState};
use super::error::BatchError;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// A Raft leader was elected.
    LeaderChange,
    /// A Raft snapshot begins.
    SnapshotHeader,
    /// A Raft snapshot ends.
    SnapshotFooter,
    /// The version of the Raft protocol.
    KRaftVersion,
    /// The voters of the Raft quorum.
    KRaftVoters,
    /// One that is not known here.
    Unknown(i16),
}

impl ControlType {
    /// What the key of a control record says; `None` for a key that is none.
    pub fn from_key(key: &[u8]) -> Option<ControlType> {
        let (version, rest) = key.split_first_chunk()?;
        let (id, _) = rest.split_first_chunk()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        Some(match i16::from_be_bytes(*id) {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::KRaftVoters,
            other => ControlType::Unknown(other),
        })
    }
}

/// The end of a transaction, as its coordinator has it written into each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Whether it was committed; aborted otherwise.
    pub committed: bool,
    /// The epoch of the coordinator, by which an old one is fenced.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The batch that holds this marker alone.
    ///
    /// # Errors
    /// None that a marker can have; the builder's.
    pub fn build(self, now: Timestamp, id: ProducerId, epoch: ProducerEpoch) -> Result<Bytes, BatchError> {
        let mut builder = BatchBuilder::new(BatchOptions {
            producer: ProducerState { id, epoch, base_sequence: -1 },
            transactional: true,
            control: true,
            capacity: 128,
            ..BatchOptions::default()
        });
        let key = [0, 0, 0, u8::from(self.committed)];
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        builder.append(now, Some(&key), Some(&value), std::iter::empty());
        builder.build()
    }

    /// The marker in a control batch; `None` for a batch that holds something else.
    ///
    /// # Errors
    /// What is wrong with the batch's record.
    pub fn read(batch: &Batch<'_>) -> Result<Option<EndTxnMarker>, BatchError> {
        if !batch.is_control() {
            return Ok(None);
        }
        let malformed = |what| BatchError::Record { base_offset: batch.base_offset(), index: 0, what };
        let Some(record) = batch.records(batch.body_bytes()).next().transpose()? else { return Ok(None) };
        let committed = match record.key.and_then(ControlType::from_key) {
            Some(ControlType::Commit) => true,
            Some(ControlType::Abort) => false,
            Some(_) => return Ok(None),
            None => return Err(malformed("its key is not one of a control record")),
        };
        let epoch = record.value.and_then(|value| value.get(2..)?.first_chunk()).copied();
        let epoch = epoch.ok_or_else(|| malformed("its value is not one of an end marker"))?;
        Ok(Some(EndTxnMarker { committed, coordinator_epoch: i32::from_be_bytes(epoch) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_survives_its_batch() {
        for committed in [true, false] {
            let marker = EndTxnMarker { committed, coordinator_epoch: 7 };
            let bytes = marker.build(1_000, 42, 3).unwrap();
            let batch = Batch::parse(&bytes).unwrap();
            assert!(batch.is_control() && batch.is_transactional());
            assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (42, 3, -1));
            assert_eq!(EndTxnMarker::read(&batch).unwrap(), Some(marker));
        }
    }

    #[test]
    fn other_kinds_are_recognised() {
        assert_eq!(ControlType::from_key(&[0, 0, 0, 2]), Some(ControlType::LeaderChange));
        assert_eq!(ControlType::from_key(&[0, 0, 0, 77]), Some(ControlType::Unknown(77)));
        assert_eq!(ControlType::from_key(&[0, 0, 0]), None);
    }
}
