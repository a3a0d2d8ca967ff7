//! Brokers with several listeners: each client is told of others by the one that it came by, and brokers reach each other by the
//! one that `inter.broker.listener.name` names.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use strandline::cluster::{BoundBroker, BrokerSettings, RunningBroker};
use strandline::common::transport::{BoxStream, Listener, Pending, Tcp, Transport};
use strandline::controller::Voter;
use strandline::log::fs::memory::MemoryFs;
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use strandline::protocol::messages::describe_cluster::DescribeClusterRequest;
use strandline::protocol::messages::find_coordinator::FindCoordinatorRequest;
use strandline::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::cluster::run;
use crate::nodes::{CLUSTER, free_port};
use crate::wire::{Wire, batch};

/// TCP, with some ports that nobody reaches, and a note of all that were.
#[derive(Debug, Default)]
struct Cut {
    ports: BTreeSet<u16>,
    reached: Mutex<BTreeSet<u16>>,
}

impl Transport for Cut {
    fn bind<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, Box<dyn Listener>> {
        Tcp.bind(host, port)
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, BoxStream> {
        if self.ports.contains(&port) {
            return Box::pin(std::future::ready(Err(io::ErrorKind::HostUnreachable.into())));
        }
        self.reached.lock().insert(port);
        Tcp.connect(host, port)
    }
}

/// The ports of a broker's two listeners.
#[derive(Debug, Clone, Copy)]
struct Ports {
    outside: u16,
    inside: u16,
}

impl Ports {
    fn free() -> Ports {
        Ports { outside: free_port(), inside: free_port() }
    }
}

/// Brokers 0 to 2, of which the last is not there for those outside.
struct Brokers {
    running: Vec<RunningBroker>,
    ports: Vec<Ports>,
    transport: Arc<Cut>,
}

impl Brokers {
    /// With the links between them cut that go to these ports.
    async fn start(cut: impl Fn(&Ports) -> u16) -> Brokers {
        let ports = vec![Ports::free(), Ports::free(), Ports::free()];
        let transport = Arc::new(Cut { ports: ports.iter().map(cut).collect(), ..Cut::default() });
        let mut bound = Vec::new();
        for (id, Ports { outside, inside }) in (0..).zip(&ports) {
            let mut settings = BrokerSettings::new().without_sync().in_cluster(CLUSTER);
            settings = settings.with_file_system(Arc::new(MemoryFs::new())).with_transport(transport.clone());
            let outside = if id == 2 { String::new() } else { format!("OUTSIDE://127.0.0.1:{outside},") };
            let listeners = format!("{outside}INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:0");
            settings.set("listeners", &listeners);
            settings.set("controller.listener.names", "CONTROLLER");
            settings.set("inter.broker.listener.name", "INSIDE");
            settings.set("listener.security.protocol.map", "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT");
            settings.set("log.dirs", &Path::new("/data").to_string_lossy());
            settings.set("node.id", &id.to_string());
            settings.set("replica.lag.time.max.ms", "2000");
            settings.set("offsets.topic.num.partitions", "1");
            bound.push(BoundBroker::bind(settings).await.unwrap());
        }
        let voter = |broker: &BoundBroker| {
            let address = broker.controller_address().unwrap();
            Voter { id: broker.id(), host: address.ip().to_string(), port: address.port(), ..Voter::default() }
        };
        let voters: Vec<Voter> = bound.iter().map(voter).collect();
        let starting = bound.into_iter().map(|broker| broker.start(voters.clone()));
        let running = futures_util::future::join_all(starting).await.into_iter().map(Result::unwrap).collect();
        Brokers { running, ports, transport }
    }

