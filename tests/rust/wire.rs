//! A client that does as it is told: one connection, one request at a time, no retries, no metadata. What a test needs
//! that wants to see the broker's own answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;

use strandline::protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use strandline::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use strandline::protocol::{ErrorCode, Records, Request, decode_response, encode_request};
use strandline::record::{BatchBuilder, BatchOptions, batches};

/// No answer takes as long; a test that waits for one fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a broker.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        let frame = encode_request(request, version, 7, None).unwrap();
        self.stream.write_all(&frame.into_bytes())?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        let (correlation_id, response) = decode_response::<R>(Bytes::from(frame), version).unwrap();
        assert_eq!(correlation_id, 7);
        Ok(response)
    }

    /// Makes a topic of one partition.
    pub(crate) fn create(&mut self, topic: &str) -> ErrorCode {
        self.create_with(topic, &[])
    }

    /// Makes a topic of one partition with configs.
    pub(crate) fn create_with(&mut self, topic: &str, configs: &[(&str, &str)]) -> ErrorCode {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) });
        let topics = vec![CreatableTopic {
            name: topic.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        }];
        let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
        self.call(&request, 7).unwrap().topics[0].error_code
    }

    /// Produces to partition 0 of a topic and waits until all have it.
    pub(crate) fn produce(&mut self, topic: &str, records: Bytes) -> PartitionProduceResponse {
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(Records(records)) }];
        let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..TopicProduceData::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data, ..ProduceRequest::default() };
        self.call(&request, 9).unwrap().responses.remove(0).partition_responses.remove(0)
    }

    /// Partition 0 of a topic, from `offset` to its end: the error code and the values.
    pub(crate) fn fetch(&mut self, topic: &str, offset: i64) -> (ErrorCode, Vec<String>) {
        let partitions =
            vec![FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }];
        let topics = vec![FetchTopic { topic: topic.into(), partitions, ..FetchTopic::default() }];
        let request = FetchRequest { max_wait_ms: 0, topics, ..FetchRequest::default() };
        let mut response = self.call(&request, 12).unwrap();
        let read = response.responses.remove(0).partitions.remove(0);
        let records = read.records.unwrap_or_default();
        let mut values = Vec::new();
        for batch in batches(&records) {
            for record in batch.unwrap().body(1 << 20).unwrap().iter() {
                values.push(String::from_utf8_lossy(record.unwrap().value.unwrap()).into_owned());
            }
        }
        (read.error_code, values)
    }

    /// Waits until the broker closes the connection; what it sent until then.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            // What we had sent and it had not read makes a reset of its close.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            read => drop(read.expect("the broker closes the connection")),
        }
        bytes
    }
}

/// A batch with one record for each value.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), std::iter::empty());
    }
    builder.build().unwrap()
}
