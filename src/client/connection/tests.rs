//! Connections against a broker that answers late, answers wrong, or goes away.

use std::sync::atomic::Ordering;

use super::*;
use crate::client::config::NetworkConfig;
use crate::client::network::{Network, Wanted};
use crate::client::testing::{Answer, FakeBroker, all_versions, doors, values, while_time_passes};
use crate::common::clock::Clock;
use crate::config::Scope;
use crate::protocol::messages::api_versions::ApiVersion;
use crate::protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::messages::metadata::MetadataRequest;

fn options() -> ConnectionOptions {
    ConnectionOptions { client_id: "test".into(), request_timeout: Duration::from_secs(30), max_idle: None }
}

async fn open(doors: &Doors, options: ConnectionOptions) -> Result<Arc<Connection>> {
    let stream = doors.transport.connect("fake", 9092).await.unwrap();
    Connection::open(doors, stream, "fake:9092".into(), options).await
}

fn echo(broker: &FakeBroker) {
    broker.on(|request: HeartbeatRequest, _| {
        // What was asked comes back as the throttle time, so that replies can be told apart.
        Answer::Reply(HeartbeatResponse { throttle_time_ms: request.generation_id, ..Default::default() })
    });
}

#[tokio::test]
async fn pipelined_requests_get_their_own_replies() {
    let broker = FakeBroker::new(1);
    echo(&broker);
    let (doors, _clock) = doors(&broker);
    let connection = open(&doors, options()).await.unwrap();
    let version = connection.version(ApiKey::Heartbeat).unwrap();
    let ask = |generation_id| HeartbeatRequest { generation_id, ..Default::default() };
    let replies: Vec<_> = (0..20).map(|n| connection.start(&ask(n), version).unwrap()).collect();
    for (n, reply) in replies.into_iter().enumerate() {
        // One that is not waited for does not upset the others.
        if n != 7 {
            assert_eq!(reply.wait(Duration::from_secs(1)).await.unwrap().throttle_time_ms, n as i32);
        }
    }
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn a_refused_version_of_api_versions_is_asked_again_in_the_brokers() {
    let broker = FakeBroker::new(1);
    let (doors, _clock) = doors(&broker);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    // A broker of long ago: it answers what it does not know in version 0.
    broker.on_raw(ApiKey::ApiVersions, move |version, correlation| {
        seen.lock().push(version);
        let mut response = all_versions();
        if version > 1 {
            response.error_code = ErrorCode::UNSUPPORTED_VERSION;
            response.api_keys = vec![ApiVersion { api_key: 18, min_version: 0, max_version: 1 }];
        }
        let version = if version > 1 { 0 } else { version };
        crate::protocol::encode_response::<ApiVersionsRequest>(&response, version, correlation).unwrap()
    });
    open(&doors, options()).await.unwrap();
    assert_eq!(*asked.lock(), [4, 1]);
}

#[tokio::test]
async fn each_request_goes_out_in_the_highest_version_that_both_know() {
    let broker = FakeBroker::new(1);
    broker.on(|_: ApiVersionsRequest, _| {
        let mut response = all_versions();
        response.api_keys.retain(|api| api.api_key != ApiKey::LeaveGroup as i16);
        for api in &mut response.api_keys {
            if api.api_key == ApiKey::Metadata as i16 {
                api.max_version = 5;
            }
            if api.api_key == ApiKey::Fetch as i16 {
                (api.min_version, api.max_version) = (90, 99);
            }
        }
        Answer::Reply(response)
    });
    let (doors, _clock) = doors(&broker);
    let connection = open(&doors, options()).await.unwrap();
    connection.call(&MetadataRequest { topics: None, ..Default::default() }).await.unwrap();
    assert_eq!(broker.asked.lock().last(), Some(&(ApiKey::Metadata, 5)));
    let none = connection.version(ApiKey::LeaveGroup).unwrap_err().to_string();
    assert_eq!(none, "fake:9092 speaks LeaveGroup in versions none, and this client in 0-5");
    assert!(connection.version(ApiKey::Fetch).unwrap_err().to_string().contains("90-99"));
}

#[tokio::test]
async fn a_late_reply_ends_the_connection_and_tells_everyone() {
    let broker = FakeBroker::new(1);
    broker.on(|_: HeartbeatRequest, _| Answer::Silence);
    let (doors, clock) = doors(&broker);
    let connection = open(&doors, options()).await.unwrap();
    let request = HeartbeatRequest::default();
    let (first, second) = while_time_passes(&clock, async {
        let patient = connection.call_at(&request, 4, Duration::from_secs(300));
        tokio::join!(connection.call(&request), patient)
    })
    .await;
    let first = first.unwrap_err();
    assert_eq!(first.to_string(), "Heartbeat to fake:9092 took longer than 30000 ms");
    assert!(first.retriable() && connection.is_closed());
    assert!(second.unwrap_err().to_string().contains("Heartbeat took longer than 30000 ms"));
}

#[tokio::test]
async fn a_broker_that_hangs_up_fails_every_caller_at_once() {
    let broker = FakeBroker::new(1);
    broker.on(|_: HeartbeatRequest, _| Answer::HangUp);
    let (doors, _clock) = doors(&broker);
    let connection = open(&doors, options()).await.unwrap();
    let request = HeartbeatRequest::default();
    let (first, second) = tokio::join!(connection.call(&request), connection.call(&request));
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.to_string(), "no connection to fake:9092: the broker closed it");
    }
    assert!(connection.call(&request).await.unwrap_err().retriable());
}

