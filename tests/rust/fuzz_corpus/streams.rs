//! Seeds of the target `broker`: what a client sends on one connection, frame by frame.

use std::collections::BTreeMap;

use bytes::Bytes;

use strandline::protocol::messages::api_versions::ApiVersionsRequest;
use strandline::protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use strandline::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use strandline::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use strandline::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use strandline::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use strandline::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use strandline::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use strandline::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use strandline::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use strandline::protocol::{Records, Request, encode_request};
use strandline::record::{Codec, Compression};

use super::log_files::batch;

fn frame<R: Request>(request: &R, version: i16) -> Vec<u8> {
    encode_request(request, version, 1, None).unwrap().into_bytes().to_vec()
}

fn create() -> Vec<u8> {
    let topic = CreatableTopic { name: "t".into(), num_partitions: 2, replication_factor: 1, ..Default::default() };
    frame(&CreateTopicsRequest { topics: vec![topic], ..Default::default() }, 7)
}

fn produce(records: Bytes) -> Vec<u8> {
    let partition_data = vec![PartitionProduceData { index: 0, records: Some(Records(records)) }];
    let topic_data = vec![TopicProduceData { name: "t".into(), partition_data, ..Default::default() }];
    frame(&ProduceRequest { acks: -1, timeout_ms: 1000, topic_data, ..Default::default() }, 9)
}

fn fetch(max_wait_ms: i32, version: i16) -> Vec<u8> {
    let partitions = vec![FetchPartition { partition_max_bytes: 1000, ..Default::default() }];
    let topics = vec![FetchTopic { topic: "t".into(), partitions, ..Default::default() }];
    frame(&FetchRequest { max_wait_ms, min_bytes: 1000, session_epoch: 0, topics, ..Default::default() }, version)
}

fn metadata() -> Vec<u8> {
    let topic = MetadataRequestTopic { name: Some("auto".into()), ..Default::default() };
    frame(&MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() }, 12)
}

fn join() -> Vec<u8> {
    let protocols =
        vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(&[0, 1, 0, 0]) }];
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        group_instance_id: Some("i".into()),
        protocol_type: "consumer".into(),
        protocols,
        ..Default::default()
    };
    frame(&request, 5)
}

fn commit() -> Vec<u8> {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 3, ..Default::default() }];
    let topics = vec![OffsetCommitRequestTopic { name: "t".into(), partitions, ..Default::default() }];
    frame(&OffsetCommitRequest { group_id: "h".into(), topics, ..Default::default() }, 8)
}

fn configure() -> Vec<u8> {
    let config = |name: &str, value: &str| AlterableConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![config("retention.ms", "1000"), config("compression.type", "zstd")],
    };
    frame(&IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }, 1)
}

fn remove() -> Vec<u8> {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    let records = frame(&DeleteRecordsRequest { topics, timeout_ms: 1000 }, 2);
    let more = CreatePartitionsTopic { name: "t".into(), count: 4, assignments: None };
    let more = frame(&CreatePartitionsRequest { topics: vec![more], ..Default::default() }, 3);
    let topic = DeleteTopicState { name: Some("t".into()), ..Default::default() };
    let topics = frame(&DeleteTopicsRequest { topics: vec![topic], ..Default::default() }, 6);
    [records, more, topics].concat()
}

/// The seeds. `samples` are requests of each API in its newest version, as the target `request` has them.
pub(super) fn streams(samples: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let hello = || frame(&ApiVersionsRequest::default(), 3);
    let plain = || produce(batch(Compression::NONE, strandline::record::ProducerState::NONE, false, 3));
    let producer = strandline::record::ProducerState { id: 0, epoch: 0, base_sequence: 0 };
    let packed = || produce(batch(Compression::new(Codec::Lz4), producer, false, 2));
    let mut all = BTreeMap::from([
        ("produce-fetch".to_owned(), [hello(), create(), plain(), packed(), packed(), fetch(0, 12)].concat()),
        ("wait".to_owned(), [create(), fetch(500, 11), plain(), fetch(500, 4)].concat()),
        ("group".to_owned(), [metadata(), create(), join(), commit(), join()].concat()),
        ("admin".to_owned(), [create(), plain(), configure(), packed(), remove(), create()].concat()),
    ]);
    let framed = |frame: &Vec<u8>| [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
    let samples: Vec<_> = samples.values().map(framed).collect();
    for (at, some) in samples.chunks(8).enumerate() {
        all.insert(format!("samples-{at}"), [&create()[..], &some.concat()].concat());
    }
    all
}

pub(super) fn is_stream(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        rest = behind.get(u32::from_be_bytes(*length) as usize..).ok_or("a frame is cut")?;
    }
    if rest.is_empty() { Ok(()) } else { Err("bytes behind the last frame".to_owned()) }
}
