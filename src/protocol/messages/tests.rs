//! What must hold for each API in each version: what is written can be read, and hostile bytes are refused in peace.

use bytes::Bytes;
use proptest::prelude::*;

use crate::protocol::api::ApiKey;
use crate::protocol::message::{Message, Request};
use crate::protocol::primitives::{Encoder, Seed};

use super::*;

/// Calls `$check::<T>()` for every request and every response.
macro_rules! each_message {
    ($check:ident($($argument:expr),*)) => {
        each_message!(@ $check ($($argument),*)
            produce::ProduceRequest, fetch::FetchRequest, list_offsets::ListOffsetsRequest, metadata::MetadataRequest,
            offset_commit::OffsetCommitRequest, offset_fetch::OffsetFetchRequest,
            find_coordinator::FindCoordinatorRequest, join_group::JoinGroupRequest, heartbeat::HeartbeatRequest,
            leave_group::LeaveGroupRequest, sync_group::SyncGroupRequest, describe_groups::DescribeGroupsRequest,
            list_groups::ListGroupsRequest, api_versions::ApiVersionsRequest, create_topics::CreateTopicsRequest,
            delete_topics::DeleteTopicsRequest, delete_records::DeleteRecordsRequest,
            init_producer_id::InitProducerIdRequest, offset_for_leader_epoch::OffsetForLeaderEpochRequest,
            describe_configs::DescribeConfigsRequest, alter_configs::AlterConfigsRequest,
            describe_log_dirs::DescribeLogDirsRequest, create_partitions::CreatePartitionsRequest,
            delete_groups::DeleteGroupsRequest, elect_leaders::ElectLeadersRequest,
            incremental_alter_configs::IncrementalAlterConfigsRequest,
            alter_partition_reassignments::AlterPartitionReassignmentsRequest,
            list_partition_reassignments::ListPartitionReassignmentsRequest,
            offset_delete::OffsetDeleteRequest, describe_quorum::DescribeQuorumRequest,
            alter_partition::AlterPartitionRequest, update_features::UpdateFeaturesRequest, envelope::EnvelopeRequest,
            describe_cluster::DescribeClusterRequest, describe_producers::DescribeProducersRequest,
            broker_registration::BrokerRegistrationRequest, broker_heartbeat::BrokerHeartbeatRequest,
            unregister_broker::UnregisterBrokerRequest, allocate_producer_ids::AllocateProducerIdsRequest,
            list_config_resources::ListConfigResourcesRequest,
            describe_topic_partitions::DescribeTopicPartitionsRequest,
            add_raft_voter::AddRaftVoterRequest, remove_raft_voter::RemoveRaftVoterRequest,
            quorum_vote::QuorumVoteRequest, quorum_append::QuorumAppendRequest,
            quorum_snapshot::QuorumSnapshotRequest,
            quorum_hello::QuorumHelloRequest)
    };
    (@ $check:ident $arguments:tt $($request:ty),+) => {
        $(
            $check::<$request> $arguments;
            $check::<<$request as Request>::Response> $arguments;
        )+
    };
}

/// Every API of the table has a file here, in the table's order.
#[test]
fn each_api_of_the_table_has_its_messages() {
    fn key<T: Message>(names: &mut Vec<&'static str>) {
        names.push(T::NAME);
    }
    let mut names = Vec::new();
    each_message!(key(&mut names));
    let expected: Vec<String> =
        ApiKey::ALL.iter().flat_map(|api| [format!("{api}Request"), format!("{api}Response")]).collect();
    assert_eq!(names, expected);
}

#[test]
fn each_version_of_each_message_survives_the_wire() {
    fn check<T: Message + PartialEq + std::fmt::Debug>() {
        for version in T::VERSIONS.iter() {
            let mut seed = Seed(version as u64);
            for _ in 0..20 {
                let message = T::sample(&mut seed, T::version(version));
                let bytes = message.to_bytes(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", T::NAME));
                let back =
                    T::from_bytes(bytes, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", T::NAME));
                assert_eq!(back, message, "{} v{version}", T::NAME);
            }
        }
    }
    each_message!(check());
}

#[test]
fn each_version_can_say_nothing() {
    fn check<T: Message + Default>() {
        for version in T::VERSIONS.iter() {
            match T::default().to_bytes(version) {
                Ok(bytes) => drop(T::from_bytes(bytes, version).unwrap()),
                // A field whose default is null, in a version that has no null for it, must be filled in.
                Err(error) => assert!(error.to_string().contains("null"), "{} v{version}: {error}", T::NAME),
            }
        }
    }
    each_message!(check());
}

#[test]
fn a_message_cut_short_is_refused_wherever_the_cut_is() {
    fn check<T: Message>() {
        for version in T::VERSIONS.iter() {
            let mut encoder = Encoder::new();
            T::sample(&mut Seed(version as u64 + 100), T::version(version)).encode(&mut encoder, version).unwrap();
            let bytes = encoder.finish().into_bytes();
            for len in 0..bytes.len().min(600) {
                assert!(T::from_bytes(bytes.slice(..len), version).is_err(), "{} v{version} cut at {len}", T::NAME);
            }
        }
    }
    each_message!(check());
}

/// Whatever comes, decoding ends, and what it accepts it can also write.
fn digest<T: Message>(bytes: &Bytes) {
    for version in T::VERSIONS.iter() {
        if let Ok(message) = T::from_bytes(bytes.clone(), version) {
            message.to_bytes(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", T::NAME));
        }
    }
}

/// A sample with one byte replaced.
fn digest_damaged<T: Message>(seed: u64, position: usize, byte: u8) {
    for version in T::VERSIONS.iter() {
        let message = T::sample(&mut Seed(seed), T::version(version));
        let mut bytes = message.to_bytes(version).unwrap().to_vec();
        if !bytes.is_empty() {
            let position = position % bytes.len();
            bytes[position] = byte;
        }
        if let Ok(message) = T::from_bytes(bytes.into(), version) {
            message.to_bytes(version).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_bytes_are_refused_in_peace(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        each_message!(digest(&bytes));
    }

    #[test]
    fn bytes_of_small_numbers_are_refused_in_peace(bytes in proptest::collection::vec(0u8..4, 0..200)) {
        let bytes = Bytes::from(bytes);
        each_message!(digest(&bytes));
    }

    #[test]
    fn a_damaged_message_is_refused_or_read_in_peace(seed: u64, position: usize, byte: u8) {
        each_message!(digest_damaged(seed, position, byte));
    }
}
