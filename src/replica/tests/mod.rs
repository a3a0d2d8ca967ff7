//! Replicas that follow one another, on disks in memory and without a socket: fetches are calls.

mod fetching;
mod follow;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fetcher::{Asking, FetcherRules, LeaderLink, Leaders, LinkError};
use super::session::FetchLimits;
use super::{
    AlterIsrWish, FetchFrom, IsrState, Partition, PartitionSpec, ReplicaFetch, ReplicaManager, Replication, Throttled,
    Waiter,
};
use crate::common::clock::{Clock, ManualClock};
use crate::common::ids::{NodeId, Offset, TopicPartition, Uuid};
use crate::common::shutdown::Shutdown;
use crate::log::fs::memory::MemoryFs;
use crate::log::{Handles, LogConfig, LogDir};
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::{ErrorCode, Records};
use crate::record::{BatchBuilder, BatchOptions, batches};

const NOW: i64 = 1_700_000_000_000;
const TOPIC: &str = "flights";
const TOPIC_ID: Uuid = Uuid([7; 16]);

/// Brokers 1, 2 and 3, and the partition that all of them hold.
struct Trio {
    clock: Arc<ManualClock>,
    brokers: BTreeMap<NodeId, Broker>,
    net: Arc<Net>,
    /// What the controller holds.
    leader: NodeId,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: Vec<NodeId>,
    config: LogConfig,
    min_in_sync_replicas: i32,
    throttled: Throttled,
}

struct Broker {
    manager: Arc<ReplicaManager>,
    fs: Arc<MemoryFs>,
    shutdown: Shutdown,
    wishes: tokio::sync::mpsc::UnboundedReceiver<AlterIsrWish>,
}

/// Who can reach whom.
#[derive(Debug, Default)]
struct Net {
    brokers: Mutex<BTreeMap<NodeId, Arc<ReplicaManager>>>,
    /// Those that nobody reaches, and that reach nobody.
    cut: Mutex<BTreeSet<NodeId>>,
    clock: Mutex<Option<Arc<ManualClock>>>,
}

#[derive(Debug)]
struct Way {
    net: Arc<Net>,
    from: NodeId,
}

#[derive(Debug)]
struct Call {
    net: Arc<Net>,
    from: NodeId,
    to: NodeId,
}

impl Leaders for Way {
    fn link(&self, to: NodeId) -> Arc<dyn LeaderLink> {
        Arc::new(Call { net: self.net.clone(), from: self.from, to })
    }
}

impl Call {
    fn leader(&self) -> Result<Arc<ReplicaManager>, LinkError> {
        let cut = self.net.cut.lock();
        if cut.contains(&self.from) || cut.contains(&self.to) {
            return Err(LinkError(format!("{} cannot reach {}", self.from, self.to)));
        }
        self.net.brokers.lock().get(&self.to).cloned().ok_or_else(|| LinkError(format!("{} is down", self.to)))
    }
}

