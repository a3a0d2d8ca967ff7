//! The brokers of one process: started, stopped.
//!
//! A [`RunningBroker`] is a broker with its listener, on the runtime of whoever starts it. Everything it has from the
//! outside comes in by its [`BrokerSettings`]: configs, clock, transport and file system.

mod running;
mod settings;
mod tables;

pub use running::{RunningBroker, StartError};
pub use settings::{BrokerSettings, SettingsError};
pub use tables::log_source;
