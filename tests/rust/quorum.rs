//! A broker's part in the metadata quorum, asked over its socket: by Kafka's tools, and by other controllers.

use std::net::SocketAddr;

use strandline::cluster::{BoundBroker, BrokerSettings, RunningBroker};
use strandline::common::ids::Uuid;
use strandline::protocol::messages::add_raft_voter::{AddRaftVoterRequest, Listener};
use strandline::protocol::messages::api_versions::ApiVersionsRequest;
use strandline::protocol::messages::describe_quorum::{DescribeQuorumRequest, PartitionData, TopicData};
use strandline::protocol::messages::quorum_append::QuorumAppendRequest;
use strandline::protocol::messages::quorum_snapshot::QuorumSnapshotRequest;
use strandline::protocol::messages::quorum_vote::{QuorumTerm, QuorumVoteRequest, QuorumWay};
use strandline::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use strandline::protocol::{ErrorCode, Str};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::wire::Wire;

/// A broker whose id is 3, where its controller listener is, and the runtime and the folder it lives in.
fn start() -> (Runtime, RunningBroker, SocketAddr, TempDir) {
    let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut settings = BrokerSettings::new().without_sync();
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0");
    settings.set("controller.listener.names", "CONTROLLER");
    settings.set("log.dirs", dir.path().to_str().unwrap());
    settings.set("node.id", "3");
    let bound = runtime.block_on(BoundBroker::bind(settings)).unwrap();
    let controller = bound.controller_address().unwrap();
    let broker = runtime.block_on(bound.start(Vec::new())).unwrap();
    (runtime, broker, controller, dir)
}

#[test]
fn a_broker_alone_tells_of_its_quorum() {
    let (runtime, broker, _, _dir) = start();
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide"), ErrorCode::NONE);
    let partitions = |indexes: &[i32]| indexes.iter().map(|index| PartitionData { partition_index: *index }).collect();
    let request = DescribeQuorumRequest {
        topics: vec![
            TopicData { topic_name: "__cluster_metadata".into(), partitions: partitions(&[0, 1]) },
            TopicData { topic_name: "tide".into(), partitions: partitions(&[0]) },
        ],
    };
    for version in 0..=2 {
        let response = wire.call(&request, version).unwrap();
        assert_eq!(response.error_code, ErrorCode::NONE);
        let [quorum, none] = response.topics[0].partitions.as_slice() else { panic!("{response:?}") };
        assert_eq!(none.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(response.topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!((quorum.error_code, quorum.leader_id, quorum.leader_epoch), (ErrorCode::NONE, 3, 1));
        let [voter] = quorum.current_voters.as_slice() else { panic!("{quorum:?}") };
        assert!(quorum.observers.is_empty() && quorum.high_watermark > 0);
        assert_eq!((voter.replica_id, voter.log_end_offset), (3, quorum.high_watermark));
        if version == 2 {
            assert_eq!(voter.replica_directory_id, broker.broker().node().directory_id);
            assert_eq!(response.nodes.iter().map(|node| node.node_id).collect::<Vec<_>>(), [3]);
        }
    }
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn voters_that_cannot_come_or_go_are_refused() {
    let (runtime, broker, _, _dir) = start();
    let mut wire = Wire::connect(broker.address());
    let listener = Listener { name: "CONTROLLER".into(), host: "127.0.0.1".into(), port: 9 };
    let add = AddRaftVoterRequest { voter_id: 3, listeners: vec![listener], ..Default::default() };
    assert_eq!(wire.call(&add, 1).unwrap().error_code, ErrorCode::DUPLICATE_VOTER);
    let nowhere = AddRaftVoterRequest { voter_id: 4, listeners: Vec::new(), ..add.clone() };
    assert_eq!(wire.call(&nowhere, 0).unwrap().error_code, ErrorCode::INVALID_REQUEST);
    let foreign = AddRaftVoterRequest { cluster_id: Some("another".into()), ..add };
    assert_eq!(wire.call(&foreign, 0).unwrap().error_code, ErrorCode::INCONSISTENT_CLUSTER_ID);

    let remove = RemoveRaftVoterRequest { voter_id: 4, ..Default::default() };
    assert_eq!(wire.call(&remove, 0).unwrap().error_code, ErrorCode::VOTER_NOT_FOUND);
    let other = RemoveRaftVoterRequest { voter_id: 3, voter_directory_id: Uuid::random(), ..Default::default() };
    assert_eq!(wire.call(&other, 0).unwrap().error_code, ErrorCode::VOTER_NOT_FOUND);
    let last = RemoveRaftVoterRequest { voter_id: 3, ..Default::default() };
    assert_eq!(wire.call(&last, 0).unwrap().error_code, ErrorCode::INVALID_REQUEST);
    assert_eq!(wire.create("tide"), ErrorCode::NONE, "and all goes on");
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn what_controllers_say_among_themselves_is_told_to_nobody_and_checked() {
    let (runtime, broker, controller, _dir) = start();
    let mut wire = Wire::connect(broker.address());
    let told = wire.call(&ApiVersionsRequest::default(), 3).unwrap();
    assert!(told.api_keys.iter().all(|api| api.api_key < 10_000));
    let way = |target_id| QuorumWay { sender_id: 9, target_id, ..Default::default() };
    let vote = |term| QuorumTerm { term, voted_for: 9, leads: false };
    let asked = QuorumVoteRequest { way: way(3), vote: vote(1), last_entry: None };
    wire.call(&asked, 0).expect_err("on a listener for clients nobody asks for a vote");

    let mut wire = Wire::connect(controller);
    let meant_for_another = QuorumVoteRequest { way: way(4), vote: vote(1), last_entry: None };
    assert_eq!(wire.call(&meant_for_another, 0).unwrap().error_code, ErrorCode::INVALID_VOTER_KEY);
    let replaced = QuorumWay { target_directory_id: Uuid::random(), ..way(3) };
    let of_another_disk = QuorumVoteRequest { way: replaced, vote: vote(1), last_entry: None };
    assert_eq!(wire.call(&of_another_disk, 0).unwrap().error_code, ErrorCode::INVALID_VOTER_KEY);
    // It alone votes here, so nobody else can lead or stand.
    let stands = QuorumVoteRequest { way: way(3), vote: vote(1 << 20), last_entry: None };
    assert_eq!(wire.call(&stands, 0).unwrap().error_code, ErrorCode::INCONSISTENT_VOTER_SET);
    let leads = QuorumAppendRequest { way: way(3), vote: vote(1 << 20), ..Default::default() };
    assert_eq!(wire.call(&leads, 0).unwrap().error_code, ErrorCode::INCONSISTENT_VOTER_SET);
    let snapshot = QuorumSnapshotRequest { way: way(3), name: Str::from("a"), ..Default::default() };
    assert_eq!(wire.call(&snapshot, 0).unwrap().error_code, ErrorCode::INCONSISTENT_VOTER_SET);
    assert_eq!(wire.create("tide"), ErrorCode::NONE, "and all goes on");
    runtime.block_on(broker.stop()).unwrap();
}
