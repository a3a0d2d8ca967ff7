//! Connections, metadata, producer, consumer and admin, for any Kafka cluster.
//!
//! | to know | read |
//! |---|---|
//! | how bytes go to one broker and back | [`connection`] |
//! | which broker to ask | [`network`], over what is known of the cluster ([`metadata`]) |
//! | what the keys mean | [`config`] |
//! | how records are gathered and sent | [`producer`] |
//! | how one partition is read as bytes | [`fetch`] |
//! | how partitions are shared, fetched and committed | [`consumer`] |
//! | how topics, groups and configs are managed | [`admin`] |
//!
//! Everything runs on the runtime, the clock and the transport that it is given ([`Doors`]). This room knows no broker
//! from the inside: it speaks to Apache Kafka as it does to ours.

pub mod admin;
pub mod config;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod fetch;
pub mod metadata;
pub mod network;
pub mod offsets;
pub mod producer;
#[cfg(test)]
pub(crate) mod testing;

pub use error::{ClientError, Result};

use tokio::runtime::Handle;

use crate::common::clock::SharedClock;
use crate::common::transport::SharedTransport;

/// The doors to the outside that a client goes through.
#[derive(Debug, Clone)]
pub struct Doors {
    /// How to connect.
    pub transport: SharedTransport,
    /// What the time is.
    pub clock: SharedClock,
    /// Where the client's tasks run.
    pub runtime: Handle,
}