impl LeaderLink for Call {
    fn fetch(&self, request: FetchRequest) -> Asking<'_, FetchResponse> {
        Box::pin(async move {
            let leader = self.leader()?;
            let asked = &request.topics[0].partitions[0];
            let refuse = |error_code| PartitionData { error_code, ..Default::default() };
            let data = match leader.get(TOPIC, 0) {
                None => refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                Some(partition) => {
                    let from = FetchFrom {
                        offset: asked.fetch_offset,
                        current_leader_epoch: asked.current_leader_epoch,
                        last_fetched_epoch: asked.last_fetched_epoch,
                        max_bytes: asked.partition_max_bytes as usize,
                        min_one: true,
                        read_committed: false,
                    };
                    let replica = ReplicaFetch {
                        node: request.replica_state.replica_id,
                        broker_epoch: request.replica_state.replica_epoch,
                        log_start_offset: asked.log_start_offset,
                    };
                    let now = self.net.clock.lock().as_ref().unwrap().monotonic();
                    let mut fetched = partition.fetch_as_replica(replica, from, now);
                    let waiter = Waiter::new();
                    loop {
                        partition.wait_as_replica(&waiter);
                        match fetched {
                            Ok(found) if found.records.is_empty() && found.diverging_epoch.is_none() => {
                                let news = found.high_watermark > asked.high_watermark
                                    || found.log_start_offset > asked.log_start_offset;
                                fetched = partition.fetch_again_as_replica(from);
                                let empty = fetched.as_ref().is_ok_and(|fetched| fetched.records.is_empty());
                                if news || !empty {
                                    break;
                                }
                            }
                            _ => break,
                        }
                        waiter.woken().await;
                        fetched = partition.fetch_again_as_replica(from);
                    }
                    // Whoever was cut off meanwhile hears nothing.
                    self.leader()?;
                    match fetched {
                        Err(error) => refuse(error.code()),
                        Ok(fetched) => PartitionData {
                            high_watermark: fetched.high_watermark,
                            log_start_offset: fetched.log_start_offset,
                            records: Some(Records(fetched.records)),
                            diverging_epoch: fetched.diverging_epoch.map_or_else(
                                EpochEndOffset::default,
                                |(epoch, end_offset)| EpochEndOffset { epoch, end_offset },
                            ),
                            ..Default::default()
                        },
                    }
                }
            };
            let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions: vec![data], ..Default::default() };
            Ok(FetchResponse { responses: vec![topic], ..Default::default() })
        })
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> Asking<'_, ListOffsetsResponse> {
        Box::pin(async move {
            let leader = self.leader()?.get(TOPIC, 0).unwrap();
            assert_eq!(request.replica_id, self.from);
            let asked = &request.topics[0].partitions[0];
            let offset = if asked.timestamp == -1 { leader.log_end_offset() } else { leader.log_start_offset() };
            let partition = ListOffsetsPartitionResponse { offset, ..Default::default() };
            let name = request.topics[0].name.clone();
            let topic = ListOffsetsTopicResponse { name, partitions: vec![partition] };
            Ok(ListOffsetsResponse { topics: vec![topic], ..Default::default() })
        })
    }
}

impl Trio {
    /// Three brokers, the first of which leads; the others follow.
    fn start() -> Trio {
        Trio::with(LogConfig { delete: true, ..LogConfig::default() }, 1)
    }

    fn with(config: LogConfig, min_in_sync_replicas: i32) -> Trio {
        let clock = ManualClock::new(NOW);
        let net = Arc::new(Net::default());
        *net.clock.lock() = Some(clock.clone());
        let mut trio = Trio {
            clock,
            brokers: BTreeMap::new(),
            net,
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            isr: vec![1, 2, 3],
            config,
            min_in_sync_replicas,
            throttled: Throttled::default(),
        };
        for node in 1..=3 {
            trio.boot(node, Arc::new(MemoryFs::new()));
        }
        trio.tell_all();
        trio
    }

    fn boot(&mut self, node: NodeId, fs: Arc<MemoryFs>) {
        let dir = LogDir::open(Handles::new(fs.clone(), 64), Path::new("/data"), "test").unwrap();
        let manager = Arc::new(ReplicaManager::new(dir, self.clock.clone()).unwrap());
        let way = Way { net: self.net.clone(), from: node };
        let rules = self.rules(node, &manager, Arc::new(way));
        let shutdown = rules.shutdown.clone();
        manager.start_fetchers_over(rules);
        self.net.brokers.lock().insert(node, manager.clone());
        let wishes = manager.isr_wishes().unwrap();
        self.brokers.insert(node, Broker { manager, fs, shutdown, wishes });
    }

    fn rules(&self, node: NodeId, manager: &ReplicaManager, leaders: Arc<dyn Leaders>) -> FetcherRules {
        FetcherRules {
            local: node,
            local_epoch: Arc::new(|| 0),
            leaders,
            clock: self.clock.clone(),
            waits: self.clock.clone(),
            throttles: manager.surroundings.throttles.clone(),
            shutdown: Shutdown::new(),
            fetchers: 1,
            limits: FetchLimits::default(),
        }
    }

    /// Stops a broker, cleanly, and gives its disk.
    async fn stop(&mut self, node: NodeId) -> Arc<MemoryFs> {
        let broker = self.brokers.remove(&node).unwrap();
        self.net.brokers.lock().remove(&node);
        broker.shutdown.finish().await;
        broker.manager.close(NOW).unwrap();
        broker.fs
    }

    fn spec(&self, local: NodeId) -> PartitionSpec {
        PartitionSpec {
            id: TopicPartition::new(TOPIC, 0),
            topic_id: TOPIC_ID,
            local,
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            replicas: vec![1, 2, 3],
            isr: self.isr.clone(),
            config: self.config.clone(),
            min_in_sync_replicas: self.min_in_sync_replicas,
            throttled: self.throttled,
        }
    }

