//! A client that asks and never reads its replies costs its own connection and little memory.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::common::clock::ManualClock;
use strandline::log::fs::memory::MemoryFs;
use strandline::protocol::messages::api_versions::ApiVersionsRequest;
use strandline::protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use strandline::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use strandline::protocol::{ErrorCode, Request, encode_request};

use crate::alone::{Held, alone};
use crate::wire::Wire;

fn start(runtime: &Runtime, clock: Option<Arc<ManualClock>>) -> RunningBroker {
    let mut settings = BrokerSettings::new().with_file_system(Arc::new(MemoryFs::new()));
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", "/data");
    if let Some(clock) = clock {
        settings = settings.with_clock(clock);
    }
    runtime.block_on(RunningBroker::start(settings)).unwrap()
}

fn frame<R: Request>(request: &R, version: i16) -> Vec<u8> {
    encode_request(request, version, 7, None).unwrap().into_bytes().to_vec()
}

/// All configs of the broker, with their texts: a reply of many kilobytes for a request of few bytes.
fn greedy() -> Vec<u8> {
    let resource = DescribeConfigsResource { resource_type: 4, resource_name: "1".into(), configuration_keys: None };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    frame(&request, 4)
}

/// A fetch that waits for a long time, so that all replies behind it wait too.
fn waiting(topic: &str) -> Vec<u8> {
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
    let topics = vec![FetchTopic { topic: topic.into(), partitions, ..Default::default() }];
    frame(&FetchRequest { max_wait_ms: 600_000, min_bytes: 1, max_bytes: 1 << 20, topics, ..Default::default() }, 12)
}

/// Sends `request` again and again until the broker reads no more of it.
fn flood(wire: &mut Wire, request: &[u8]) {
    wire.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let many = request.repeat(100);
    loop {
        match wire.stream.write_all(&many) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn replies_that_nobody_reads_cost_little_memory() {
    alone("slow_readers::replies_that_nobody_reads_cost_little_memory", || {
        let runtime = Runtime::new().unwrap();
        let broker = start(&runtime, None);
        let mut friend = Wire::connect(broker.address());
        assert_eq!(friend.create("tide"), ErrorCode::NONE);
        friend.call(&ApiVersionsRequest::default(), 3).unwrap();
        let before = Held::now();
        let silent: Vec<Wire> = (0..20)
            .map(|n| {
                let mut wire = Wire::connect(broker.address());
                if n % 2 == 0 {
                    wire.stream.write_all(&waiting("tide")).unwrap();
                }
                flood(&mut wire, &greedy());
                wire
            })
            .collect();
        friend.call(&ApiVersionsRequest::default(), 3).unwrap();
        let during = Held::now();
        println!("{before:?}, {during:?}");
        // 10 connections may hold a megabyte of replies each, and the others one reply.
        assert!(during.resident_kib < before.resident_kib + 24 * 1024, "{before:?}, {during:?}");
        drop(silent);
        runtime.block_on(broker.stop()).unwrap();
    });
}

#[test]
fn a_broker_stops_while_somebody_does_not_read() {
    let runtime = Runtime::new().unwrap();
    let clock = ManualClock::new(1_700_000_000_000);
    let broker = start(&runtime, Some(clock.clone()));
    let mut silent = Wire::connect(broker.address());
    flood(&mut silent, &greedy());
    let stopping = runtime.spawn(broker.stop());
    // It gives the other side a moment to read, by the clock.
    while !stopping.is_finished() {
        clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
    }
    runtime.block_on(stopping).unwrap().unwrap();
    drop(silent);
}

#[test]
fn a_connection_that_never_reads_is_closed_when_it_was_idle_for_long() {
    let runtime = Runtime::new().unwrap();
    let clock = ManualClock::new(1_700_000_000_000);
    let broker = start(&runtime, Some(clock.clone()));
    let mut silent = Wire::connect(broker.address());
    flood(&mut silent, &greedy());
    // It is not read from, so only a write can tell that the other end is gone; and the broker may still be on its way
    // to where it cannot write.
    let ended = loop {
        clock.advance(Duration::from_secs(601));
        match silent.stream.write(&[0]) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break error.kind(),
            _ => {}
        }
    };
    assert!(matches!(ended, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
    let mut friend = Wire::connect(broker.address());
    friend.call(&ApiVersionsRequest::default(), 3).unwrap();
    let stopping = runtime.spawn(broker.stop());
    while !stopping.is_finished() {
        clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
    }
    runtime.block_on(stopping).unwrap().unwrap();
}
