//! The codec: the messages that brokers and clients exchange most, in their newest version.

use bytes::Bytes;
use divan::{Bencher, black_box};
use strandline::common::ids::Uuid;
use strandline::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use strandline::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use strandline::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use strandline::protocol::{Request, decode_request_header, decode_response, encode_request, encode_response};
use strandline::record::Codec;

use crate::SMALL;
use crate::record::batch;

const PARTITIONS: i32 = 10;

fn produce() -> ProduceRequest {
    let records = batch(SMALL, Codec::None);
    let data = |index| PartitionProduceData { index, records: Some(records.clone().into()) };
    let topic = TopicProduceData { topic_id: Uuid([7; 16]), ..TopicProduceData::default() };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData { partition_data: (0..PARTITIONS).map(data).collect(), ..topic }],
        ..ProduceRequest::default()
    }
}

fn fetch() -> FetchRequest {
    let wanted = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic_id: Uuid([7; 16]), ..FetchTopic::default() };
    let topics = vec![FetchTopic { partitions: (0..PARTITIONS).map(wanted).collect(), ..topic }];
    FetchRequest { max_wait_ms: 500, min_bytes: 1, topics, ..FetchRequest::default() }
}

fn fetched() -> FetchResponse {
    let records = batch(SMALL, Codec::None);
    let data = |partition_index| PartitionData {
        partition_index,
        high_watermark: 100,
        records: Some(records.clone().into()),
        ..PartitionData::default()
    };
    let topic = FetchableTopicResponse { topic_id: Uuid([7; 16]), ..FetchableTopicResponse::default() };
    let responses = vec![FetchableTopicResponse { partitions: (0..PARTITIONS).map(data).collect(), ..topic }];
    FetchResponse { responses, ..FetchResponse::default() }
}

/// A hundred topics of ten partitions.
fn metadata() -> MetadataResponse {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        replica_nodes: vec![1, 2, 3],
        isr_nodes: vec![1, 2, 3],
        ..MetadataResponsePartition::default()
    };
    let topic = |number: u8| MetadataResponseTopic {
        name: Some(format!("flights-{number}").into()),
        topic_id: Uuid([number; 16]),
        partitions: (0..PARTITIONS).map(partition).collect(),
        ..MetadataResponseTopic::default()
    };
    let broker =
        |node_id| MetadataResponseBroker { node_id, host: "127.0.0.1".to_owned().into(), port: 9092, rack: None };
    MetadataResponse {
        brokers: (1..=3).map(broker).collect(),
        topics: (0..100).map(topic).collect(),
        ..MetadataResponse::default()
    }
}

/// A frame as it comes from a socket, without its size.
fn received(frame: strandline::protocol::Frame) -> Bytes {
    frame.into_bytes().slice(4..)
}

fn encode_one<R: Request>(bencher: Bencher, request: R) {
    bencher.bench_local(|| encode_request(black_box(&request), R::VERSIONS.max, 1, None));
}

fn decode_one<R: Request>(bencher: Bencher, request: R) {
    let frame = received(encode_request(&request, R::VERSIONS.max, 1, None).unwrap());
    bencher.bench_local(|| {
        let (header, mut decoder) = decode_request_header(black_box(&frame).clone()).unwrap();
        R::decode(&mut decoder, header.api_version).unwrap()
    });
}

fn encode_answer<R: Request>(bencher: Bencher, response: R::Response) {
    bencher.bench_local(|| encode_response::<R>(black_box(&response), R::VERSIONS.max, 1));
}

fn decode_answer<R: Request>(bencher: Bencher, response: R::Response) {
    let frame = received(encode_response::<R>(&response, R::VERSIONS.max, 1).unwrap());
    bencher.bench_local(|| decode_response::<R>(black_box(&frame).clone(), R::VERSIONS.max).unwrap());
}

#[divan::bench]
fn encode_produce(bencher: Bencher) {
    encode_one(bencher, produce());
}

#[divan::bench]
fn decode_produce(bencher: Bencher) {
    decode_one(bencher, produce());
}

#[divan::bench]
fn encode_fetch(bencher: Bencher) {
    encode_one(bencher, fetch());
}

#[divan::bench]
fn decode_fetch(bencher: Bencher) {
    decode_one(bencher, fetch());
}

#[divan::bench]
fn encode_fetch_response(bencher: Bencher) {
    encode_answer::<FetchRequest>(bencher, fetched());
}

#[divan::bench]
fn decode_fetch_response(bencher: Bencher) {
    decode_answer::<FetchRequest>(bencher, fetched());
}

#[divan::bench]
fn encode_metadata_response(bencher: Bencher) {
    encode_answer::<MetadataRequest>(bencher, metadata());
}

#[divan::bench]
fn decode_metadata_response(bencher: Bencher) {
    decode_answer::<MetadataRequest>(bencher, metadata());
}
