//! What a reply to a follower withholds of throttled partitions, and what of it counts (KIP-73).
//!
//! The leader's quota is asked for each throttled partition before its records go into a reply, and told of all that went
//! when the reply goes out: so one reply may go over it by as much as it holds, as in Apache Kafka. A fetch that is given
//! nothing waits by the broker's clock until there is room, or as long as it may.

use std::future::pending;
use std::time::Duration;

use super::Broker;
use crate::common::ids::NodeId;
use crate::protocol::Records;
use crate::protocol::messages::fetch::PartitionData;
use crate::replica::Partition;

/// Of one pass over the partitions of a fetch.
#[derive(Debug, Default)]
pub(crate) struct Throttling {
    /// Bytes of throttled partitions that the reply holds.
    bytes: usize,
    /// When there may be more to give, though nothing changes; `None` where nothing is withheld.
    free_at: Option<Duration>,
}

impl Throttling {
    /// Takes the records out of what a follower is told of a partition, where it may have none now; tells whether it did.
    pub(crate) fn withhold(
        &mut self,
        partition: &Partition,
        node: NodeId,
        data: &mut PartitionData,
        now: Duration,
    ) -> bool {
        let bytes = data.records.as_ref().map_or(0, |records| records.len());
        if bytes == 0 || !partition.is_throttled_as_leader() {
            return false;
        }
        match partition.withheld_from(node, now) {
            Some(until) => {
                data.records = Some(Records::default());
                self.free_at = Some(self.free_at.map_or(until, |known| known.min(until)));
                true
            }
            None => {
                self.bytes += bytes;
                false
            }
        }
    }

    /// Ends when there is room in the quota again; never, where nothing is withheld.
    pub(crate) async fn free(&self, broker: &Broker) {
        match self.free_at {
            Some(at) => broker.clock().sleep_until(at).await,
            None => pending().await,
        }
    }

    /// The reply goes out.
    pub(crate) fn sent(&self, broker: &Broker) {
        if self.bytes > 0 {
            broker.replicas.gave_throttled(self.bytes, broker.clock.monotonic());
        }
    }
}
