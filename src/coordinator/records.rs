//! The records of `__consumer_offsets`, as Apache Kafka 4.3 writes them.
//!
//! ```text
//! key    i16 type | the key's fields                type 0, 1: an offset (group, topic, partition)   2: a group (id)
//! value  i16 version | the value's fields           no value: the offset or group is gone
//!
//! written   an offset: key type 1, value version 4, or 1 when the commit named its own expiry
//!           a group:   key type 2, value version 3
//! read      offset values 0-4, group values 0-4; other key types (consumer, share, streams groups) are skipped
//! ```
//!
//! Crash: the records are ordinary records of an ordinary log; a batch is there whole or not at all. The topic is
//! compacted by key, so the last record of a key is the state, and replaying all in order gives it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::groups::offsets::CommittedOffset;
use crate::common::ids::{Timestamp, Uuid};
use crate::protocol::{DecodeError, EncodeError, Message, Str, message};

message! {
    /// Where an offset is kept.
    OffsetCommitKey (versions 0) {
        group: Str,
        topic: Str,
        partition: i32,
    }

    /// An offset.
    OffsetCommitValue (versions 0-4, flexible 4+) {
        offset: i64,
        leader_epoch: i32      [3+] ignorable = -1,
        metadata: Str,
        commit_timestamp: i64,
        expire_timestamp: i64  [1] ignorable = -1,
        topic_id: Uuid         [4+] tag 0 ignorable,
    }

    /// Where a group is kept.
    GroupMetadataKey (versions 0) {
        group: Str,
    }

    /// A classic group.
    GroupMetadataValue (versions 0-4, flexible 4+) {
        protocol_type: Str,
        generation: i32,
        protocol: Option<Str>,
        leader: Option<Str>,
        current_state_timestamp: i64 [2+] ignorable = -1,
        members: Vec<MemberMetadata>,
    }

    /// A member of it.
    MemberMetadata {
        member_id: Str,
        group_instance_id: Option<Str> [3+] ignorable,
        client_id: Str,
        client_host: Str,
        rebalance_timeout: i32         [1+] ignorable = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}

const OFFSET_KEY_LEGACY: i16 = 0;
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE_VERSION: i16 = 4;
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An offset was committed, or is gone.
    Offset {
        /// The group.
        group_id: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset; `None` when it is gone.
        value: Option<CommittedOffset>,
    },
    /// A group began a generation, or is gone.
    Group {
        /// The group.
        group_id: String,
        /// The group; `None` when it is gone.
        value: Option<GroupSnapshot>,
    },
}

/// What the log keeps of a classic group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSnapshot {
    /// Its protocol type; empty when it has none.
    pub protocol_type: String,
    /// Its generation.
    pub generation_id: i32,
    /// The protocol it chose.
    pub protocol_name: Option<String>,
    /// Its leader.
    pub leader_id: Option<String>,
    /// When it reached its state; -1 when unknown.
    pub state_since: Timestamp,
    /// Its members.
    pub members: Vec<MemberSnapshot>,
}

impl Default for GroupSnapshot {
    fn default() -> GroupSnapshot {
        GroupSnapshot {
            protocol_type: String::new(),
            generation_id: 0,
            protocol_name: None,
            leader_id: None,
            state_since: -1,
            members: Vec::new(),
        }
    }
}

