//! The consumer: partitions of its own choice, or its share of a group's, read in batches.
//!
//! | file | what is in it |
//! |---|---|
//! | `subscription` | what is read and where it stands: state without I/O |
//! | `fetcher`, `session` | finding places, fetching ahead, fetch sessions |
//! | [`batch`] | what a fetch brought: [`FetchedBatch`] |
//! | `coordinator` | a member's side of a group: a state machine without I/O |
//! | `rebalance` | what each poll does about it |
//! | `group` | the requests behind it |
//! | [`assignor`] | how a group shares partitions |
//! | `protocol` | what members tell each other |
//!
//! Everything that takes time runs on the runtime; [`Consumer::poll`] hands out what has arrived and tells of
//! rebalances. Partitions that are to be given up are named in one poll and gone in the next: in between the caller may
//! commit.

pub mod assignor;
pub mod batch;
mod coordinator;
mod fetcher;
mod group;
mod protocol;
mod rebalance;
mod session;
mod subscription;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use regex::Regex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::config::Values;

use super::config::{ConsumerConfig, NetworkConfig};
use super::network::Network;
use super::offsets::{self, CommittedOffset, Committer, EARLIEST, LATEST, ListedOffset};
use super::{ClientError, Doors, Result};

pub use batch::FetchedBatch;
use coordinator::{Joined, Membership};
use fetcher::Fetcher;
use group::Group;
use rebalance::{Polling, assignors};
use subscription::{Assignment, Place, Subscription};

/// What became of a consumer's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebalanceEvent {
    /// These partitions came.
    Assigned(Vec<TopicPartition>),
    /// These partitions go with the next poll; until then what was read of them can be committed.
    Revoked(Vec<TopicPartition>),
    /// These partitions are gone, and may be somebody else's already.
    Lost(Vec<TopicPartition>),
}

/// What a poll brought.
#[derive(Debug, Default)]
pub struct Polled {
    /// Rebalances. A poll that has any brings no records.
    pub events: Vec<RebalanceEvent>,
    /// Records.
    pub batches: Vec<FetchedBatch>,
}

/// Reads partitions of a cluster.
#[derive(Debug)]
pub struct Consumer {
    network: Arc<Network>,
    config: Arc<ConsumerConfig>,
    assignment: Arc<Mutex<Assignment>>,
    arrived: Arc<Notify>,
    fetcher: Fetcher,
    subscription: Subscription,
    group: Option<Group>,
    joining: Option<oneshot::Receiver<Result<Joined>>>,
    join_task: Option<JoinHandle<()>>,
    heartbeats: Option<JoinHandle<()>>,
    /// Partitions that were named as revoked, to go with the next poll; `None` if nothing was.
    going: Option<Vec<TopicPartition>>,
    /// To be told, should a poll be dropped before it told them.
    events: Vec<RebalanceEvent>,
    /// What the last join asked for.
    joined_topics: BTreeSet<String>,
    /// On the monotonic clock.
    next_commit: Duration,
    /// Held by the commit that is under way: one that is older must not arrive after one that is newer.
    committing: Arc<tokio::sync::Mutex<()>>,
    closed: bool,
}

