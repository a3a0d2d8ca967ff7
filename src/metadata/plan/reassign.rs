//! Reassignment: a partition's replicas move to other brokers while it is read and written (KIP-455).
//!
//! ```text
//! replicas 1,2,3   target 1,4,5      replicas 1,4,5,2,3   adding 4,5   removing 2,3
//!                  4 and 5 fetch, and come into the ISR one by one
//!                  1,4,5 in sync     replicas 1,4,5       as one change with the last of them coming in
//!                  cancelled         replicas 1,2,3       what had come until then goes again
//! ```
//! Those that go stay in sync until that moment, so nothing is less safe meanwhile. Where the replicas that are to stay are in
//! sync already (fewer replicas, or another order) it is all done at once. A second target takes the place of the first one;
//! what is being brought and is none of it goes. The rules are those of Kafka's controller, but for one: a target that wants a
//! replica that was going keeps it, where Kafka's lets it go all the same.

use super::change::Change;
use super::topics::check_replicas;
use super::{Plan, Refusal};
use crate::common::ids::NodeId;
use crate::metadata::image::{Image, PartitionImage};
use crate::metadata::records::MetadataRecord;
use crate::protocol::ErrorCode;

/// Where a partition is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassign {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The brokers that are to hold it, the preferred leader first; `None` ends the reassignment that is under way.
    pub target: Option<Vec<NodeId>>,
    /// Whether they may be more or fewer than now.
    pub may_change_factor: bool,
}

/// Begins, changes or ends the reassignment of a partition; no records where it is there already.
///
/// # Errors
/// As Kafka's controller: UNKNOWN_TOPIC_OR_PARTITION, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR,
/// NO_REASSIGNMENT_IN_PROGRESS.
pub fn reassign(image: &Image, wish: &Reassign) -> Plan {
    let name = format!("{}-{}", wish.topic, wish.partition);
    let unknown = || Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no {name}"));
    let topic = image.topic(&wish.topic).ok_or_else(unknown)?;
    let index = usize::try_from(wish.partition).map_err(|_| unknown())?;
    let partition = topic.partitions.get(index).ok_or_else(unknown)?;
    let mut change = Change::of(image, topic, index).ok_or_else(unknown)?;
    match &wish.target {
        Some(target) => {
            check_replicas(image, target)?;
            if !wish.may_change_factor {
                check_factor(&name, partition, target)?;
            }
            begin(&mut change, partition, target);
        }
        None => revert(&mut change, partition, &name)?,
    }
    Ok(change.finish().map(MetadataRecord::PartitionChange).into_iter().collect())
}

fn begin(change: &mut Change<'_>, partition: &PartitionImage, target: &[NodeId]) {
    let mut going: Vec<NodeId> = partition.replicas.iter().copied().filter(|node| !target.contains(node)).collect();
    going.sort_unstable();
    let mut coming: Vec<NodeId> = target.iter().copied().filter(|node| !partition.replicas.contains(node)).collect();
    coming.sort_unstable();
    change.replicas = target.iter().chain(&going).copied().collect();
    change.removing = going;
    // Nobody new: those that are on their way still are.
    if !coming.is_empty() {
        change.adding = coming;
    }
}

/// Takes a partition back to where it was: what is being brought goes, and what was to go stays.
fn revert(change: &mut Change<'_>, partition: &PartitionImage, name: &str) -> Result<(), Refusal> {
    if !partition.is_reassigning() {
        let sentence = format!("{name} is not being reassigned");
        return Err(Refusal::new(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, sentence));
    }
    let stays = |node: &NodeId| !partition.adding.contains(node);
    change.replicas.retain(stays);
    change.isr.retain(stays);
    if change.isr.is_empty() {
        let sentence = format!(
            "the reassignment of {name} cannot be taken back: only {:?}, which it brought, are in sync, and records would be lost",
            partition.isr
        );
        return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, sentence));
    }
    change.adding.clear();
    change.removing.clear();
    Ok(())
}

/// That the target has as many replicas as the partition has, or will have.
fn check_factor(name: &str, partition: &PartitionImage, target: &[NodeId]) -> Result<(), Refusal> {
    let factor = partition.replicas.iter().filter(|node| !partition.removing.contains(node)).count();
    if factor == target.len() {
        return Ok(());
    }
    let sentence = format!(
        "{name} has a replication factor of {factor}, which this request may not change: {target:?} are {}",
        target.len()
    );
    Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, sentence))
}

#[cfg(test)]
mod tests;
