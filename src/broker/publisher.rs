//! What follows here from a change of the image: partitions are led, followed or let go, configs take hold.
//!
//! One task takes what the controller has applied, in its order. A change of the image is seen by whoever asks at once;
//! this is about what somebody has to do. Who made a change waits until that is done here ([`Broker::published`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::Broker;
use super::topics::OFFSETS_TOPIC;
use crate::common::ids::{Offset, TopicPartition, Uuid};
use crate::controller::Applied;
use crate::metadata::image::TopicImage;
use crate::metadata::{Image, MetadataRecord, ResourceType};
use crate::replica::PartitionSpec;

/// How far the image was carried out.
#[derive(Debug, Default)]
pub(super) struct Published {
    offset: AtomicI64,
    /// Whether the image is as new as this start of the broker. Before that it may be one in which a replica was not here
    /// yet, and what lies here is not taken away by it.
    is_whole: AtomicBool,
    /// Those who wait until all that is in the image now is carried out.
    waiting: Mutex<Option<mpsc::UnboundedSender<oneshot::Sender<()>>>>,
}

/// What a row of records concerns.
#[derive(Debug, Default)]
struct Touched {
    topics: BTreeSet<Uuid>,
    /// By topic and index.
    partitions: BTreeSet<(Uuid, i32)>,
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
                MetadataRecord::Partition(partition) => {
                    touched.topics.insert(partition.topic_id);
                    touched.partitions.insert((partition.topic_id, partition.partition_id));
                }
                MetadataRecord::PartitionChange(change) => {
                    touched.partitions.insert((change.topic_id, change.partition_id));
                }
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
        let mut has_looked = false;
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
                    Some(waits) => {
                        if !has_looked && broker.published.is_whole.load(Ordering::Acquire) {
                            broker.take_away_what_moved().await;
                            has_looked = true;
                        }
                        // Whoever asked may have gone.
                        let _ = waits.send(());
                    }
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
            tokio::select! {
                _ = receiver => {}
                // Nothing more is carried out then.
                () = self.shutdown().begun() => {}
            }
        }
    }

    /// Notes that the image is as new as this start of the broker, and takes away what went elsewhere before it.
    pub(super) async fn image_is_whole(&self) {
        self.published.is_whole.store(true, Ordering::Release);
        self.published().await;
    }

    /// Lets go what lies here and went elsewhere while this broker was down.
    async fn take_away_what_moved(self: &Arc<Self>) {
        let gone = self.controller.read(|image| {
            let partitions = |topic: &TopicImage| {
                let others = (0..).zip(&topic.partitions).filter(|(_, held)| !held.replicas.contains(&self.node.id));
                others.map(|(index, _)| index).collect::<Vec<i32>>()
            };
            let all = image.topics().map(|topic| (topic.id, partitions(topic)));
            all.flat_map(|(id, indexes)| indexes.into_iter().map(move |index| (id, index))).collect()
        });
        self.publish_partitions(gone).await;
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
        self.controller.read(|image| touched.topics.iter().for_each(|id| know(image, *id, known)));
        self.publish_partitions(touched.partitions).await;
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
        let (gone, partitions) = self.controller.read(|image| {
            let gone: Vec<Uuid> = known.keys().filter(|id| image.topic_by_id(**id).is_none()).copied().collect();
            image.topics().for_each(|topic| know(image, topic.id, known));
            let indexes = |topic: &TopicImage| 0..i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let all = image.topics().flat_map(|topic| indexes(topic).map(|index| (topic.id, index)));
            (gone, all.collect())
        });
        for id in gone {
            if let Some((name, partitions)) = known.remove(&id) {
                self.topic_removed(&name, id, partitions).await;
            }
        }
        self.publish_partitions(partitions).await;
        self.configs_changed(ResourceType::Broker, "");
    }

    /// Lets the replicas take what the image says of these partitions.
    async fn publish_partitions(self: &Arc<Self>, partitions: BTreeSet<(Uuid, i32)>) {
        let is_whole = self.published.is_whole.load(Ordering::Acquire);
        let mut moved = false;
        let specs: Vec<PartitionSpec> = self.controller.read(|image| {
            let specs = partitions.into_iter().filter_map(|(id, index)| {
                let topic = image.topic_by_id(id)?;
                let partition = topic.partitions.get(usize::try_from(index).ok()?)?;
                moved |= topic.name == OFFSETS_TOPIC;
                let concerns = if !partition.replicas.contains(&self.node.id) {
                    // One that went elsewhere may still lie here.
                    is_whole && self.replicas.has(&TopicPartition::new(topic.name.as_str(), index))
                } else {
                    // One that is led here is opened when somebody asks for it.
                    let follows = partition.leader >= 0 && partition.leader != self.node.id;
                    follows || self.replicas.get(&topic.name, index).is_some()
                };
                if concerns { self.partition_spec(image, &topic.name, index) } else { None }
            });
            specs.collect()
        });
        let replicas = self.replicas.clone();
        if !specs.is_empty() {
            // Followed partitions are opened, and so read from disk.
            self.shutdown.blocking(move || replicas.apply(specs)).await;
        }
        if moved {
            self.groups.leaders_changed(self);
        }
    }

    fn hurry_heartbeat_if_fenced(&self) {
        if self.controller.read(|image| image.broker(self.node.id).is_none_or(|broker| broker.fenced)) {
            self.hurry_heartbeat();
        }
    }
}

/// Notes a topic as it is now.
fn know(image: &Image, id: Uuid, known: &mut Known) {
    if let Some(topic) = image.topic_by_id(id) {
        known.insert(id, (topic.name.clone(), topic.partitions.len()));
    }
}
