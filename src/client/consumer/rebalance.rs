//! How a consumer moves through its group's rebalances: what each poll does about the membership.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::client::config::ConsumerConfig;
use crate::client::network::Network;
use crate::client::{ClientError, Result};
use crate::common::ids::TopicPartition;

use super::assignor::Assignor;
use super::coordinator::{Joined, Membership, Phase};
use super::group::Group;
use super::subscription::Subscription;
use super::{Consumer, RebalanceEvent};

impl Consumer {
    /// Moves the membership on.
    pub(super) async fn step(&mut self) -> Result<Vec<RebalanceEvent>> {
        if !self.events.is_empty() {
            return Ok(std::mem::take(&mut self.events));
        }
        self.watch_metadata();
        let Some(group) = self.group.clone() else { return Ok(Vec::new()) };
        let (fatal, lost, phase) = {
            let mut membership = group.membership.lock();
            (membership.take_fatal(), membership.take_lost(), membership.phase())
        };
        if let Some(error) = fatal {
            return Err(error);
        }
        if lost {
            let mut assignment = self.assignment.lock();
            let names = assignment.names();
            assignment.clear();
            self.going = None;
            return Ok(vec![RebalanceEvent::Lost(names)]);
        }
        if let Some(going) = self.going.take() {
            // The caller has had its chance to commit.
            let mut assignment = self.assignment.lock();
            going.iter().for_each(|name| assignment.remove(name));
            drop(assignment);
            if phase == Phase::Stable {
                group.membership.lock().rejoin();
            }
            self.begin_join(&group);
            return Ok(Vec::new());
        }
        match phase {
            Phase::Unjoined => {
                let owned = self.assignment();
                if self.eager() && !owned.is_empty() {
                    self.commit_now().await;
                    self.going = Some(owned.clone());
                    return Ok(vec![RebalanceEvent::Revoked(owned)]);
                }
                self.begin_join(&group);
                Ok(Vec::new())
            }
            Phase::Joining => match self.joining.as_mut().map(oneshot::Receiver::try_recv) {
                Some(Ok(Ok(joined))) => {
                    self.joining = None;
                    self.join_task = None;
                    Ok(self.joined(&group, joined).await)
                }
                Some(Ok(Err(error))) => {
                    self.joining = None;
                    self.join_task = None;
                    group.membership.lock().join_failed(error.clone());
                    group.membership.lock().take_fatal();
                    Err(error)
                }
                Some(Err(oneshot::error::TryRecvError::Empty)) => Ok(Vec::new()),
                // The task is gone without a word: the runtime is shutting down, or it panicked.
                Some(Err(oneshot::error::TryRecvError::Closed)) | None => {
                    group.membership.lock().join_failed(ClientError::Closed("runtime"));
                    Ok(Vec::new())
                }
            },
            Phase::Stable => Ok(Vec::new()),
        }
    }

    fn begin_join(&mut self, group: &Group) {
        let topics = self.subscription();
        if topics.is_empty()
            && matches!(self.subscription, Subscription::Pattern(_))
            && self.network.view().brokers.is_empty()
        {
            // What matches is not known yet.
            return;
        }
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
        group.membership.lock().begin_join();
        let owned = if self.eager() { Vec::new() } else { self.assignment() };
        self.joined_topics.clone_from(&topics);
        let (sender, receiver) = oneshot::channel();
        let (joining, arrived) = (group.clone().join(topics, owned), self.arrived.clone());
        self.join_task = Some(self.network.doors().runtime.spawn(async move {
            let _ = sender.send(joining.await);
            arrived.notify_one();
        }));
        self.joining = Some(receiver);
    }

