//! UnregisterBroker (key 64): takes a broker that is gone for good out of the cluster.
//!
//! Version 0, flexible.

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The broker that is gone.
    UnregisterBrokerRequest (request of UnregisterBroker, answered by UnregisterBrokerResponse) {
        broker_id: i32,
    }

    /// What became of it.
    UnregisterBrokerResponse (response of UnregisterBroker) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
