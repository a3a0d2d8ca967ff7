//! Whatever a connection sends, it costs that connection and nothing else.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tracing_subscriber::fmt::MakeWriter;

use strandline::cluster::{BrokerSettings, RunningBroker};
use strandline::log::fs::memory::MemoryFs;
use strandline::protocol::messages::api_versions::ApiVersionsRequest;
use strandline::protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use strandline::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use strandline::protocol::primitives::{Entropy, Seed};
use strandline::protocol::{ApiKey, ErrorCode};
use strandline::record::{BatchBuilder, BatchOptions, Codec, Compression};

use crate::alone::{Held, alone};
use crate::wire::{Wire, batch};

/// What was logged, in one text for all tests of this process.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Logged;

    fn make_writer(&'a self) -> Logged {
        self.clone()
    }
}

impl Logged {
    /// Begins to write down what is logged. The process has one subscriber, so only tests that run alone may call it.
    fn begin() -> Logged {
        let logged = Logged::default();
        tracing_subscriber::fmt().with_ansi(false).with_writer(logged.clone()).init();
        logged
    }

    /// The line that tells why the connection of `port` ended.
    fn reason(&self, port: u16) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0.lock()).into_owned();
        let peer = format!("127.0.0.1:{port}");
        text.lines().find(|line| line.contains("WARN") && line.contains(&peer)).map(str::to_owned)
    }
}

fn start(runtime: &Runtime) -> RunningBroker {
    let mut settings = BrokerSettings::new().with_file_system(Arc::new(MemoryFs::new()));
    settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
    settings.set("log.dirs", "/data");
    settings.set("socket.request.max.bytes", "1048576");
    runtime.block_on(RunningBroker::start(settings)).unwrap()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes()[..], body].concat()
}

/// Frames that no broker can make sense of, each with what it is.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let header =
        |api: i16, version: i16| [&api.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 255, 255]].concat();
    let unknown_api = header(9999, 0);
    let produce = ApiKey::Produce as i16;
    // An array that says it has two thousand million items, and one byte of them.
    let many = [&header(ApiKey::Metadata as i16, 1)[..], &[0x7f, 0xff, 0xff, 0xff, 0]].concat();
    let cut = [&header(produce, 3)[..], &[255, 255, 0, 1]].concat();
    vec![
        ("a negative length", (-1i32).to_be_bytes().to_vec()),
        ("the least length", i32::MIN.to_be_bytes().to_vec()),
        ("a length over the limit", (1_048_577i32).to_be_bytes().to_vec()),
        ("the greatest length", i32::MAX.to_be_bytes().to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello, is this TLS?".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("an empty frame", framed(b"")),
        ("half a header", framed(&[0, 18, 0])),
        ("an unknown API", framed(&unknown_api)),
        ("an array that claims too much", framed(&many)),
        ("a message cut short", framed(&cut)),
    ]
}

#[test]
fn a_frame_that_makes_no_sense_closes_its_connection_with_a_logged_reason() {
    alone("hostile_frames::a_frame_that_makes_no_sense_closes_its_connection_with_a_logged_reason", || {
        let logged = Logged::begin();
        let runtime = Runtime::new().unwrap();
        let broker = start(&runtime);
        let mut friend = Wire::connect(broker.address());
        for (what, bytes) in hostile() {
            let mut wire = Wire::connect(broker.address());
            let port = wire.stream.local_addr().unwrap().port();
            wire.stream.write_all(&bytes).unwrap();
            let said = wire.read_to_end();
            assert!(said.is_empty(), "{what} was answered with {} bytes", said.len());
            let reason = logged.reason(port).unwrap_or_else(|| panic!("{what}: no reason was logged"));
            println!("{what}: {reason}");
            friend.call(&ApiVersionsRequest::default(), 3).unwrap();
        }
        // One that ends within a frame.
        let mut wire = Wire::connect(broker.address());
        let port = wire.stream.local_addr().unwrap().port();
        wire.stream.write_all(&[0, 0, 1, 0, 5]).unwrap();
        wire.stream.shutdown(Shutdown::Write).unwrap();
        assert!(wire.read_to_end().is_empty());
        assert!(logged.reason(port).unwrap().contains("255 bytes before the end"));
        runtime.block_on(broker.stop()).unwrap();
    });
}