impl Consumer {
    /// A consumer with the configuration `values` (of [`Scope::Consumer`](crate::config::Scope::Consumer)). Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for values that make no sense.
    pub fn new(doors: Doors, values: &Values) -> Result<Consumer> {
        let config = Arc::new(ConsumerConfig::new(values)?);
        let network = Network::new(doors, NetworkConfig::new(values)?);
        let (assignment, arrived) = (Arc::new(Mutex::new(Assignment::default())), Arc::new(Notify::new()));
        let group = config.group_id.as_deref().map(|id| -> Result<Group> {
            let membership = Membership::new(id.to_owned(), config.group_instance_id.clone());
            Ok(Group {
                network: network.clone(),
                config: config.clone(),
                id: id.into(),
                assignors: assignors(&config)?,
                membership: Arc::new(Mutex::new(membership)),
                polled: Arc::new(AtomicU64::new(u64::MAX)),
                arrived: arrived.clone(),
            })
        });
        let fetcher = Fetcher::new(network.clone(), config.clone(), assignment.clone(), arrived.clone());
        let next_commit = network.doors().clock.monotonic() + config.auto_commit.unwrap_or_default();
        Ok(Consumer {
            network,
            assignment,
            arrived,
            fetcher,
            subscription: Subscription::None,
            group: group.transpose()?,
            joining: None,
            join_task: None,
            heartbeats: None,
            going: None,
            events: Vec::new(),
            joined_topics: BTreeSet::new(),
            next_commit,
            committing: Arc::default(),
            closed: false,
            config,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &ConsumerConfig {
        &self.config
    }

    /// The way to its cluster.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    fn now(&self) -> Duration {
        self.network.doors().clock.monotonic()
    }

    fn eager(&self) -> bool {
        self.group.as_ref().is_none_or(|group| !group.assignors.iter().all(|assignor| assignor.is_cooperative()))
    }

    /// Reads a share of these topics, together with the other members of `group.id`.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] without `group.id`, or after [`Consumer::assign`].
    pub fn subscribe(&mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Result<()> {
        self.share(Subscription::Topics(topics.into_iter().map(Into::into).collect()))
    }

    /// Reads a share of the topics whose whole name matches, as they come and go.
    ///
    /// # Errors
    /// As [`Consumer::subscribe`], or for a pattern that cannot be read.
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<()> {
        let regex = |text: &str| Regex::new(text).map_err(|error| ClientError::invalid(error.to_string()));
        // By itself first: an error points into the pattern as it was given.
        regex(pattern)?;
        let whole = regex(&format!("^(?:{pattern})$"))?;
        self.share(Subscription::Pattern(whole))
    }

    fn share(&mut self, subscription: Subscription) -> Result<()> {
        self.check_open()?;
        let Some(group) = &self.group else {
            return Err(ClientError::invalid("group.id is not set: it must be, to subscribe; or assign partitions"));
        };
        if matches!(self.subscription, Subscription::Assigned) {
            return Err(ClientError::invalid("partitions were assigned: unsubscribe before subscribing to topics"));
        }
        group.membership.lock().rejoin();
        // What is under way would join for the old topics.
        self.stop_joining();
        self.subscription = subscription;
        Ok(())
    }

    /// Reads these partitions, and no others; no group has a say.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] after [`Consumer::subscribe`].
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        self.check_open()?;
        if self.subscription.is_shared() {
            return Err(ClientError::invalid("topics are subscribed to: unsubscribe before assigning partitions"));
        }
        self.subscription = Subscription::Assigned;
        self.assignment.lock().set(partitions);
        self.fetcher.drive();
        Ok(())
    }

    /// As [`Consumer::assign`], from these offsets on, or from the first record where none is given, whatever
    /// `auto.offset.reset` says. Partitions that it read already stay where they are.
    ///
    /// # Errors
    /// As there, and [`ClientError::Invalid`] for a negative offset.
    pub fn assign_from(
        &mut self,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<Offset>)>,
    ) -> Result<()> {
        self.check_open()?;
        if self.subscription.is_shared() {
            return Err(ClientError::invalid("topics are subscribed to: unsubscribe before assigning partitions"));
        }
        let partitions: Vec<_> = partitions.into_iter().collect();
        if let Some((name, offset)) = partitions.iter().find(|(_, offset)| offset.is_some_and(|offset| offset < 0)) {
            let offset = offset.unwrap_or_default();
            return Err(ClientError::invalid(format!("the offset of {name} is {offset}: it must be at least 0")));
        }
        self.subscription = Subscription::Assigned;
        {
            // Nobody looks for a place between the two.
            let mut assignment = self.assignment.lock();
            let before = assignment.names();
            assignment.set(partitions.iter().map(|(name, _)| name.clone()));
            for (name, offset) in partitions.iter().filter(|(name, _)| !before.contains(name)) {
                assignment.seek(name, offset.map_or(Place::Reset(EARLIEST), Place::At));
            }
        }
        self.fetcher.drive();
        Ok(())
    }

    /// Reads nothing, and leaves the group. Commits before, if it commits by itself.
    pub async fn unsubscribe(&mut self) {
        if self.subscription.is_shared() {
            self.commit_now().await;
            self.leave("unsubscribed").await;
        }
        self.subscription = Subscription::None;
        self.assignment.lock().clear();
    }

    fn check_open(&self) -> Result<()> {
        if self.closed { Err(ClientError::Closed("consumer")) } else { Ok(()) }
    }

    /// The topics that were subscribed to; of a pattern, those that match now.
    pub fn subscription(&self) -> BTreeSet<String> {
        self.subscription.topics(&self.network.view(), self.config.exclude_internal)
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.assignment.lock().names()
    }

    /// Waits up to `timeout` for records or a rebalance, and hands out up to `max.poll.records`, or up to `most`.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// What a broker will not mend by itself: authorization, a damaged batch, no offset to start from. The next poll
    /// goes on.
    pub async fn poll(&mut self, most: Option<usize>, timeout: Duration) -> Result<Polled> {
        self.check_open()?;
        if matches!(self.subscription, Subscription::None) {
            return Err(ClientError::invalid(
                "nothing is subscribed to and nothing is assigned: do either before polling",
            ));
        }
        let _polling = self.group.as_ref().map(|group| Polling::begin(group, &self.network));
        let most = most.unwrap_or(self.config.max_poll_records).max(1);
        let deadline = self.now() + timeout;
        loop {
            self.auto_commit();
            if self.subscription.is_shared() {
                let events = self.step().await?;
                if !events.is_empty() {
                    return Ok(Polled { events, batches: Vec::new() });
                }
            }
            let batches = {
                let mut assignment = self.assignment.lock();
                if let Some(error) = assignment.error.take() {
                    return Err(error);
                }
                assignment.take(most)
            };
            // What was taken makes room: the next fetch leaves before the caller begins to work.
            let wake_at = self.fetcher.drive();
            if !batches.is_empty() {
                return Ok(Polled { events: Vec::new(), batches });
            }
            let now = self.now();
            if now >= deadline {
                return Ok(Polled::default());
            }
            let wake_at = wake_at.into_iter().chain(self.next_auto_commit()).fold(deadline, Duration::min);
            let rest = wake_at.saturating_sub(now).min(Duration::from_secs(1)).max(Duration::from_millis(1));
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.network.doors().clock.sleep(rest) => {}
            }
        }
    }

