//! What happens when the disk takes no writes: openraft ends, and is raised again from what the disk has.
//!
//! openraft stops for good at the first write that fails. What it had in hand is answered KAFKA_STORAGE_ERROR, and as it
//! never reached the log, it never happened. Then a new one goes on from the log, the vote and the image that are there:
//! when the next wish comes, and from time to time, since a follower has no wishes. Among several voters that is a leader
//! that steps down, and a follower that falls behind and catches up. What openraft finds in the log it takes for safe, and
//! a leader counts it: so all of it is synced first. Where the log itself says that it takes no more (a sync has failed, and
//! nobody knows what the disk holds), no new one is raised until the log is opened anew.

use std::sync::Arc;

use openraft::{Config, ServerState};

use super::error::ControllerError;
use super::network::{Peers, Ways};
use super::state_machine::{State, StateMachine};
use super::storage::{self, LogStore, Store};
use super::types::Raft;
use super::{Core, ended};
use crate::common::ids::NodeId;

/// openraft over what is there.
pub(super) async fn raise(
    node: NodeId,
    config: &Arc<Config>,
    peers: &Arc<Peers>,
    store: &Arc<Store>,
    state: &Arc<State>,
) -> Result<Raft, ControllerError> {
    if store.durable {
        let synced = storage::in_place(|| store.journal.lock().sync(store.clock.now()));
        synced.inspect_err(|error| drop(store.failed(error)))?;
    }
    let machine = StateMachine { state: state.clone(), store: store.clone() };
    let raft = Raft::new(node, config.clone(), Ways(peers.clone()), LogStore(store.clone()), machine).await;
    raft.map_err(|error| ended(store, &error))
}

impl Core {
    /// Goes on where the storage failed before. Nobody else may do the same meanwhile: the caller has the turn.
    pub(super) async fn revive(&self) -> Result<(), ControllerError> {
        if self.store.failure.lock().is_none() || self.tasks.has_begun() {
            return Ok(());
        }
        // A task that panicked has said so.
        let _ = self.raft().shutdown().await;
        *self.store.failure.lock() = None;
        storage::in_place(|| self.store.journal.lock().mend(self.store.clock.now())).inspect_err(|error| {
            self.store.failed(error);
        })?;
        let raft = raise(self.node.id, &self.config, &self.peers, &self.store, &self.state).await?;
        *self.raft.write() = raft;
        self.raised.send_replace(());
        self.lead_alone().await
    }

    /// Where this node alone votes: has it elected, and waits until it may decide.
    pub(super) async fn lead_alone(&self) -> Result<(), ControllerError> {
        let (raft, us) = (self.raft(), self.node.id);
        let alone = raft.with_raft_state(move |state| {
            let voters = state.membership_state.effective();
            let stands =
                state.vote_ref().leader_id.voted_for == Some(us) && state.server_state != ServerState::Follower;
            voters.voter_ids().eq([us]).then_some(stands)
        });
        match alone.await.map_err(|error| ended(&self.store, &error))? {
            None => return Ok(()),
            // It was elected when the cluster was founded.
            Some(true) => {}
            Some(false) => raft.trigger().elect().await.map_err(|error| ended(&self.store, &error))?,
        }
        let (mut applied, mut metrics) = (self.state.applied.subscribe(), raft.metrics());
        while self.deciding_term().is_none() {
            if metrics.borrow_and_update().running_state.is_err() {
                return Err(ended(&self.store, &"this controller did not come to lead itself"));
            }
            tokio::select! {
                _ = applied.changed() => {}
                changed = metrics.changed() => {
                    changed.map_err(|_| ended(&self.store, &"this controller did not come to lead itself"))?;
                }
            }
        }
        Ok(())
    }
}
