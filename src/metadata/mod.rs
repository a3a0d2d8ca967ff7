//! The cluster image and the records that change it: a pure state machine.
//!
//! What a cluster is (topics, partitions, configs, brokers, features, producer ids) is the sum of its metadata
//! [`records`], in Kafka's own format. [`image`] applies them, one by one, and answers questions; [`plan`] decides what
//! records a wish comes to (create this topic, alter that config), or why it must be refused; `snapshot` tells the image as
//! the fewest records that make it. None knows where the records are kept or who asks.

pub mod image;
pub mod plan;
pub mod records;
mod snapshot;
pub mod topic_name;

#[cfg(test)]
mod tests;

pub use image::{Image, ResourceType};
pub use plan::Refusal;
pub use records::MetadataRecord;
