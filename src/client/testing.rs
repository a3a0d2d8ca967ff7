//! A broker in memory that answers by script, for tests of this room and of those above it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;

use crate::common::clock::{Clock, ManualClock};
use crate::common::ids::Uuid;
use crate::common::transport::{BoxStream, Listener, Pending, Transport};
use crate::config::{Scope, Values};
use crate::protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::{ApiKey, Decoder, ErrorCode, Frame, Request, decode_request_header, encode_response};

use super::Doors;

/// What the broker does with a request.
pub(super) enum Answer<T> {
    Reply(T),
    /// After this time on the broker's clock.
    Later(Duration, T),
    /// It stays silent.
    Silence,
    HangUp,
}

type Script = Box<dyn FnMut(Decoder, i16, i32) -> Answer<Frame> + Send>;

/// A cluster of one broker, id 1, at `fake:9092`, unless it is given others.
pub(crate) struct FakeBroker {
    clock: Arc<ManualClock>,
    scripts: Mutex<HashMap<ApiKey, Script>>,
    pub(super) asked: Mutex<Vec<(ApiKey, i16)>>,
    pub(crate) connects: AtomicUsize,
    pub(super) refuses: AtomicBool,
    /// Who answers at other hosts.
    others: Mutex<HashMap<String, Arc<FakeBroker>>>,
}

impl std::fmt::Debug for FakeBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeBroker")
    }
}

impl FakeBroker {
    /// A broker that speaks every API's newest version, and has the topic `t` with so many partitions.
    pub(crate) fn new(partitions: i32) -> Arc<FakeBroker> {
        let broker = Arc::new(FakeBroker {
            clock: ManualClock::new(1_000_000),
            scripts: Mutex::default(),
            asked: Mutex::default(),
            connects: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            others: Mutex::default(),
        });
        broker.on(|_: ApiVersionsRequest, _| Answer::Reply(all_versions()));
        broker.on(move |request: MetadataRequest, _| Answer::Reply(metadata(&request, partitions)));
        broker
    }

    /// Answers requests of one API.
    pub(super) fn on<R: Request>(&self, mut script: impl FnMut(R, i16) -> Answer<R::Response> + Send + 'static) {
        let script: Script = Box::new(move |mut decoder, version, correlation| {
            let encode = |response| encode_response::<R>(&response, version, correlation).unwrap();
            match script(R::decode(&mut decoder, version).unwrap(), version) {
                Answer::Reply(response) => Answer::Reply(encode(response)),
                Answer::Later(after, response) => Answer::Later(after, encode(response)),
                Answer::Silence => Answer::Silence,
                Answer::HangUp => Answer::HangUp,
            }
        });
        self.scripts.lock().insert(R::KEY, script);
    }

    /// Answers requests of one API with bytes, made from the version and the correlation id.
    pub(super) fn on_raw(&self, api: ApiKey, mut script: impl FnMut(i16, i32) -> Frame + Send + 'static) {
        let script: Script = Box::new(move |_, version, correlation| Answer::Reply(script(version, correlation)));
        self.scripts.lock().insert(api, script);
    }

    /// Has another broker answer at another host, at the same port.
    pub(super) fn join(&self, host: &str, other: &Arc<FakeBroker>) {
        self.others.lock().insert(host.to_owned(), other.clone());
    }

    /// How often an API was asked for.
    pub(super) fn count(&self, api: ApiKey) -> usize {
        self.asked.lock().iter().filter(|(asked, _)| *asked == api).count()
    }

