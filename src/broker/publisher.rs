//! What follows here from a change of the image: partitions are led, followed or let go, configs take hold.
//!
//! One task takes what the controller has applied, in its order. A change of the image is seen by whoever asks at once;
//! this is about what somebody has to do. Who made a change waits until that is done here ([`Broker::published`]).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::Broker;
use super::topics::OFFSETS_TOPIC;
use crate::common::ids::{Offset, Uuid};
use crate::controller::Applied;
use crate::metadata::{Image, MetadataRecord, ResourceType};
use crate::replica::PartitionSpec;

/// How far the image was carried out.
#[derive(Debug, Default)]
pub(super) struct Published {
    offset: AtomicI64,
    /// Those who wait until all that is in the image now is carried out.
    waiting: Mutex<Option<mpsc::UnboundedSender<oneshot::Sender<()>>>>,
}

/// What a row of records concerns.
#[derive(Debug, Default)]
struct Touched {
    topics: HashSet<Uuid>,
    removed: Vec<Uuid>,
    configs: BTreeSet<(i8, String)>,
    brokers: bool,
}

impl Touched {
    fn of(records: &[MetadataRecord]) -> Touched {
        let mut touched = Touched::default();
        for record in records {
            match record {
                MetadataRecord::Topic(topic) => drop(touched.topics.insert(topic.topic_id)),
                MetadataRecord::Partition(partition) => drop(touched.topics.insert(partition.topic_id)),
                MetadataRecord::PartitionChange(change) => drop(touched.topics.insert(change.topic_id)),
                MetadataRecord::RemoveTopic(topic) => touched.removed.push(topic.topic_id),
                MetadataRecord::Config(config) => {
                    touched.configs.insert((config.resource_type, config.resource_name.to_string()));
                }
                MetadataRecord::RegisterBroker(_)
                | MetadataRecord::UnregisterBroker(_)
                | MetadataRecord::BrokerRegistrationChange(_) => touched.brokers = true,
                MetadataRecord::FeatureLevel(_) | MetadataRecord::ProducerIds(_) | MetadataRecord::Other { .. } => {}
            }
        }
        touched
    }
}

/// The topics that were carried out: a record that takes one away does not tell its name.
type Known = HashMap<Uuid, (String, usize)>;

/// Starts the task.
pub(super) fn start(broker: &Arc<Broker>) {
    let (sender, mut waiting) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    *broker.published.waiting.lock() = Some(sender);
    let mut applied = broker.controller.subscribe();
    let broker = broker.clone();
    let shutdown = broker.shutdown().clone();
    shutdown.clone().spawn(async move {
        let mut known = Known::new();
        broker.publish_all(&mut known).await;
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => return,
                news = applied.recv() => match news {
                    Some(news) => broker.publish(news, &mut known).await,
                    None => return,
                },
                // All that was applied before it was asked lies in the other queue, which comes first.
                waits = waiting.recv() => match waits {
                    Some(waits) => drop(waits.send(())),
                    None => return,
                },
            }
        }
    });
}

impl Broker {
    /// Up to which offset the metadata was carried out here.
    pub(super) fn published_offset(&self) -> Offset {
        self.published.offset.load(Ordering::Acquire)
    }

    /// Ends when all that is in the image now was carried out here.
    pub(super) async fn published(&self) {
        let (sender, receiver) = oneshot::channel();
        let sent = self.published.waiting.lock().as_ref().is_some_and(|waiting| waiting.send(sender).is_ok());
        if sent {
            // Dropped where the broker stops: nothing more is carried out then.
            let _ = receiver.await;
        }
    }

    async fn publish(self: &Arc<Self>, news: Applied, known: &mut Known) {
        let (offset, touched) = match news {
            Applied::Snapshot => return self.publish_all(known).await,
            Applied::Records { offset, records } => (offset, Touched::of(&records)),
        };
        for id in touched.removed {
            if let Some((name, partitions)) = known.remove(&id) {
                self.topic_removed(&name, id, partitions).await;
            }
        }
        self.publish_topics(touched.topics.into_iter(), known).await;
        for (kind, name) in touched.configs {
            if let Some(kind) = ResourceType::from_code(kind) {
                self.configs_changed(kind, &name);
            }
        }
        if touched.brokers {
            self.hurry_heartbeat_if_fenced();
        }
        self.published.offset.store(offset, Ordering::Release);
    }

    /// Carries out the image as a whole: at the start, and where a snapshot took its place.
    async fn publish_all(self: &Arc<Self>, known: &mut Known) {
        let there: Vec<Uuid> = self.controller.read(|image| image.topics().map(|topic| topic.id).collect());
        let gone: Vec<Uuid> = {
            let there: HashSet<&Uuid> = there.iter().collect();
            known.keys().filter(|id| !there.contains(id)).copied().collect()
        };
        for id in gone {
            if let Some((name, partitions)) = known.remove(&id) {
                self.topic_removed(&name, id, partitions).await;
            }
        }
        self.publish_topics(there.into_iter(), known).await;
        self.configs_changed(ResourceType::Broker, "");
    }

    async fn publish_topics(self: &Arc<Self>, topics: impl Iterator<Item = Uuid>, known: &mut Known) {
        let specs: Vec<PartitionSpec> = self.controller.read(|image| {
            let mut specs = Vec::new();
            for id in topics {
                let Some(topic) = image.topic_by_id(id) else { continue };
                known.insert(id, (topic.name.clone(), topic.partitions.len()));
                specs.extend(self.held_of(image, &topic.name));
            }
            specs
        });
        if specs.is_empty() {
            return;
        }
        let moved = specs.iter().any(|spec| spec.id.topic == OFFSETS_TOPIC);
        let replicas = self.replicas.clone();
        // Followed partitions are opened, and so read from disk.
        self.shutdown.blocking(move || replicas.apply(specs)).await;
        if moved {
            self.groups.leaders_changed(self);
        }
    }

    /// The partitions of a topic of which this broker has a replica.
    fn held_of(&self, image: &Image, topic: &str) -> Vec<PartitionSpec> {
        let count = image.topic(topic).map_or(0, |topic| topic.partitions.len());
        let indexes = 0..i32::try_from(count).unwrap_or(i32::MAX);
        let specs = indexes.filter_map(|index| self.partition_spec(image, topic, index));
        specs.filter(|spec| spec.replicas.contains(&self.node.id)).collect()
    }

    fn hurry_heartbeat_if_fenced(&self) {
        if self.controller.read(|image| image.broker(self.node.id).is_none_or(|broker| broker.fenced)) {
            self.hurry_heartbeat();
        }
    }
}