    fn auto_commit_due(&self) -> bool {
        self.config.auto_commit.is_some() && self.group.is_some() && self.now() >= self.next_commit
    }

    fn next_auto_commit(&self) -> Option<Duration> {
        (self.config.auto_commit.is_some() && self.group.is_some()).then_some(self.next_commit)
    }

    /// Commits in the background what was handed out, if it is time.
    fn auto_commit(&mut self) {
        if !self.auto_commit_due() {
            return;
        }
        self.next_commit = self.now() + self.config.auto_commit.unwrap_or_default();
        let offsets: HashMap<_, _> = self.assignment.lock().positions().collect();
        let Some(committer) = self.committer() else { return };
        if offsets.is_empty() {
            return;
        }
        // If one is still under way, the next will carry the same and more.
        let Ok(turn) = self.committing.clone().try_lock_owned() else { return };
        let network = self.network.clone();
        self.network.doors().runtime.spawn(async move {
            let _turn = turn;
            if let Err(error) = offsets::commit_once(&network, &committer, &offsets).await {
                // The next one carries the same and more.
                tracing::debug!(group = committer.group, %error, "offsets were not committed");
            }
        });
    }

    /// If it commits by itself, commits what was handed out before partitions go.
    async fn commit_now(&mut self) {
        if self.config.auto_commit.is_none() || self.group.is_none() {
            return;
        }
        if let Err(error) = self.commit(None).await {
            tracing::warn!(group = self.config.group_id, %error, "offsets were not committed before partitions went");
        }
    }

