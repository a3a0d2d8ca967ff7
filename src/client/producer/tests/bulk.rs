//! Many records at once: each is counted where it lies, or named with what became of it.

use super::*;
use crate::client::producer::bulk::{BulkReport, WrittenRecords};

/// A step that never waits.
const NOW: Duration = Duration::ZERO;

fn record(value: &str, partition: i32) -> Record<'_> {
    Record { topic: "t", partition: Some(partition), value: Some(value.as_bytes()), ..Record::default() }
}

async fn bulk<'a>(clock: &ManualClock, producer: &'a Producer) -> Bulk<'a> {
    let topic = while_time_passes(clock, producer.partitions("t", Duration::from_secs(1))).await.unwrap();
    Bulk::new(producer, &topic.name).unwrap()
}

async fn send_all(clock: &ManualClock, bulk: &mut Bulk<'_>, values: &[String], partitions: usize) {
    for (number, value) in values.iter().enumerate() {
        while !bulk.send(number as u64, &record(value, (number % partitions) as i32), NOW).unwrap() {
            while_time_passes(clock, clock.sleep(Duration::from_millis(1))).await;
        }
        if number % 7 == 0 {
            bulk.harvest();
        }
    }
}

async fn finish(clock: &ManualClock, mut bulk: Bulk<'_>) -> BulkReport {
    while !bulk.finish(NOW) {
        while_time_passes(clock, clock.sleep(Duration::from_millis(1))).await;
    }
    bulk.into_report()
}

fn failed(report: &BulkReport) -> Vec<String> {
    report.failed.iter().map(|(number, _)| number.to_string()).collect()
}

#[tokio::test]
async fn what_was_written_is_counted_and_what_was_not_is_named() {
    let broker = FakeBroker::new(3);
    let mut seen = 0;
    let log = serve(
        &broker,
        Box::new(move |_, partition| {
            seen += usize::from(partition == 1);
            (partition == 1 && seen == 2).then_some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)
        }),
    );
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "150"), ("linger.ms", "1000")]);
    let mut bulk = bulk(&clock, &producer).await;
    send_all(&clock, &mut bulk, &numbers(100), 2).await;
    let start = clock.monotonic();
    let report = finish(&clock, bulk).await;
    assert!((clock.monotonic() - start).as_millis() < 500, "nothing lingers at the end");
    let log = log.lock();
    let even: Vec<String> = numbers(100).into_iter().step_by(2).collect();
    assert_eq!(log.values[&0], even);
    let whole = WrittenRecords { count: 50, first_offset: Some(0), last_offset: Some(49) };
    assert_eq!(report.written[&0], whole);
    let lost = failed(&report);
    assert!(!lost.is_empty() && lost.len() < 30, "{lost:?}");
    assert_eq!(report.failed[0].1.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let left: Vec<String> = numbers(100).into_iter().skip(1).step_by(2).filter(|n| !lost.contains(n)).collect();
    assert_eq!(log.values[&1], left);
    let count = left.len() as u64;
    let rest = WrittenRecords { count, first_offset: Some(0), last_offset: Some(count as i64 - 1) };
    assert_eq!((report.written[&1], report.written.len()), (rest, 2));
}

#[tokio::test]
async fn of_a_batch_that_is_split_each_record_has_its_own_story() {
    let broker = FakeBroker::new(1);
    let refused = |batch: &Batch<'_>| {
        let body = batch.body(1 << 20).unwrap();
        batch.record_count() > 4 || body.iter().any(|record| record.unwrap().value == Some(b"13"))
    };
    let log = serve(&broker, Box::new(move |batch, _| refused(batch).then_some(ErrorCode::MESSAGE_TOO_LARGE)));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "400"), ("compression.type", "lz4")]);
    let mut bulk = bulk(&clock, &producer).await;
    send_all(&clock, &mut bulk, &numbers(60), 1).await;
    let report = finish(&clock, bulk).await;
    assert_eq!(failed(&report), ["13"]);
    assert_eq!(report.failed[0].1.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(report.written[&0], WrittenRecords { count: 59, first_offset: Some(0), last_offset: Some(58) });
    assert_eq!(log.lock().values[&0].len(), 59);
}

#[tokio::test]
async fn records_of_others_in_the_same_batches_are_theirs() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("batch.size", "500"), ("linger.ms", "1000")]);
    let (mut one, mut two) = (bulk(&clock, &producer).await, bulk(&clock, &producer).await);
    for number in 0..10 {
        assert!(one.send(number, &record("one", 0), NOW).unwrap());
        if number % 2 == 1 {
            assert!(two.send(number / 2, &record("two", 0), NOW).unwrap());
        }
    }
    let (one, two) = (finish(&clock, one).await, finish(&clock, two).await);
    assert_eq!(one.written[&0], WrittenRecords { count: 10, first_offset: Some(0), last_offset: Some(13) });
    assert_eq!(two.written[&0], WrittenRecords { count: 5, first_offset: Some(2), last_offset: Some(14) });
    assert_eq!(log.lock().values[&0].len(), 15);
}

#[tokio::test]
async fn a_record_that_can_never_be_sent_stops_no_other() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("max.request.size", "1000")]);
    let mut bulk = bulk(&clock, &producer).await;
    let large = "x".repeat(2000);
    assert!(bulk.send(0, &record(&large, 0), NOW).unwrap());
    assert!(bulk.send(1, &record("fine", 0), NOW).unwrap());
    assert!(bulk.send(2, &Record { timestamp: Some(-5), ..record("too old", 0) }, NOW).unwrap());
    let report = finish(&clock, bulk).await;
    let told: Vec<_> = report.failed.iter().map(|(number, error)| (*number, error.to_string())).collect();
    assert!(told[0].1.contains("max.request.size allows 1000"), "{told:?}");
    assert_eq!(told[1], (2, "timestamp is -5: it must be at least 0, milliseconds since 1970".to_owned()));
    assert_eq!((log.lock().values[&0].clone(), told.len()), (vec!["fine".to_owned()], 2));
}

#[tokio::test]
async fn a_full_buffer_is_waited_for_as_long_as_it_empties() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let producer = producer(&doors, &[("buffer.memory", "1000"), ("batch.size", "500"), ("max.block.ms", "2000")]);
    let mut first = bulk(&clock, &producer).await;
    send_all(&clock, &mut first, &numbers(500), 1).await;
    assert_eq!(finish(&clock, first).await.written[&0].count, 500);
    assert_eq!(log.lock().values[&0], numbers(500));
    broker.on(|_: ProduceRequest, _| Answer::Silence);
    let mut second = bulk(&clock, &producer).await;
    let start = clock.monotonic();
    let error = loop {
        match second.send(0, &record("more and more", 0), NOW) {
            Ok(true) => {}
            Ok(false) => while_time_passes(&clock, clock.sleep(Duration::from_millis(20))).await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "buffer.memory (1000 bytes) is used up, and was for 2000 ms");
    assert!((2000..2500).contains(&(clock.monotonic() - start).as_millis()));
    while_time_passes(&clock, producer.close(Duration::from_millis(10))).await;
    assert!(matches!(second.send(0, &record("late", 0), NOW), Err(ClientError::Closed(_))));
    let report = finish(&clock, second).await;
    assert!(report.written.is_empty() && !report.failed.is_empty());
}
