//! Brokers that come and go for good, and what is handed out to them: registrations, producer ids.
//!
//! A broker registers each time it starts, and is given an epoch that no other start had. It is fenced until it has told
//! that it is caught up (`heartbeat`); whatever it led or was in sync with before that start has gone to others, for it may
//! have lost the end of its logs. One that tells the epoch with which it was shut down cleanly has not, and stays eligible. One that is alone needs none of that: there is nobody to hand over to, and nobody who
//! could have led meanwhile.

use super::{FEATURES, Plan, Refusal, failover};
use crate::common::ids::{NodeId, ProducerId, Uuid};
use crate::metadata::image::{EndpointImage, Image};
use crate::metadata::records::{
    BrokerEndpoint, BrokerFeature, MetadataRecord, PartitionChangeRecord, ProducerIdsRecord, RegisterBrokerRecord,
    UnregisterBrokerRecord,
};
use crate::protocol::{ErrorCode, Str};

/// How many producer ids a broker is given at once.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// A broker that has started (BrokerRegistration).
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// Its node id.
    pub id: NodeId,
    /// New with each start.
    pub incarnation_id: Uuid,
    /// Where it is reached, listener by listener.
    pub endpoints: Vec<BrokerEndpoint>,
    /// `broker.rack`
    pub rack: Option<Str>,
    /// Its log dirs.
    pub log_dirs: Vec<Uuid>,
    /// The features that it knows, and from which to which level.
    pub features: Vec<BrokerFeature>,
    /// The epoch with which it was shut down cleanly; -1 where it was not.
    pub previous_epoch: i64,
}

impl Registration {
    /// A broker of this version that listens at `host:port`, and was started now.
    pub fn new(id: NodeId, (host, port): (&str, u16), log_dir: Uuid) -> Registration {
        let (name, host) = (Str::from("PLAINTEXT"), Str::from(host));
        Registration::at(id, vec![BrokerEndpoint { name, host, port, security_protocol: 0 }], log_dir)
    }

    /// A broker of this version that is reached so, and was started now.
    pub fn at(id: NodeId, endpoints: Vec<BrokerEndpoint>, log_dir: Uuid) -> Registration {
        let features = FEATURES.map(|(name, min_supported_version, max_supported_version)| BrokerFeature {
            name: Str::from(name),
            min_supported_version,
            max_supported_version,
        });
        Registration {
            id,
            incarnation_id: Uuid::random(),
            endpoints,
            rack: None,
            log_dirs: vec![log_dir],
            features: features.to_vec(),
            previous_epoch: -1,
        }
    }
}

