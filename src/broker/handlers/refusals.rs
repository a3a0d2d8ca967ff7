//! What each API answers when a test has it refuse ([`RequestFaults`](crate::broker::RequestFaults)).
//!
//! One line an API: its request, and the answer that says `code` wherever the API has a place for an error. A request that has
//! none in it (a fetch of no partition, before version 7) is worked on as ever, and so is what a follower asks: faults are for
//! clients. An API that stands not here cannot be refused, and whoever asks for that is told. What is refused of one topic alone is
//! in `one_topic`.

mod one_topic;

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, Outcome, decode, encode, metadata as metadata_handler};
use crate::broker::{Broker, Connection, Listener, Reply, ReplyFuture};
use crate::protocol::messages::{
    add_raft_voter::*, alter_configs, alter_partition_reassignments::*, api_versions::*, create_partitions::*,
    create_topics::*, delete_groups::*, delete_records::*, delete_topics::*, describe_cluster::*, describe_configs::*,
    describe_groups::*, describe_log_dirs::*, describe_producers, describe_quorum::*, describe_topic_partitions,
    elect_leaders::*, fetch, find_coordinator::*, heartbeat::*, incremental_alter_configs, init_producer_id::*,
    join_group::*, leave_group::*, list_config_resources::*, list_groups::*, list_offsets::*,
    list_partition_reassignments::*, metadata, offset_commit::*, offset_delete::*, offset_fetch::*,
    offset_for_leader_epoch, produce, remove_raft_voter::*, sync_group::*, unregister_broker::*, update_features::*,
};
use crate::protocol::{ApiKey, Decoder, ErrorCode, RequestHeader, decode_request_header};

/// Answers a client's request with the error that is due, if one is.
pub(super) fn refused(broker: &Arc<Broker>, connection: &Arc<Connection>, frame: &Bytes) -> Option<ReplyFuture> {
    if !broker.request_faults().is_any() || connection.listener != Listener::Client {
        return None;
    }
    let (header, body) = decode_request_header(frame.clone()).ok()?;
    if !header.api_key.spec().served.contains(header.api_version) {
        return None;
    }
    let client_id = header.client_id.as_deref().unwrap_or_default();
    let Some((id, code)) = broker.request_faults().take(header.api_key, client_id) else {
        return one_topic::refused(broker, connection, &header, frame);
    };
    if header.api_key == ApiKey::Metadata {
        return Some(Box::pin(metadata(broker.clone(), connection.clone(), header, body, code)));
    }
    match refuse(&header, body, code) {
        Some(reply) => Some(Box::pin(std::future::ready(reply))),
        None => {
            broker.request_faults().give_back(id);
            None
        }
    }
}

pub use one_topic::can_be_refused_for_a_topic;

/// Whether requests of `api` can be refused.
pub fn can_be_refused(api: ApiKey) -> bool {
    REFUSABLE.contains(&api) || api == ApiKey::Metadata
}

/// The answer that there would have been, as to the brokers, with the error for each topic: a client that knows no broker any
/// more could not ask again.
async fn metadata(
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    header: RequestHeader,
    body: Decoder,
    code: ErrorCode,
) -> Reply {
    let (request, kind) = match decode::<metadata::MetadataRequest>(&header, body) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let context = Context { version: header.api_version, client_id: header.client_id.clone(), connection };
    let mut answer = metadata_handler::handle(&broker, &context, request).await;
    if let Outcome::Reply(response) = &mut answer {
        for topic in &mut response.topics {
            topic.error_code = code;
            topic.partitions.clear();
        }
        // Before version 13 it is not told.
        if response.topics.is_empty() {
            response.error_code = code;
        }
    }
    encode(&header, kind, answer)
}

/// All of `from`, each made something else.
fn each<A, B>(from: Vec<A>, make: impl FnMut(A) -> B) -> Vec<B> {
    from.into_iter().map(make).collect()
}

