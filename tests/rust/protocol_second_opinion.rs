//! The codec against another one: what we write, the `kafka-protocol` crate reads and writes again byte for byte.
//!
//! It knows nearly every version that we serve; [`each_version_but_a_few_has_a_second_opinion`] lists the others.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use strandline::protocol::messages as ours;
use strandline::protocol::primitives::Seed;
use strandline::protocol::{ApiKey, Message};

/// The versions that both know.
fn common<Ours: Message, Theirs: kafka_protocol::protocol::Message>() -> std::ops::RangeInclusive<i16> {
    Ours::VERSIONS.min.max(Theirs::VERSIONS.min)..=Ours::VERSIONS.max.min(Theirs::VERSIONS.max)
}

fn compare<Ours, Theirs>()
where
    Ours: Message + PartialEq + std::fmt::Debug,
    Theirs: Decodable + Encodable + kafka_protocol::protocol::Message + std::fmt::Debug,
{
    for version in common::<Ours, Theirs>() {
        let mut seed = Seed(1000 + version as u64);
        for _ in 0..40 {
            let message = Ours::sample(&mut seed, Ours::version(version));
            let bytes = message.to_bytes(version).unwrap();
            let mut rest = bytes.clone();
            let theirs = Theirs::decode(&mut rest, version)
                .unwrap_or_else(|error| panic!("{} v{version}: {error}\n{message:#?}", Ours::NAME));
            assert!(rest.is_empty(), "{} v{version}: they leave {} bytes of {message:#?}", Ours::NAME, rest.len());
            let mut again = BytesMut::new();
            theirs
                .encode(&mut again, version)
                .unwrap_or_else(|error| panic!("{} v{version}: {error}\n{theirs:#?}", Ours::NAME));
            assert_eq!(again.freeze(), bytes, "{} v{version}\n{message:#?}\n{theirs:#?}", Ours::NAME);
            assert_eq!(Ours::from_bytes(bytes, version).unwrap(), message, "{} v{version}", Ours::NAME);
        }
    }
}

