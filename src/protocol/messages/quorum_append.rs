//! QuorumAppend (key 10001): a leading controller hands on entries, or only says that it leads.
//!
//! Version 0. Not Kafka's: it is what our controllers say among themselves, and no client is told of it. The entries are the
//! batches of the metadata log as they lie there, one an entry, numbered from the one behind `previous` on.

use super::quorum_vote::{QuorumEntryId, QuorumTerm, QuorumWay};
use crate::protocol::primitives::Records;
use crate::protocol::{ErrorCode, message};

message! {
    /// What the leader has.
    QuorumAppendRequest (request of QuorumAppend, answered by QuorumAppendResponse) {
        way: QuorumWay,
        vote: QuorumTerm,
        previous: Option<QuorumEntryId>,
        committed: Option<QuorumEntryId>,
        entries: Records,
    }

    /// What became of it: 0 all is there; 1 what is up to `matching` is there; 2 the entry before is another one here;
    /// 3 there is a higher term, `vote`.
    QuorumAppendResponse (response of QuorumAppend) {
        error_code: ErrorCode,
        outcome: i8,
        matching: Option<QuorumEntryId>,
        vote: QuorumTerm,
    }
}
