//! Topics made, grown and taken away; producer ids handed out.
//!
//! Each is a wish to the controller, which waits for the disk, and then what follows from it here: partitions are opened
//! only when somebody asks for them, and the files of a topic that is gone are taken away.

use parking_lot::Mutex;

use super::Broker;
use crate::common::ids::{NodeId, ProducerId, Uuid};
use crate::config::broker as key;
use crate::metadata::image::Configs;
use crate::metadata::plan::{self, CreateTopic};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::ErrorCode;

/// The topic that holds the groups and their offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A topic as it was made.
#[derive(Debug)]
pub(crate) struct MadeTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Configs,
}

impl Broker {
    /// Makes topics, each by itself but all in one write; the answers come in the order of the wishes.
    pub(crate) async fn create_topics(
        &self,
        wishes: Vec<CreateTopic>,
        validate_only: bool,
    ) -> Result<Vec<Result<MadeTopic, Refusal>>, Refusal> {
        let values = self.values();
        let decide = move |image: &Image| {
            let mut all = Vec::new();
            let made = wishes.into_iter().map(|wish| {
                if wish.name == METADATA_TOPIC {
                    let sentence = format!("'{METADATA_TOPIC}' is the cluster's own: choose another name");
                    return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, sentence));
                }
                let records = plan::create_topic(image, &wish, &values)?;
                let made = MadeTopic::of(&records, wish.configs, validate_only);
                all.extend(records);
                Ok(made)
            });
            Ok((made.collect(), all))
        };
        self.change(decide, validate_only).await
    }

    /// Makes one topic.
    pub(crate) async fn create_topic(&self, wish: CreateTopic) -> Result<(), Refusal> {
        let made = self.create_topics(vec![wish], false).await?;
        made.into_iter().try_for_each(|made| made.map(|_| ()))
    }

    /// Takes a topic away: its metadata, its open partitions, its files.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), Refusal> {
        let specs = self.controller.read(|image| {
            let count = image.topic(name).map_or(0, |topic| topic.partitions.len());
            let indexes = 0..i32::try_from(count).unwrap_or(i32::MAX);
            indexes.filter_map(|index| self.partition_spec(image, name, index)).collect::<Vec<_>>()
        });
        let target = name.to_owned();
        let decide = move |image: &Image| match image.topic(&target) {
            Some(topic) => Ok(((), plan::delete_topic(topic))),
            None => Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{target}'"))),
        };
        self.change(decide, false).await?;
        self.groups.topic_deleted(self, name);
        let (replicas, topic) = (self.replicas.clone(), name.to_owned());
        let removed = self.shutdown().blocking(move || replicas.remove_topic(&topic, specs)).await;
        if let Some(Err(error)) = removed {
            // The topic is gone all the same; the next start sets its folders aside.
            tracing::error!(topic = name, %error, "the files of a deleted topic could not be taken away");
        }
        Ok(())
    }

    /// Brings a topic to `count` partitions.
    pub(crate) async fn create_partitions(
        &self,
        name: &str,
        count: i32,
        assignments: Option<Vec<Vec<NodeId>>>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let name = name.to_owned();
        let decide = move |image: &Image| {
            plan::create_partitions(image, &name, count, assignments.as_deref()).map(|records| ((), records))
        };
        self.change(decide, validate_only).await
    }

    /// Whether a client's mere asking makes a topic (`auto.create.topics.enable`).
    pub(crate) fn auto_creates_topics(&self) -> bool {
        self.values().get(key::AUTO_CREATE_TOPICS_ENABLE)
    }

    /// Whether topics may be taken away (`delete.topic.enable`).
    pub(crate) fn deletes_topics(&self) -> bool {
        self.values().get(key::DELETE_TOPIC_ENABLE)
    }

    /// Makes sure that `__consumer_offsets` is there.
    pub(crate) async fn ensure_offsets_topic(&self) -> Result<(), ErrorCode> {
        if self.controller.read(|image| image.topic(OFFSETS_TOPIC).is_some()) {
            return Ok(());
        }
        let values = self.values();
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", values.get(key::OFFSETS_TOPIC_SEGMENT_BYTES).to_string()),
        ];
        let wish = CreateTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: values.get(key::OFFSETS_TOPIC_NUM_PARTITIONS),
            // Kafka's default of 3 is for clusters of three; the brokers there are is what there can be.
            replication_factor: 1,
            configs: configs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ..Default::default()
        };
        match self.create_topic(wish).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code == ErrorCode::TOPIC_ALREADY_EXISTS => Ok(()),
            Err(refusal) => {
                tracing::error!(%refusal, "{OFFSETS_TOPIC} could not be made");
                Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
            }
        }
    }

    /// An id that no producer has.
    pub(crate) async fn next_producer_id(&self) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.producer_ids.take() {
                return Ok(id);
            }
            let node = self.node.id;
            let decide = move |image: &Image| {
                let (first, count, record) = plan::allocate_producer_ids(image, node, 0);
                Ok(((first, first + count), vec![record]))
            };
            let (first, end) = self.change(decide, false).await.map_err(|refusal| refusal.code)?;
            self.producer_ids.put(first, end);
        }
    }

    /// Carries out what `decide` comes to, once it is on the disk; or only asks, with `validate_only`.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image) -> Result<(T, Vec<MetadataRecord>), Refusal> + Send + 'static,
        validate_only: bool,
    ) -> Result<T, Refusal> {
        if validate_only {
            return self.controller.read(decide).map(|(answer, _)| answer);
        }
        self.controller.propose(decide).await
    }
}

impl MadeTopic {
    /// What the records of a new topic tell; one that was only asked for has no id.
    fn of(records: &[MetadataRecord], configs: Configs, validate_only: bool) -> MadeTopic {
        let mut made = MadeTopic { id: Uuid::ZERO, partitions: 0, replication_factor: 0, configs };
        for record in records {
            match record {
                MetadataRecord::Topic(topic) if !validate_only => made.id = topic.topic_id,
                MetadataRecord::Partition(partition) => {
                    made.partitions += 1;
                    made.replication_factor = i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX);
                }
                _ => {}
            }
        }
        made
    }
}

/// The block of producer ids that the controller gave to this broker.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    /// The next, and the first that is not ours.
    block: Mutex<(ProducerId, ProducerId)>,
}

impl ProducerIds {
    fn take(&self) -> Option<ProducerId> {
        let mut block = self.block.lock();
        let (next, end) = *block;
        if next == end {
            return None;
        }
        block.0 += 1;
        Some(next)
    }

    /// Takes a new block; what is left of the old one is never handed out.
    fn put(&self, first: ProducerId, end: ProducerId) {
        *self.block.lock() = (first, end);
    }
}
