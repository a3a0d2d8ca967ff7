//! What a wish comes to: records, or a refusal in a sentence.
//!
//! Each function looks at the image and writes nothing: whoever keeps the records makes them durable first and applies
//! them then. So a wish that only asks ("validate only") is the same call with its records thrown away.

mod balance;
mod brokers;
mod change;
mod configs;
mod failover;
mod features;
mod heartbeat;
mod placement;
mod reassign;
mod topics;

pub use balance::prefer_leaders;
pub use brokers::{Registration, allocate_producer_ids, elect_leaders, register_broker, unregister_broker};
pub use configs::{alter_configs, broker_values, replace_configs, topic_values};
pub use failover::{
    AlterIsr, Election, NO_LEADER, alter_isr, elect_leader, elect_unclean, fence_broker, leave, lose, unfence_broker,
};
pub use features::{FEATURES, FeatureUpdate, UpgradeType, bootstrap, supported_features, update_features};
pub use heartbeat::{Heartbeat, Standing, heartbeat};
pub use reassign::{Reassign, reassign};
pub use topics::{CreateTopic, create_partitions, create_topic, delete_topic};

use crate::protocol::ErrorCode;

/// Why a wish is refused: the code for the client, and what was wrong in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code on the wire.
    pub code: ErrorCode,
    /// What was wrong, where, and what would be right.
    pub message: String,
}

impl Refusal {
    /// A refusal with `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// The records of a wish, or why it is refused.
pub type Plan = Result<Vec<super::MetadataRecord>, Refusal>;
