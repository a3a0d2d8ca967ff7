//! BrokerRegistration (key 62): a broker tells the controller that it has started.
//!
//! Versions 2-4 (KIP-631, KIP-858, KIP-966), flexible from the start; between brokers and controllers only.
//!
//! ```text
//!  2  log dirs     3  the epoch before a clean stop     4  features that begin at level 0
//! ```

use crate::common::ids::Uuid;
use crate::protocol::{ErrorCode, Str, message};

message! {
    /// A broker that has started.
    BrokerRegistrationRequest (request of BrokerRegistration, answered by BrokerRegistrationResponse) {
        broker_id: i32,
        cluster_id: Str,
        /// New with each start.
        incarnation_id: Uuid,
        listeners: Vec<Listener>,
        features: Vec<Feature>,
        rack: Option<Str>,
        is_migrating_zk_broker: bool,
        log_dirs: Vec<Uuid>,
        /// The epoch it had before it stopped cleanly; -1 where it does not know.
        previous_broker_epoch: i64 [3+] = -1,
    }

    /// Where it listens.
    Listener {
        name: Str,
        host: Str,
        port: u16,
        /// 0 is PLAINTEXT.
        security_protocol: i16,
    }

    /// A feature that it knows, and in which levels.
    Feature {
        name: Str,
        min_supported_version: i16,
        max_supported_version: i16,
    }

    /// What became of it.
    BrokerRegistrationResponse (response of BrokerRegistration) {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        /// What tells this start from those before.
        broker_epoch: i64 = -1,
    }
}
