//! The partitions that this broker holds: led or followed, appended to and read, waited for.
//!
//! | to know | read |
//! |---|---|
//! | which partitions there are, and where their logs lie | [`ReplicaManager`]; `roles` for what the image makes of them |
//! | what one partition is, and how it is written | [`Partition`] |
//! | who is in sync, and where the high watermark is | `isr`, a state machine without I/O |
//! | how consumers and followers read | `reading`, and `waiters` for those who find too little |
//! | how a follower takes what its leader gives | `following` |
//! | how it is fetched | `fetcher`, by the plan of `session`, over a `link`; `lost` if that breaks |
//! | how much that may cost | `throttle`, by its `quota`s |
//! | how logs are compacted, and files unlinked | `cleaner`, `trash` |
//!
//! Nothing here knows of groups, of who may ask, or of the controller: wishes for another ISR go out by a channel.

mod cleaner;
mod error;
mod fetcher;
mod following;
mod isr;
mod link;
mod lost;
mod manager;
mod partition;
mod quota;
mod reading;
mod rests;
mod roles;
mod session;
mod surroundings;
#[cfg(test)]
mod tests;
mod throttle;
mod trash;
mod waiters;

pub use error::{FetchError, FollowError, LeaderHint, WriteError};
pub use fetcher::{Asking, LeaderLink, Leaders, LinkError};
pub use following::{Given, Position};
pub use isr::IsrState;
pub use link::AddressOf;
pub use manager::{PartitionSpec, ReplicaManager};
pub use partition::{Partition, Replication};
pub use quota::Windows;
pub use reading::{FetchFrom, Fetched, ReplicaFetch};
pub use roles::FetcherOptions;
pub use session::FetchLimits;
pub use surroundings::{AlterIsrWish, Eligibility};
pub use throttle::{ThrottleRates, Throttled};
pub use waiters::{Marks, Waiter, Watch};
