//! How a cluster begins: who its first voters are, and which of them writes the first entry.
//!
//! ```text
//! nothing is said            this node alone, at once
//! controller.quorum.voters   those, who are the same for all nodes that have that property
//! format_dir                 those whom the log dir was formatted with: a snapshot at offset 0, as Kafka's own tool writes it
//! a bootstrap server alone   nobody here: this node has no vote until the quorum that it finds gives it one (`joining`)
//! ```
//! A voter whose log is empty may be new, or may have lost its disk; of a cluster that is there already it must not found
//! another one. So it asks the others first, and founds only when a majority has answered, itself counted, and none of
//! them has an entry: whatever was ever committed lies with one of each majority. Then the voter with the lowest id begins;
//! the others do so, one after the other, where it does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::error::ControllerError;
use super::types::Voter;
use super::{Core, ended, snapshot};
use crate::common::ids::{NodeId, Timestamp, TopicPartition};
use crate::log::dir::make_root;
use crate::log::fs::FileSystem;
use crate::metadata::topic_name::METADATA_TOPIC;

/// How long to rest before one that does not answer is asked again.
const REST: Duration = Duration::from_millis(20);

/// Names the first voters of a cluster in the log dir `root`, which holds no metadata log yet.
///
/// # Errors
/// The file system's.
pub fn format_dir(fs: &dyn FileSystem, root: &Path, voters: &[Voter], now: Timestamp) -> Result<(), ControllerError> {
    let dir = root.join(TopicPartition::new(METADATA_TOPIC, 0).to_string());
    let bytes = snapshot::encode_founders(voters, now)?;
    // Else the folder may go with the power, and all that ever came into it.
    make_root(fs, &dir).map_err(|source| ControllerError::Snapshot { name: snapshot::FOUNDING.name(), source })?;
    snapshot::write(fs, &dir, snapshot::FOUNDING, &bytes)
}

impl Core {
    /// Begins a new cluster, or leaves that to another voter.
    pub(super) async fn found(self: &Arc<Self>) -> Result<(), ControllerError> {
        if self.voters.len() == 1 {
            return self.initialize().await;
        }
        // The others may not be there.
        let core = self.clone();
        self.spawn(async move { core.found_with_others().await });
        Ok(())
    }

    async fn found_with_others(&self) {
        if !self.is_new_to_all().await {
            tracing::info!(node = self.node.id, "the cluster has begun already");
            return;
        }
        // One whose turn is later begins where those before it do not.
        let rank = self.voters.iter().filter(|voter| voter.id < self.node.id).count();
        let wait = self.timing.election.1 * 2 * u32::try_from(rank).unwrap_or(1);
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
        if let Err(error) = self.initialize().await {
            tracing::error!(%error, "the quorum could not begin");
        }
    }

    async fn initialize(&self) -> Result<(), ControllerError> {
        let voters: BTreeMap<NodeId, Voter> = self.voters.iter().map(|voter| (voter.id, voter.clone())).collect();
        match self.raft().initialize(voters).await {
            Ok(()) => Ok(()),
            // Another one was faster.
            Err(error) if error.api_error().is_some() => Ok(()),
            Err(error) => Err(ended(&self.store, &error)),
        }
    }

    /// Whether a majority of the voters, with this one, has nothing of a cluster; asks until so many have answered.
    async fn is_new_to_all(&self) -> bool {
        let others = self.voters.iter().filter(|voter| voter.id != self.node.id);
        let mut asking: FuturesUnordered<_> = others.map(|voter| self.is_new_to(voter)).collect();
        let mut new = 1;
        while new * 2 <= self.voters.len() {
            match asking.next().await {
                Some(true) => new += 1,
                _ => return false,
            }
        }
        true
    }

    async fn is_new_to(&self, voter: &Voter) -> bool {
        loop {
            match self.peers.hello(voter, false, false).await {
                Ok(answer) => return !answer.has_entries,
                Err(problem) => tracing::debug!(%voter, problem, "a voter of a new cluster does not answer"),
            }
            self.clock.sleep(REST).await;
        }
    }
}
