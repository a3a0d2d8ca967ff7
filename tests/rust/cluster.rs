//! Three brokers in one process: replicated, elected, healed. Through the library's own producer, on the machine's clock: what
//! is waited for is an answer or a state, never a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use strandline::client::Doors;
use strandline::client::admin::{Admin, topics::NewTopic};
use strandline::client::network::Wanted;
use strandline::client::producer::{Producer, Record};
use strandline::cluster::{BrokerSettings, BrokerState, Links, LocalCluster, LocalError};
use strandline::common::clock::{SharedClock, SystemClock};
use strandline::common::ids::NodeId;
use strandline::common::transport::Tcp;
use strandline::config::{Scope, Values};
use strandline::controller::Applied;
use strandline::log::fs::memory::MemoryFs;
use strandline::metadata::MetadataRecord;
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use strandline::protocol::messages::metadata::MetadataRequest;
use strandline::record::batches;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Three brokers on a disk in memory.
pub(crate) struct Shore {
    pub(crate) cluster: LocalCluster,
    pub(crate) disk: Arc<MemoryFs>,
    doors: Doors,
}

impl Shore {
    async fn new() -> Shore {
        Shore::with(&[]).await
    }

    /// With these settings besides.
    pub(crate) async fn with(own: &[(&str, &str)]) -> Shore {
        Shore::on_clock(SystemClock::shared(), own).await
    }

    /// By this clock, but for sockets.
    pub(crate) async fn on_clock(clock: SharedClock, own: &[(&str, &str)]) -> Shore {
        let disk = Arc::new(MemoryFs::new());
        let mut settings = BrokerSettings::new().with_file_system(disk.clone()).without_sync().with_moved_clock(clock);
        settings.set("broker.session.timeout.ms", "3000");
        settings.set("replica.lag.time.max.ms", "2000");
        own.iter().for_each(|(key, value)| settings.set(key, value));
        let cluster = LocalCluster::start(&settings, 3, ("127.0.0.1", 0), Path::new("/data")).await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let doors = Doors { transport: Tcp::shared(), clock: SystemClock::shared(), runtime };
        Shore { cluster, disk, doors }
    }

    fn values(&self, scope: Scope, own: &[(&str, &str)]) -> Values {
        let bootstrap = self.cluster.bootstrap_servers();
        let all = [("bootstrap.servers", bootstrap.as_str())];
        Values::client(scope, all.into_iter().chain(own.iter().copied())).unwrap().0
    }

    pub(crate) async fn create(&self, topic: &str, replicas: i16) {
        self.make(NewTopic { replication_factor: Some(replicas), ..NewTopic::new(topic, 1) }).await;
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(self.doors.clone(), &self.values(Scope::Admin, &[])).unwrap()
    }

    pub(crate) async fn make(&self, wish: NewTopic) {
        let admin = self.admin();
        let [(_, made)] = self.cluster.create_topics(&admin, &[wish]).await.unwrap().try_into().ok().unwrap();
        made.unwrap();
        admin.close();
        self.cluster.wait_healthy(PATIENCE).await.unwrap();
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer::new(self.doors.clone(), &self.values(Scope::Producer, &[("acks", "all"), ("linger.ms", "0")]))
            .unwrap()
    }

    pub(crate) async fn send(&self, producer: &Producer, topic: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let value = number.to_string();
            let record = Record { topic, partition: Some(0), value: Some(value.as_bytes()), ..Record::default() };
            producer.send_async(&record).await.unwrap().await.unwrap();
        }
    }

    pub(crate) fn leader(&self, topic: &str) -> NodeId {
        let broker = self.cluster.running().remove(0);
        broker.controller().read(|image| image.partition(topic, 0).unwrap().leader)
    }

    pub(crate) fn controller(&self) -> NodeId {
        self.controllers()[0]
    }

    /// Those that take themselves for the active controller.
    fn controllers(&self) -> Vec<NodeId> {
        let leads = |broker: &&Arc<strandline::broker::Broker>| broker.controller().leader().borrow().is_us;
        self.cluster.running().iter().filter(leads).map(|broker| broker.node().id).collect()
    }

    /// What partition 0 of a topic holds at one broker, up to its high watermark.
    pub(crate) async fn values_at(&self, id: NodeId, topic: &str) -> Vec<String> {
        let partition = self.cluster.broker(id).unwrap().open_partition(topic, 0).await.unwrap();
        let (reader, end) = (partition.log_reader(), partition.high_watermark());
        let mut values = Vec::new();
        let mut offset = 0;
        while offset < end {
            let read = reader.read(offset, 1 << 20, end, true).unwrap();
            for batch in batches(&read.records) {
                let batch = batch.unwrap();
                offset = batch.next_offset();
                for record in batch.body(1 << 20).unwrap().iter() {
                    values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
                }
            }
        }
        values
    }
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.unwrap() });
}

