//! Offsets that the cluster keeps: those of partitions by time, and those that groups committed.
//!
//! Each call asks the brokers that know, all at once, and asks again until its time is over: metadata may be old, and a
//! coordinator may have moved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition};
use crate::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::protocol::{ApiKey, ErrorCode, Str};

use super::network::{Network, Purpose, Wanted};
use super::{ClientError, Result};

/// Asks for the offset behind the last record.
pub const LATEST: Timestamp = -1;
/// Asks for the first offset that is still there.
pub const EARLIEST: Timestamp = -2;
/// Asks for the record with the greatest timestamp.
pub const MAX_TIMESTAMP: Timestamp = -3;

/// From these versions on, offsets are committed and fetched by topic id; names serve as well.
const COMMIT_BY_NAME: i16 = 9;

/// An offset that was looked up by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 when no record is that new.
    pub offset: Offset,
    /// The record's timestamp; -1 for the ends of the log.
    pub timestamp: Timestamp,
    /// The epoch of the leader that wrote it; -1 where the broker did not say.
    pub leader_epoch: LeaderEpoch,
}

/// An offset that a group committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the leader that wrote the record before it; -1 where that is not known.
    pub leader_epoch: LeaderEpoch,
    /// What the committer added.
    pub metadata: String,
}

impl CommittedOffset {
    /// An offset with nothing added.
    pub fn new(offset: Offset) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }
    }
}

/// Who commits: a member of a group, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committer {
    /// The group.
    pub group: String,
    /// Its generation; -1 for nobody in particular.
    pub generation: i32,
    /// The member's id; empty for nobody in particular.
    pub member_id: String,
    /// `group.instance.id`
    pub instance_id: Option<String>,
}

impl Committer {
    /// Nobody in particular: a consumer that assigns its partitions itself, or an admin client.
    pub fn anyone(group: impl Into<String>) -> Committer {
        Committer { group: group.into(), generation: -1, member_id: String::new(), instance_id: None }
    }
}

/// Tries until it works, fails for good, or `within` is over.
pub(crate) async fn retrying<T, F>(network: &Network, within: Duration, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let clock = &network.doors().clock;
    let deadline = clock.monotonic() + within;
    let mut failures = 0;
    loop {
        let left = deadline.saturating_sub(clock.monotonic());
        let error = tokio::select! {
            result = attempt() => match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            },
            () = clock.sleep(left) => return Err(ClientError::timeout("the call", within)),
        };
        failures += 1;
        let rest = network.config().retry.after(failures);
        if !error.retriable() || clock.monotonic() + rest >= deadline {
            return Err(error);
        }
        clock.sleep(rest).await;
    }
}

/// Looks up an offset for each partition: [`LATEST`], [`EARLIEST`], [`MAX_TIMESTAMP`], or the first record that is not
/// older than a time in milliseconds.
///
/// # Errors
/// The first partition's that could not be looked up within `within`.
pub async fn list_offsets(
    network: &Network,
    wanted: &HashMap<TopicPartition, Timestamp>,
    read_committed: bool,
    within: Duration,
) -> Result<HashMap<TopicPartition, ListedOffset>> {
    let topics: Vec<Arc<str>> = {
        let names: std::collections::BTreeSet<&str> = wanted.keys().map(|p| p.topic.as_str()).collect();
        names.into_iter().map(Arc::from).collect()
    };
    let found = parking_lot::Mutex::new(HashMap::new());
    let mut first = true;
    retrying(network, within, || {
        let known = std::mem::take(&mut first) && topics.iter().all(|topic| network.view().topics.contains_key(topic));
        let (found, topics) = (&found, &topics);
        async move {
            if !known {
                network.refresh(Wanted::Topics(topics), false).await?;
            }
            list_offsets_once(network, wanted, read_committed, found).await
        }
    })
    .await?;
    Ok(found.into_inner())
}

