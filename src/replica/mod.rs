//! The partitions that this broker leads: appends, reads, the high watermark, and fetches that wait.
//!
//! [`ReplicaManager`] opens a partition's log when it is first asked for, and keeps it; [`Partition`] is one of them;
//! `cleaner` compacts them.
//! Nothing here knows of groups, of requests, or of who may ask.

mod cleaner;
mod manager;
mod partition;
mod trash;
mod waiters;

pub use manager::{PartitionSpec, ReplicaManager};
pub use partition::{FetchError, FetchFrom, Fetched, Partition};
pub use waiters::Waiter;
