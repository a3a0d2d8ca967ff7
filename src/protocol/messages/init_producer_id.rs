//! InitProducerId (key 22): an id for an idempotent or transactional producer.
//!
//! Versions 0-5.
//!
//! ```text
//!  1  no change on the wire       3  the id and epoch that the producer has, to be raised (KIP-360)
//!  2  flexible                    4  PRODUCER_FENCED may be answered      5  TRANSACTION_ABORTABLE (KIP-890)
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Asks for a producer id.
    InitProducerIdRequest (request of InitProducerId, answered by InitProducerIdResponse) {
        /// Null for a producer that is idempotent only.
        transactional_id: Option<Str>,
        /// After which an open transaction may be aborted, in milliseconds.
        transaction_timeout_ms: i32,
        producer_id: i64    [3+] = -1,
        producer_epoch: i16 [3+] = -1,
    }

    /// The producer's id and epoch.
    InitProducerIdResponse (response of InitProducerId) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
}
