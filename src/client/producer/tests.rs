//! The producer against a broker that checks sequences as Kafka's does, and fails on purpose.

mod bulk;
mod line;

use std::collections::HashMap;

use super::*;
use crate::client::testing::{Answer, FakeBroker, TOPIC_ID, doors, metadata, values, while_time_passes};
use crate::common::clock::{Clock, ManualClock};
use crate::config::Scope;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponseBroker};
use crate::protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::batch::increment_sequence;
use crate::record::{Batch, batches};

/// What lies in the broker's partitions, and what it knows of the producer in each.
#[derive(Default)]
struct Log {
    values: HashMap<i32, Vec<String>>,
    /// Epoch, next sequence.
    producers: HashMap<i32, (i16, i32)>,
    batches: usize,
}

type Verdict = Box<dyn FnMut(&Batch<'_>, i32) -> Option<ErrorCode> + Send>;

/// A broker with a log. `fail` may have a batch fail before it is looked at.
fn serve(broker: &FakeBroker, mut fail: Verdict) -> Arc<Mutex<Log>> {
    let log = Arc::new(Mutex::new(Log::default()));
    broker.on(|_: InitProducerIdRequest, _| {
        Answer::Reply(InitProducerIdResponse { producer_id: 42, producer_epoch: 0, ..Default::default() })
    });
    let kept = log.clone();
    broker.on(move |request: ProduceRequest, _| {
        let mut log = kept.lock();
        let mut partition_responses = Vec::new();
        for topic in &request.topic_data {
            assert_eq!(topic.topic_id, TOPIC_ID);
            for data in &topic.partition_data {
                let bytes = data.records.clone().unwrap();
                assert_eq!(batches(&bytes).count(), 1);
                let batch = Batch::parse(&bytes).unwrap();
                batch.verify_crc().unwrap();
                let (error_code, base_offset) = match fail(&batch, data.index) {
                    Some(code) => (code, -1),
                    None => log.append(data.index, &batch),
                };
                let index = data.index;
                partition_responses.push(PartitionProduceResponse {
                    index,
                    error_code,
                    base_offset,
                    ..Default::default()
                });
            }
        }
        if request.acks == 0 {
            return Answer::Silence;
        }
        let topic = TopicProduceResponse { topic_id: TOPIC_ID, partition_responses, ..Default::default() };
        Answer::Reply(ProduceResponse { responses: vec![topic], ..Default::default() })
    });
    log
}

impl Log {
    /// Appends as Kafka does: by epoch and sequence, if the batch has them. Of a producer that it does not know, it takes
    /// whatever sequence comes first.
    fn append(&mut self, partition: i32, batch: &Batch<'_>) -> (ErrorCode, i64) {
        if batch.has_producer_id() {
            let next = match self.producers.get(&partition) {
                Some((epoch, next)) if *epoch == batch.producer_epoch() => *next,
                Some((epoch, _)) if *epoch > batch.producer_epoch() => return (ErrorCode::INVALID_PRODUCER_EPOCH, -1),
                Some(_) => 0,
                None => batch.base_sequence(),
            };
            if batch.base_sequence() != next {
                return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
            }
            let next = increment_sequence(next, batch.record_count());
            self.producers.insert(partition, (batch.producer_epoch(), next));
        }
        self.batches += 1;
        let values = self.values.entry(partition).or_default();
        let base_offset = values.len() as i64;
        let body = batch.body(1 << 20).unwrap();
        values.extend(body.iter().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()));
        (ErrorCode::NONE, base_offset)
    }
}

fn producer(doors: &Doors, pairs: &[(&str, &str)]) -> Producer {
    Producer::new(doors.clone(), &values(Scope::Producer, pairs)).unwrap()
}

async fn send(producer: &Producer, value: &str, partition: Option<i32>) -> Result<Delivery> {
    producer.send_async(&Record { topic: "t", partition, value: Some(value.as_bytes()), ..Record::default() }).await
}

async fn send_many(clock: &ManualClock, producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for n in 0..count {
        deliveries.push(while_time_passes(clock, send(producer, &n.to_string(), Some(0))).await.unwrap());
    }
    deliveries
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn records_come_out_in_the_order_they_went_in() {
    let broker = FakeBroker::new(2);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "200")]);
    let deliveries = send_many(&clock, &producer, 100).await;
    while_time_passes(&clock, producer.flush()).await;
    for (n, delivery) in deliveries.iter().enumerate() {
        assert_eq!(delivery.result().unwrap().unwrap().offset, Some(n as i64));
    }
    assert_eq!(log.lock().values[&0], numbers(100));
    assert_eq!(log.lock().producers[&0], (0, 100));
    assert!(log.lock().batches > 5);
    while_time_passes(&clock, producer.close(Duration::from_secs(1))).await;
    assert!(matches!(send(&producer, "late", None).await, Err(ClientError::Closed(_))));
}

