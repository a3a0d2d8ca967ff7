//! The fetcher: finds out where partitions stand, and fetches ahead of what the caller is handed.
//!
//! Each broker has at most one fetch on its way, and a session that makes the next one short. A broker is asked while
//! each of its partitions has room for more: if one is full, a fetch for the others could sleep at the broker for
//! `fetch.max.wait.ms` while the full one runs dry. Answers are checked and unpacked on the runtime, not by the caller.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client::config::ConsumerConfig;
use crate::client::metadata::BrokerView;
use crate::client::network::{Network, Purpose, Wanted};
use crate::client::{ClientError, Result, offsets};
use crate::common::ids::{NodeId, TopicPartition};
use crate::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use crate::protocol::{ApiKey, ErrorCode};

use super::batch::{Fetched, Reading};
use super::session::{Ask, FetchSession, Marks, Step};
use super::subscription::{Assignment, Place};

/// From this version on Fetch names topics by id.
const TOPIC_IDS: i16 = 13;

/// See the module. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    network: Arc<Network>,
    config: Arc<ConsumerConfig>,
    assignment: Arc<Mutex<Assignment>>,
    /// Wakes the caller.
    arrived: Arc<Notify>,
    sessions: Arc<Mutex<HashMap<NodeId, FetchSession>>>,
    busy: Arc<Mutex<HashSet<NodeId>>>,
    locating: Arc<AtomicBool>,
    refreshing: Arc<AtomicBool>,
}

/// What was asked of a partition.
#[derive(Debug, Clone)]
struct Asked {
    name: Arc<TopicPartition>,
    stamp: u64,
    ask: Ask,
    from_leader: bool,
}

impl Fetcher {
    pub(super) fn new(
        network: Arc<Network>,
        config: Arc<ConsumerConfig>,
        assignment: Arc<Mutex<Assignment>>,
        arrived: Arc<Notify>,
    ) -> Fetcher {
        let (sessions, busy) = (Arc::default(), Arc::default());
        let (locating, refreshing) = (Arc::default(), Arc::default());
        Fetcher { network, config, assignment, arrived, sessions, busy, locating, refreshing }
    }

    fn now(&self) -> Duration {
        self.network.doors().clock.monotonic()
    }

    /// Asks for metadata in the background: of all topics, or of these.
    pub(super) fn refresh(&self, topics: Option<Vec<Arc<str>>>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        self.network.doors().runtime.spawn(async move {
            let wanted = topics.as_deref().map_or(Wanted::All, Wanted::Topics);
            if let Err(error) = this.network.refresh(wanted, this.config.allow_auto_create).await {
                tracing::debug!(%error, "no metadata");
                this.network.doors().clock.sleep(this.config.retry.first).await;
            }
            this.refreshing.store(false, Ordering::Release);
            this.arrived.notify_one();
        });
    }

    fn refresh_assigned(&self) {
        let topics: Vec<Arc<str>> = self.assignment.lock().topics().into_iter().map(Arc::from).collect();
        if !topics.is_empty() {
            self.refresh(Some(topics));
        }
    }

    /// Starts whatever is to be done: places to be found, brokers to be asked. Returns when to call again at the latest.
    pub(super) fn drive(&self) -> Option<Duration> {
        self.locate();
        let (asks, wake_at) = self.gather();
        for (node, asked) in asks {
            self.fetch(node, asked);
        }
        wake_at
    }

    /// What each broker that may be asked now is to be asked, and when there may be more.
    fn gather(&self) -> (HashMap<NodeId, Vec<Asked>>, Option<Duration>) {
        let now = self.now();
        let view = self.network.view();
        let mut wake_at: Option<Duration> = None;
        let mut leaderless = false;
        let mut asks: HashMap<NodeId, Vec<Asked>> = HashMap::new();
        let mut held: HashSet<NodeId> = self.busy.lock().clone();
        for partition in self.assignment.lock().iter_mut() {
            if now < partition.not_before {
                wake_at = Some(wake_at.map_or(partition.not_before, |at| at.min(partition.not_before)));
            }
            if !partition.wants_more(now) {
                continue;
            }
            let name = &partition.name;
            let Some((leader, leader_epoch)) = view.leader(&name.topic, name.partition) else {
                leaderless = true;
                continue;
            };
            let preferred = partition.preferred.filter(|(node, until)| now < *until && view.brokers.contains_key(node));
            let node = preferred.map_or(leader, |(node, _)| node);
            if partition.is_full() {
                held.insert(node);
                continue;
            }
            let ask = Ask { topic_id: view.topic_id(&name.topic), from: partition.fetch_from, leader_epoch };
            let (name, stamp, from_leader) = (name.clone(), partition.stamp, preferred.is_none());
            asks.entry(node).or_default().push(Asked { name, stamp, ask, from_leader });
        }
        if leaderless {
            self.refresh_assigned();
        }
        asks.retain(|node, _| !held.contains(node));
        (asks, wake_at)
    }

