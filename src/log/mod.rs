//! One partition on disk, in Kafka's own layout and formats.
//!
//! ```text
//! root/                                    LogDir: dir.rs
//!   .lock  meta.properties  *-checkpoint  .kafka_cleanshutdown
//!   flights-0/                             Log: log.rs and the files named after what they do
//!     00000000000000000000.log             segment.rs
//!     00000000000000000000.index           offset_index.rs, kept by index_file.rs
//!     00000000000000000000.timeindex       time_index.rs
//!     00000000000000000000.txnindex        transaction_index.rs
//!     00000000000000001234.snapshot        producer_snapshot.rs, of producer_state.rs
//!     leader-epoch-checkpoint              leader_epoch.rs
//!     partition.metadata                   partition_metadata.rs
//! ```
//! A [`Log`] has one writer and any number of [`LogReader`]s. What is read are slices of the mapped segment. Everything
//! goes through a [`FileSystem`](fs::FileSystem), and each format says in its own file what a crash leaves of it.
//! A [`ReadOnlyDir`] gives readers over what a broker left behind, and leaves that as it is.
//!
//! It never knows of sockets, tasks or messages, and never reads a clock: the time comes with each call.

pub mod append;
pub mod checkpoint;
pub mod compact;
pub mod config;
pub mod dir;
pub mod error;
pub mod fs;
mod index_file;
pub mod leader_epoch;
// The room is named after what it holds.
#[allow(clippy::module_inception)]
pub mod log;
pub mod meta_properties;
pub(crate) mod offset_index;
mod order;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod producer_state;
pub mod read;
pub mod read_only;
pub mod recovery;
pub mod retention;
pub mod roll;
mod segment;
pub(crate) mod time_index;
pub mod transaction_index;
pub mod truncate;

pub use append::{AppendInfo, Origin};
pub use compact::{Cleaned, Compaction, CompactionReport, Rewrite};
pub use config::LogConfig;
pub use dir::{DeletedLog, LogDir};
pub use error::{AppendError, ReadError, RecordError, RecoveryReport, StorageError};
pub use fs::handles::Handles;
pub use log::{Log, LogOptions, LogReader};
pub use read::{LogRead, TimestampOffset};
pub use read_only::{FoundLog, ReadOnlyDir};
pub use retention::RemovedSegments;
pub use roll::{FlushJob, Synced};
pub use transaction_index::AbortedTxn;

#[cfg(test)]
mod tests;