/// What the log keeps of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberSnapshot {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it, in milliseconds; -1 in the oldest records.
    pub rebalance_timeout_ms: i32,
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata under the chosen protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// Why a record cannot be read. A shard that replays skips it and counts it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The key is shorter than its type.
    #[error("a record's key has {0} bytes: it must begin with a type of two")]
    ShortKey(usize),
    /// The value is shorter than its version.
    #[error("a record's value has {0} bytes: it must begin with a version of two")]
    ShortValue(usize),
    /// The bytes are not what the type and version promise.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Record {
    pub(super) fn offset(group_id: &str, topic: &str, partition: i32, value: Option<CommittedOffset>) -> Record {
        Record::Offset { group_id: group_id.to_owned(), topic: topic.to_owned(), partition, value }
    }

    pub(super) fn group(group_id: &str, value: GroupSnapshot) -> Record {
        Record::Group { group_id: group_id.to_owned(), value: Some(value) }
    }

    pub(super) fn group_gone(group_id: &str) -> Record {
        Record::Group { group_id: group_id.to_owned(), value: None }
    }

    /// The record's key and value, as they go into a batch.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        match self {
            Record::Offset { group_id, topic, partition, value } => {
                let key = OffsetCommitKey { group: group_id.into(), topic: topic.into(), partition: *partition };
                let key = versioned(OFFSET_KEY, &key.to_bytes(0)?);
                Ok((key, value.as_ref().map(encode_offset).transpose()?))
            }
            Record::Group { group_id, value } => {
                let key = versioned(GROUP_KEY, &GroupMetadataKey { group: group_id.into() }.to_bytes(0)?);
                Ok((key, value.as_ref().map(encode_group).transpose()?))
            }
        }
    }

    /// Reads a record; `None` when its key is of a type that is not ours (or not yet).
    pub fn decode(mut key: Bytes, value: Option<Bytes>) -> Result<Option<Record>, RecordError> {
        let length = key.len();
        let kind = key.try_get_i16().map_err(|_| RecordError::ShortKey(length))?;
        match kind {
            OFFSET_KEY_LEGACY | OFFSET_KEY => {
                let key = OffsetCommitKey::from_bytes(key, 0)?;
                let value = value.map(decode_offset).transpose()?;
                Ok(Some(Record::Offset {
                    group_id: key.group.into(),
                    topic: key.topic.into(),
                    partition: key.partition,
                    value,
                }))
            }
            GROUP_KEY => {
                let key = GroupMetadataKey::from_bytes(key, 0)?;
                Ok(Some(Record::Group { group_id: key.group.into(), value: value.map(decode_group).transpose()? }))
            }
            _ => Ok(None),
        }
    }
}

fn versioned(version: i16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(2 + body.len());
    bytes.put_i16(version);
    bytes.put_slice(body);
    bytes.freeze()
}

fn version_of(value: &mut Bytes) -> Result<i16, RecordError> {
    let length = value.len();
    value.try_get_i16().map_err(|_| RecordError::ShortValue(length))
}

fn encode_offset(value: &CommittedOffset) -> Result<Bytes, EncodeError> {
    let version = if value.expire_timestamp.is_some() { EXPIRING_OFFSET_VALUE_VERSION } else { OFFSET_VALUE_VERSION };
    let message = OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.as_str().into(),
        commit_timestamp: value.commit_timestamp,
        expire_timestamp: value.expire_timestamp.unwrap_or(-1),
        topic_id: value.topic_id,
    };
    Ok(versioned(version, &message.to_bytes(version)?))
}

fn decode_offset(mut value: Bytes) -> Result<CommittedOffset, RecordError> {
    let version = version_of(&mut value)?;
    let message = OffsetCommitValue::from_bytes(value, version)?;
    Ok(CommittedOffset {
        offset: message.offset,
        leader_epoch: message.leader_epoch,
        metadata: message.metadata.into(),
        commit_timestamp: message.commit_timestamp,
        expire_timestamp: (message.expire_timestamp != -1).then_some(message.expire_timestamp),
        topic_id: message.topic_id,
    })
}

fn encode_group(value: &GroupSnapshot) -> Result<Bytes, EncodeError> {
    let member = |member: &MemberSnapshot| MemberMetadata {
        member_id: member.member_id.as_str().into(),
        group_instance_id: member.group_instance_id.as_deref().map(Str::from),
        client_id: member.client_id.as_str().into(),
        client_host: member.client_host.as_str().into(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    };
    let message = GroupMetadataValue {
        protocol_type: value.protocol_type.as_str().into(),
        generation: value.generation_id,
        protocol: value.protocol_name.as_deref().map(Str::from),
        leader: value.leader_id.as_deref().map(Str::from),
        current_state_timestamp: value.state_since,
        members: value.members.iter().map(member).collect(),
    };
    Ok(versioned(GROUP_VALUE_VERSION, &message.to_bytes(GROUP_VALUE_VERSION)?))
}

fn decode_group(mut value: Bytes) -> Result<GroupSnapshot, RecordError> {
    let version = version_of(&mut value)?;
    let message = GroupMetadataValue::from_bytes(value, version)?;
    // The record's bytes are slices of a mapped segment: what is kept is copied, so that the map need not be.
    let member = |member: MemberMetadata| MemberSnapshot {
        member_id: member.member_id.into(),
        group_instance_id: member.group_instance_id.map(String::from),
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        rebalance_timeout_ms: member.rebalance_timeout,
        session_timeout_ms: member.session_timeout,
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    Ok(GroupSnapshot {
        protocol_type: message.protocol_type.into(),
        generation_id: message.generation,
        protocol_name: message.protocol.map(String::from),
        leader_id: message.leader.map(String::from),
        state_since: message.current_state_timestamp,
        members: message.members.into_iter().map(member).collect(),
    })
}