async fn list_offsets_once(
    network: &Network,
    wanted: &HashMap<TopicPartition, Timestamp>,
    read_committed: bool,
    found: &parking_lot::Mutex<HashMap<TopicPartition, ListedOffset>>,
) -> Result<()> {
    let view = network.view();
    let mut requests: HashMap<NodeId, BTreeMap<&str, Vec<ListOffsetsPartition>>> = HashMap::new();
    for (partition, timestamp) in wanted {
        if found.lock().contains_key(partition) {
            continue;
        }
        let (leader, epoch) = view.leader(&partition.topic, partition.partition).ok_or_else(|| {
            let exists = view.topics.contains_key(partition.topic.as_str());
            let code = if exists { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            let code = view.errors.get(partition.topic.as_str()).copied().unwrap_or(code);
            ClientError::kafka(code, format!("offsets of {partition}"))
        })?;
        let partitions = requests.entry(leader).or_default().entry(&partition.topic).or_default();
        partitions.push(ListOffsetsPartition {
            partition_index: partition.partition,
            current_leader_epoch: epoch,
            timestamp: *timestamp,
        });
    }
    let calls = requests.into_iter().map(|(leader, topics)| {
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name: name.into(), partitions });
        let topics = topics.collect();
        async move {
            let connection = network.connection(leader).await?;
            let version = connection.version(ApiKey::ListOffsets)?;
            let isolation_level = i8::from(read_committed && version >= 2);
            let timeout_ms = network.config().request_timeout.as_millis() as i32;
            let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, timeout_ms };
            connection.call_at(&request, version, network.config().request_timeout).await
        }
    });
    let mut failure = None;
    for response in join_all(calls).await {
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                failure = Some(error);
                continue;
            }
        };
        for topic in response.topics {
            for answer in topic.partitions {
                let partition = TopicPartition::new(topic.name.to_string(), answer.partition_index);
                if answer.error_code != ErrorCode::NONE {
                    failure = Some(ClientError::kafka(answer.error_code, format!("offsets of {partition}")));
                    continue;
                }
                let listed = ListedOffset {
                    offset: answer.offset,
                    timestamp: answer.timestamp,
                    leader_epoch: answer.leader_epoch,
                };
                found.lock().insert(partition, listed);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What a group has committed: of these partitions, or of all.
///
/// # Errors
/// The group's, or the first partition's.
pub async fn committed(
    network: &Network,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    within: Duration,
) -> Result<HashMap<TopicPartition, CommittedOffset>> {
    retrying(network, within, || committed_once(network, group, partitions)).await
}

async fn committed_once(
    network: &Network,
    group: &str,
    partitions: Option<&[TopicPartition]>,
) -> Result<HashMap<TopicPartition, CommittedOffset>> {
    let coordinator = network.coordinator(group).await?;
    let connection =
        network.connection_for(coordinator, Purpose::Group).await.inspect_err(|_| network.forget_coordinator(group))?;
    let version = connection.version_up_to(ApiKey::OffsetFetch, COMMIT_BY_NAME)?;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions.unwrap_or_default() {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let request = if version >= 8 {
        let topics = topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopics {
            name: name.into(),
            partition_indexes,
            ..Default::default()
        });
        let topics = partitions.is_some().then(|| topics.collect());
        let group = OffsetFetchRequestGroup { group_id: group.into(), topics, ..Default::default() };
        OffsetFetchRequest { groups: vec![group], ..Default::default() }
    } else {
        let topics = topics
            .into_iter()
            .map(|(name, partition_indexes)| OffsetFetchRequestTopic { name: name.into(), partition_indexes });
        let topics = partitions.is_some().then(|| topics.collect());
        OffsetFetchRequest { group_id: group.into(), topics, ..Default::default() }
    };
    let response = connection
        .call_at(&request, version, network.config().request_timeout)
        .await
        .inspect_err(|_| network.forget_coordinator(group))?;
    let mut code = response.error_code;
    let mut answers: Vec<(Str, i32, Offset, LeaderEpoch, Option<Str>, ErrorCode)> = Vec::new();
    for topic in response.topics {
        for p in topic.partitions {
            let name = topic.name.clone();
            let epoch = p.committed_leader_epoch;
            answers.push((name, p.partition_index, p.committed_offset, epoch, p.metadata, p.error_code));
        }
    }
    for group in response.groups {
        code = group.error_code;
        for topic in group.topics {
            for p in topic.partitions {
                let name = topic.name.clone();
                let epoch = p.committed_leader_epoch;
                answers.push((name, p.partition_index, p.committed_offset, epoch, p.metadata, p.error_code));
            }
        }
    }
    group_error(network, group, code, || format!("offsets of group {group}"))?;
    let mut found = HashMap::new();
    for (topic, partition, offset, leader_epoch, metadata, code) in answers {
        let partition = TopicPartition::new(topic.to_string(), partition);
        group_error(network, group, code, || format!("offset of group {group} in {partition}"))?;
        if offset >= 0 {
            let metadata = metadata.map(String::from).unwrap_or_default();
            found.insert(partition, CommittedOffset { offset, leader_epoch, metadata });
        }
    }
    Ok(found)
}

/// Commits offsets; asks once.
///
/// # Errors
/// The first partition's; [`ErrorCode::REBALANCE_IN_PROGRESS`], [`ErrorCode::ILLEGAL_GENERATION`] and
/// [`ErrorCode::UNKNOWN_MEMBER_ID`] say that the member no longer owns what it commits.
pub async fn commit_once(
    network: &Network,
    committer: &Committer,
    offsets: &HashMap<TopicPartition, CommittedOffset>,
) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let group = committer.group.as_str();
    let coordinator = network.coordinator(group).await?;
    let connection =
        network.connection_for(coordinator, Purpose::Group).await.inspect_err(|_| network.forget_coordinator(group))?;
    let version = connection.version_up_to(ApiKey::OffsetCommit, COMMIT_BY_NAME)?;
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, committed) in offsets {
        topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            committed_metadata: Some(committed.metadata.as_str().into()),
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..Default::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: committer.generation,
        member_id: committer.member_id.as_str().into(),
        group_instance_id: committer.instance_id.as_deref().filter(|_| version >= 7).map(Str::from),
        topics: topics.collect(),
        ..Default::default()
    };
    let response = connection
        .call_at(&request, version, network.config().request_timeout)
        .await
        .inspect_err(|_| network.forget_coordinator(group))?;
    for topic in response.topics {
        for answer in topic.partitions {
            let (name, index) = (&topic.name, answer.partition_index);
            group_error(network, group, answer.error_code, || format!("commit of group {group} in {name}-{index}"))?;
        }
    }
    Ok(())
}

/// Commits offsets; asks again until `within` is over.
///
/// # Errors
/// As [`commit_once`].
pub async fn commit(
    network: &Network,
    committer: &Committer,
    offsets: &HashMap<TopicPartition, CommittedOffset>,
    within: Duration,
) -> Result<()> {
    retrying(network, within, || commit_once(network, committer, offsets)).await
}

/// Turns a coordinator's code into an error, and forgets the coordinator if it is none.
pub(super) fn group_error(
    network: &Network,
    group: &str,
    code: ErrorCode,
    context: impl FnOnce() -> String,
) -> Result<()> {
    if code == ErrorCode::NONE {
        return Ok(());
    }
    if matches!(code, ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) {
        network.forget_coordinator(group);
    }
    Err(ClientError::kafka(code, context()))
}
