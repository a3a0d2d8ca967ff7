//! The brokers of one cluster on one machine: started, stopped, and hurt on purpose.
//!
//! A [`RunningBroker`] is a broker with its listeners, on the runtime of whoever starts it. Everything it has from the
//! outside comes in by its [`BrokerSettings`]: configs, clock, transport and file system. A [`LocalCluster`] is several of
//! them over a [`Network`] that can be cut, in this process or each in one of its own.
//!
//! | file | what is in it |
//! |---|---|
//! | `settings`, `running` | what a broker is started with; a broker that is bound, and one that runs |
//! | `local`, `hurt` | all brokers of a cluster; what a test does to them |
//! | `runner` | how one of them is run: in this process, or apart from it |
//! | `orders` | what a broker is told beside what clients ask of it, wherever it runs |
//! | `child`, `controlled` | the two ends of a broker's process |
//! | `links`, `network` | what is broken between brokers, and how that is carried out |
//! | `health`, `waits` | whether a cluster is well, and what else can be waited for |
//! | `tables` | topics as tables, without a socket |

mod child;
mod controlled;
mod health;
mod hurt;
mod links;
mod local;
mod network;
mod orders;
mod runner;
mod running;
mod settings;
mod tables;
mod waits;

pub use controlled::{ControlError, serve_for_parent};
pub use hurt::RefusedRequests;
pub use links::Links;
pub use local::{LocalCluster, LocalError};
pub use network::Network;
pub use runner::BrokerState;
pub use running::{BoundBroker, RunningBroker, StartError};
pub use settings::{BrokerSettings, SettingsError};
pub use tables::log_source;
