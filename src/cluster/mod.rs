//! The brokers of one process: started, stopped, and hurt on purpose.
//!
//! A [`RunningBroker`] is a broker with its listeners, on the runtime of whoever starts it. Everything it has from the
//! outside comes in by its [`BrokerSettings`]: configs, clock, transport and file system. A [`LocalCluster`] is several of
//! them over a [`Network`] that can be cut.

mod local;
mod network;
mod running;
mod settings;
mod tables;

pub use local::{LocalCluster, LocalError};
pub use network::Network;
pub use running::{BoundBroker, RunningBroker, StartError};
pub use settings::{BrokerSettings, SettingsError};
pub use tables::log_source;