#[test]
fn what_was_acknowledged_is_on_all_brokers() {
    run(async {
        let shore = Shore::new().await;
        shore.create("t", 3).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..100).await;
        producer.close(PATIENCE).await;
        for id in shore.cluster.ids() {
            let partition = shore.cluster.broker(id).unwrap().open_partition("t", 0).await.unwrap();
            assert_eq!(partition.log_end_offset(), 100, "broker {id}");
        }
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn a_leader_that_is_killed_loses_nothing() {
    run(async {
        let shore = Shore::new().await;
        shore.create("t", 3).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..50).await;
        let first = shore.leader("t");
        shore.cluster.kill_broker(first).await.unwrap();
        shore.send(&producer, "t", 50..100).await;
        let second = shore.leader("t");
        assert_ne!(second, first);
        assert_eq!(shore.values_at(second, "t").await, numbers(0..100));
        shore.cluster.start_broker(first).await.unwrap();
        shore.cluster.wait_healthy(PATIENCE).await.unwrap();
        shore.send(&producer, "t", 100..110).await;
        producer.close(PATIENCE).await;
        for id in shore.cluster.ids() {
            let partition = shore.cluster.broker(id).unwrap().open_partition("t", 0).await.unwrap();
            assert_eq!(partition.log_end_offset(), 110, "broker {id}");
        }
        assert_eq!(shore.values_at(shore.leader("t"), "t").await, numbers(0..110));
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn each_broker_may_be_stopped_and_started_in_turn() {
    run(async {
        let shore = Shore::new().await;
        shore.create("t", 3).await;
        let producer = shore.producer();
        for (round, id) in (0..).zip(shore.cluster.ids()) {
            shore.cluster.stop_broker(id).await.unwrap();
            shore.send(&producer, "t", round * 10..round * 10 + 10).await;
            shore.cluster.start_broker(id).await.unwrap();
            shore.cluster.wait_healthy(PATIENCE).await.unwrap();
        }
        producer.close(PATIENCE).await;
        assert_eq!(shore.values_at(shore.leader("t"), "t").await, numbers(0..30));
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn a_controller_that_is_killed_is_replaced() {
    run(async {
        let shore = Shore::new().await;
        shore.create("t", 3).await;
        let first = shore.controller();
        shore.cluster.kill_broker(first).await.unwrap();
        shore.create("u", 2).await;
        assert_ne!(shore.controller(), first);
        let producer = shore.producer();
        shore.send(&producer, "u", 0..10).await;
        producer.close(PATIENCE).await;
        shore.cluster.stop_all().await.unwrap();
    });
}

/// Whether a broker that is stopped tells the controller so first.
async fn hands_over(enabled: &str) -> bool {
    let shore = Shore::with(&[("controlled.shutdown.enable", enabled)]).await;
    shore.create("t", 3).await;
    let stopped = shore.leader("t");
    let witness = shore.cluster.ids().into_iter().find(|id| *id != stopped).unwrap();
    let mut news = shore.cluster.broker(witness).unwrap().controller().subscribe();
    shore.cluster.stop_broker(stopped).await.unwrap();
    let mut asked = false;
    let mut note = |news: Applied| {
        if let Applied::Records { records, .. } = news {
            asked |= records.iter().any(|record| {
                matches!(record, MetadataRecord::BrokerRegistrationChange(change) if change.in_controlled_shutdown == 1)
            });
        }
    };
    let broker = shore.cluster.broker(witness).unwrap();
    while broker.controller().read(|image| image.partition("t", 0).unwrap().leader) == stopped {
        note(news.recv().await.unwrap());
    }
    while let Some(Some(news)) = news.recv().now_or_never() {
        note(news);
    }
    shore.cluster.stop_all().await.unwrap();
    asked
}

#[test]
fn a_broker_that_stops_hands_over_unless_it_is_told_otherwise() {
    run(async {
        assert!(hands_over("true").await);
        assert!(!hands_over("false").await);
    });
}

#[test]
fn who_is_asked_is_told_as_the_controller_and_hands_on_what_is_that_ones() {
    run(async {
        let shore = Shore::new().await;
        let admin = shore.admin();
        admin.network().refresh(Wanted::All, false).await.unwrap();
        let told = async |id| {
            let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
            admin.network().call(id, &request).await.unwrap().controller_id
        };
        for id in shore.cluster.ids() {
            assert_eq!(told(id).await, id);
        }
        // Also before the others know that the active one is gone.
        let gone = shore.controller();
        shore.cluster.kill_broker(gone).await.unwrap();
        for id in shore.cluster.ids().into_iter().filter(|id| *id != gone) {
            assert_eq!(told(id).await, id);
        }
        shore.create("t", 2).await;
        admin.close();
        shore.cluster.stop_all().await.unwrap();
    });
}

/// librdkafka gives up where it is told NOT_CONTROLLER.
#[test]
fn who_takes_itself_for_the_controller_hands_on_what_it_may_not_decide() {
    run(async {
        let shore = Shore::new().await;
        let first = shore.controller();
        let others: BTreeSet<NodeId> = shore.cluster.ids().into_iter().filter(|id| *id != first).collect();
        let admin = shore.admin();
        admin.network().refresh(Wanted::All, false).await.unwrap();
        let asked = admin.network().connection(first).await.unwrap();
        shore.cluster.change_links(|links| links.partition(&[BTreeSet::from([first]), others])).await;
        let topic =
            CreatableTopic { name: "t".into(), num_partitions: 1, replication_factor: 3, ..CreatableTopic::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
        let asking = tokio::spawn(async move { asked.call(&request).await });
        // Another leads by now; the first learns of it in the middle of the request.
        while shore.controllers().iter().all(|id| *id == first) {
            tokio::task::yield_now().await;
        }
        shore.cluster.change_links(Links::heal).await;
        let response = asking.await.unwrap().unwrap();
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{:?}", response.topics[0].error_message);
        admin.close();
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn a_topic_that_was_made_is_known_to_all_who_can_be_heard() {
    run(async {
        let shore = Shore::new().await;
        let admin = shore.admin();
        let wishes = ["terns", "gulls", "terns"].map(|name| NewTopic::new(name, 1));
        let known = |name: &str| {
            let running = shore.cluster.running();
            running.iter().filter(|broker| broker.controller().read(|image| image.topic(name).is_some())).count()
        };
        let made = shore.cluster.create_topics(&admin, &wishes[..2]).await.unwrap();
        assert!(made.iter().all(|(_, made)| made.is_ok()), "{made:?}");
        assert_eq!((known("terns"), known("gulls")), (3, 3));
        let again = shore.cluster.create_topics(&admin, &wishes[2..]).await.unwrap();
        assert_eq!(again[0].1.as_ref().unwrap_err().code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
        // Nobody waits for who cannot be heard, nor asks it, though it was asked before.
        admin.network().refresh(Wanted::All, false).await.unwrap();
        let paused = shore.cluster.ids().into_iter().find(|id| *id != shore.controller()).unwrap();
        admin.network().connection(paused).await.unwrap();
        shore.cluster.pause_broker(paused).unwrap();
        let (cluster, wish) = (&shore.cluster, [NewTopic::new("skuas", 1)]);
        // Before a request to it would have timed out.
        let made =
            tokio::time::timeout(PATIENCE * 9 / 10, cluster.create_topics(&admin, &wish)).await.unwrap().unwrap();
        assert!(made[0].1.is_ok(), "{made:?}");
        shore.cluster.resume_broker(paused).unwrap();
        admin.close();
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn what_cannot_be_done_is_told() {
    run(async {
        let shore = Shore::new().await;
        assert!(matches!(shore.cluster.kill_broker(7).await, Err(LocalError::Unknown { id: 7, .. })));
        assert!(matches!(shore.cluster.start_broker(1).await, Err(LocalError::State { .. })));
        shore.cluster.kill_broker(1).await.unwrap();
        assert!(matches!(shore.cluster.stop_broker(1).await, Err(LocalError::State { .. })));
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn every_replica_tells_how_far_it_is() {
    run(async {
        let shore = Shore::new().await;
        shore.create("t", 3).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..10).await;
        producer.close(PATIENCE).await;
        let admin = shore.admin();
        let [(_, view)] = admin.describe_topics(&["t".to_owned()]).await.unwrap().try_into().ok().unwrap();
        let [reach] = admin.reach(&view.unwrap()).await.try_into().ok().unwrap();
        assert_eq!(reach.log_ends, BTreeMap::from([(0, 10), (1, 10), (2, 10)]));
        assert_eq!((reach.earliest, reach.latest), (Some(0), Some(10)));
        admin.close();
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn brokers_in_processes_of_their_own_are_a_cluster_too() {
    run(async {
        let data = tempfile::tempdir().unwrap();
        let command = [env!("CARGO_BIN_EXE_strandline"), "serve", "--for-parent"].map(Into::into);
        let mut settings = BrokerSettings::new().in_processes(command.to_vec());
        settings.set("broker.session.timeout.ms", "3000");
        let cluster = LocalCluster::start(&settings, 3, ("127.0.0.1", 0), data.path()).await.unwrap();
        cluster.wait_healthy(PATIENCE).await.unwrap();
        assert!(cluster.is_apart() && cluster.running().is_empty());
        let pid = cluster.pid(1).unwrap().unwrap();
        cluster.kill_broker(1).await.unwrap();
        assert_eq!((cluster.state(1).unwrap(), cluster.exit_code(1).unwrap()), (BrokerState::Stopped, Some(-9)));
        cluster.change_links(|links| links.partition(&[BTreeSet::from([1]), BTreeSet::from([0, 2])])).await;
        cluster.change_links(Links::heal).await;
        cluster.start_broker(1).await.unwrap();
        assert_ne!(cluster.pid(1).unwrap(), Some(pid));
        cluster.wait_healthy(PATIENCE).await.unwrap();
        cluster.stop_all().await.unwrap();
        assert_eq!(cluster.pid(0).unwrap(), None);
    });
}
