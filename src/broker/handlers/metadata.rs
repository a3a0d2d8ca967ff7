//! Metadata (key 3): the brokers, and the partitions and leaders of the topics that a client asks for.
//!
//! Versions 0-13 are served.
//!   1  a null list asks for all topics; controller id    8  authorized operations (told only with an authorizer)
//!   4  the client may forbid auto-creation              10  topic ids; 12 a topic may be asked for by id alone
//!
//! Rules
//!   all topics     version 0: an empty list; from 1: null. An empty list then asks for the brokers only.
//!   unknown topic  made, where both the client and `auto.create.topics.enable` allow it; the answer is still
//!                  LEADER_NOT_AVAILABLE only if making it failed to finish, else the new topic itself
//!   unknown id     UNKNOWN_TOPIC_ID
//!   no leader      LEADER_NOT_AVAILABLE for that partition; the replicas of brokers that are fenced are told as offline
//!   no listener    LISTENER_NOT_FOUND (before version 6 LEADER_NOT_AVAILABLE) for a partition whose leader has none of the name that
//!                  the client came by
//!   brokers        where their listener of that name is; those that are not fenced, and for a moment those that this one has just
//!                  lost touch with
//!
//! A client that loses a leader asks at once, and may be faster than the controller: told the old leader, or none, librdkafka asks
//! again only after a second. So among several brokers
//!   - who has been connected for long is answered after [`HOLD`]: most often it asks because it lost another broker, and this
//!     one will hear of that too;
//!   - while this one has lost touch with a broker that is not fenced, the answer waits for the controller's verdict, for up
//!     to [`VERDICT`];
//!   - a broker stays in the list for a moment after it was lost: librdkafka rests for a second too where one answer
//!     says that a leader changed and that the old one is gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::common::ids::NodeId;
use crate::metadata::Image;
use crate::metadata::image::{BrokerImage, PartitionImage, TopicImage};
use crate::metadata::plan::CreateTopic;
use crate::metadata::topic_name;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::protocol::{ErrorCode, Str};

/// For how long a broker may hear of another's end later than a client does.
const HOLD: Duration = Duration::from_millis(10);
/// From when on a connection is no longer one that has just been made.
const LONG: Duration = Duration::from_secs(1);
/// For how long a controller is waited for, that may have to be elected itself.
const VERDICT: Duration = Duration::from_millis(600);

pub(super) async fn handle(broker: &Arc<Broker>, context: &Context, request: MetadataRequest) -> Outcome<MetadataResponse> {
    hold(broker, context).await;
    let topics = match request.topics {
        None => all(broker, context),
        Some(topics) if context.version == 0 && topics.is_empty() => all(broker, context),
        Some(topics) => {
            let mut answers = Vec::with_capacity(topics.len());
            let mut named = HashSet::with_capacity(topics.len());
            for topic in topics {
                // As Apache Kafka: what is named twice is told once.
                if !named.insert((topic.name.clone(), topic.topic_id)) {
                    continue;
                }
                answers.push(one(broker, topic, request.allow_auto_topic_creation || context.version < 4, context).await);
            }
            answers
        }
    };
    let (brokers, controller_id) = broker.controller().read(|image| {
        let known = image.brokers().filter(|known| !known.fenced || broker.has_lost(known.id));
        let brokers: Vec<_> = known.filter_map(|known| told(known, context.listener())).collect();
        (brokers, broker.told_controller(image))
    });
    Outcome::Reply(MetadataResponse {
        brokers,
        cluster_id: Some(broker.node().cluster_id.clone()),
        controller_id,
        topics,
        ..Default::default()
    })
}

/// Waits while there may be news, see the module.
async fn hold(broker: &Arc<Broker>, context: &Context) {
    let clock = broker.socket_clock();
    let among_several = broker.controller().read(|image| image.live_brokers().nth(1).is_some());
    if among_several && broker.has_long_had(&context.connection, LONG) {
        clock.sleep(HOLD).await;
    }
    let until = clock.monotonic() + VERDICT;
    let is_open =
        || broker.controller().read(|image| image.live_brokers().any(|other| broker.has_lost(other.id)));
    while is_open() && clock.monotonic() < until {
        clock.sleep(HOLD).await;
    }
}