    fn fetch(&self, node: NodeId, mut asked: Vec<Asked>) {
        // Whoever else drives may have been faster: what was read twice would be handed out twice.
        if !self.busy.lock().insert(node) {
            return;
        }
        {
            let mut assignment = self.assignment.lock();
            asked.retain(|asked| {
                let partition = assignment.unchanged(&asked.name, asked.stamp);
                let due = partition.filter(|partition| !partition.fetching && partition.fetch_from == asked.ask.from);
                due.map(|partition| partition.fetching = true).is_some()
            });
        }
        if asked.is_empty() {
            self.busy.lock().remove(&node);
            return;
        }
        let this = self.clone();
        self.network.doors().runtime.spawn(async move {
            let result = this.exchange(node, &asked).await;
            match result {
                Ok(response) => this.answered(node, &asked, response),
                Err(error) => {
                    tracing::debug!(node, %error, "a fetch failed");
                    this.sessions.lock().entry(node).or_default().lost();
                    if error.wants_metadata() {
                        this.network.doubt(node);
                    }
                    for asked in &asked {
                        this.failed(asked, &error);
                    }
                }
            }
            this.busy.lock().remove(&node);
            // The next fetch need not wait for the caller.
            this.drive();
            this.arrived.notify_one();
        });
    }

    async fn exchange(&self, node: NodeId, asked: &[Asked]) -> Result<FetchResponse> {
        let connection = self.network.connection_for(node, Purpose::Fetch).await?;
        let mut version = connection.version(ApiKey::Fetch)?;
        if asked.iter().any(|asked| asked.ask.topic_id.is_zero()) {
            version = version.min(TOPIC_IDS - 1);
        }
        let wanted = asked.iter().map(|asked| (TopicPartition::clone(&asked.name), asked.ask)).collect();
        let step = self.sessions.lock().entry(node).or_default().next(wanted);
        let request = self.request(step);
        let timeout = self.network.config().request_timeout + self.config.fetch_max_wait;
        let response = connection.call_at(&request, version, timeout).await?;
        self.sessions.lock().entry(node).or_default().answered(response.error_code, response.session_id);
        match response.error_code {
            ErrorCode::NONE => Ok(response),
            code => Err(ClientError::kafka(code, format!("fetch from broker {node}"))),
        }
    }

    fn request(&self, step: Step) -> FetchRequest {
        let mut topics: BTreeMap<String, FetchTopic> = BTreeMap::new();
        for (name, ask) in step.ask {
            let topic = topics.entry(name.topic).or_insert_with_key(|topic| FetchTopic {
                topic: topic.as_str().into(),
                topic_id: ask.topic_id,
                partitions: Vec::new(),
            });
            topic.partitions.push(FetchPartition {
                partition: name.partition,
                current_leader_epoch: ask.leader_epoch,
                fetch_offset: ask.from,
                partition_max_bytes: self.config.max_partition_fetch_bytes,
                ..FetchPartition::default()
            });
        }
        let mut forgotten: BTreeMap<String, ForgottenTopic> = BTreeMap::new();
        for (name, topic_id) in step.forget {
            let topic = forgotten.entry(name.topic).or_insert_with_key(|topic| ForgottenTopic {
                topic: topic.as_str().into(),
                topic_id,
                partitions: Vec::new(),
            });
            topic.partitions.push(name.partition);
        }
        FetchRequest {
            max_wait_ms: self.config.fetch_max_wait.as_millis() as i32,
            min_bytes: self.config.fetch_min_bytes,
            max_bytes: self.config.fetch_max_bytes,
            isolation_level: i8::from(self.config.read_committed),
            session_id: step.session_id,
            session_epoch: step.epoch,
            topics: topics.into_values().collect(),
            forgotten_topics_data: forgotten.into_values().collect(),
            rack_id: self.config.rack.as_str().into(),
            ..FetchRequest::default()
        }
    }

