//! FindCoordinator (key 10): which broker keeps a group or a transactional id.
//!
//! Versions 0-6.
//!
//! ```text
//!  0  groups only                         4  several keys at once (KIP-699)
//!  1  transactional ids too               5  TRANSACTION_ABORTABLE may be answered (KIP-890)
//!  2  no change on the wire               6  share groups (KIP-932)
//!  3  flexible
//! ```

use crate::protocol::{ErrorCode, Str, message};

message! {
    /// Asks for one key, or from version 4 for many.
    FindCoordinatorRequest (request of FindCoordinator, answered by FindCoordinatorResponse) {
        key: Str                   [0-3],
        /// 0 a group, 1 a transactional id, 2 a share group's partition.
        key_type: i8               [1+],
        coordinator_keys: Vec<Str> [4+],
    }

    /// The coordinator of one key, or from version 4 of each.
    FindCoordinatorResponse (response of FindCoordinator) {
        throttle_time_ms: i32          [1+] ignorable,
        error_code: ErrorCode          [0-3],
        error_message: Option<Str>     [1-3] ignorable,
        node_id: i32                   [0-3],
        host: Str                      [0-3],
        port: i32                      [0-3],
        coordinators: Vec<Coordinator> [4+],
    }

    /// The coordinator of one key.
    Coordinator {
        key: Str,
        node_id: i32,
        host: Str,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<Str>,
    }
}