#[tokio::test]
async fn the_first_batch_goes_alone_until_the_broker_knows_the_producer() {
    let broker = FakeBroker::new(1);
    let mut calls = 0;
    // As Apache Kafka answers in the moment between telling that it leads a new partition and leading it.
    let log = serve(
        &broker,
        Box::new(move |_, _| {
            calls += 1;
            (calls == 1).then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }),
    );
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "150"), ("linger.ms", "1000")]);
    send_many(&clock, &producer, 50).await;
    while_time_passes(&clock, producer.flush()).await;
    assert_eq!(log.lock().values[&0], numbers(50));
}

#[tokio::test]
async fn keys_choose_the_partition_as_in_java() {
    let broker = FakeBroker::new(10);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[]);
    let record = Record { topic: "t", key: Some(b"foobar"), value: Some(b"v"), ..Record::default() };
    let delivery = while_time_passes(&clock, producer.send_async(&record)).await.unwrap();
    while_time_passes(&clock, delivery.clone()).await.unwrap();
    // murmur2("foobar") is -790332482, whose positive form ends in 6.
    assert_eq!((delivery.partition(), log.lock().values.keys().copied().collect::<Vec<_>>()), (6, vec![6]));
}

#[tokio::test]
async fn a_batch_lingers_unless_it_is_full_or_flushed() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("linger.ms", "1000")]);
    let first = send_many(&clock, &producer, 1).await.remove(0);
    let start = clock.monotonic();
    while_time_passes(&clock, first).await.unwrap();
    assert!((clock.monotonic() - start).as_millis() >= 995, "{:?}", clock.monotonic() - start);
    let second = send_many(&clock, &producer, 1).await.remove(0);
    let start = clock.monotonic();
    while_time_passes(&clock, producer.flush()).await;
    assert!(second.is_done() && (clock.monotonic() - start).as_millis() < 100);
    assert_eq!(log.lock().batches, 2);
}

#[tokio::test]
async fn random_failures_neither_lose_nor_double_nor_reorder() {
    for seed in 0..20u64 {
        let broker = FakeBroker::new(1);
        let mut dice = seed;
        let log = serve(
            &broker,
            Box::new(move |_, _| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                [None, None, Some(ErrorCode::NOT_LEADER_OR_FOLLOWER), Some(ErrorCode::NOT_ENOUGH_REPLICAS)]
                    [(dice >> 60) as usize % 4]
            }),
        );
        let (doors, clock) = doors(&broker);
        let producer = producer(&doors, &[("batch.size", "150")]);
        let deliveries = send_many(&clock, &producer, 100).await;
        while_time_passes(&clock, producer.flush()).await;
        for (n, delivery) in deliveries.iter().enumerate() {
            assert_eq!(delivery.result().unwrap().unwrap().offset, Some(n as i64), "seed {seed}");
        }
        assert_eq!(log.lock().values[&0], numbers(100), "seed {seed}");
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_and_does_not_know_it_is_left_for_the_new_one() {
    let (old, new) = (FakeBroker::new(1), FakeBroker::new(1));
    old.join("new", &new);
    let newcomer = || MetadataResponseBroker { node_id: 2, host: "new".into(), port: 9092, rack: None };
    old.on(move |request: MetadataRequest, _| {
        let mut known = metadata(&request, 1);
        known.brokers.push(newcomer());
        Answer::Reply(known)
    });
    new.on(move |request: MetadataRequest, _| {
        let mut known = metadata(&request, 1);
        known.brokers.push(newcomer());
        let led = known.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        led.for_each(|partition| (partition.leader_id, partition.leader_epoch) = (2, 2));
        Answer::Reply(known)
    });
    serve(&old, Box::new(|_, _| Some(ErrorCode::REQUEST_TIMED_OUT)));
    let log = serve(&new, Box::new(|_, _| None));
    let (doors, clock) = doors(&old);
    let producer = producer(&doors, &[]);
    let delivery = send_many(&clock, &producer, 1).await.remove(0);
    while_time_passes(&clock, delivery).await.unwrap();
    assert_eq!(log.lock().values[&0], numbers(1));
}

#[tokio::test]
async fn a_producer_that_the_broker_forgot_goes_on_under_a_new_epoch() {
    let broker = FakeBroker::new(1);
    let mut seen = 0;
    let log = serve(
        &broker,
        Box::new(move |_, _| {
            seen += 1;
            (seen == 3).then_some(ErrorCode::UNKNOWN_PRODUCER_ID)
        }),
    );
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "150")]);
    send_many(&clock, &producer, 40).await;
    while_time_passes(&clock, producer.flush()).await;
    assert_eq!(log.lock().values[&0], numbers(40));
    let (epoch, next) = log.lock().producers[&0];
    assert!(epoch == 1 && next < 40, "{epoch} {next}");
}