/// The message, and the versions for which there is no second opinion.
fn unheard<Ours: Message, Theirs: kafka_protocol::protocol::Message>(list: &mut Vec<(&'static str, i16)>) {
    let common = common::<Ours, Theirs>();
    list.extend(Ours::VERSIONS.iter().filter(|version| !common.contains(version)).map(|version| (Ours::NAME, version)));
}

macro_rules! each_message {
    ($check:ident($($argument:expr),*)) => {
        each_message!(@ $check ($($argument),*)
            produce::ProduceRequest, produce::ProduceResponse,
            fetch::FetchRequest, fetch::FetchResponse,
            list_offsets::ListOffsetsRequest, list_offsets::ListOffsetsResponse,
            metadata::MetadataRequest, metadata::MetadataResponse,
            offset_commit::OffsetCommitRequest, offset_commit::OffsetCommitResponse,
            offset_fetch::OffsetFetchRequest, offset_fetch::OffsetFetchResponse,
            find_coordinator::FindCoordinatorRequest, find_coordinator::FindCoordinatorResponse,
            join_group::JoinGroupRequest, join_group::JoinGroupResponse,
            heartbeat::HeartbeatRequest, heartbeat::HeartbeatResponse,
            leave_group::LeaveGroupRequest, leave_group::LeaveGroupResponse,
            sync_group::SyncGroupRequest, sync_group::SyncGroupResponse,
            describe_groups::DescribeGroupsRequest, describe_groups::DescribeGroupsResponse,
            list_groups::ListGroupsRequest, list_groups::ListGroupsResponse,
            api_versions::ApiVersionsRequest, api_versions::ApiVersionsResponse,
            create_topics::CreateTopicsRequest, create_topics::CreateTopicsResponse,
            delete_topics::DeleteTopicsRequest, delete_topics::DeleteTopicsResponse,
            delete_records::DeleteRecordsRequest, delete_records::DeleteRecordsResponse,
            init_producer_id::InitProducerIdRequest, init_producer_id::InitProducerIdResponse,
            offset_for_leader_epoch::OffsetForLeaderEpochRequest, offset_for_leader_epoch::OffsetForLeaderEpochResponse,
            describe_configs::DescribeConfigsRequest, describe_configs::DescribeConfigsResponse,
            alter_configs::AlterConfigsRequest, alter_configs::AlterConfigsResponse,
            describe_log_dirs::DescribeLogDirsRequest, describe_log_dirs::DescribeLogDirsResponse,
            create_partitions::CreatePartitionsRequest, create_partitions::CreatePartitionsResponse,
            delete_groups::DeleteGroupsRequest, delete_groups::DeleteGroupsResponse,
            incremental_alter_configs::IncrementalAlterConfigsRequest,
            incremental_alter_configs::IncrementalAlterConfigsResponse,
            elect_leaders::ElectLeadersRequest, elect_leaders::ElectLeadersResponse,
            alter_partition_reassignments::AlterPartitionReassignmentsRequest,
            alter_partition_reassignments::AlterPartitionReassignmentsResponse,
            list_partition_reassignments::ListPartitionReassignmentsRequest,
            list_partition_reassignments::ListPartitionReassignmentsResponse,
            alter_partition::AlterPartitionRequest, alter_partition::AlterPartitionResponse,
            update_features::UpdateFeaturesRequest, update_features::UpdateFeaturesResponse,
            envelope::EnvelopeRequest, envelope::EnvelopeResponse,
            broker_registration::BrokerRegistrationRequest, broker_registration::BrokerRegistrationResponse,
            broker_heartbeat::BrokerHeartbeatRequest, broker_heartbeat::BrokerHeartbeatResponse,
            unregister_broker::UnregisterBrokerRequest, unregister_broker::UnregisterBrokerResponse,
            allocate_producer_ids::AllocateProducerIdsRequest, allocate_producer_ids::AllocateProducerIdsResponse,
            offset_delete::OffsetDeleteRequest, offset_delete::OffsetDeleteResponse,
            describe_quorum::DescribeQuorumRequest, describe_quorum::DescribeQuorumResponse,
            add_raft_voter::AddRaftVoterRequest, add_raft_voter::AddRaftVoterResponse,
            remove_raft_voter::RemoveRaftVoterRequest, remove_raft_voter::RemoveRaftVoterResponse,
            describe_cluster::DescribeClusterRequest, describe_cluster::DescribeClusterResponse,
            describe_producers::DescribeProducersRequest, describe_producers::DescribeProducersResponse,
            list_config_resources::ListConfigResourcesRequest, list_config_resources::ListConfigResourcesResponse,
            describe_topic_partitions::DescribeTopicPartitionsRequest,
            describe_topic_partitions::DescribeTopicPartitionsResponse)
    };
    (@ $check:ident $arguments:tt $($module:ident::$name:ident),+) => {
        $($check::<ours::$module::$name, theirs::$name> $arguments;)+
    };
}

#[test]
fn what_we_write_they_read_and_write_the_same() {
    each_message!(compare());
}

#[test]
fn each_version_but_a_few_has_a_second_opinion() {
    let mut list = Vec::new();
    each_message!(unheard(&mut list));
    // These were held against Kafka 4.3.1's own classes by hand.
    let expected = [
        ("ListOffsetsRequest", 11),
        ("ListOffsetsResponse", 11),
        ("OffsetCommitRequest", 10),
        ("OffsetFetchRequest", 10),
        ("DescribeLogDirsRequest", 5),
        ("DescribeLogDirsResponse", 5),
        ("AddRaftVoterRequest", 1),
        ("AddRaftVoterResponse", 1),
    ];
    assert_eq!(list, expected);
}

#[test]
fn headers_have_the_versions_that_they_say() {
    for api in ApiKey::ALL.iter().filter(|api| theirs::ApiKey::try_from(**api as i16).is_ok()) {
        let key = theirs::ApiKey::try_from(*api as i16).unwrap();
        for version in api.spec().served.iter() {
            assert_eq!(api.request_header_version(version), key.request_header_version(version), "{api} v{version}");
            assert_eq!(api.response_header_version(version), key.response_header_version(version), "{api} v{version}");
        }
    }
}

/// Names only: whether to try again follows Kafka 4.3.1, which the crate does not everywhere (CONCURRENT_TRANSACTIONS).
#[test]
fn error_codes_have_the_names_that_they_say() {
    for code in -1..=200 {
        let Some(theirs) = kafka_protocol::error::ResponseError::try_from_code(code) else { continue };
        let ours = strandline::protocol::ErrorCode::from_code(code);
        if theirs == kafka_protocol::error::ResponseError::Unknown(code) {
            continue;
        }
        let name: String = format!("{theirs:?}").to_uppercase();
        assert_eq!(ours.name().replace('_', ""), name, "code {code}");
    }
}

#[test]
fn a_request_header_is_read_as_they_write_it() {
    for (key, version) in [(ApiKey::Fetch, 11), (ApiKey::Fetch, 12)] {
        let header = theirs::RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some("them".to_owned().into()));
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes, key.request_header_version(version)).unwrap();
        let bytes: Bytes = bytes.freeze();
        let (ours, rest) = strandline::protocol::decode_request_header(bytes).unwrap();
        assert_eq!((ours.api_key, ours.api_version, ours.correlation_id), (key, version, 7));
        assert_eq!((ours.client_id.as_deref(), rest.remaining()), (Some("them"), 0));
    }
}