    async fn joined(&mut self, group: &Group, joined: Joined) -> Vec<RebalanceEvent> {
        tracing::debug!(group = %group.id, generation = joined.generation, share = joined.share.len(), "joined");
        group.membership.lock().joined(&joined);
        self.heartbeats = Some(group.start_heartbeats());
        let owned = self.assignment();
        let share: BTreeSet<TopicPartition> = joined.share.into_iter().collect();
        let gone: Vec<_> = owned.iter().filter(|name| !share.contains(name)).cloned().collect();
        let come: Vec<_> = share.into_iter().filter(|name| !owned.contains(name)).collect();
        {
            let mut assignment = self.assignment.lock();
            come.iter().for_each(|name| assignment.add(name.clone()));
        }
        let commit = !gone.is_empty();
        if commit {
            self.events.push(RebalanceEvent::Revoked(gone.clone()));
            self.going = Some(gone);
        }
        self.events.push(RebalanceEvent::Assigned(come));
        self.fetcher.drive();
        if commit {
            self.commit_now().await;
        }
        std::mem::take(&mut self.events)
    }

    /// Keeps metadata fresh, and joins again when it changes what the group should share.
    pub(super) fn watch_metadata(&mut self) {
        let view = self.network.view();
        let pattern = matches!(self.subscription, Subscription::Pattern(_));
        let topics = self.subscription.topics(&view, self.config.exclude_internal);
        let missing = view.brokers.is_empty() || topics.iter().any(|topic| !view.topics.contains_key(topic.as_str()));
        let age = self.network.age();
        if age >= self.network.config().metadata_max_age
            || (missing && age >= self.config.retry.longest)
            || view.brokers.is_empty()
        {
            let names = topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
            self.fetcher.refresh((!pattern).then_some(names));
        }
        let Some(group) = &self.group else { return };
        let mut membership = group.membership.lock();
        if membership.phase() != Phase::Stable {
            return;
        }
        // The member that leads answers for the counts; each answers for its own pattern.
        let recounted = membership.counted().is_some_and(|counted| {
            topics.iter().any(|topic| {
                let count = view.topics.get(topic.as_str()).map(|topic| topic.partitions.len());
                count.is_some() && count != counted.get(topic).copied()
            })
        });
        if recounted || (pattern && topics != self.joined_topics) {
            membership.rejoin();
        }
    }

    pub(super) async fn leave(&mut self, reason: &str) {
        self.stop_joining();
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
        if let Some(group) = &self.group {
            group.leave(reason).await;
            group.membership.lock().take_lost();
        }
        self.going = None;
        self.events.clear();
    }

    pub(super) fn stop_joining(&mut self) {
        self.joining = None;
        if let (Some(task), Some(group)) = (self.join_task.take(), &self.group) {
            task.abort();
            let mut membership = group.membership.lock();
            if membership.phase() == Phase::Joining {
                *membership = Membership::new(group.id.to_string(), self.config.group_instance_id.clone());
            }
        }
    }
}

/// The assignors of `partition.assignment.strategy`.
///
/// # Errors
/// [`ClientError::Invalid`] for a name that is not known or comes twice.
pub(super) fn assignors(config: &ConsumerConfig) -> Result<Vec<Assignor>> {
    let mut known = BTreeMap::new();
    let found = config.assignors.iter().enumerate().map(|(at, name)| {
        let assignor = Assignor::from_name(name).ok_or_else(|| {
            let names = Assignor::ALL.map(Assignor::name).join(", ");
            ClientError::invalid(format!("partition.assignment.strategy has {name:?}: each must be one of {names}"))
        })?;
        match known.insert(assignor, at) {
            None => Ok(assignor),
            Some(_) => Err(ClientError::invalid(format!("partition.assignment.strategy has {name} twice"))),
        }
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    if found.is_empty() {
        return Err(ClientError::invalid("partition.assignment.strategy is empty: it must name at least one"));
    }
    Ok(found)
}

/// While it lives, the caller is polling.
pub(super) struct Polling {
    polled: Arc<AtomicU64>,
    network: Arc<Network>,
}

impl Polling {
    pub(super) fn begin(group: &Group, network: &Arc<Network>) -> Polling {
        group.polled.store(u64::MAX, Ordering::Release);
        Polling { polled: group.polled.clone(), network: network.clone() }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.polled.store(self.network.doors().clock.monotonic().as_millis() as u64, Ordering::Release);
    }
}