/// Registers a broker. `is_alive` tells whether the one that has its id now was heard of within its session.
///
/// No records where this start of it is registered already, and only did not hear of it: it keeps its epoch. None either where it
/// is alone and registered just so: a restart changes nothing then.
///
/// # Errors
/// As Kafka's controller: DUPLICATE_BROKER_REGISTRATION where another broker has its id and lives, or has its log dir;
/// UNSUPPORTED_VERSION where it does not know a feature at the level that the cluster has; INVALID_REGISTRATION without a
/// listener or a log dir.
pub fn register_broker(image: &Image, wish: &Registration, is_alive: bool) -> Plan {
    let refuse = |code, sentence: String| Err(Refusal::new(code, sentence));
    let id = wish.id;
    let known = image.broker(id);
    if known.is_some_and(|known| known.incarnation_id == wish.incarnation_id) {
        return Ok(Vec::new());
    }
    if let Some(other) = known
        && is_alive
        && !other.in_controlled_shutdown
    {
        let sentence = format!("another broker has the node id {id} and lives: give this one another node.id");
        return refuse(ErrorCode::DUPLICATE_BROKER_REGISTRATION, sentence);
    }
    if wish.endpoints.is_empty() {
        return refuse(ErrorCode::INVALID_REGISTRATION, format!("broker {id} names no listener"));
    }
    if wish.log_dirs.is_empty() {
        return refuse(ErrorCode::INVALID_REGISTRATION, format!("broker {id} names no log dir"));
    }
    let others = || image.brokers().filter(|broker| broker.id != id);
    if let Some(other) = others().find(|other| wish.log_dirs.iter().any(|dir| other.log_dirs.contains(dir))) {
        let sentence = format!("broker {id} has a log dir of broker {}: one of them was started on a copy", other.id);
        return refuse(ErrorCode::DUPLICATE_BROKER_REGISTRATION, sentence);
    }
    let is_alone = others().next().is_none();
    // One that is alone may have taken over what Apache Kafka wrote, features that it hands on among it.
    for (name, level) in image.features().iter().filter(|_| !is_alone) {
        let known = wish.features.iter().find(|known| *known.name == **name);
        if !known.is_some_and(|known| (known.min_supported_version..=known.max_supported_version).contains(level)) {
            let sentence = format!("broker {id} does not know feature {name} at level {level}, which the cluster has");
            return refuse(ErrorCode::UNSUPPORTED_VERSION, sentence);
        }
    }
    let same = known.is_some_and(|known| {
        let features =
            |known: &BrokerFeature| (known.name.to_string(), known.min_supported_version, known.max_supported_version);
        known.is_active()
            && known.endpoints.iter().cloned().eq(wish.endpoints.iter().map(EndpointImage::from))
            && known.log_dirs == wish.log_dirs
            && known.features.iter().cloned().eq(wish.features.iter().map(features))
            && known.rack.as_deref() == wish.rack.as_deref()
    });
    let mut records = Vec::new();
    if is_alone && same {
        records.extend(elect_leaders(image, id));
        return Ok(records);
    }
    if let Some(known) = known.filter(|_| !is_alone) {
        // One that did not close its logs may have lost the end of them.
        match known.epoch == wish.previous_epoch {
            true => records.extend(failover::leave(image, id)),
            false => records.extend(failover::lose(image, id)),
        }
    }
    records.push(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: wish.incarnation_id,
        broker_epoch: image.next_broker_epoch(),
        end_points: wish.endpoints.clone(),
        features: wish.features.clone(),
        rack: wish.rack.clone(),
        fenced: !is_alone,
        log_dirs: wish.log_dirs.clone(),
        ..Default::default()
    }));
    if is_alone {
        records.extend(elect_leaders(image, id));
    }
    Ok(records)
}

/// Takes a broker out of the cluster for good (UnregisterBroker); what it led goes to others.
///
/// # Errors
/// BROKER_ID_NOT_REGISTERED.
pub fn unregister_broker(image: &Image, id: NodeId) -> Plan {
    let Some(broker) = image.broker(id) else {
        return Err(Refusal::new(ErrorCode::BROKER_ID_NOT_REGISTERED, format!("no broker {id} is registered")));
    };
    let mut records: Vec<_> = failover::lose(image, id).collect();
    let gone = UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch };
    records.push(MetadataRecord::UnregisterBroker(gone));
    Ok(records)
}

/// Lets broker `id` lead the partitions that have no leader and whose records it has all: one that was stopped cleanly
/// under Apache Kafka has given them all up, and has left the ISR (KIP-966 remembers it elsewhere), which is empty then.
pub fn elect_leaders(image: &Image, id: NodeId) -> Vec<MetadataRecord> {
    let without_leader = image.topics().flat_map(|topic| {
        let partitions = (0..).zip(&topic.partitions);
        let is_last = |isr: &[NodeId]| isr.is_empty() || isr.contains(&id);
        let leaderless = partitions.filter(move |(_, partition)| {
            partition.leader == -1 && partition.replicas.contains(&id) && is_last(&partition.isr)
        });
        leaderless.map(move |(index, _)| PartitionChangeRecord {
            partition_id: index,
            topic_id: topic.id,
            isr: Some(vec![id]),
            leader: id,
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..Default::default()
        })
    });
    without_leader.map(MetadataRecord::PartitionChange).collect()
}

/// Gives `broker` a block of producer ids that nobody had: the first, how many, and the record of it.
pub fn allocate_producer_ids(image: &Image, broker: NodeId, epoch: i64) -> (ProducerId, i64, MetadataRecord) {
    let first = image.next_producer_id();
    let record =
        ProducerIdsRecord { broker_id: broker, broker_epoch: epoch, next_producer_id: first + PRODUCER_ID_BLOCK };
    (first, PRODUCER_ID_BLOCK, MetadataRecord::ProducerIds(record))
}
