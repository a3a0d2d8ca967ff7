//! How this broker's replicas come to their leaders, and its leaders to the controller.
//!
//! What is followed is fetched from wherever its leader listens; what a leader wishes its ISR to be goes to the controller
//! (AlterPartition), all wishes that wait together in one request, one request at a time. A wish that nobody answered is
//! told to the partition as refused: it comes again from there, if it is still wished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Broker;
use super::configs::throttle_rates;
use crate::common::ids::{NodeId, TopicPartition, Uuid};
use crate::config::broker as key;
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, TopicData,
};
use crate::replica::{AlterIsrWish, FetchLimits, FetcherOptions, IsrState, Windows};

/// How many wishes go out together at most.
const TOGETHER: usize = 10_000;

/// Starts fetching, and the way of wishes.
pub(super) fn start(broker: &Arc<Broker>) {
    let values = broker.values();
    let weak = Arc::downgrade(broker);
    let epoch = weak.clone();
    let millis = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
    let seconds = u64::try_from(values.get(key::REPLICATION_QUOTA_WINDOW_SIZE_SECONDS)).unwrap_or(1);
    broker.replicas.set_quota_windows(Windows {
        number: u32::try_from(values.get(key::REPLICATION_QUOTA_WINDOW_NUM)).unwrap_or(1),
        length: Duration::from_secs(seconds),
    });
    broker.replicas.set_throttle_rates(throttle_rates(&values));
    broker.replicas.set_max_lag(millis(values.get(key::REPLICA_LAG_TIME_MAX_MS)));
    broker.replicas.start_fetchers(FetcherOptions {
        local: broker.node.id,
        local_epoch: Arc::new(move || epoch.upgrade().map_or(-1, |broker| broker.epoch())),
        doors: broker.doors.clone(),
        address_of: Arc::new(move |id| weak.upgrade()?.address_of(id)),
        shutdown: broker.shutdown.clone(),
        fetchers: values.get(key::NUM_REPLICA_FETCHERS),
        limits: FetchLimits::of(&values),
        socket_timeout: millis(values.get(key::REPLICA_SOCKET_TIMEOUT_MS)),
    });
    let weak = Arc::downgrade(broker);
    broker
        .replicas
        .set_eligibility(Arc::new(move |id, epoch| weak.upgrade().is_some_and(|broker| broker.is_active(id, epoch))));
    if let Some(wishes) = broker.replicas.isr_wishes() {
        let wishing = broker.clone();
        broker.shutdown.spawn(async move { wishing.bring_wishes(wishes).await });
    }
}

impl Broker {
    /// Where another broker listens for brokers; `None` for one that is not registered, or has no listener called as ours.
    pub(super) fn address_of(&self, id: NodeId) -> Option<(String, u16)> {
        self.controller.read(|image| {
            let endpoint = image.broker(id)?.endpoint(&self.inter_broker)?;
            Some((endpoint.host.clone(), endpoint.port))
        })
    }

    /// Whether nothing could be fetched of a leader just now.
    pub(crate) fn has_lost(&self, leader: NodeId) -> bool {
        self.replicas.has_lost(leader, self.doors.clock.monotonic())
    }

    /// Whether a broker may be in sync, by the epoch that it told, or -1.
    fn is_active(&self, id: NodeId, epoch: i64) -> bool {
        self.controller.read(|image| {
            image.broker(id).is_some_and(|broker| broker.is_active() && (epoch == -1 || epoch == broker.epoch))
        })
    }

    async fn bring_wishes(self: Arc<Self>, mut wishes: mpsc::UnboundedReceiver<AlterIsrWish>) {
        let mut together = Vec::new();
        loop {
            let count = tokio::select! {
                count = wishes.recv_many(&mut together, TOGETHER) => count,
                () = self.shutdown.begun() => return,
            };
            if count == 0 {
                return;
            }
            self.bring(std::mem::take(&mut together)).await;
        }
    }

    async fn bring(self: &Arc<Self>, wishes: Vec<AlterIsrWish>) {
        let mut topics: BTreeMap<Uuid, Vec<PartitionData>> = BTreeMap::new();
        let mut waiting: BTreeMap<(Uuid, i32), TopicPartition> = BTreeMap::new();
        for wish in wishes {
            let isr = wish.isr.iter().map(|(broker_id, epoch)| BrokerState {
                broker_id: *broker_id,
                broker_epoch: if *broker_id == self.node.id { self.epoch() } else { *epoch },
            });
            topics.entry(wish.topic_id).or_default().push(PartitionData {
                partition_index: wish.id.partition,
                leader_epoch: wish.leader_epoch,
                new_isr_with_epochs: isr.collect(),
                partition_epoch: wish.partition_epoch,
                ..Default::default()
            });
            waiting.insert((wish.topic_id, wish.id.partition), wish.id);
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| TopicData { topic_id, partitions });
        let request =
            AlterPartitionRequest { broker_id: self.node.id, broker_epoch: self.epoch(), topics: topics.collect() };
        let refused = |response: &AlterPartitionResponse| response.error_code == ErrorCode::NOT_CONTROLLER;
        let code = match self.ask_controller(&request, refused).await {
            Ok(response) if response.error_code.is_none() => {
                for topic in response.topics {
                    for partition in topic.partitions {
                        let Some(id) = waiting.remove(&(topic.topic_id, partition.partition_index)) else { continue };
                        let answer = match partition.error_code {
                            ErrorCode::NONE => Ok(IsrState {
                                leader_epoch: partition.leader_epoch,
                                partition_epoch: partition.partition_epoch,
                                isr: partition.isr,
                            }),
                            code => Err(code),
                        };
                        self.replicas.isr_answered(&id, answer);
                    }
                }
                ErrorCode::UNKNOWN_SERVER_ERROR
            }
            Ok(response) => response.error_code,
            Err(code) => code,
        };
        waiting.into_values().for_each(|id| self.replicas.isr_answered(&id, Err(code)));
    }

    /// Wishes followers out that lagged for too long (`replica.lag.time.max.ms`).
    pub(super) fn shrink_isrs(&self) {
        self.replicas.shrink_isrs(self.clock.monotonic());
    }
}
