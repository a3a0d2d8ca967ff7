//! RemoveRaftVoter (key 81): takes a voter out of the metadata quorum (KIP-853).
//!
//! Version 0.

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The voter that is to go.
    RemoveRaftVoterRequest (request of RemoveRaftVoter, answered by RemoveRaftVoterResponse) {
        cluster_id: Option<Str>,
        voter_id: i32,
        voter_directory_id: Uuid,
    }

    /// What became of it.
    RemoveRaftVoterResponse (response of RemoveRaftVoter) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