/// One line an API: the request's type, what the request and the version are called, and the answer; `None` where the request
/// has no place for an error.
macro_rules! refusals {
    ($code:ident; $($key:ident: $type:ty, |$request:pat_param, $version:pat_param| $answer:expr;)*) => {
        const REFUSABLE: &[ApiKey] = &[$(ApiKey::$key),*];

        #[allow(clippy::redundant_closure_call)]
        fn refuse(header: &RequestHeader, body: Decoder, $code: ErrorCode) -> Option<Reply> {
            match header.api_key {
                $(ApiKey::$key => match decode::<$type>(header, body) {
                    Err(reply) => Some(reply),
                    Ok((request, kind)) => {
                        let answer = |$request: $type, $version: i16| -> Option<Outcome<_>> { $answer };
                        answer(request, header.api_version).map(|outcome| encode(header, kind, outcome))
                    }
                },)*
                _ => None,
            }
        }

        /// The frame of a request of `key` with nothing in it, without its size; `None` where it must have something.
        #[cfg(test)]
        fn asked(key: ApiKey, version: i16) -> Option<Bytes> {
            use crate::protocol::encode_request;
            let frame = match key {
                $(ApiKey::$key => encode_request(&<$type>::default(), version, 7, None),)*
                _ => unreachable!("{key} is in no table"),
            };
            Some(frame.ok()?.into_bytes().slice(4..))
        }

        /// Whether `frame` is a response of `key`, to its last byte.
        #[cfg(test)]
        fn is_response(key: ApiKey, version: i16, frame: Bytes) -> bool {
            use crate::protocol::decode_response;
            match key {
                $(ApiKey::$key => decode_response::<$type>(frame, version).is_ok(),)*
                _ => false,
            }
        }
    };
}

/// A reply with these fields, and the defaults for all others.
macro_rules! reply {
    ($($response:ident)::+ { $($fields:tt)* }) => {
        Some(Outcome::Reply($($response)::+ { $($fields)*, ..Default::default() }))
    };
}

