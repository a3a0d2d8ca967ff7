//! Entries of Raft itself, as Kafka's control records: which leader began, who votes.
//!
//! ```text
//! a blank entry    LeaderChange (2)                     the leader, and whom it counts as voters
//! a membership     KRaftVersion (5), KRaftVoters (6)    the voters and where they are; under tag 10000 what openraft knows
//!                                                       beyond that: the two sets of a change under way, the observers
//! a snapshot       SnapshotHeader (3), both of the membership, ..., SnapshotFooter (4)
//!                                                       under tag 10000 of the header: the last entry's term and index,
//!                                                       and those of the membership's entry
//! ```
//! The tags are ours, and Kafka's tools pass over them. A log whose voters lack the tag was written by Apache Kafka; a snapshot
//! at offset 0 that lacks it was written by whoever formatted the log dir, and names the first voters.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::error::ControllerError;
use super::types::{LogId, Membership, StoredMembership, Voter, epoch, log_id, membership};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use crate::protocol::{Message, Str, message};
use crate::record::{BatchBuilder, BatchOptions, ControlType};

/// Kafka's name of the listener that controllers talk over, in what is written of the voters.
const LISTENER: &str = "CONTROLLER";

message! {
    /// A leader's reign begins.
    LeaderChangeMessage (versions 0, flexible 0+) {
        version: i16,
        leader_id: i32,
        voters: Vec<LeaderChangeVoter>,
        granting_voters: Vec<LeaderChangeVoter>,
    }

    /// One whom it counts.
    LeaderChangeVoter {
        voter_id: i32,
    }

    /// Which version of Kafka's quorum is spoken: 1 knows voters that come and go.
    KRaftVersionRecord (versions 0, flexible 0+) {
        version: i16,
        k_raft_version: i16,
    }

    /// Who votes.
    VotersRecord (versions 0, flexible 0+) {
        version: i16,
        voters: Vec<VoterRecord>,
        quorum: Option<QuorumRecord> [0+] tag 10000,
    }

    /// A voter.
    VoterRecord {
        voter_id: i32,
        voter_directory_id: Uuid,
        endpoints: Vec<VoterEndpoint>,
        k_raft_version_feature: VoterFeature,
    }

    /// Where it listens.
    VoterEndpoint {
        name: Str,
        host: Str,
        port: u16,
    }

    /// The versions of the quorum that it speaks.
    VoterFeature {
        min_supported_version: i16,
        max_supported_version: i16,
    }

    /// What openraft knows beyond the voters.
    QuorumRecord {
        configs: Vec<QuorumConfig>,
        observers: Vec<VoterRecord>,
    }

    /// One of the sets of voters that must agree.
    QuorumConfig {
        voters: Vec<i32>,
    }

    /// A snapshot begins.
    SnapshotHeaderRecord (versions 0, flexible 0+) {
        version: i16,
        last_contained_log_timestamp: i64,
        position: Option<SnapshotPosition> [0+] tag 10000,
    }

    /// Where a snapshot stands in the log's entries.
    SnapshotPosition {
        term: i32,
        index: i64,
        membership_term: i32,
        membership_index: i64 = -1,
    }
}

/// The batch of a leader's first entry.
pub(super) fn leader_change(
    leader: NodeId,
    voters: impl Iterator<Item = NodeId>,
    now: Timestamp,
) -> Result<Bytes, ControllerError> {
    let voters: Vec<_> = voters.map(|voter_id| LeaderChangeVoter { voter_id }).collect();
    let message =
        LeaderChangeMessage { leader_id: leader, granting_voters: voters.clone(), voters, ..Default::default() };
    let mut batch = control_batch();
    put(&mut batch, ControlType::LeaderChange, &encode(&message)?, now);
    build(batch)
}

/// The batch of an entry that says who votes.
pub(super) fn membership_batch(membership: &Membership, now: Timestamp) -> Result<Bytes, ControllerError> {
    let mut batch = control_batch();
    put_membership(&mut batch, membership, now)?;
    build(batch)
}

/// Puts the records of the first voters into a control batch, as Kafka's `kafka-storage.sh format` does.
pub(super) fn put_founders(batch: &mut BatchBuilder, voters: &[Voter], now: Timestamp) -> Result<(), ControllerError> {
    let version = KRaftVersionRecord { k_raft_version: 1, ..Default::default() };
    put(batch, ControlType::KRaftVersion, &encode(&version)?, now);
    let voters = voters.iter().map(voter_record).collect();
    put(batch, ControlType::KRaftVoters, &encode(&VotersRecord { voters, ..Default::default() })?, now);
    Ok(())
}

/// The first voters, where a KRaftVoters record names them and no more.
pub(super) fn read_founders(value: &[u8], offset: Offset) -> Result<Vec<Voter>, ControllerError> {
    let message: VotersRecord = decode(value, offset)?;
    Ok(match message.quorum {
        Some(_) => Vec::new(),
        None => message.voters.into_iter().map(|record| voter(record).1).collect(),
    })
}

