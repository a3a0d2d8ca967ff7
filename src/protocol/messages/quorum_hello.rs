//! QuorumHello (key 10003): a node says who and where it is, asks who leads the metadata quorum, and may want in.
//!
//! Version 0. Not Kafka's: it is what our controllers say among themselves, and no client is told of it.

use super::quorum_vote::QuorumWay;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Who asks, and what it wants.
    QuorumHelloRequest (request of QuorumHello, answered by QuorumHelloResponse) {
        way: QuorumWay,
        cluster_id: Str,
        /// To have the log, from whoever leads.
        joins: bool,
        /// And a vote, as soon as it has caught up.
        wants_vote: bool,
    }

    /// What the other one knows.
    QuorumHelloResponse (response of QuorumHello) {
        error_code: ErrorCode,
        error_message: Option<Str>,
        /// The newest term that it knows of, and who leads in it; -1 for nobody.
        term: i32,
        leader_id: i32 = -1,
        leader_host: Str,
        leader_port: u16,
        /// Whether it has entries of a cluster, or nothing yet.
        has_entries: bool,
    }
}
