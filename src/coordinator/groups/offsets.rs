//! The offsets that groups commit, fetch, delete, and leave to expire.
//!
//! Rules of a commit
//!   no such group      made on the fly for a commit without a generation (a simple consumer, an administrator);
//!                      otherwise GROUP_ID_NOT_FOUND (which the API says as ILLEGAL_GENERATION before version 9)
//!   an empty group     takes commits without a generation
//!   a member           must name its id and the present generation; while the assignment is awaited it is told
//!                      REBALANCE_IN_PROGRESS
//!   metadata           at most offset.metadata.max.bytes long (Java counts UTF-16 units), else OFFSET_METADATA_TOO_LARGE
//!
//! An offset expires offsets.retention.minutes
//!   after its group became empty, if the group had members;
//!   after its commit, if the group never had, or if its consumers are there but no longer subscribe to the topic.
//! A group with neither members nor offsets is deleted at the same occasion.

use std::collections::BTreeMap;

use super::classic::group::{ClassicGroup, State};
use crate::common::ids::{LeaderEpoch, Offset, Timestamp, Uuid};
use crate::coordinator::records::Record;
use crate::protocol::ErrorCode;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the last record read; -1 when unknown.
    pub leader_epoch: LeaderEpoch,
    /// What the client keeps with it.
    pub metadata: String,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it expires, if its commit said so (versions 2 to 4 of the API could).
    pub expire_timestamp: Option<Timestamp>,
    /// The topic's id; zero when the commit did not tell.
    pub topic_id: Uuid,
}

/// An OffsetCommit request.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The group.
    pub group_id: String,
    /// The member's generation; -1 for none.
    pub generation_id: i32,
    /// The member; empty for none.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// How long the offsets are kept, in milliseconds; -1 for the broker's own rule.
    pub retention_time_ms: i64,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

/// One topic of a commit.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    /// The topic.
    pub name: String,
    /// Its id; zero when unknown.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// One partition of a commit.
#[derive(Debug, Clone)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the last record read; -1 when unknown.
    pub leader_epoch: LeaderEpoch,
    /// What the client keeps with it; none is kept as empty.
    pub metadata: Option<String>,
}

/// Errors by partition, topic by topic, in the request's order.
pub type PartitionErrors = Vec<(String, Vec<(i32, ErrorCode)>)>;

/// What OffsetCommit is told: an error for each partition.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitReply {
    /// By topic and partition, in the request's order.
    pub topics: PartitionErrors,
}

impl CommitReply {
    /// The same error for all that was to be committed.
    pub fn error(topics: &[CommitTopic], error: ErrorCode) -> CommitReply {
        let partitions = |topic: &CommitTopic| topic.partitions.iter().map(|p| (p.partition, error)).collect();
        CommitReply { topics: topics.iter().map(|topic| (topic.name.clone(), partitions(topic))).collect() }
    }

    /// The same reply with what was thought to succeed failed.
    pub(in crate::coordinator) fn failed(mut self, error: ErrorCode) -> CommitReply {
        for (_, partition) in self.topics.iter_mut().flat_map(|(_, partitions)| partitions).map(|p| ((), &mut p.1)) {
            if *partition == ErrorCode::NONE {
                *partition = error;
            }
        }
        self
    }
}

/// What OffsetDelete is told.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteOffsetsReply {
    /// What went wrong with the request as a whole; then there are no topics.
    pub error: ErrorCode,
    /// By topic and partition, in the request's order.
    pub topics: PartitionErrors,
}

/// What is fetched of a group.
#[derive(Debug, Clone)]
pub enum FetchTopics {
    /// All that the group has committed.
    All,
    /// These: name, id (zero when unknown), partitions.
    Named(Vec<(String, Uuid, Vec<i32>)>),
}

/// The offsets of a topic, by partition; `None` where nothing was committed.
pub type FetchedTopic = (String, Vec<(i32, Option<CommittedOffset>)>);

/// By group, topic and partition.
#[derive(Debug, Default, Clone, PartialEq)]
pub(in crate::coordinator) struct Offsets {
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<i32, CommittedOffset>>>,
}