    fn committer(&self) -> Option<Committer> {
        let group = self.group.as_ref()?;
        Some(if self.subscription.is_shared() {
            group.membership.lock().committer()
        } else {
            Committer::anyone(&*group.id)
        })
    }

    /// Commits these offsets, or without any, what was handed out so far; waits up to `default.api.timeout.ms`. The future
    /// holds nothing of the consumer, which can go on meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] without a group; [`crate::protocol::ErrorCode::ILLEGAL_GENERATION`],
    /// [`crate::protocol::ErrorCode::UNKNOWN_MEMBER_ID`] and [`crate::protocol::ErrorCode::REBALANCE_IN_PROGRESS`] when
    /// the partitions are somebody else's, or about to be.
    pub fn commit(
        &self,
        offsets: Option<HashMap<TopicPartition, CommittedOffset>>,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let no_group = || ClientError::invalid("group.id is not set: it must be, to commit");
        let committer = self.check_open().and_then(|()| self.committer().ok_or_else(no_group));
        let (network, config) = (self.network.clone(), self.config.clone());
        let (assignment, committing) = (self.assignment.clone(), self.committing.clone());
        async move {
            let committer = committer?;
            let _turn = committing.lock().await;
            let offsets = offsets.unwrap_or_else(|| assignment.lock().positions().collect());
            offsets::commit(&network, &committer, &offsets, config.api_timeout).await
        }
    }