    /// Makes a topic whose partitions have these replicas.
    async fn create(&self, name: &'static str, replicas: &[&[i32]]) {
        let assignments = (0..).zip(replicas).map(|(partition_index, brokers)| CreatableReplicaAssignment {
            partition_index,
            broker_ids: brokers.to_vec(),
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: assignments.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
        let port = self.ports[0].outside;
        let response = tokio::task::spawn_blocking(move || wire(port).call(&request, 7).unwrap()).await.unwrap();
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{response:?}");
    }

    /// Waits until all know that these are in sync.
    async fn until_in_sync(&self, topic: &str, replicas: &[i32]) {
        for broker in &self.running {
            let mut news = broker.broker().controller().subscribe();
            let in_sync = || {
                broker.broker().controller().read(|image| {
                    image.topic(topic).is_some_and(|topic| {
                        topic.partitions.iter().all(|partition| {
                            let isr: BTreeSet<_> = partition.isr.iter().copied().collect();
                            isr == replicas.iter().copied().collect()
                        })
                    })
                })
            };
            while !in_sync() {
                news.recv().await.unwrap();
            }
        }
    }

    async fn stop(self) {
        for broker in self.running {
            broker.stop_with_all().await.unwrap();
        }
    }
}

fn wire(port: u16) -> Wire {
    Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// The ports that are told, and the error of each partition of the topic.
fn told(response: &MetadataResponse) -> (BTreeSet<u16>, Vec<ErrorCode>) {
    let ports = response.brokers.iter().map(|broker| u16::try_from(broker.port).unwrap());
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    (ports.collect(), codes.collect())
}

fn metadata(port: u16, topic: &'static str, version: i16) -> (BTreeSet<u16>, Vec<ErrorCode>) {
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() }]);
    told(&wire(port).call(&MetadataRequest { topics, ..MetadataRequest::default() }, version).unwrap())
}

#[test]
fn each_client_is_told_of_the_listener_that_it_came_by() {
    run(async {
        let brokers = Brokers::start(|ports| ports.outside).await;
        brokers.create("tides", &[&[0, 1, 2], &[2, 0, 1], &[1, 2, 0]]).await;
        brokers.until_in_sync("tides", &[0, 1, 2]).await;
        let ports = brokers.ports.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let outside: BTreeSet<u16> = ports[..2].iter().map(|ports| ports.outside).collect();
            let inside: BTreeSet<u16> = ports.iter().map(|ports| ports.inside).collect();
            let good = ErrorCode::NONE;
            for version in [4, 8, 13] {
                let nowhere = if version < 6 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::LISTENER_NOT_FOUND };
                for Ports { outside: port, .. } in &ports[..2] {
                    assert_eq!(metadata(*port, "tides", version), (outside.clone(), vec![good, nowhere, good]));
                }
                for Ports { inside: port, .. } in &ports {
                    assert_eq!(metadata(*port, "tides", version), (inside.clone(), vec![good; 3]));
                }
            }
            let cluster = |port: u16| -> BTreeSet<u16> {
                let request = DescribeClusterRequest { endpoint_type: 1, ..DescribeClusterRequest::default() };
                let brokers = wire(port).call(&request, 2).unwrap().brokers;
                brokers.iter().map(|broker| u16::try_from(broker.port).unwrap()).collect()
            };
            assert_eq!((cluster(ports[0].outside), cluster(ports[0].inside)), (outside, inside));

            // What was written by one listener is read by the other.
            let written = wire(ports[0].outside).produce("tides", batch(&["ebb"]));
            assert_eq!(written.error_code, good);
            assert_eq!(wire(ports[0].inside).fetch("tides", 0), (good, vec!["ebb".to_owned()]));
            let request =
                FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..FindCoordinatorRequest::default() };
            let found = |port: u16| loop {
                let found = wire(port).call(&request, 4).unwrap().coordinators.remove(0);
                if found.error_code == good {
                    break (usize::try_from(found.node_id).unwrap(), u16::try_from(found.port).unwrap());
                }
                assert_eq!(found.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
                // It is on broker 2, which is not there for those outside.
                if ports.iter().any(|ports| ports.outside == port) {
                    break (2, 0);
                }
            };
            let (node, port) = found(ports[0].inside);
            assert_eq!(port, ports[node].inside);
            let expected = if node == 2 { (2, 0) } else { (node, ports[node].outside) };
            assert_eq!(found(ports[1].outside), expected);
        });
        asking.await.unwrap();
        // Brokers reached each other by one listener alone; the others' links are cut.
        let inside: BTreeSet<u16> = brokers.ports.iter().map(|ports| ports.inside).collect();
        let reached = brokers.transport.reached.lock().clone();
        assert!(inside.is_subset(&reached), "{reached:?} of {:?}", brokers.ports);
        brokers.stop().await;
    });
}

#[test]
fn where_the_listener_between_brokers_is_cut_off_nothing_is_replicated() {
    run(async {
        let brokers = Brokers::start(|ports| ports.inside).await;
        brokers.create("tides", &[&[0, 1, 2]]).await;
        let port = brokers.ports[0].outside;
        let writing = tokio::task::spawn_blocking(move || wire(port).produce("tides", batch(&["ebb"])));
        // The others are thrown out, though they are there for clients, and for the controller; then nobody is waited for.
        brokers.until_in_sync("tides", &[0]).await;
        assert_eq!(writing.await.unwrap().error_code, ErrorCode::NONE);
        let live = brokers.running[0].broker().controller().read(|image| image.live_brokers().count());
        assert_eq!(live, 3);
        brokers.stop().await;
    });
}