    /// Tells a broker what the image says; one that leads is asked for its partition.
    fn tell(&self, node: NodeId) {
        let manager = &self.brokers[&node].manager;
        manager.apply(vec![self.spec(node)]);
        if self.leader == node {
            manager.open_blocking(self.spec(node)).unwrap();
        }
    }

    fn tell_all(&self) {
        // The leader first, as a follower that asks before it is told would rest for a second.
        self.tell(self.leader);
        self.brokers.keys().filter(|node| **node != self.leader).for_each(|node| self.tell(*node));
    }

    /// The controller makes another broker the leader, with this ISR.
    fn elect(&mut self, leader: NodeId, isr: &[NodeId]) {
        (self.leader, self.isr) = (leader, isr.to_vec());
        self.leader_epoch += 1;
        self.partition_epoch += 1;
    }

    fn partition(&self, node: NodeId) -> Arc<Partition> {
        self.brokers[&node].manager.get(TOPIC, 0).unwrap()
    }

    fn leader(&self) -> Arc<Partition> {
        self.partition(self.leader)
    }

    /// Appends one record to the leader's log, as for acks=all.
    fn append(&self, value: &str) -> Option<Replication> {
        self.leader().append_for_all(batch(value), NOW).unwrap().1
    }

    /// Grants the wish that the leader has.
    async fn grant(&mut self) -> Vec<NodeId> {
        let broker = self.brokers.get_mut(&self.leader).unwrap();
        let wish = broker.wishes.recv().await.unwrap();
        assert_eq!((wish.leader_epoch, wish.partition_epoch), (self.leader_epoch, self.partition_epoch));
        self.isr = wish.isr.iter().map(|(node, _)| *node).collect();
        self.partition_epoch += 1;
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let state = IsrState { leader_epoch, partition_epoch, isr: self.isr.clone() };
        broker.manager.isr_answered(&wish.id, Ok(state));
        self.isr.clone()
    }

    /// Has those put out of the ISR that 1, which leads, has not heard of for `replica.lag.time.max.ms`.
    async fn put_out(&mut self) {
        self.clock.advance(Duration::from_secs(31));
        self.brokers[&1].manager.shrink_isrs(self.clock.monotonic());
        self.grant().await;
    }

    /// Waits until `node` has all records up to `end`, and knows that they are safe.
    async fn until_safe(&self, node: NodeId, end: Offset) {
        let what = || {
            let partition = self.partition(node);
            (partition.log_end_offset(), partition.high_watermark())
        };
        until(|| what() == (end, end), || format!("{node} is at {:?}, not at {end}", what())).await;
    }

    async fn all_until_safe(&self, end: Offset) {
        for node in self.brokers.keys() {
            self.until_safe(*node, end).await;
        }
    }

    /// Lets followers that rest try again.
    async fn rested(&self) {
        self.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }

    /// Whether all hold the same bytes.
    fn assert_same(&self) {
        let all: Vec<_> = self.brokers.keys().map(|node| (*node, stored(&self.partition(*node)))).collect();
        for (node, stored) in &all {
            assert!(*stored == all[0].1, "{node} and {} hold not the same", all[0].0);
        }
    }
}

/// Waits until something has come about, without looking at a clock.
async fn until(done: impl Fn() -> bool, what: impl Fn() -> String) {
    for _ in 0..200_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{}", what());
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(NOW, Some(b"k"), Some(value.as_bytes()), std::iter::empty());
    builder.build().unwrap()
}

/// All bytes of a partition's log, from its start.
fn stored(partition: &Partition) -> Vec<u8> {
    let reader = partition.log_reader();
    let (mut offset, mut all) = (reader.log_start_offset(), Vec::new());
    loop {
        // It may be cut off meanwhile.
        let Ok(read) = reader.read(offset, 1 << 20, Offset::MAX, true) else { return all };
        let records = read.records;
        let Some(last) = batches(&records).last() else { return all };
        offset = last.unwrap().next_offset();
        all.extend_from_slice(&records);
    }
}

/// The values of its records.
fn values(partition: &Partition) -> Vec<String> {
    let stored = stored(partition);
    let mut values = Vec::new();
    for batch in batches(&stored) {
        let body = batch.unwrap().body(1 << 20).unwrap();
        values.extend(body.iter().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()));
    }
    values
}
