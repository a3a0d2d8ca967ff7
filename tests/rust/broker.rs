//! A broker in this process, asked over TCP in the protocol's own words.

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use strandline::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use strandline::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline::protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use strandline::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use strandline::protocol::{ErrorCode, Records, Request, Str, decode_response, encode_request};
use strandline::record::{BatchBuilder, BatchOptions, batches};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection, one request after another.
struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    async fn connect(broker: &RunningBroker) -> Client {
        Client { stream: TcpStream::connect(broker.address()).await.unwrap(), correlation_id: 0 }
    }

    /// Sends a request and leaves its reply on the way.
    async fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let frame = encode_request(request, version, self.correlation_id, Some(&Str::from("test"))).unwrap();
        self.stream.write_all(&frame.into_bytes()).await.unwrap();
    }

    async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let length = self.stream.read_i32().await.unwrap();
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        decode_response::<R>(frame.into(), version).unwrap()
    }

    async fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version).await;
        let (correlation_id, response) = self.receive::<R>(version).await;
        assert_eq!(correlation_id, self.correlation_id);
        response
    }

    async fn create_topic(&mut self, name: &str) {
        let topic =
            CreatableTopic { name: Str::from(name), num_partitions: 1, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(self.ask(&request, 7).await.topics[0].error_code, ErrorCode::NONE);
    }

    async fn end_offset(&mut self, topic: &str) -> i64 {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: Str::from(topic), partitions: vec![partition] };
        let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
        self.ask(&request, 7).await.topics[0].partitions[0].offset
    }
}

fn produce(topic: &str, values: &[&str]) -> ProduceRequest {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), std::iter::empty());
    }
    let records = Some(Records(builder.build().unwrap()));
    ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: Str::from(topic),
            partition_data: vec![PartitionProduceData { index: 0, records }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch(topic: &str, fetch_offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        topics: vec![FetchTopic { topic: Str::from(topic), partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    }
}

fn values(records: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    for batch in batches(records) {
        let batch = batch.unwrap();
        let body = batch.body(1 << 20).unwrap();
        values.extend(body.iter().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()));
    }
    values
}

async fn start(dir: &TempDir) -> RunningBroker {
    let mut settings = BrokerSettings::new();
    settings.set("log.dirs", &dir.path().display().to_string());
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    RunningBroker::start(settings).await.unwrap()
}

#[tokio::test]
async fn what_was_produced_is_fetched_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t").await;
    let produced = client.ask(&produce("t", &["a", "b"]), 9).await;
    assert_eq!(produced.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    broker.stop().await.unwrap();
    assert!(dir.path().join(".kafka_cleanshutdown").exists());

    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    let fetched = client.ask(&fetch("t", 0, 0), 11).await;
    let records = fetched.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(values(&records), ["a", "b"]);
    assert_eq!(client.end_offset("t").await, 2);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_fetch_that_waits_is_woken_by_an_append() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut reader = Client::connect(&broker).await;
    reader.create_topic("t").await;
    // Far longer than the test may take: only an append can end the wait.
    reader.send(&fetch("t", 0, 600_000), 11).await;
    let mut writer = Client::connect(&broker).await;
    writer.ask(&produce("t", &["late"]), 9).await;
    let (_, fetched) = reader.receive::<FetchRequest>(11).await;
    assert_eq!(values(&fetched.responses[0].partitions[0].records.clone().unwrap()), ["late"]);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn replies_leave_in_the_order_of_the_requests() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t").await;
    // The fetch waits for the produce behind it, and is answered before it all the same.
    client.send(&fetch("t", 0, 600_000), 11).await;
    client.send(&produce("t", &["x"]), 9).await;
    let (first, fetched) = client.receive::<FetchRequest>(11).await;
    let (second, _) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(
        (first + 1, values(&fetched.responses[0].partitions[0].records.clone().unwrap())),
        (second, vec!["x".to_owned()])
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_connection_sends_in_a_row_is_appended_in_that_order() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    for topic in 0..20 {
        let topic = format!("t{topic}");
        client.create_topic(&topic).await;
        // The first of these opens the log, which takes a moment; those behind it must not overtake.
        for value in ["a", "b", "c"] {
            client.send(&produce(&topic, &[value]), 9).await;
        }
        for offset in 0..3 {
            let (_, produced) = client.receive::<ProduceRequest>(9).await;
            assert_eq!(produced.responses[0].partition_responses[0].base_offset, offset);
        }
        let fetched = client.ask(&fetch(&topic, 0, 0), 11).await;
        assert_eq!(values(&fetched.responses[0].partitions[0].records.clone().unwrap()), ["a", "b", "c"]);
    }
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_answers_a_fetch_that_waits() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t").await;
    client.send(&fetch("t", 0, 600_000), 11).await;
    // Behind a request that was answered, the one before it is surely under way.
    let mut other = Client::connect(&broker).await;
    other.end_offset("t").await;
    broker.stop().await.unwrap();
    // Whether the stop came before or after the fetch was taken up: the connection ends, and nothing hangs.
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_second_broker_on_the_same_data_is_refused_and_told_by_whom() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut settings = BrokerSettings::new();
    settings.set("log.dirs", &dir.path().display().to_string());
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    let refused = RunningBroker::start(settings).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let dir = TempDir::new().unwrap();
    let broker = start(&dir).await;
    let mut client = Client::connect(&broker).await;
    let mut frame = encode_request(&ApiVersionsRequest::default(), 4, 7, None).unwrap().into_bytes().to_vec();
    // The version stands behind the length and the key.
    frame[6..8].copy_from_slice(&99i16.to_be_bytes());
    client.stream.write_all(&frame).await.unwrap();
    let (_, response): (i32, ApiVersionsResponse) = client.receive::<ApiVersionsRequest>(0).await;
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    broker.stop().await.unwrap();
}