#[tokio::test]
async fn a_batch_that_was_given_up_leaves_no_gap() {
    let broker = FakeBroker::new(1);
    let mut seen = 0;
    let log = serve(
        &broker,
        Box::new(move |_, _| {
            seen += 1;
            (seen == 2).then_some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)
        }),
    );
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "150")]);
    let deliveries = send_many(&clock, &producer, 40).await;
    while_time_passes(&clock, producer.flush()).await;
    let failed: Vec<_> = deliveries.iter().filter(|delivery| delivery.result().unwrap().is_err()).collect();
    assert!(!failed.is_empty() && failed.len() < 20);
    let error = failed[0].result().unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let written: Vec<_> = (0..40).filter(|n| deliveries[*n].result().unwrap().is_ok()).map(|n| n.to_string()).collect();
    assert_eq!(log.lock().values[&0], written);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split_until_it_fits() {
    let broker = FakeBroker::new(1);
    let most = 4;
    let log =
        serve(&broker, Box::new(move |batch, _| (batch.record_count() > most).then_some(ErrorCode::MESSAGE_TOO_LARGE)));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "400"), ("compression.type", "lz4")]);
    let deliveries = send_many(&clock, &producer, 60).await;
    while_time_passes(&clock, producer.flush()).await;
    assert_eq!(log.lock().values[&0], numbers(60));
    for (n, delivery) in deliveries.iter().enumerate() {
        assert_eq!(delivery.result().unwrap().unwrap().offset, Some(n as i64));
    }
    assert!(log.lock().batches >= 15);
}

#[tokio::test]
async fn what_is_not_delivered_in_time_is_given_up() {
    let broker = FakeBroker::new(1);
    serve(&broker, Box::new(|_, _| Some(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("delivery.timeout.ms", "5000"), ("request.timeout.ms", "1000")]);
    let delivery = send_many(&clock, &producer, 1).await.remove(0);
    let start = clock.monotonic();
    let error = while_time_passes(&clock, delivery).await.unwrap_err();
    let took = clock.monotonic() - start;
    assert!(error.retriable(), "{error}");
    assert!((4_500..6_500).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_full_buffer_blocks_and_then_refuses() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("buffer.memory", "1000"), ("batch.size", "500"), ("max.block.ms", "2000")]);
    // Room is made as batches are written.
    send_many(&clock, &producer, 200).await;
    while_time_passes(&clock, producer.flush()).await;
    assert_eq!(log.lock().values[&0], numbers(200));
    broker.on(|_: ProduceRequest, _| Answer::Silence);
    let refused = loop {
        match while_time_passes(&clock, send(&producer, "more and more", Some(0))).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused.to_string(), "buffer.memory (1000 bytes) is used up, and was for 2000 ms");
    let record = Record { topic: "t", value: Some(&[0; 2000]), ..Record::default() };
    let large = producer.send_async(&record).await.unwrap_err();
    assert!(large.to_string().contains("buffer.memory allows 1000"), "{large}");
}

#[tokio::test]
async fn without_acks_a_record_is_done_once_it_is_sent() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("acks", "0")]);
    let delivery = send_many(&clock, &producer, 1).await.remove(0);
    let delivered = while_time_passes(&clock, delivery).await.unwrap();
    assert_eq!(delivered.offset, None);
    while_time_passes(&clock, clock.sleep(Duration::from_millis(5))).await;
    assert_eq!(log.lock().values[&0], numbers(1));
    assert_eq!(broker.count(ApiKey::InitProducerId), 0);
}

#[tokio::test]
async fn a_topic_or_partition_that_is_not_there_is_named() {
    let broker = FakeBroker::new(2);
    serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("max.block.ms", "1000")]);
    let no_partition = while_time_passes(&clock, send(&producer, "v", Some(2))).await.unwrap_err();
    assert_eq!(no_partition.to_string(), "t has no partition 2: it has 2");
    let record = Record { topic: "u", value: Some(b"v"), ..Record::default() };
    let no_topic = while_time_passes(&clock, producer.send_async(&record)).await.unwrap_err();
    assert_eq!(no_topic.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert!(producer.send(&record).unwrap_err().to_string().contains("use send_async"));
}