    async fn serve(self: Arc<Self>, mut stream: DuplexStream) {
        let mut buffer = BytesMut::new();
        loop {
            while buffer.len() < 4 || buffer.len() < 4 + (&buffer[..4]).get_i32() as usize {
                match stream.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
            let size = buffer.get_i32() as usize;
            let (header, decoder) = decode_request_header(buffer.split_to(size).freeze()).unwrap();
            self.asked.lock().push((header.api_key, header.api_version));
            let answer = match self.scripts.lock().get_mut(&header.api_key) {
                Some(script) => script(decoder, header.api_version, header.correlation_id),
                None => panic!("the script has no answer to {}", header.api_key),
            };
            let (after, mut frame) = match answer {
                Answer::Reply(frame) => (Duration::ZERO, frame),
                Answer::Later(after, frame) => (after, frame),
                Answer::Silence => continue,
                Answer::HangUp => return,
            };
            self.clock.sleep(after).await;
            if stream.write_all_buf(&mut frame).await.is_err() {
                return;
            }
        }
    }
}

/// Only `Arc<FakeBroker>` can serve on its own, so that is what connects.
#[derive(Debug)]
struct Way(Arc<FakeBroker>);

impl Transport for Way {
    fn bind<'a>(&'a self, _: &'a str, _: u16) -> Pending<'a, Box<dyn Listener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect<'a>(&'a self, host: &'a str, _: u16) -> Pending<'a, BoxStream> {
        Box::pin(async move {
            let broker = self.0.others.lock().get(host).cloned().unwrap_or_else(|| self.0.clone());
            broker.connects.fetch_add(1, Ordering::SeqCst);
            if broker.refuses.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(broker.serve(theirs));
            Ok(Box::new(ours) as BoxStream)
        })
    }
}

/// Doors that lead to the broker, with a clock that stands still.
pub(crate) fn doors(broker: &Arc<FakeBroker>) -> (Doors, Arc<ManualClock>) {
    let clock = broker.clock.clone();
    let doors = Doors { transport: Arc::new(Way(broker.clone())), clock: clock.clone(), runtime: Handle::current() };
    (doors, clock)
}

/// A client's configuration that leads to the broker.
pub(super) fn values(scope: Scope, pairs: &[(&str, &str)]) -> Values {
    let pairs = [("bootstrap.servers", "fake:9092")].iter().chain(pairs);
    Values::client(scope, pairs.copied()).unwrap().0
}

/// Runs to the end, letting the clock move whenever nothing else does.
pub(super) async fn while_time_passes<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let start = clock.monotonic();
    loop {
        // Long enough for every task to do what it can.
        for _ in 0..50 {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::task::yield_now() => {}
            }
        }
        let waited = clock.monotonic() - start;
        // In larger steps the longer it takes: a twentieth is near enough.
        clock.advance((waited / 20).max(Duration::from_millis(1)));
        assert!(waited < Duration::from_secs(600), "nothing came of it in ten minutes");
    }
}

pub(super) fn all_versions() -> ApiVersionsResponse {
    let api_keys = ApiKey::ALL.iter().map(|api| {
        let spec = api.spec();
        ApiVersion { api_key: spec.key, min_version: spec.advertised.min, max_version: spec.advertised.max }
    });
    ApiVersionsResponse { api_keys: api_keys.collect(), ..ApiVersionsResponse::default() }
}

/// The id of the topic `t`.
pub(super) const TOPIC_ID: Uuid = Uuid([7; 16]);

pub(super) fn metadata(request: &MetadataRequest, partitions: i32) -> MetadataResponse {
    let broker = MetadataResponseBroker { node_id: 1, host: "fake".into(), port: 9092, rack: None };
    let names: Vec<String> = match &request.topics {
        None => vec!["t".to_owned()],
        Some(topics) => topics.iter().filter_map(|topic| topic.name.as_deref().map(str::to_owned)).collect(),
    };
    let topics = names.into_iter().map(|name| {
        let known = name == "t";
        let partitions = (0..if known { partitions } else { 0 }).map(|index| MetadataResponsePartition {
            partition_index: index,
            leader_id: 1,
            leader_epoch: 1,
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..MetadataResponsePartition::default()
        });
        MetadataResponseTopic {
            error_code: if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION },
            name: Some(name.into()),
            topic_id: if known { TOPIC_ID } else { Uuid::ZERO },
            partitions: partitions.collect(),
            ..MetadataResponseTopic::default()
        }
    });
    MetadataResponse {
        brokers: vec![broker],
        controller_id: 1,
        topics: topics.collect(),
        ..MetadataResponse::default()
    }
}