    /// What the group has committed for these partitions; those without are left out.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] without a group; the group's error.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<HashMap<TopicPartition, CommittedOffset>>> + Send + use<> {
        let (network, config, partitions) = (self.network.clone(), self.config.clone(), partitions.to_vec());
        async move {
            let Some(group) = &config.group_id else {
                return Err(ClientError::invalid("group.id is not set: nothing is committed"));
            };
            offsets::committed(&network, group, Some(&partitions), config.api_timeout).await
        }
    }

    /// Goes on from `offset`.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned, or a negative offset.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        if offset < 0 {
            return Err(ClientError::invalid(format!("the offset is {offset}: it must be at least 0")));
        }
        self.set_place(partition, Place::At(offset))
    }

    /// Goes on from the first record that is still there; without partitions, in all.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_all(partitions, EARLIEST)
    }

    /// Goes on behind the last record; without partitions, in all.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned.
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.seek_all(partitions, LATEST)
    }

    /// Goes on from the first record that is not older than `timestamp`, in milliseconds since 1970; from the end, if
    /// there is none. Without partitions, in all.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned, or a negative time.
    pub fn seek_to_timestamp(&mut self, partitions: &[TopicPartition], timestamp: Timestamp) -> Result<()> {
        if timestamp < 0 {
            return Err(ClientError::invalid(format!("the timestamp is {timestamp}: it must be at least 0")));
        }
        self.seek_all(partitions, timestamp)
    }

    fn seek_all(&mut self, partitions: &[TopicPartition], timestamp: Timestamp) -> Result<()> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        all.iter().try_for_each(|partition| self.set_place(partition, Place::Reset(timestamp)))
    }

    fn set_place(&mut self, partition: &TopicPartition, place: Place) -> Result<()> {
        self.check_open()?;
        if !self.assignment.lock().seek(partition, place) {
            return Err(not_assigned(partition));
        }
        self.fetcher.drive();
        Ok(())
    }

    /// Hands out nothing of these partitions until they are resumed.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Hands out these partitions again.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.set_paused(partitions, false)?;
        self.fetcher.drive();
        Ok(())
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<()> {
        let mut assignment = self.assignment.lock();
        for name in partitions {
            assignment.get_mut(name).ok_or_else(|| not_assigned(name))?.paused = paused;
        }
        Ok(())
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let assignment = self.assignment.lock();
        assignment
            .iter()
            .filter(|partition| partition.paused)
            .map(|partition| TopicPartition::clone(&partition.name))
            .collect()
    }

    /// The offset of the next record that would be handed out; waits up to `timeout` until it is known.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a partition that is not assigned, [`ClientError::Timeout`].
    pub async fn position(&mut self, partition: &TopicPartition, timeout: Duration) -> Result<Offset> {
        let deadline = self.now() + timeout;
        loop {
            {
                let mut assignment = self.assignment.lock();
                if let Some(error) = assignment.error.take() {
                    return Err(error);
                }
                match assignment.get(partition).ok_or_else(|| not_assigned(partition))?.place {
                    Place::At(offset) => return Ok(offset),
                    Place::Unknown | Place::Reset(_) => {}
                }
            }
            self.fetcher.drive();
            let left = deadline.saturating_sub(self.now());
            if left.is_zero() {
                return Err(ClientError::timeout(format!("the position in {partition}"), timeout));
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.network.doors().clock.sleep(left.min(Duration::from_millis(100))) => {}
            }
        }
    }

    /// How many offsets lie between the position and the end of the partition, by the last fetch; `None` before one.
    pub fn lag(&self, partition: &TopicPartition) -> Option<Offset> {
        self.assignment.lock().get(partition)?.lag(self.config.read_committed)
    }

    /// The end of the partition (its high watermark), by the last fetch; `None` before one.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        let offset = self.assignment.lock().get(partition)?.marks.high_watermark;
        (offset >= 0).then_some(offset)
    }

    /// Where the partition's log begins, by the last fetch; `None` before one.
    pub fn log_start(&self, partition: &TopicPartition) -> Option<Offset> {
        let offset = self.assignment.lock().get(partition)?.marks.log_start;
        (offset >= 0).then_some(offset)
    }

    /// Looks up an offset for each partition, by time: see [`offsets::list_offsets`].
    ///
    /// # Errors
    /// As there.
    pub fn list_offsets(
        &self,
        wanted: &HashMap<TopicPartition, Timestamp>,
    ) -> impl Future<Output = Result<HashMap<TopicPartition, ListedOffset>>> + Send + use<> {
        let (network, config, wanted) = (self.network.clone(), self.config.clone(), wanted.clone());
        async move { offsets::list_offsets(&network, &wanted, config.read_committed, config.api_timeout).await }
    }

    /// The partitions of a topic; waits up to `default.api.timeout.ms` until the cluster knows them.
    ///
    /// # Errors
    /// As [`Network::topic`].
    pub async fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let view = self.network.topic(&topic.into(), self.config.allow_auto_create, self.config.api_timeout).await?;
        Ok((0..view.partitions.len()).map(|index| TopicPartition::new(topic, index as i32)).collect())
    }

    /// Commits what was handed out, if it commits by itself, leaves the group, and ends every connection. Takes no
    /// longer than `timeout`.
    pub async fn close(&mut self, timeout: Duration) {
        if self.closed {
            return;
        }
        let clock = self.network.doors().clock.clone();
        tokio::select! {
            () = async {
                self.commit_now().await;
                if self.subscription.is_shared() {
                    self.leave("the consumer was closed").await;
                }
            } => {}
            () = clock.sleep(timeout) => {}
        }
        self.end();
    }

    fn end(&mut self) {
        self.closed = true;
        self.stop_joining();
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
        // The background ends where nothing is assigned.
        self.assignment.lock().clear();
        self.network.close();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The partitions in a member's assignment, as DescribeGroups has it.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn share_of(
    assignment: bytes::Bytes,
) -> std::result::Result<Vec<TopicPartition>, crate::protocol::DecodeError> {
    protocol::read_assignment(assignment)
}

fn not_assigned(partition: &TopicPartition) -> ClientError {
    ClientError::invalid(format!("{partition} is not assigned to this consumer"))
}

#[cfg(test)]
mod tests;
