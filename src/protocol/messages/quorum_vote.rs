//! QuorumVote (key 10000): a controller asks another one for its vote.
//!
//! Version 0. Not Kafka's: it is what our controllers say among themselves, and no client is told of it. A term is Kafka's
//! leader epoch; -1 stands for nobody.

use crate::common::ids::Uuid;
use crate::protocol::Str;
use crate::protocol::{ErrorCode, message};

message! {
    /// A candidate's wish.
    QuorumVoteRequest (request of QuorumVote, answered by QuorumVoteResponse) {
        way: QuorumWay,
        vote: QuorumTerm,
        last_entry: Option<QuorumEntryId>,
    }

    /// Who sends, and whom it means: what is at an address may have changed.
    QuorumWay {
        sender_id: i32 = -1,
        sender_directory_id: Uuid,
        sender_host: Str,
        sender_port: u16,
        target_id: i32 = -1,
        target_directory_id: Uuid,
    }

    /// A term, and whom somebody follows in it, or has voted for.
    QuorumTerm {
        term: i32,
        voted_for: i32 = -1,
        leads: bool,
    }

    /// An entry of the metadata log: the term of the leader that wrote it, and its number.
    QuorumEntryId {
        term: i32,
        index: i64,
    }

    /// What the other one says.
    QuorumVoteResponse (response of QuorumVote) {
        error_code: ErrorCode,
        vote: QuorumTerm,
        granted: bool,
        last_entry: Option<QuorumEntryId>,
    }
}