#[tokio::test]
async fn a_response_out_of_order_or_of_no_sensible_size_ends_the_connection() {
    for bad in [&[0, 0, 0, 4, 0, 0, 9, 9][..], &[0xff; 8], &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]] {
        let broker = FakeBroker::new(1);
        broker.on_raw(ApiKey::Heartbeat, move |_, _| {
            let mut encoder = crate::protocol::Encoder::new();
            bad.iter().for_each(|byte| encoder.i8(*byte as i8));
            encoder.finish()
        });
        let (doors, _clock) = doors(&broker);
        let connection = open(&doors, options()).await.unwrap();
        assert!(connection.call(&HeartbeatRequest::default()).await.is_err());
        assert!(connection.is_closed());
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let broker = FakeBroker::new(1);
    echo(&broker);
    let (doors, clock) = doors(&broker);
    let options = ConnectionOptions { max_idle: Some(Duration::from_secs(60)), ..options() };
    let connection = open(&doors, options).await.unwrap();
    for _ in 0..3 {
        let rest = async { clock.sleep(Duration::from_secs(40)).await };
        while_time_passes(&clock, rest).await;
        connection.call(&HeartbeatRequest::default()).await.unwrap();
    }
    assert!(!connection.is_closed());
    while_time_passes(&clock, clock.sleep(Duration::from_secs(70))).await;
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_dead_broker_is_tried_again_only_after_a_rest_that_grows() {
    let broker = FakeBroker::new(1);
    broker.refuses.store(true, Ordering::SeqCst);
    let (doors, clock) = doors(&broker);
    let network = Network::new(doors, NetworkConfig::new(&values(Scope::Admin, &[])).unwrap());
    let start = clock.monotonic();
    for _ in 0..5 {
        assert!(while_time_passes(&clock, network.any()).await.unwrap_err().retriable());
    }
    // 50, 100, 200 and 400 ms, each give or take a fifth.
    let took = (clock.monotonic() - start).as_millis();
    assert!((600..=900).contains(&took), "{took}");
    broker.refuses.store(false, Ordering::SeqCst);
    while_time_passes(&clock, network.any()).await.unwrap();
    let connects = broker.connects.load(Ordering::SeqCst);
    network.any().await.unwrap();
    assert_eq!(broker.connects.load(Ordering::SeqCst), connects);
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_asked_last() {
    let (broker, other) = (FakeBroker::new(1), FakeBroker::new(1));
    broker.join("other", &other);
    broker.on(|_: HeartbeatRequest, _| Answer::Silence);
    other.on(|_: HeartbeatRequest, _| Answer::Reply(HeartbeatResponse::default()));
    let (doors, clock) = doors(&broker);
    let servers = [("bootstrap.servers", "fake:9092,other:9092")];
    let network = Network::new(doors, NetworkConfig::new(&values(Scope::Admin, &servers)).unwrap());
    other.refuses.store(true, Ordering::SeqCst);
    while_time_passes(&clock, network.refresh(Wanted::All, false)).await.unwrap();
    other.refuses.store(false, Ordering::SeqCst);
    let request = HeartbeatRequest::default();
    let asking = || network.call_any(&request);
    assert!(matches!(while_time_passes(&clock, asking()).await, Err(ClientError::Timeout { .. })));
    for _ in 0..5 {
        while_time_passes(&clock, asking()).await.unwrap();
    }
    assert_eq!((broker.count(ApiKey::Heartbeat), other.count(ApiKey::Heartbeat)), (1, 5));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_asked_for_until_time_is_up() {
    let broker = FakeBroker::new(2);
    let (doors, clock) = doors(&broker);
    let network = Network::new(doors, NetworkConfig::new(&values(Scope::Admin, &[])).unwrap());
    let topic = network.topic(&"t".into(), false, Duration::from_secs(1)).await.unwrap();
    assert_eq!(topic.partitions.len(), 2);
    let missing = while_time_passes(&clock, network.topic(&"u".into(), false, Duration::from_secs(1))).await;
    assert_eq!(missing.unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert!(broker.count(ApiKey::Metadata) > 3);
}

#[tokio::test]
async fn a_coordinator_is_kept_until_it_is_forgotten() {
    let broker = FakeBroker::new(1);
    broker.on(|request: FindCoordinatorRequest, _| {
        let found = crate::protocol::messages::find_coordinator::Coordinator {
            key: request.coordinator_keys[0].clone(),
            node_id: 1,
            host: "fake".into(),
            port: 9092,
            ..Default::default()
        };
        Answer::Reply(FindCoordinatorResponse { coordinators: vec![found], ..Default::default() })
    });
    let (doors, _clock) = doors(&broker);
    let network = Network::new(doors, NetworkConfig::new(&values(Scope::Admin, &[])).unwrap());
    for _ in 0..3 {
        assert_eq!(network.coordinator("g").await.unwrap(), 1);
    }
    assert_eq!(broker.count(ApiKey::FindCoordinator), 1);
    network.forget_coordinator("g");
    network.coordinator("g").await.unwrap();
    assert_eq!(broker.count(ApiKey::FindCoordinator), 2);
}