/// Puts both records of a membership into a control batch.
pub(super) fn put_membership(
    batch: &mut BatchBuilder,
    membership: &Membership,
    now: Timestamp,
) -> Result<(), ControllerError> {
    let version = KRaftVersionRecord { k_raft_version: 1, ..Default::default() };
    put(batch, ControlType::KRaftVersion, &encode(&version)?, now);
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let record = |(id, voter): (&NodeId, &Voter)| VoterRecord { voter_id: *id, ..voter_record(voter) };
    let configs = membership.get_joint_config().iter();
    let message = VotersRecord {
        voters: membership.nodes().filter(|(id, _)| voters.contains(id)).map(record).collect(),
        quorum: Some(QuorumRecord {
            configs: configs.map(|ids| QuorumConfig { voters: ids.iter().copied().collect() }).collect(),
            observers: membership.nodes().filter(|(id, _)| !voters.contains(id)).map(record).collect(),
        }),
        ..Default::default()
    };
    put(batch, ControlType::KRaftVoters, &encode(&message)?, now);
    Ok(())
}

/// The membership in a KRaftVoters record; `None` for one that Apache Kafka wrote.
pub(super) fn read_membership(value: &[u8], offset: Offset) -> Result<Option<Membership>, ControllerError> {
    let message: VotersRecord = decode(value, offset)?;
    let Some(quorum) = message.quorum else { return Ok(None) };
    let nodes: BTreeMap<NodeId, Voter> = message.voters.into_iter().chain(quorum.observers).map(voter).collect();
    let configs: Vec<BTreeSet<NodeId>> =
        quorum.configs.into_iter().map(|config| config.voters.into_iter().collect()).collect();
    if configs.iter().flatten().any(|id| !nodes.contains_key(id)) {
        let problem = "a set of voters names one that is not described".to_owned();
        return Err(ControllerError::Mismatch { offset, problem });
    }
    Ok(Some(membership(&configs, nodes)))
}

fn voter_record(voter: &Voter) -> VoterRecord {
    let host = Str::from(voter.host.as_str());
    VoterRecord {
        voter_id: voter.id,
        voter_directory_id: voter.directory_id,
        endpoints: vec![VoterEndpoint { name: Str::from(LISTENER), host, port: voter.port }],
        k_raft_version_feature: VoterFeature { min_supported_version: 0, max_supported_version: 1 },
    }
}

fn voter(record: VoterRecord) -> (NodeId, Voter) {
    let endpoint = record.endpoints.into_iter().next().unwrap_or_default();
    let (id, directory_id) = (record.voter_id, record.voter_directory_id);
    (id, Voter { id, directory_id, host: endpoint.host.to_string(), port: endpoint.port })
}

/// The value of the record that begins a snapshot.
pub(super) fn snapshot_header(
    last: LogId,
    membership: &StoredMembership,
    now: Timestamp,
) -> Result<Bytes, ControllerError> {
    let of = *membership.log_id();
    let position = SnapshotPosition {
        term: epoch(last.leader_id.term),
        index: index(last.index),
        membership_term: of.map_or(0, |id| epoch(id.leader_id.term)),
        membership_index: of.map_or(-1, |id| index(id.index)),
    };
    encode(&SnapshotHeaderRecord { last_contained_log_timestamp: now, position: Some(position), ..Default::default() })
}

/// The value of the record that begins a snapshot of an empty log.
pub(super) fn founding_header(now: Timestamp) -> Result<Bytes, ControllerError> {
    encode(&SnapshotHeaderRecord { last_contained_log_timestamp: now, ..Default::default() })
}

/// Where a snapshot stands: its last entry, and the entry of its membership. `None` for one that was not written here.
pub(super) fn read_snapshot_header(value: &[u8]) -> Result<Option<(LogId, Option<LogId>)>, ControllerError> {
    let header: SnapshotHeaderRecord = decode(value, 0)?;
    let Some(position) = header.position else { return Ok(None) };
    let id = |term: LeaderEpoch, index: i64| u64::try_from(index).ok().map(|index| log_id(term, index));
    let last = id(position.term, position.index).ok_or_else(|| ControllerError::Mismatch {
        offset: 0,
        problem: format!("a snapshot says that its last entry is number {}", position.index),
    })?;
    Ok(Some((last, id(position.membership_term, position.membership_index))))
}

fn index(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// The key of a control record of this kind.
pub(super) fn key(kind: ControlType) -> [u8; 4] {
    let code: i16 = match kind {
        ControlType::Abort => 0,
        ControlType::Commit => 1,
        ControlType::LeaderChange => 2,
        ControlType::SnapshotHeader => 3,
        ControlType::SnapshotFooter => 4,
        ControlType::KRaftVersion => 5,
        ControlType::KRaftVoters => 6,
        ControlType::Unknown(code) => code,
    };
    let [high, low] = code.to_be_bytes();
    [0, 0, high, low]
}

/// Puts a control record into a batch.
pub(super) fn put(batch: &mut BatchBuilder, kind: ControlType, value: &[u8], now: Timestamp) {
    batch.append(now, Some(&key(kind)), Some(value), std::iter::empty());
}

fn control_batch() -> BatchBuilder {
    BatchBuilder::new(BatchOptions { control: true, capacity: 512, ..BatchOptions::default() })
}

fn build(batch: BatchBuilder) -> Result<Bytes, ControllerError> {
    batch.build().map_err(|source| ControllerError::Batch { offset: -1, source })
}

fn encode<M: Message>(message: &M) -> Result<Bytes, ControllerError> {
    message.to_bytes(0).map_err(|error| ControllerError::Encode { offset: 0, problem: error.to_string() })
}

fn decode<M: Message>(value: &[u8], offset: Offset) -> Result<M, ControllerError> {
    M::from_bytes(Bytes::copy_from_slice(value), 0)
        .map_err(|error| ControllerError::Mismatch { offset, problem: error.to_string() })
}
