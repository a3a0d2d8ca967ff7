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
            IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest,
            OffsetDelete offset_delete OffsetDeleteRequest,
            DescribeCluster describe_cluster DescribeClusterRequest,
            DescribeProducers describe_producers DescribeProducersRequest,
            ListConfigResources list_config_resources ListConfigResourcesRequest,
            DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest)
    };
    (@ $key:expr, $check:ident $arguments:tt $($api:ident $module:ident $request:ident),+) => {
        match $key {
            $(::strandline::protocol::ApiKey::$api => {
                $check::<::strandline::protocol::messages::$module::$request> $arguments
            })+
        }
    };
}
