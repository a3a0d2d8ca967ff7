//! Groups: pure state machines over their internal topic, `__consumer_offsets`.
//!
//! | file | what it holds |
//! |---|---|
//! | [`shard`] | [`GroupShard`]: the groups and offsets of one partition of `__consumer_offsets`; every request enters here |
//! | [`step`] | what a request gives: writes, replies, and how a write that failed is taken back |
//! | [`timers`] | the shard's deadlines |
//! | [`records`] | the topic's records, as Kafka writes them |
//! | [`groups`] | the groups: classic ones, their offsets, what an administrator asks |
//!
//! ## How a runtime drives a shard
//!
//! 1. Start empty, [`GroupShard::replay`] each record of the partition in order, then [`GroupShard::on_loaded`].
//! 2. For each request call its method with a [`ReplyToken`] of its own and the time; handle the [`Step`].
//! 3. To handle a step: send its replies; append each of its writes, as one batch, and call [`GroupShard::on_written`]
//!    with what came of it, which gives a further step to handle.
//! 4. Sleep until [`GroupShard::next_deadline`], then call [`GroupShard::on_time`] and handle its step.
//! 5. When the partition goes elsewhere, [`GroupShard::unload`] and handle its step: all who wait are sent away.
//!
//! No state runs ahead of the log: what a record says (a committed offset, an assignment, a deleted group) holds only
//! once `on_written` said that it is in the log, and the replies that promise it wait until then. What is in memory only
//! (who is joining, which deadline runs) changes at once, as in Kafka, and a restart forgets it.
//!
//! Time is an argument. It serves both deadlines and the timestamps in records: give a wall clock that does not jump.
//! This room never knows sockets, wire versions, or where the log is.

pub mod groups;
pub mod records;
pub mod shard;
pub mod step;
pub mod timers;

pub use shard::{GroupConfig, GroupShard};
pub use step::{Reply, ReplyToken, Step, Write, WriteId};

/// The partition of `__consumer_offsets` that keeps a group: Java's hash of its id, without sign, modulo `partitions`.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    // Java hashes UTF-16 units, in 32 bits that wrap.
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's abs: MIN becomes 0.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn a_group_lies_where_java_would_look_for_it() {
        // "abc".hashCode() is 96354, "g".hashCode() is 103, "polygenelubricants".hashCode() is MIN_VALUE.
        assert_eq!(partition_for("abc", 50), 96354 % 50);
        assert_eq!(partition_for("g", 50), 3);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        // Two UTF-16 units: 0xD83D * 31 + 0xDE00.
        assert_eq!(partition_for("\u{1F600}", 50), (0xD83D * 31 + 0xDE00) % 50);
        assert_eq!(partition_for("", 50), 0);
    }
}