#[test]
fn random_frames_never_hurt_the_broker() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime);
    let mut friend = Wire::connect(broker.address());
    assert_eq!(friend.create("tide"), ErrorCode::NONE);
    for seed in 0..400 {
        let mut seed = Seed(seed);
        let length = seed.below(300) as usize;
        let mut body: Vec<u8> = (0..length).map(|_| seed.next() as u8).collect();
        if length > 4 && seed.below(4) > 0 {
            // An API and a version that are there, so that more than the header is read.
            let api = ApiKey::ALL[seed.below(ApiKey::ALL.len() as u64) as usize];
            let versions = api.spec().served;
            let version = versions.min + seed.below((versions.max - versions.min + 1) as u64) as i16;
            body[..2].copy_from_slice(&(api as i16).to_be_bytes());
            body[2..4].copy_from_slice(&version.to_be_bytes());
        }
        let mut wire = Wire::connect(broker.address());
        wire.stream.write_all(&framed(&body)).unwrap();
        wire.stream.shutdown(Shutdown::Write).unwrap();
        wire.read_to_end();
    }
    assert_eq!(friend.produce("tide", batch(&["still here"])).error_code, ErrorCode::NONE);
    assert_eq!(friend.fetch("tide", 0).1, ["still here"]);
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn a_batch_that_is_damaged_is_refused_as_kafka_does() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide"), ErrorCode::NONE);
    let good = batch(&["ebb", "flow"]);
    let damaged = |at: usize, byte: u8, reseal: bool| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        if reseal {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        Bytes::from(bytes)
    };
    let refused = [
        ("a flipped byte", damaged(70, 0xff, false), ErrorCode::CORRUPT_MESSAGE),
        ("a length that is too long", damaged(11, good[11] + 1, false), ErrorCode::INVALID_RECORD),
        ("a length that is too short", damaged(11, 10, false), ErrorCode::CORRUPT_MESSAGE),
        ("a batch cut short", good.slice(..good.len() - 1), ErrorCode::INVALID_RECORD),
        ("a count that is too large", damaged(60, 3, true), ErrorCode::INVALID_RECORD),
        ("an unknown codec", damaged(22, 7, true), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        ("bytes that are not gzip", damaged(22, 1, true), ErrorCode::CORRUPT_MESSAGE),
        ("bytes that are not zstd", damaged(22, 4, true), ErrorCode::CORRUPT_MESSAGE),
        ("a control batch", damaged(22, 0x20, true), ErrorCode::INVALID_RECORD),
    ];
    for (what, bytes, expected) in refused {
        let answer = wire.produce("tide", bytes);
        assert_eq!(answer.error_code, expected, "{what}: {:?}", answer.error_message);
    }
    assert_eq!(wire.produce("tide", good).base_offset, 0);
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn connections_that_promise_much_and_send_little_cost_little() {
    alone("hostile_frames::connections_that_promise_much_and_send_little_cost_little", || {
        let runtime = Runtime::new().unwrap();
        let mut settings = BrokerSettings::new().with_file_system(Arc::new(MemoryFs::new()));
        settings.set("listeners", "PLAINTEXT://127.0.0.1:0");
        settings.set("log.dirs", "/data");
        let broker = runtime.block_on(RunningBroker::start(settings)).unwrap();
        let mut friend = Wire::connect(broker.address());
        friend.call(&ApiVersionsRequest::default(), 3).unwrap();
        let before = Held::now();
        let promises: Vec<Wire> = (0..200)
            .map(|_| {
                let mut wire = Wire::connect(broker.address());
                wire.stream.write_all(&(100i32 << 20).to_be_bytes()).unwrap();
                wire.stream.write_all(&[0, 18]).unwrap();
                wire
            })
            .collect();
        // Answered behind them, so they were read.
        for _ in 0..200 {
            friend.call(&ApiVersionsRequest::default(), 3).unwrap();
        }
        let during = Held::now();
        println!("{before:?}, {during:?}");
        // 200 x 100 MiB were promised.
        assert!(during.resident_kib < before.resident_kib + 16 * 1024, "{before:?}, {during:?}");
        drop(promises);
        runtime.block_on(broker.stop()).unwrap();
    });
}

#[test]
fn what_is_asked_for_a_thousand_times_is_told_once() {
    let runtime = Runtime::new().unwrap();
    let broker = start(&runtime);
    let mut wire = Wire::connect(broker.address());
    assert_eq!(wire.create("tide"), ErrorCode::NONE);
    let topics = vec![MetadataRequestTopic { name: Some("tide".into()), ..Default::default() }; 1000];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    assert_eq!(wire.call(&request, 9).unwrap().topics.len(), 1);
    let resource = DescribeConfigsResource { resource_type: 4, resource_name: "1".into(), configuration_keys: None };
    let mut named = resource.clone();
    named.configuration_keys = Some(vec!["node.id".into()]);
    let resources = [vec![resource; 1000], vec![named; 1000]].concat();
    let request = DescribeConfigsRequest { resources, ..Default::default() };
    assert_eq!(wire.call(&request, 4).unwrap().results.len(), 2);
    runtime.block_on(broker.stop()).unwrap();
}

#[test]
fn bombs_do_not_add_up() {
    alone("hostile_frames::bombs_do_not_add_up", || {
        const BOMBS: usize = 6;
        const SIZE: usize = 200 << 20;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(BOMBS).enable_all().build().unwrap();
        let broker = start(&runtime);
        let options = BatchOptions { compression: Compression::new(Codec::Zstd), ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(1_700_000_000_000, None, Some(&vec![0; SIZE]), std::iter::empty());
        let bomb = builder.build().unwrap();
        let mut wires: Vec<Wire> = (0..BOMBS).map(|_| Wire::connect(broker.address())).collect();
        for (n, wire) in wires.iter_mut().enumerate() {
            assert_eq!(wire.create(&format!("tide-{n}")), ErrorCode::NONE);
        }
        // What the process had at most is counted anew from here.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = Held::now();
        std::thread::scope(|scope| {
            for (n, wire) in wires.iter_mut().enumerate() {
                let bomb = bomb.clone();
                scope.spawn(move || assert_eq!(wire.produce(&format!("tide-{n}"), bomb).error_code, ErrorCode::NONE));
            }
        });
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: usize = peak.trim_end_matches("kB").trim().parse().unwrap();
        println!("{before:?}, {peak} KiB at most");
        // One at a time, and each of the others up to where it is seen to be large.
        assert!(peak < before.resident_kib + (SIZE >> 10) + 17 * 1024 * BOMBS + 64 * 1024, "{before:?}, {peak} KiB");
        runtime.block_on(broker.stop()).unwrap();
    });
}
