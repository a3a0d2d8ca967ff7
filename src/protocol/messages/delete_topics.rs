//! DeleteTopics (key 20): deletes topics, with their records.
//!
//! Versions 1-6.
//!
//! ```text
//!  2  no change on the wire                            5  an error's text (KIP-599)
//!  3  TOPIC_DELETION_DISABLED may be answered          6  by id as well as by name (KIP-516)
//!  4  flexible
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// The topics to delete: by name alone until 5, by name or id from 6.
    DeleteTopicsRequest (request of DeleteTopics, answered by DeleteTopicsResponse) {
        topics: Vec<DeleteTopicState> [6+],
        topic_names: Vec<Str>         [0-5] ignorable,
        /// How long to wait until they are deleted, in milliseconds.
        timeout_ms: i32,
    }

    /// One topic, by name or by id.
    DeleteTopicState {
        /// Null if the id says which.
        name: Option<Str>,
        topic_id: Uuid,
    }

    /// What became of each topic.
    DeleteTopicsResponse (response of DeleteTopics) {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    /// What became of one topic.
    DeletableTopicResult {
        /// Null if it was asked for by an id that is not known.
        name: Option<Str>          [0+] null [6+],
        topic_id: Uuid             [6+] ignorable,
        error_code: ErrorCode,
        error_message: Option<Str> [5+] ignorable,
    }
}
