//! AllocateProducerIds (key 67): a broker asks the controller for a block of producer ids.
//!
//! Version 0, flexible; between brokers and controllers only.

use crate::protocol::{ErrorCode, message};

message! {
    /// A broker that has handed out all it had.
    AllocateProducerIdsRequest (request of AllocateProducerIds, answered by AllocateProducerIdsResponse) {
        broker_id: i32,
        broker_epoch: i64 = -1,
    }

    /// Ids that nobody had.
    AllocateProducerIdsResponse (response of AllocateProducerIds) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id_start: i64,
        producer_id_len: i32,
    }
}