refusals! {
    code;
    Produce: produce::ProduceRequest, |request, _| match request.acks {
        0 => Some(Outcome::Close(format!("a produce with acks=0 is refused: {code}"))),
        _ => reply!(produce::ProduceResponse {
            responses: each(request.topic_data, |topic| produce::TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses: each(topic.partition_data, |partition| produce::PartitionProduceResponse {
                    index: partition.index,
                    error_code: code,
                    base_offset: -1,
                    ..Default::default()
                }),
            })
        }),
    };
    Fetch: fetch::FetchRequest, |request, version| {
        let follower = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
        let told = version >= 7 || !request.topics.is_empty();
        if follower || !told {
            return None;
        }
        let error_code = if request.topics.is_empty() { code } else { ErrorCode::NONE };
        reply!(fetch::FetchResponse {
            error_code,
            responses: each(request.topics, |topic| fetch::FetchableTopicResponse {
                topic: topic.topic,
                topic_id: topic.topic_id,
                partitions: each(topic.partitions, |asked| fetch::PartitionData {
                    partition_index: asked.partition,
                    error_code: code,
                    high_watermark: -1,
                    ..Default::default()
                }),
            })
        })
    };
    ListOffsets: ListOffsetsRequest, |request, _| match request.replica_id {
        0.. => None,
        _ => reply!(ListOffsetsResponse {
            topics: each(request.topics, |topic| ListOffsetsTopicResponse {
                name: topic.name,
                partitions: each(topic.partitions, |asked| ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: code,
                    ..Default::default()
                }),
            })
        }),
    };
    OffsetCommit: OffsetCommitRequest, |request, _| reply!(OffsetCommitResponse {
        topics: each(request.topics, |topic| OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: each(topic.partitions, |asked| OffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: code,
            }),
        })
    });
    OffsetFetch: OffsetFetchRequest, |request, version| match version {
        8.. => reply!(OffsetFetchResponse {
            groups: each(request.groups, |group| OffsetFetchResponseGroup {
                group_id: group.group_id,
                error_code: code,
                ..Default::default()
            })
        }),
        2.. => reply!(OffsetFetchResponse { error_code: code }),
        _ => reply!(OffsetFetchResponse {
            topics: each(request.topics.unwrap_or_default(), |topic| OffsetFetchResponseTopic {
                name: topic.name,
                partitions: each(topic.partition_indexes, |partition_index| OffsetFetchResponsePartition {
                    partition_index,
                    committed_offset: -1,
                    error_code: code,
                    ..Default::default()
                }),
            })
        }),
    };
    FindCoordinator: FindCoordinatorRequest, |request, version| match version {
        4.. => reply!(FindCoordinatorResponse {
            coordinators: each(request.coordinator_keys, |key| Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: code,
                ..Default::default()
            })
        }),
        _ => reply!(FindCoordinatorResponse { error_code: code, node_id: -1, port: -1 }),
    };
    JoinGroup: JoinGroupRequest, |request, version| reply!(JoinGroupResponse {
        error_code: code,
        // Null came with version 7.
        protocol_name: (version < 7).then(Default::default),
        member_id: request.member_id
    });
    Heartbeat: HeartbeatRequest, |_, _| reply!(HeartbeatResponse { error_code: code });
    LeaveGroup: LeaveGroupRequest, |_, _| reply!(LeaveGroupResponse { error_code: code });
    SyncGroup: SyncGroupRequest, |_, _| reply!(SyncGroupResponse { error_code: code });
    DescribeGroups: DescribeGroupsRequest, |request, _| reply!(DescribeGroupsResponse {
        groups: each(request.groups, |group_id| DescribedGroup { error_code: code, group_id, ..Default::default() })
    });
    ListGroups: ListGroupsRequest, |_, _| reply!(ListGroupsResponse { error_code: code });
    ApiVersions: ApiVersionsRequest, |_, _| reply!(ApiVersionsResponse { error_code: code });
    CreateTopics: CreateTopicsRequest, |request, _| reply!(CreateTopicsResponse {
        topics: each(request.topics, |topic| CreatableTopicResult {
            name: topic.name,
            error_code: code,
            ..Default::default()
        })
    });
    DeleteTopics: DeleteTopicsRequest, |request, version| reply!(DeleteTopicsResponse {
        responses: match version {
            6.. => each(request.topics, |topic| DeletableTopicResult {
                name: topic.name,
                topic_id: topic.topic_id,
                error_code: code,
                ..Default::default()
            }),
            _ => each(request.topic_names, |name| DeletableTopicResult {
                name: Some(name),
                error_code: code,
                ..Default::default()
            }),
        }
    });
    DeleteRecords: DeleteRecordsRequest, |request, _| reply!(DeleteRecordsResponse {
        topics: each(request.topics, |topic| DeleteRecordsTopicResult {
            name: topic.name,
            partitions: each(topic.partitions, |asked| DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: -1,
                error_code: code,
            }),
        })
    });
    InitProducerId: InitProducerIdRequest, |_, _| reply!(InitProducerIdResponse { error_code: code, producer_epoch: -1 });
    OffsetForLeaderEpoch: offset_for_leader_epoch::OffsetForLeaderEpochRequest, |request, _| match request.replica_id {
        0.. => None,
        _ => reply!(offset_for_leader_epoch::OffsetForLeaderEpochResponse {
            topics: each(request.topics, |topic| offset_for_leader_epoch::OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions: each(topic.partitions, |asked| offset_for_leader_epoch::EpochEndOffset {
                    error_code: code,
                    partition: asked.partition,
                    ..Default::default()
                }),
            })
        }),
    };
    DescribeConfigs: DescribeConfigsRequest, |request, _| reply!(DescribeConfigsResponse {
        results: each(request.resources, |resource| DescribeConfigsResult {
            error_code: code,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        })
    });
    AlterConfigs: alter_configs::AlterConfigsRequest, |request, _| reply!(alter_configs::AlterConfigsResponse {
        responses: each(request.resources, |resource| alter_configs::AlterConfigsResourceResponse {
            error_code: code,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        })
    });
    DescribeLogDirs: DescribeLogDirsRequest, |_, version| match version {
        3.. => reply!(DescribeLogDirsResponse { error_code: code }),
        _ => None,
    };
    CreatePartitions: CreatePartitionsRequest, |request, _| reply!(CreatePartitionsResponse {
        results: each(request.topics, |topic| CreatePartitionsTopicResult {
            name: topic.name,
            error_code: code,
            ..Default::default()
        })
    });
    DeleteGroups: DeleteGroupsRequest, |request, _| reply!(DeleteGroupsResponse {
        results: each(request.groups_names, |group_id| DeletableGroupResult { group_id, error_code: code })
    });
    ElectLeaders: ElectLeadersRequest, |request, version| match version {
        1.. => reply!(ElectLeadersResponse { error_code: code }),
        _ => reply!(ElectLeadersResponse {
            replica_election_results: each(request.topic_partitions.unwrap_or_default(), |topic| ReplicaElectionResult {
                topic: topic.topic,
                partition_result: each(topic.partitions, |partition_id| PartitionResult {
                    partition_id,
                    error_code: code,
                    ..Default::default()
                }),
            })
        }),
    };
    IncrementalAlterConfigs: incremental_alter_configs::IncrementalAlterConfigsRequest, |request, _| {
        reply!(incremental_alter_configs::IncrementalAlterConfigsResponse {
            responses: each(request.resources, |resource| incremental_alter_configs::AlterConfigsResourceResponse {
                error_code: code,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            })
        })
    };
    AlterPartitionReassignments: AlterPartitionReassignmentsRequest, |_, _| {
        reply!(AlterPartitionReassignmentsResponse { error_code: code })
    };
    ListPartitionReassignments: ListPartitionReassignmentsRequest, |_, _| {
        reply!(ListPartitionReassignmentsResponse { error_code: code })
    };
    OffsetDelete: OffsetDeleteRequest, |_, _| reply!(OffsetDeleteResponse { error_code: code });
    DescribeQuorum: DescribeQuorumRequest, |_, _| reply!(DescribeQuorumResponse { error_code: code });
    UpdateFeatures: UpdateFeaturesRequest, |_, _| reply!(UpdateFeaturesResponse { error_code: code });
    DescribeCluster: DescribeClusterRequest, |_, _| reply!(DescribeClusterResponse { error_code: code });
    DescribeProducers: describe_producers::DescribeProducersRequest, |request, _| {
        reply!(describe_producers::DescribeProducersResponse {
            topics: each(request.topics, |topic| describe_producers::TopicResponse {
                name: topic.name,
                partitions: each(topic.partition_indexes, |partition_index| describe_producers::PartitionResponse {
                    partition_index,
                    error_code: code,
                    ..Default::default()
                }),
            })
        })
    };
    UnregisterBroker: UnregisterBrokerRequest, |_, _| reply!(UnregisterBrokerResponse { error_code: code });
    ListConfigResources: ListConfigResourcesRequest, |_, _| reply!(ListConfigResourcesResponse { error_code: code });
    DescribeTopicPartitions: describe_topic_partitions::DescribeTopicPartitionsRequest, |request, _| {
        reply!(describe_topic_partitions::DescribeTopicPartitionsResponse {
            topics: each(request.topics, |topic| {
                describe_topic_partitions::DescribeTopicPartitionsResponseTopic {
                    error_code: code,
                    name: Some(topic.name),
                    ..Default::default()
                }
            })
        })
    };
    AddRaftVoter: AddRaftVoterRequest, |_, _| reply!(AddRaftVoterResponse { error_code: code });
    RemoveRaftVoter: RemoveRaftVoterRequest, |_, _| reply!(RemoveRaftVoterResponse { error_code: code });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_for_clients_can_be_refused() {
        for api in super::super::SERVED.iter().filter(|api| !api.spec().internal) {
            assert!(can_be_refused(*api), "{api}");
        }
    }

    #[test]
    fn every_refusal_is_whole_in_every_version() {
        for api in REFUSABLE {
            let served = api.spec().served;
            for version in served.min..=served.max {
                let Some(asked) = asked(*api, version) else {
                    assert_eq!((*api, version), (ApiKey::OffsetFetch, 1), "its topics may not be null");
                    continue;
                };
                let (header, body) = decode_request_header(asked).unwrap();
                match refuse(&header, body, ErrorCode::REQUEST_TIMED_OUT) {
                    Some(Reply::Send(frame)) => {
                        let frame = frame.into_bytes().slice(4..);
                        assert!(is_response(*api, version, frame), "{api} {version}");
                    }
                    // It asks for no acknowledgement.
                    Some(Reply::Close(_)) if *api == ApiKey::Produce => {}
                    // There is no place for an error.
                    None if *api == ApiKey::Fetch && version < 7 => {}
                    None if *api == ApiKey::DescribeLogDirs && version < 3 => {}
                    other => panic!("{api} {version}: {other:?}"),
                }
            }
        }
    }
}
