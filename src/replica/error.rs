//! Why a partition does not do what it is asked for.

use crate::common::ids::{LeaderEpoch, NodeId};
use crate::log::{AppendError, ReadError, StorageError};
use crate::protocol::ErrorCode;

/// Who leads a partition, as far as this broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader, -1 for none.
    pub leader_id: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This broker does not lead the partition.
    #[error("broker {} leads the partition in epoch {}, not this one", .0.leader_id, .0.leader_epoch)]
    NotLeader(LeaderHint),
    /// Too few replicas are in sync for acks=all.
    #[error("{in_sync} replicas are in sync, and min.insync.replicas asks for {needed}")]
    NotEnoughReplicas {
        /// How many are.
        in_sync: usize,
        /// How many must be.
        needed: usize,
    },
    /// The log refuses the batch.
    #[error(transparent)]
    Log(#[from] AppendError),
}

/// Why a fetch gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The reader's leader epoch is not ours.
    #[error("leader epoch {asked} was asked for, and {} is current", .hint.leader_epoch)]
    LeaderEpoch {
        /// The reader's.
        asked: LeaderEpoch,
        /// Who leads.
        hint: LeaderHint,
    },
    /// This broker does not lead the partition.
    #[error("broker {} leads the partition in epoch {}, not this one", .0.leader_id, .0.leader_epoch)]
    NotLeader(LeaderHint),
    /// Who fetches as a replica is none, as far as is known here, or was started anew since.
    #[error("broker {node} is no replica of the partition")]
    NotReplica {
        /// Who fetched.
        node: NodeId,
        /// Whether it told the leader epoch that it knows.
        told_epoch: bool,
    },
    /// The epoch of the reader's last record is not known here, and so not where to go on.
    #[error("nothing is known of epoch {0}, in which the reader's last record was written")]
    UnknownEpoch(LeaderEpoch),
    /// No such offset, or the log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl FetchError {
    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            FetchError::LeaderEpoch { asked, hint } if *asked < hint.leader_epoch => ErrorCode::FENCED_LEADER_EPOCH,
            FetchError::LeaderEpoch { .. } | FetchError::NotReplica { told_epoch: true, .. } => {
                ErrorCode::UNKNOWN_LEADER_EPOCH
            }
            FetchError::NotLeader(_) | FetchError::NotReplica { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            FetchError::UnknownEpoch(_) | FetchError::Read(ReadError::OffsetOutOfRange { .. }) => {
                ErrorCode::OFFSET_OUT_OF_RANGE
            }
            FetchError::Read(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }

    /// Whom to ask instead, where it is somebody else.
    pub fn hint(&self) -> Option<LeaderHint> {
        match self {
            FetchError::LeaderEpoch { hint, .. } | FetchError::NotLeader(hint) => Some(*hint),
            _ => None,
        }
    }
}

/// Why a follower cannot take what its leader gave.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The partition is not followed any more, in another epoch, or from another offset: the answer came too late.
    #[error("the partition has gone another way since it was fetched")]
    Overtaken,
    /// The batches are damaged, or do not follow on ours: to be fetched again.
    #[error("what the leader gave cannot be appended: {0}")]
    Refused(AppendError),
    /// The disk failed: the partition is not followed until the next leader epoch.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<AppendError> for FollowError {
    fn from(error: AppendError) -> FollowError {
        match error {
            AppendError::Storage(error) => FollowError::Storage(error),
            error => FollowError::Refused(error),
        }
    }
}
