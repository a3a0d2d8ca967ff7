//! What one connection sends, frame by frame as it lies on the wire, into a whole broker with its disk in memory.
//!
//! Whatever it was, the broker stops cleanly, and the next one starts from what it left.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline::broker::{Broker, BrokerOptions, Listener, Reply};
use strandline::common::clock::ManualClock;
use strandline::common::transport::Tcp;
use strandline::config::Values;
use strandline::log::fs::memory::MemoryFs;
use strandline::metadata::records::BrokerEndpoint;
use strandline::protocol::Str;
use strandline_fuzz::within;
use tokio::runtime::{Builder, Runtime};

/// A request that has no answer by then waits for others, or for the clock.
const PATIENCE: Duration = Duration::from_millis(5);
/// What a broker and all it was asked for may take: the largest thing to ask for is a topic of many partitions.
const COST: usize = 128 << 20;

fuzz_target!(|bytes: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| Builder::new_current_thread().max_blocking_threads(2).enable_all().build().expect("a runtime"));
    within(COST, || runtime.block_on(live(bytes)));
});

async fn live(mut bytes: &[u8]) {
    let fs = MemoryFs::new();
    let clock = ManualClock::new(1_700_000_000_000);
    let broker = open(&fs, &clock).await;
    let connection = broker.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), Listener::Client, Str::default());
    let mut waiting = Vec::new();
    while let [a, b, c, d, rest @ ..] = bytes {
        let length = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).min(rest.len());
        let (frame, behind) = rest.split_at(length);
        bytes = behind;
        let mut reply = broker.handle(&connection, Bytes::copy_from_slice(frame));
        match tokio::time::timeout(PATIENCE, &mut reply).await {
            // A connection that is closed sends no more.
            Ok(Reply::Close(reason)) => {
                assert!(!reason.is_empty());
                break;
            }
            Ok(_) => {}
            Err(_) => waiting.push(reply),
        }
    }
    if !waiting.is_empty() {
        clock.advance(Duration::from_secs(3600));
        for reply in waiting {
            let _ = tokio::time::timeout(PATIENCE, reply).await;
        }
    }
    broker.stop(false).await.expect("a disk without faults lets it stop cleanly");
    drop(broker);
    let broker = open(&fs, &clock).await;
    broker.stop(false).await.expect("and the next one too");
}

async fn open(fs: &MemoryFs, clock: &Arc<ManualClock>) -> Arc<Broker> {
    static PROPERTIES: OnceLock<Arc<Values>> = OnceLock::new();
    let properties = PROPERTIES.get_or_init(|| {
        let given =
            [("log.dirs", "/data"), ("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "2")];
        Arc::new(Values::broker(given).expect("good properties").0)
    });
    let options = BrokerOptions {
        properties: properties.clone(),
        clock: clock.clone(),
        socket_clock: clock.clone(),
        transport: Tcp::shared(),
        file_system: Arc::new(fs.clone()),
        durable: false,
        cluster_id: None,
        controller_listener: None,
        voters: Vec::new(),
    };
    let broker = Broker::open(options).await.expect("what a broker left, a broker opens");
    let endpoint =
        BrokerEndpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, security_protocol: 0 };
    broker.join(vec![endpoint]).await.expect("it can be told its address");
    broker
}
