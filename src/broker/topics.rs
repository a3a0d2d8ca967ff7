//! Topics made, grown and taken away; producer ids handed out.
//!
//! Each is a wish to the controller, which waits for the disk (and in a cluster for a majority); what follows from it
//! here, `publisher` knows.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Broker;
use crate::common::ids::{NodeId, ProducerId, Uuid};
use crate::config::broker as key;
use crate::coordinator::partition_for;
use crate::metadata::image::Configs;
use crate::metadata::plan::{self, CreateTopic};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::messages::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::{ErrorCode, Str};

/// The topic that holds the groups and their offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long what another node has decided may take to come here before a client is told to come again.
const HEARING: Duration = Duration::from_millis(500);

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
    ///
    /// The active controller is asked, as a client would; this broker may hear of the topic a moment later.
    pub(crate) async fn create_topic(self: &Arc<Self>, wish: CreateTopic) -> Result<(), Refusal> {
        if self.is_active_controller() {
            let made = self.create_topics(vec![wish], false).await?;
            return made.into_iter().try_for_each(|made| made.map(|_| ()));
        }
        let config = |(name, value): (String, String)| CreatableTopicConfig {
            name: Str::from(name),
            value: Some(Str::from(value)),
        };
        let topic = CreatableTopic {
            name: Str::from(wish.name),
            num_partitions: wish.partitions,
            replication_factor: wish.replication_factor,
            configs: wish.configs.into_iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let refused = |response: &CreateTopicsResponse| {
            response.topics.iter().any(|topic| topic.error_code == ErrorCode::NOT_CONTROLLER)
        };
        let answered = self.ask_controller(&request, refused).await;
        let response = answered.map_err(|code| Refusal::new(code, "no controller answered"))?;
        match response.topics.into_iter().next() {
            Some(topic) if topic.error_code == ErrorCode::NONE => {
                self.until_known(&topic.name).await;
                Ok(())
            }
            Some(topic) => {
                let sentence = topic.error_message.map(|message| message.to_string()).unwrap_or_default();
                Err(Refusal::new(topic.error_code, sentence))
            }
            None => Err(Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, "the controller told nothing of the topic")),
        }
    }

    /// Ends when this broker has heard of a topic, or soon.
    async fn until_known(&self, topic: &str) {
        let mut applied = self.controller.subscribe();
        let hearing = async {
            while self.controller.read(|image| image.topic(topic).is_none()) && applied.recv().await.is_some() {}
        };
        tokio::select! {
            () = hearing => {}
            () = self.socket_clock.sleep(HEARING) => {}
            () = self.shutdown.begun() => {}
        }
    }

    /// Takes a topic away; its partitions and files go when the change is carried out, here and wherever it has replicas.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), Refusal> {
        let target = name.to_owned();
        let decide = move |image: &Image| match image.topic(&target) {
            Some(topic) => Ok(((), plan::delete_topic(topic))),
            None => Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{target}'"))),
        };
        self.change(decide, false).await
    }

    /// What follows here from a topic's end: its groups' offsets are forgotten, its open partitions and its files go.
    pub(super) async fn topic_removed(&self, name: &str, id: Uuid, partitions: usize) {
        self.groups.topic_deleted(self, name);
        let indexes = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        let specs = indexes.map(|index| self.spec_of_removed(name, id, index)).collect();
        let (replicas, topic) = (self.replicas.clone(), name.to_owned());
        let removed = self.shutdown().blocking(move || replicas.remove_topic(&topic, specs)).await;
        if let Some(Err(error)) = removed {
            // The topic is gone all the same; the next start sets its folders aside.
            tracing::error!(topic = name, %error, "the files of a deleted topic could not be taken away");
        }
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
    pub(crate) async fn ensure_offsets_topic(self: &Arc<Self>) -> Result<(), ErrorCode> {
        if self.controller.read(|image| image.topic(OFFSETS_TOPIC).is_some()) {
            return Ok(());
        }
        let values = self.values();
        let brokers = self.controller.read(|image| image.live_brokers().count());
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", values.get(key::OFFSETS_TOPIC_SEGMENT_BYTES).to_string()),
        ];
        let wish = CreateTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: values.get(key::OFFSETS_TOPIC_NUM_PARTITIONS),
            // Kafka's default of 3 is for clusters of three; the brokers there are is what there can be.
            replication_factor: values
                .get(key::OFFSETS_TOPIC_REPLICATION_FACTOR)
                .min(i16::try_from(brokers).unwrap_or(i16::MAX)),
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

    /// Who coordinates a group: the node that leads its partition of `__consumer_offsets`, and where those reach it who came by a
    /// listener.
    pub(crate) fn coordinator_of(&self, group_id: &str, listener: &str) -> Result<(NodeId, Str, i32), ErrorCode> {
        self.controller
            .read(|image| {
                let topic = image.topic(OFFSETS_TOPIC)?;
                let count = i32::try_from(topic.partitions.len()).ok()?;
                let partition = image.partition(OFFSETS_TOPIC, partition_for(group_id, count))?;
                let leader = image.broker(partition.leader).filter(|broker| !broker.fenced)?;
                let endpoint = leader.endpoint(listener)?;
                Some((leader.id, Str::from(endpoint.host.as_str()), i32::from(endpoint.port)))
            })
            .ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    /// The controller that clients are told of: this broker, for each hands on what is the controller's. Apache Kafka tells
    /// them of any that is not fenced, so perhaps of one that has just gone; librdkafka waits for whom it was told, and this
    /// one is there. Another, where this one is fenced.
    pub(crate) fn told_controller(&self, image: &Image) -> NodeId {
        let live = || image.live_brokers().map(|broker| broker.id);
        if live().any(|id| id == self.node.id) {
            return self.node.id;
        }
        live().find(|id| !self.has_lost(*id)).unwrap_or(-1)
    }

    /// An id that no producer has.
    pub(crate) async fn next_producer_id(self: &Arc<Self>) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.producer_ids.take() {
                return Ok(id);
            }
            let request = AllocateProducerIdsRequest { broker_id: self.node.id, broker_epoch: self.epoch() };
            let refused = |response: &AllocateProducerIdsResponse| response.error_code == ErrorCode::NOT_CONTROLLER;
            let response = self.ask_controller(&request, refused).await?;
            if response.error_code != ErrorCode::NONE {
                return Err(response.error_code);
            }
            let first = response.producer_id_start;
            self.producer_ids.put(first, first + i64::from(response.producer_id_len));
        }
    }

    /// Writes what `decide` comes to, and ends when it is carried out here; or only asks, with `validate_only`.
    ///
    /// # Errors
    /// What `decide` refuses; NOT_CONTROLLER where this node is not the active controller.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Image) -> Result<(T, Vec<MetadataRecord>), Refusal> + Send + 'static,
        validate_only: bool,
    ) -> Result<T, Refusal> {
        if validate_only {
            return self.controller.read(decide).map(|(answer, _)| answer);
        }
        let answer = self.controller.propose(decide).await.inspect_err(Broker::note_refusal)?;
        self.published().await;
        Ok(answer)
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
