//! Records that stand in line: none overtakes another, none waits for ever, and they take no more memory than is allowed.

use super::*;
use crate::client::producer::Line;

/// What became of each record, in the order in which that was told.
type Told = Arc<Mutex<Vec<(usize, Result<Delivery>)>>>;

fn hand(line: &Arc<Line>, told: &Told, number: usize, topic: &str) -> Result<Option<Delivery>> {
    let value = number.to_string();
    let record = Record { topic, partition: Some(0), value: Some(value.as_bytes()), ..Record::default() };
    let told = told.clone();
    line.send(&record, || Box::new(move |result| told.lock().push((number, result))))
}

#[tokio::test]
async fn records_of_an_unknown_topic_keep_their_order() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let line = Line::new(producer(&doors, &[]));
    let told = Told::default();
    for number in 0..50 {
        assert!(hand(&line, &told, number, "t").unwrap().is_none(), "nobody asked for the topic yet");
    }
    while_time_passes(&clock, line.flush()).await;
    assert_eq!(told.lock().iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    for (number, result) in told.lock().iter() {
        assert_eq!(result.clone().unwrap().result().unwrap().unwrap().offset, Some(*number as i64));
    }
    assert!(hand(&line, &told, 50, "t").unwrap().is_some(), "the topic is known by now");
    while_time_passes(&clock, line.close(Duration::from_secs(1))).await;
    assert_eq!(log.lock().values[&0], numbers(51));
    assert!(matches!(hand(&line, &told, 51, "t"), Err(ClientError::Closed(_))));
}

#[tokio::test]
async fn a_topic_that_is_not_there_fails_its_own_records_in_time() {
    let broker = FakeBroker::new(1);
    serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let line = Line::new(producer(&doors, &[("max.block.ms", "1000")]));
    let told = Told::default();
    let start = clock.monotonic();
    for number in 0..10 {
        assert!(hand(&line, &told, number, "missing").unwrap().is_none());
    }
    assert!(hand(&line, &told, 10, "t").unwrap().is_none());
    while_time_passes(&clock, line.flush()).await;
    // All ten within the second of the first, not one after another.
    assert!(clock.monotonic() - start < Duration::from_millis(1500), "{:?}", clock.monotonic() - start);
    let told = told.lock();
    assert!(told.iter().all(|(number, result)| result.is_ok() == (*number == 10)), "{told:?}");
    assert_eq!(told.len(), 11);
}

#[tokio::test]
async fn what_stands_in_line_is_bounded() {
    let broker = FakeBroker::new(1);
    let log = serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let line = Line::new(producer(&doors, &[("buffer.memory", "100000"), ("batch.size", "1000")]));
    let told = Told::default();
    let large = "x".repeat(10_000);
    let record = Record { topic: "t", value: Some(large.as_bytes()), ..Record::default() };
    let send = || {
        let told = told.clone();
        line.send(&record, || Box::new(move |result| told.lock().push((0, result))))
    };
    let taken = (0..100).take_while(|_| send().is_ok()).count();
    assert_eq!(taken, 9, "nine of ten thousand bytes and a little, in line");
    assert!(matches!(send(), Err(ClientError::BufferFull { limit: 100_000, .. })));
    while_time_passes(&clock, line.flush()).await;
    assert!(send().is_ok(), "there is room again");
    while_time_passes(&clock, line.close(Duration::from_secs(1))).await;
    assert_eq!(log.lock().values[&0].len(), taken + 1);
}

#[tokio::test]
async fn closing_gives_up_what_still_stands_in_line() {
    let broker = FakeBroker::new(1);
    serve(&broker, Box::new(|_, _| None));
    let (doors, clock) = doors(&broker);
    let line = Line::new(producer(&doors, &[]));
    let told = Told::default();
    hand(&line, &told, 0, "missing").unwrap();
    while_time_passes(&clock, line.close(Duration::from_millis(10))).await;
    while_time_passes(&clock, line.empty()).await;
    assert!(matches!(told.lock()[..], [(0, Err(_))]), "{told:?}");
}