    fn answered(&self, node: NodeId, asked: &[Asked], mut response: FetchResponse) {
        let mut answers: HashMap<(usize, i32), PartitionData> = HashMap::new();
        for (index, topic) in response.responses.iter_mut().enumerate() {
            for answer in std::mem::take(&mut topic.partitions) {
                answers.insert((index, answer.partition_index), answer);
            }
        }
        for asked in asked {
            let topic = response.responses.iter().position(|topic| {
                *topic.topic == *asked.name.topic || (topic.topic.is_empty() && topic.topic_id == asked.ask.topic_id)
            });
            let answer = topic.and_then(|topic| answers.remove(&(topic, asked.name.partition)));
            match answer {
                Some(answer) => {
                    self.note_leader(asked, &answer, &response);
                    self.partition_answered(node, asked, answer);
                }
                // A session leaves out what has nothing new.
                None => {
                    let marks = self.sessions.lock().get(&node).and_then(|session| session.marks(&asked.name));
                    if let Some(partition) = self.assignment.lock().unchanged(&asked.name, asked.stamp) {
                        partition.fetching = false;
                        if let Some(marks) = marks {
                            partition.marks = marks;
                        }
                    }
                }
            }
        }
    }

    fn note_leader(&self, asked: &Asked, answer: &PartitionData, response: &FetchResponse) {
        let leader = &answer.current_leader;
        if leader.leader_id < 0 {
            return;
        }
        let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader.leader_id).and_then(|node| {
            let port = u16::try_from(node.port).ok()?;
            Some(BrokerView { id: node.node_id, host: node.host.to_string(), port, rack: None })
        });
        let name = &asked.name;
        self.network.note_leader(&name.topic, name.partition, leader.leader_id, leader.leader_epoch, endpoint);
    }

    fn partition_answered(&self, node: NodeId, asked: &Asked, answer: PartitionData) {
        if answer.error_code != ErrorCode::NONE {
            let error = ClientError::kafka(answer.error_code, format!("fetch of {}", asked.name));
            return self.failed(asked, &error);
        }
        let aborted = self.config.read_committed.then(|| {
            let aborted = answer.aborted_transactions.iter().flatten();
            aborted.map(|transaction| (transaction.producer_id, transaction.first_offset)).collect()
        });
        let (partition, from) = (asked.name.clone(), asked.ask.from);
        let reading = Reading { partition, from, check_crcs: self.config.check_crcs, aborted };
        // Checked and unpacked before the lock is taken.
        let fetched = Fetched::read(reading, answer.records.as_deref().unwrap_or(&bytes::Bytes::new()));
        let marks = Marks {
            high_watermark: answer.high_watermark,
            last_stable: answer.last_stable_offset,
            log_start: answer.log_start_offset,
        };
        self.sessions.lock().entry(node).or_default().note(&asked.name, marks);
        let mut assignment = self.assignment.lock();
        let Some(partition) = assignment.unchanged(&asked.name, asked.stamp) else { return };
        (partition.fetching, partition.marks) = (false, marks);
        if answer.preferred_read_replica >= 0 && answer.preferred_read_replica != node {
            partition.preferred =
                Some((answer.preferred_read_replica, self.now() + self.network.config().metadata_max_age));
        }
        match fetched {
            Ok(fetched) => partition.arrived(fetched),
            Err(error) => {
                // It is asked for again, should the caller go on.
                partition.failures += 1;
                partition.not_before = self.now() + self.config.retry.after(partition.failures);
                assignment.error.get_or_insert(error);
            }
        }
    }

    fn failed(&self, asked: &Asked, error: &ClientError) {
        let now = self.now();
        let mut refresh = error.wants_metadata();
        {
            let mut assignment = self.assignment.lock();
            let Some(partition) = assignment.unchanged(&asked.name, asked.stamp) else { return };
            partition.fetching = false;
            let mut told = None;
            if error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE) && asked.from_leader {
                tracing::info!(partition = %asked.name, offset = asked.ask.from, "the offset is out of range");
                told = partition.reset(self.config.offset_reset, self.network.doors().clock.now()).err();
            } else if !asked.from_leader {
                // The leader is asked next, at once.
                partition.preferred = None;
                refresh = false;
            } else {
                partition.failures += 1;
                partition.not_before = now + self.config.retry.after(partition.failures);
                let passes = error.retriable()
                    || error.wants_metadata()
                    || matches!(
                        error.code(),
                        Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND | ErrorCode::INVALID_FETCH_SESSION_EPOCH)
                    );
                told = (!passes).then(|| error.clone());
            }
            if let Some(error) = told {
                assignment.error.get_or_insert(error);
            }
        }
        if refresh {
            self.refresh_assigned();
        }
    }

    /// Finds out, in the background, where the partitions stand that have no place.
    fn locate(&self) {
        let now = self.now();
        let (mut unknown, mut resets) = (Vec::new(), Vec::new());
        for partition in self.assignment.lock().iter().filter(|partition| now >= partition.not_before) {
            match partition.place {
                Place::Unknown => unknown.push((TopicPartition::clone(&partition.name), partition.stamp)),
                Place::Reset(timestamp) => {
                    resets.push((TopicPartition::clone(&partition.name), partition.stamp, timestamp));
                }
                Place::At(_) => {}
            }
        }
        if (unknown.is_empty() && resets.is_empty()) || self.locating.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        self.network.doors().runtime.spawn(async move {
            let asked: Vec<_> = unknown.iter().cloned().chain(resets.iter().map(|(n, s, _)| (n.clone(), *s))).collect();
            if let Err(error) = this.locate_all(unknown, resets).await {
                this.not_located(&asked, &error);
            }
            this.locating.store(false, Ordering::Release);
            this.drive();
            this.arrived.notify_one();
        });
    }

    async fn locate_all(
        &self,
        unknown: Vec<(TopicPartition, u64)>,
        resets: Vec<(TopicPartition, u64, i64)>,
    ) -> Result<()> {
        let within = self.network.config().request_timeout;
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.iter().map(|(name, _)| name.clone()).collect();
            let committed = match &self.config.group_id {
                Some(group) => offsets::committed(&self.network, group, Some(&names), within).await?,
                None => HashMap::new(),
            };
            let now = self.network.doors().clock.now();
            let mut assignment = self.assignment.lock();
            let mut missing = None;
            for (name, stamp) in unknown {
                let Some(partition) = assignment.unchanged(&name, stamp) else { continue };
                match committed.get(&name) {
                    Some(committed) => {
                        partition.leader_epoch = committed.leader_epoch;
                        partition.found(committed.offset);
                    }
                    None => missing = missing.or(partition.reset(self.config.offset_reset, now).err()),
                }
            }
            if let Some(error) = missing {
                return Err(error);
            }
        }
        if !resets.is_empty() {
            let wanted = resets.iter().map(|(name, _, timestamp)| (name.clone(), *timestamp)).collect();
            let found = offsets::list_offsets(&self.network, &wanted, self.config.read_committed, within).await?;
            let mut assignment = self.assignment.lock();
            for (name, stamp, _) in resets {
                if let (Some(partition), Some(listed)) = (assignment.unchanged(&name, stamp), found.get(&name)) {
                    partition.found(listed.offset);
                }
            }
        }
        Ok(())
    }

    fn not_located(&self, asked: &[(TopicPartition, u64)], error: &ClientError) {
        tracing::debug!(%error, "places were not found");
        let now = self.now();
        let mut assignment = self.assignment.lock();
        for (name, stamp) in asked {
            if let Some(partition) = assignment.unchanged(name, *stamp) {
                partition.failures += 1;
                partition.not_before = now + self.config.retry.after(partition.failures);
            }
        }
        if !error.retriable() {
            assignment.error.get_or_insert_with(|| error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{logs, name, serve};
    use super::*;
    use crate::client::config::NetworkConfig;
    use crate::client::testing::{FakeBroker, doors, values, while_time_passes};
    use crate::config::Scope;

    /// Two who drive it at the same moment gather the same. The second comes while the first's fetch is under way, or after it.
    #[tokio::test]
    async fn what_two_gathered_at_once_is_asked_once() {
        let broker = FakeBroker::new(1);
        serve(&broker, logs(&[(0, 8)]));
        let (doors, clock) = doors(&broker);
        let values = values(Scope::Consumer, &[]);
        let network = Network::new(doors, NetworkConfig::new(&values).unwrap());
        network.refresh(Wanted::All, false).await.unwrap();
        let assignment = Arc::new(Mutex::new(Assignment::default()));
        assignment.lock().set([name(0)]);
        assignment.lock().get_mut(&name(0)).unwrap().found(0);
        let config = Arc::new(ConsumerConfig::new(&values).unwrap());
        let fetcher = Fetcher::new(network, config, assignment.clone(), Arc::default());
        let (gathered, _) = fetcher.gather();
        let ask = || gathered.clone().into_iter().for_each(|(node, asked)| fetcher.fetch(node, asked));
        ask();
        ask();
        // Nothing else is asked for once that is answered, so that the broker is free.
        assignment.lock().get_mut(&name(0)).unwrap().paused = true;
        while_time_passes(&clock, fetcher.arrived.notified()).await;
        assert!(fetcher.busy.lock().is_empty());
        ask();
        assert!(fetcher.busy.lock().is_empty());
        assert_eq!(broker.count(ApiKey::Fetch), 1);
    }
}
