//! Preferred leaders: the first replica of each partition leads again once it may (`auto.leader.rebalance.enable`).
//!
//! A broker that was away leads nothing when it is back, and the others do its work. From time to time the controller looks
//! for partitions whose preferred leader is in sync and there, and lets it lead, some at a time: each change of a leader is
//! one that clients must hear of.

use super::failover::{each, first_ready};
use crate::metadata::image::{Image, PartitionImage};
use crate::metadata::records::MetadataRecord;

/// Lets preferred leaders lead, `most` of them at most.
pub fn prefer_leaders(image: &Image, most: usize) -> Vec<MetadataRecord> {
    let preferred = |partition: &PartitionImage| {
        let first = partition.replicas.first().filter(|first| **first != partition.leader)?;
        first_ready(image, &[*first], &partition.isr)
    };
    let concerns = |partition: &PartitionImage| preferred(partition).is_some();
    let change = each(image, concerns, |record, partition| {
        if let Some(leader) = preferred(partition) {
            record.leader = leader;
        }
    });
    change.take(most).collect()
}
