//! From an API's key to its messages' types. The match is whole: an API that is added must be added here.

/// Calls `$check::<Request of the API>(...)`.
#[macro_export]
macro_rules! with_request {
    ($key:expr, $check:ident($($argument:expr),*)) => {
        $crate::with_request!(@ $key, $check ($($argument),*)
            Produce produce ProduceRequest,
            Fetch fetch FetchRequest,
            ListOffsets list_offsets ListOffsetsRequest,
            Metadata metadata MetadataRequest,
            OffsetCommit offset_commit OffsetCommitRequest,
            OffsetFetch offset_fetch OffsetFetchRequest,
            FindCoordinator find_coordinator FindCoordinatorRequest,
            JoinGroup join_group JoinGroupRequest,
            Heartbeat heartbeat HeartbeatRequest,
            LeaveGroup leave_group LeaveGroupRequest,
            SyncGroup sync_group SyncGroupRequest,
            DescribeGroups describe_groups DescribeGroupsRequest,
            ListGroups list_groups ListGroupsRequest,
            ApiVersions api_versions ApiVersionsRequest,
            CreateTopics create_topics CreateTopicsRequest,
            DeleteTopics delete_topics DeleteTopicsRequest,
            DeleteRecords delete_records DeleteRecordsRequest,
            InitProducerId init_producer_id InitProducerIdRequest,
            OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest,
            DescribeConfigs describe_configs DescribeConfigsRequest,
            AlterConfigs alter_configs AlterConfigsRequest,
            DescribeLogDirs describe_log_dirs DescribeLogDirsRequest,
            CreatePartitions create_partitions CreatePartitionsRequest,
            DeleteGroups delete_groups DeleteGroupsRequest,
            ElectLeaders elect_leaders ElectLeadersRequest,
            IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest,
            AlterPartitionReassignments alter_partition_reassignments AlterPartitionReassignmentsRequest,
            ListPartitionReassignments list_partition_reassignments ListPartitionReassignmentsRequest,
            OffsetDelete offset_delete OffsetDeleteRequest,
            DescribeQuorum describe_quorum DescribeQuorumRequest,
            AlterPartition alter_partition AlterPartitionRequest,
            UpdateFeatures update_features UpdateFeaturesRequest,
            Envelope envelope EnvelopeRequest,
            DescribeCluster describe_cluster DescribeClusterRequest,
            DescribeProducers describe_producers DescribeProducersRequest,
            BrokerRegistration broker_registration BrokerRegistrationRequest,
            BrokerHeartbeat broker_heartbeat BrokerHeartbeatRequest,
            UnregisterBroker unregister_broker UnregisterBrokerRequest,
            AllocateProducerIds allocate_producer_ids AllocateProducerIdsRequest,
            ListConfigResources list_config_resources ListConfigResourcesRequest,
            DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest,
            AddRaftVoter add_raft_voter AddRaftVoterRequest,
            RemoveRaftVoter remove_raft_voter RemoveRaftVoterRequest,
            QuorumVote quorum_vote QuorumVoteRequest,
            QuorumAppend quorum_append QuorumAppendRequest,
            QuorumSnapshot quorum_snapshot QuorumSnapshotRequest, QuorumHello quorum_hello QuorumHelloRequest)
    };
    (@ $key:expr, $check:ident $arguments:tt $($api:ident $module:ident $request:ident),+) => {
        match $key {
            $(::strandline::protocol::ApiKey::$api => {
                $check::<::strandline::protocol::messages::$module::$request> $arguments
            })+
        }
    };
}