fn told(broker: &BrokerImage, listener: &str) -> Option<MetadataResponseBroker> {
    let endpoint = broker.endpoint(listener)?;
    Some(MetadataResponseBroker {
        node_id: broker.id,
        host: Str::from(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        rack: broker.rack.as_deref().map(Str::from),
    })
}

fn all(broker: &Arc<Broker>, context: &Context) -> Vec<MetadataResponseTopic> {
    let mut topics: Vec<_> = broker.controller().read(|image| image.topics().map(|topic| describe(image, topic, context)).collect());
    topics.sort_unstable_by(|a: &MetadataResponseTopic, b| a.name.cmp(&b.name));
    topics
}

async fn one(
    broker: &Arc<Broker>,
    asked: MetadataRequestTopic,
    may_create: bool,
    context: &Context,
) -> MetadataResponseTopic {
    let refuse = |asked: MetadataRequestTopic, code: ErrorCode| MetadataResponseTopic {
        error_code: code,
        is_internal: asked.name.as_deref().is_some_and(topic_name::is_internal),
        name: asked.name,
        topic_id: asked.topic_id,
        ..Default::default()
    };
    let Some(name) = asked.name.clone() else {
        let found = broker.controller().read(|image| image.topic_by_id(asked.topic_id).map(|topic| describe(image, topic, context)));
        return found.unwrap_or_else(|| refuse(asked, ErrorCode::UNKNOWN_TOPIC_ID));
    };
    if let Some(found) = find(broker, &name, context) {
        return found;
    }
    if topic_name::validate(&name).is_err() {
        return refuse(asked, ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !may_create || !broker.auto_creates_topics() {
        return refuse(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let wish = CreateTopic { name: name.to_string(), partitions: -1, replication_factor: -1, ..Default::default() };
    match broker.create_topic(wish).await {
        // Another client may have been faster: that is as good.
        Ok(()) => {}
        Err(refusal) if refusal.code == ErrorCode::TOPIC_ALREADY_EXISTS => {}
        Err(refusal) => return refuse(asked, refusal.code),
    }
    let made = find(broker, &name, context);
    made.unwrap_or_else(|| refuse(asked, ErrorCode::LEADER_NOT_AVAILABLE))
}

fn find(broker: &Broker, name: &str, context: &Context) -> Option<MetadataResponseTopic> {
    broker.controller().read(|image| image.topic(name).map(|topic| describe(image, topic, context)))
}

fn describe(image: &Image, topic: &TopicImage, context: &Context) -> MetadataResponseTopic {
    let live = |id: NodeId| image.broker(id).filter(|broker| !broker.fenced);
    let is_live = |id: NodeId| live(id).is_some();
    let code = |leader: NodeId| match live(leader) {
        None => ErrorCode::LEADER_NOT_AVAILABLE,
        Some(leader) if leader.endpoint(context.listener()).is_some() => ErrorCode::NONE,
        Some(_) if context.version < 6 => ErrorCode::LEADER_NOT_AVAILABLE,
        Some(_) => ErrorCode::LISTENER_NOT_FOUND,
    };
    let partition = |(index, partition): (i32, &PartitionImage)| MetadataResponsePartition {
        partition_index: index,
        error_code: code(partition.leader),
        leader_id: if code(partition.leader).is_none() { partition.leader } else { -1 },
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        offline_replicas: partition.replicas.iter().copied().filter(|id| !is_live(*id)).collect(),
    };
    MetadataResponseTopic {
        name: Some(Str::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: topic_name::is_internal(&topic.name),
        partitions: (0..).zip(&topic.partitions).map(partition).collect(),
        ..Default::default()
    }
}
