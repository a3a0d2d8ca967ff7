//! AddRaftVoter (key 80): makes an observer of the metadata quorum a voter (KIP-853).
//!
//! Versions 0-1.
//!   1  whether to wait until the change is committed

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The voter to be.
    AddRaftVoterRequest (request of AddRaftVoter, answered by AddRaftVoterResponse) {
        cluster_id: Option<Str>,
        timeout_ms: i32,
        voter_id: i32,
        voter_directory_id: Uuid,
        listeners: Vec<Listener>,
        ack_when_committed: bool [1+] = true,
    }

    /// Where it listens.
    Listener {
        name: Str,
        host: Str,
        port: u16,
    }

    /// What became of it.
    AddRaftVoterResponse (response of AddRaftVoter) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
