//! The limits on connections and on the bytes of requests, through real sockets.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::log::fs::memory::MemoryFs;
use strandline::protocol::messages::api_versions::ApiVersionsRequest;
use strandline::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use strandline::protocol::{ErrorCode, encode_request};

use crate::wire::Wire;

fn start(runtime: &Runtime, configs: &[(&str, &str)]) -> RunningBroker {
    let mut settings = BrokerSettings::new().with_file_system(Arc::new(MemoryFs::new()));
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", "/data");
    for (key, value) in configs {
        settings.set(key, value);
    }
    runtime.block_on(RunningBroker::start(settings)).unwrap()
}

fn ask(wire: &mut Wire) {
    wire.call(&ApiVersionsRequest::default(), 0).unwrap();
}

/// Sets a config for the whole cluster.
fn set(wire: &mut Wire, key: &str, value: &str) {
    let config = AlterableConfig { name: key.into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource { resource_type: 4, configs: vec![config], ..Default::default() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(wire.call(&request, 1).unwrap().responses[0].error_code, ErrorCode::NONE);
}

/// Sends a request and leaves its reply on the way.
fn send(wire: &mut Wire) {
    let frame = encode_request(&ApiVersionsRequest::default(), 0, 7, None).unwrap();
    wire.stream.write_all(&frame.into_bytes()).unwrap();
}

/// Whether a reply comes within the moment that a broker that would answer needs.
fn is_answered(wire: &mut Wire) -> bool {
    wire.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let read = wire.stream.peek(&mut [0]);
    wire.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    match read {
        Ok(bytes) => bytes == 1,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Takes the reply to [`send`].
fn receive(wire: &mut Wire) {
    let mut length = [0; 4];
    wire.stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    wire.stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..4], 7i32.to_be_bytes());
}

#[test]
fn a_connection_over_max_connections_waits_until_one_has_ended() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime, &[("max.connections", "2")]);
    let mut first = Wire::connect(broker.address());
    let mut second = Wire::connect(broker.address());
    ask(&mut first);
    ask(&mut second);
    let mut third = Wire::connect(broker.address());
    send(&mut third);
    assert!(!is_answered(&mut third));
    drop(first);
    receive(&mut third);
    ask(&mut second);
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn max_connections_changes_while_the_broker_runs() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime, &[("max.connections", "2")]);
    let mut first = Wire::connect(broker.address());
    let mut second = Wire::connect(broker.address());
    ask(&mut first);
    ask(&mut second);
    let mut third = Wire::connect(broker.address());
    send(&mut third);
    assert!(!is_answered(&mut third));
    set(&mut first, "max.connections", "3");
    receive(&mut third);
    ask(&mut second);
    // Lowered again, the longest silent has to go: the third.
    set(&mut first, "max.connections", "2");
    assert!(third.read_to_end().is_empty());
    ask(&mut first);
    ask(&mut second);
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn a_connection_over_max_connections_per_ip_is_closed_at_once() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime, &[("max.connections.per.ip", "2")]);
    let mut first = Wire::connect(broker.address());
    let mut second = Wire::connect(broker.address());
    ask(&mut first);
    ask(&mut second);
    assert!(Wire::connect(broker.address()).read_to_end().is_empty());
    set(&mut first, "max.connections.per.ip", "3");
    let mut third = Wire::connect(broker.address());
    ask(&mut third);
    // Lowered, it tells who may come, not who must go.
    set(&mut first, "max.connections.per.ip", "1");
    ask(&mut third);
    assert!(Wire::connect(broker.address()).read_to_end().is_empty());
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn sockets_are_not_read_while_requests_hold_all_that_they_may() {
    const MOST: usize = 1 << 20;
    let runtime = Runtime::new().unwrap();
    let limit = MOST.to_string();
    let broker = start(&runtime, &[("socket.request.max.bytes", &limit), ("queued.max.request.bytes", &limit)]);
    let mut greedy = Wire::connect(broker.address());
    let mut patient = Wire::connect(broker.address());
    ask(&mut greedy);
    ask(&mut patient);
    // ApiVersions, and bytes behind it that nobody looks at: all but the last.
    let mut frame = encode_request(&ApiVersionsRequest::default(), 0, 7, None).unwrap().into_bytes().to_vec();
    frame.resize(4 + MOST, 0);
    frame[..4].copy_from_slice(&(MOST as i32).to_be_bytes());
    let (last, most) = frame.split_last().unwrap();
    greedy.stream.write_all(most).unwrap();
    assert!(!is_answered(&mut greedy));
    send(&mut patient);
    assert!(!is_answered(&mut patient));
    greedy.stream.write_all(&[*last]).unwrap();
    receive(&mut greedy);
    receive(&mut patient);
    // One that goes away in the middle of its frame gives back what it held.
    greedy.stream.write_all(most).unwrap();
    drop(greedy);
    ask(&mut patient);
    runtime.block_on(broker.stop()).unwrap();
}