impl Offsets {
    /// Applies a record: an offset, or its end.
    pub(in crate::coordinator) fn apply(
        &mut self,
        group_id: &str,
        topic: &str,
        partition: i32,
        value: Option<&CommittedOffset>,
    ) {
        if let Some(value) = value {
            let topics = self.groups.entry(group_id.to_owned()).or_default();
            topics.entry(topic.to_owned()).or_default().insert(partition, value.clone());
            return;
        }
        let Some(topics) = self.groups.get_mut(group_id) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.groups.remove(group_id);
        }
    }

    fn get(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group_id)?.get(topic)?.get(&partition)
    }

    fn of_group(&self, group_id: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        let topics = self.groups.get(group_id).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.iter().map(move |(p, offset)| (topic.as_str(), *p, offset)))
    }

    /// How many offsets are kept.
    pub(in crate::coordinator) fn len(&self) -> usize {
        self.groups.values().flat_map(|topics| topics.values()).map(BTreeMap::len).sum()
    }

    /// What OffsetFetch is told of one group.
    pub(in crate::coordinator) fn fetch(&self, group_id: &str, topics: &FetchTopics) -> Vec<FetchedTopic> {
        match topics {
            FetchTopics::Named(topics) => topics
                .iter()
                .map(|(name, topic_id, partitions)| {
                    let of_this_topic = |offset: &&CommittedOffset| {
                        // A topic that was deleted and made again has another id: its old offsets mean nothing.
                        topic_id.is_zero() || offset.topic_id.is_zero() || offset.topic_id == *topic_id
                    };
                    let fetched = |p: &i32| (*p, self.get(group_id, name, *p).filter(of_this_topic).cloned());
                    (name.clone(), partitions.iter().map(fetched).collect())
                })
                .collect(),
            FetchTopics::All => self
                .groups
                .get(group_id)
                .into_iter()
                .flatten()
                .map(|(name, partitions)| {
                    (name.clone(), partitions.iter().map(|(p, offset)| (*p, Some(offset.clone()))).collect())
                })
                .collect(),
        }
    }

    /// The records that end all offsets of a group.
    pub(in crate::coordinator) fn delete_all(&self, group_id: &str) -> Vec<Record> {
        self.of_group(group_id).map(|(topic, partition, _)| Record::offset(group_id, topic, partition, None)).collect()
    }

    /// The records that end all offsets of these topics, whatever the group.
    pub(in crate::coordinator) fn delete_topics(&self, deleted: &[String]) -> Vec<Record> {
        let ids = self.groups.keys();
        ids.flat_map(|group_id| {
            let gone = self.of_group(group_id).filter(|(topic, _, _)| deleted.iter().any(|name| name == topic));
            gone.map(move |(topic, partition, _)| Record::offset(group_id, topic, partition, None))
        })
        .collect()
    }

    /// What OffsetDelete is told, and the records that make it so.
    pub(in crate::coordinator) fn delete(
        &self,
        group: &ClassicGroup,
        topics: &[(String, Vec<i32>)],
    ) -> (DeleteOffsetsReply, Vec<Record>) {
        let busy = matches!(group.state(), State::Stable | State::PreparingRebalance | State::CompletingRebalance);
        let refused = match group.state() {
            State::Dead => Some(ErrorCode::GROUP_ID_NOT_FOUND),
            _ if busy && !group.has_consumers() => Some(ErrorCode::NON_EMPTY_GROUP),
            _ => None,
        };
        if let Some(error) = refused {
            return (DeleteOffsetsReply { error, topics: Vec::new() }, Vec::new());
        }
        let mut records = Vec::new();
        let mut reply = DeleteOffsetsReply { error: ErrorCode::NONE, topics: Vec::new() };
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed_to(topic);
            let error = if subscribed { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            for partition in partitions {
                if !subscribed && self.get(&group.group_id, topic, *partition).is_some() {
                    records.push(Record::offset(&group.group_id, topic, *partition, None));
                }
            }
            reply.topics.push((topic.clone(), partitions.iter().map(|partition| (*partition, error)).collect()));
        }
        (reply, records)
    }

    /// The records that end what has expired of a group, and whether nothing of it is left.
    pub(in crate::coordinator) fn expire(
        &self,
        group: &ClassicGroup,
        now: Timestamp,
        retention_ms: i64,
    ) -> (Vec<Record>, bool) {
        let Some(topics) = self.groups.get(&group.group_id) else { return (Vec::new(), true) };
        let since_empty = match (group.protocol_type(), group.state()) {
            (None, _) => None,
            (Some(_), State::Empty) => group.state_since(),
            (Some(_), State::Stable) if group.has_consumers() && group.subscribed_topics().is_some() => None,
            _ => return (Vec::new(), false),
        };
        let (mut records, mut nothing_left) = (Vec::new(), true);
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed_to(topic);
            for (partition, offset) in partitions {
                let expired = match offset.expire_timestamp {
                    Some(moment) => now >= moment,
                    None => now.saturating_sub(since_empty.unwrap_or(offset.commit_timestamp)) >= retention_ms,
                };
                if expired && !subscribed {
                    records.push(Record::offset(&group.group_id, topic, *partition, None));
                } else {
                    nothing_left = false;
                }
            }
        }
        (records, nothing_left)
    }
}

/// Why a group does not take this commit.
pub(in crate::coordinator) fn check_commit(group: &ClassicGroup, request: &CommitRequest) -> Result<(), ErrorCode> {
    let state = group.state();
    if state == State::Dead {
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    if request.generation_id < 0 && state == State::Empty {
        return Ok(());
    }
    if request.generation_id >= 0 || !request.member_id.is_empty() || request.group_instance_id.is_some() {
        group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != group.generation_id() {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
    } else if state != State::Empty {
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    if state == State::CompletingRebalance { Err(ErrorCode::REBALANCE_IN_PROGRESS) } else { Ok(()) }
}

/// The reply to a commit that its group takes, and the records that make it so.
pub(in crate::coordinator) fn commit(
    request: CommitRequest,
    now: Timestamp,
    metadata_max: usize,
) -> (CommitReply, Vec<Record>) {
    let expire_timestamp = (request.retention_time_ms != -1).then(|| now.saturating_add(request.retention_time_ms));
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut errors = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let metadata = partition.metadata.unwrap_or_default();
            // A UTF-16 unit takes at most three bytes: only a long text need be counted.
            if metadata.len() > metadata_max && metadata.encode_utf16().count() > metadata_max {
                errors.push((partition.partition, ErrorCode::OFFSET_METADATA_TOO_LARGE));
                continue;
            }
            let value = CommittedOffset {
                offset: partition.offset,
                leader_epoch: partition.leader_epoch,
                metadata,
                commit_timestamp: now,
                expire_timestamp,
                topic_id: topic.topic_id,
            };
            records.push(Record::offset(&request.group_id, &topic.name, partition.partition, Some(value)));
            errors.push((partition.partition, ErrorCode::NONE));
        }
        topics.push((topic.name, errors));
    }
    (CommitReply { topics }, records)
}
