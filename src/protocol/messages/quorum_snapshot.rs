//! QuorumSnapshot (key 10002): a leading controller hands on its snapshot, in pieces, to one that is far behind.
//!
//! Version 0. Not Kafka's: it is what our controllers say among themselves, and no client is told of it. The pieces make
//! the file as it lies in the metadata log's folder, under its name.

use bytes::Bytes;

use super::quorum_vote::{QuorumEntryId, QuorumTerm, QuorumWay};
use crate::protocol::primitives::Records;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A piece.
    QuorumSnapshotRequest (request of QuorumSnapshot, answered by QuorumSnapshotResponse) {
        way: QuorumWay,
        vote: QuorumTerm,
        name: Str,
        /// The last entry in it.
        last_entry: QuorumEntryId,
        /// The batch that says who votes, and the entry it is of.
        voters: Records,
        voters_entry: Option<QuorumEntryId>,
        position: i64,
        piece: Bytes,
        is_last: bool,
    }

    /// Whether to go on, or to begin anew (`mismatch`).
    QuorumSnapshotResponse (response of QuorumSnapshot) {
        error_code: ErrorCode,
        vote: QuorumTerm,
        mismatch: bool,
    }
}
